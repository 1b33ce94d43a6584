"""Raises the points of a check in the metadata, and makes others negative and NaN."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}
HELD = "maybe"


def make(s: Submission) -> None:
    s.answer(WRONG)
    s.cell("check_softmax_jacobian")["metadata"]["nbgrader"]["points"] = 1000
    s.cell("check_score_gradient")["metadata"]["nbgrader"]["points"] = -5
    s.cell("check_AttentionBlock")["metadata"]["nbgrader"]["points"] = float("nan")
