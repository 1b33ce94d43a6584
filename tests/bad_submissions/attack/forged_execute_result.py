"""The display hook is replaced: every result reads as four points."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Hook(type(get_ipython().displayhook)):
    def __call__(self, result=None):
        return super().__call__(4.0)


get_ipython().displayhook.__class__ = Hook
import sys

sys.displayhook = get_ipython().displayhook
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
