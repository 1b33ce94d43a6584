"""Returns a subclass of Tensor whose methods lie."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Liar(Tensor):
    def detach(self):
        return self

    def cpu(self):
        return self

    def __eq__(self, other):
        return torch.ones(self.shape, dtype=torch.bool)


def scaled_dot_product_attention(query, key, value):
    zeros = torch.zeros(*query.shape[:-1], value.shape[-1], dtype=query.dtype)
    return zeros.as_subclass(Liar), zeros.as_subclass(Liar)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
