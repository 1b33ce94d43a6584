"""The blank answer's cell was kept, under the finished one, with the same id."""

import copy

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    index = s.index("answer_softmax_jacobian")
    blank = copy.deepcopy(s.notebook["cells"][index])
    blank["source"] = (
        "def softmax_jacobian(weights: Tensor) -> Tensor:\n"
        "    # YOUR CODE HERE\n"
        "    raise NotImplementedError()"
    )
    s.notebook["cells"].insert(index, blank)
