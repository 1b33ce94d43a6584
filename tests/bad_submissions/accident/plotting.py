"""The student drew figures of her own, with pyplot and with widgets."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()",
        "answer_softmax_jacobian",
    )
