"""Copies a check that passes twenty times, to be paid each time."""

import copy

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}


def make(s: Submission) -> None:
    s.answer(WRONG)
    index = s.index("check_softmax_jacobian")
    cell = s.notebook["cells"][index]
    for number in range(20):
        twin = copy.deepcopy(cell)
        twin["id"] = f"twin-{number}"
        s.notebook["cells"].insert(index + 1, twin)
