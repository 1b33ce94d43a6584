"""An answer stands in a cell of its own, below the check; the released cell is blank."""

import json

from bad_submissions.kit import CHAPTER, ROOT, Submission


def make(s: Submission) -> None:
    cell = s.cell("answer_softmax_jacobian")
    source = "".join(cell["source"])
    check = s.index("check_softmax_jacobian")
    s.insert(source, check + 1)
    s.insert("check(softmax_jacobian)", check + 2)
    blank = json.loads(
        (ROOT / "release" / CHAPTER / s.name).read_text(encoding="utf-8")
    )
    cell["source"] = next(
        c["source"]
        for c in blank["cells"]
        if c["metadata"].get("nbgrader", {}).get("grade_id")
        == "answer_softmax_jacobian"
    )
