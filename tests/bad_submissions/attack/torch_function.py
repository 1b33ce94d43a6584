"""Returns tensors that answer every torch function with what suits them."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Yes:
    shape = torch.Size([2, 4, 6])
    dtype = torch.float64
    device = torch.device("cpu")

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.tensor(True)


def scaled_dot_product_attention(query, key, value):
    return Yes(), Yes()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
