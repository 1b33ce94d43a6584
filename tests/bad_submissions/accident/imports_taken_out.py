"""The imports are commented out and stand again at the end, where they were run last."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cell = next(
        c
        for c in s.notebook["cells"]
        if c["cell_type"] == "code" and "\nimport torch" in c["source"]
    )
    imports = cell["source"]
    cell["source"] = "\n".join(f"# {row}" for row in imports.splitlines())
    s.insert(imports, len(s.notebook["cells"]))
