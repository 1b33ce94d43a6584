"""An input transformer rewrites every later cell before it runs."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
def rewrite(lines):
    return [line.replace("check(", "print('full marks');(") for line in lines]


get_ipython().input_transformers_cleanup.append(rewrite)
get_ipython().input_transformers_post.append(rewrite)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
