"""Imports the package's author and grade wings, to compute the key itself."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
try:
    from attention_course.author.exercise import load_exercises
    from attention_course.grade import judging

    stolen = (load_exercises, judging)
except ImportError:
    stolen = None
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.cell("answer_scaled_dot_product_attention")["source"] += (
        "\n\nif stolen:\n"
        "    scaled_dot_product_attention = F.scaled_dot_product_attention"
    )
