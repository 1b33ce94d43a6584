"""Returns objects that are equal to everything."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Equal:
    shape = dtype = device = property(lambda self: self)

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __bool__(self):
        return True

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return self

    def __iter__(self):
        return iter([self, self])

    __hash__ = None


def scaled_dot_product_attention(query, key, value):
    return Equal(), Equal()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
