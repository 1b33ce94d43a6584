"""Returns an object that runs code where it is unpickled."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Bomb(dict):
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/pwned-by-pickle",)


def scaled_dot_product_attention(query, key, value):
    return Bomb(), Bomb()
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
