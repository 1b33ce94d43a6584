"""The notebook went through Colab: its metadata, and a first cell that mounts a drive."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.notebook["metadata"] |= {
        "colab": {"provenance": []},
        "accelerator": "GPU",
        "kernelspec": {"name": "colab", "display_name": "Colab"},
    }
    s.insert("from google.colab import drive\ndrive.mount('/content/drive')", 0)
    for number, cell in enumerate(s.notebook["cells"]):
        cell["metadata"]["id"] = f"colab{number}"
