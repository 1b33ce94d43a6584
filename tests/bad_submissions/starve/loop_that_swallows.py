"""Never returns, and swallows every interrupt."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
"""


def make(s: Submission) -> None:
    s.answer(CODE)
