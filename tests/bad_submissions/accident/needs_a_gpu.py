"""An answer's cell asks for a GPU before it defines anything."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    source = "".join(s.cell("answer_softmax_jacobian")["source"])
    s.answer("torch.ones(1, device='cuda')\n\n" + source, "softmax_jacobian")
