"""Widget state in the metadata that holds a script."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.notebook["metadata"]["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {
            "state": {
                "x": {
                    "model_name": "HTMLModel",
                    "state": {
                        "value": "<script>document.title='PWNED'</script></script>"
                    },
                }
            },
            "version_major": 2,
            "version_minor": 0,
        }
    }
    s.notebook["metadata"]["title"] = "</title><script>document.title='PWNED'</script>"
