"""Takes the interpreter down with an object that is deallocated too deeply."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    deep = None
    for _ in range(10_000_000):
        deep = (deep,)
    return deep
"""


def make(s: Submission) -> None:
    s.answer(CODE)
