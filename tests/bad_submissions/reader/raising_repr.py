"""An exception whose text is HTML and escapes, raised by the answer."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
class Evil(Exception):
    def __str__(self):
        return "<script>document.title='PWNED'</script>\\x1b[2J\\u202e"


def scaled_dot_product_attention(query, key, value):
    raise Evil()
"""


def make(s: Submission) -> None:
    s.answer(CODE)
