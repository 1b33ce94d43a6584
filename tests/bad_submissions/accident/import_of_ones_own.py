"""An import that the grader lacks stands before the course's, in their cell."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cell = next(c for c in s.notebook["cells"] if c["cell_type"] == "code")
    source = "".join(cell["source"])
    cell["source"] = "import pandas_and_more as pd\n" + source
