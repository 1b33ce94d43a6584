"""Never returns."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    while True:
        pass
"""


def make(s: Submission) -> None:
    s.answer(CODE)
