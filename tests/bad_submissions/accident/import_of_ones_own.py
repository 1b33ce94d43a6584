"""An import that the grader lacks stands before the course's, in their cell."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    cells = (c for c in s.notebook["cells"] if c["cell_type"] == "code")
    cell = next(c for c in cells if "import torch\n" in "".join(c["source"]))
    cell["source"] = "import pandas_and_more as pd\n" + "".join(cell["source"])
