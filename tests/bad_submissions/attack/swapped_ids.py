"""Gives the wrong answer's check the name of a check that passes."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}


def make(s: Submission) -> None:
    s.answer(WRONG)
    cell = s.cell(f"check_{TARGET}")
    cell["metadata"]["nbgrader"]["grade_id"] = "check_softmax_jacobian"
    cell["source"] = "check(softmax_jacobian)"
    cell["id"] = "check-softmax-jacobian-2"
