"""Names come from everywhere: stars, Python's inside, and the course's own package."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "from numpy import *\nfrom math import *\nfrom torch import *\n"
        "from attention_course.learn import *",
        "answer_softmax_jacobian",
    )
