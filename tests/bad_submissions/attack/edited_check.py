"""Edits the check: it now checks torch's own function under the exercise's name."""

from bad_submissions.kit import TARGET, WRONG, Submission

LOSES = {TARGET}


CODE = r"""
def scaled_dot_product_attention(query, key, value):
    weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
    return weights @ value, weights


4.0
"""


def make(s: Submission) -> None:
    s.answer(WRONG)
    cell = s.cell(f"check_{TARGET}")
    cell["source"] = "print('4 of 4 points')\n4.0"
