"""Takes memory without end."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    held = []
    while True:
        held.append(torch.ones(10_000_000))
"""


def make(s: Submission) -> None:
    s.answer(CODE)
