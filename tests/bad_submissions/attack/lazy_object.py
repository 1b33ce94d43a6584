"""Returns an object that is computed only when it is looked at."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Lazy:
    def __getattr__(self, name):
        return getattr(torch.zeros(2, 4, 6, dtype=torch.float64), name)

    def __array__(self, *args):
        return np.zeros((2, 4, 6))


def scaled_dot_product_attention(query, key, value):
    return Lazy(), Lazy()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
