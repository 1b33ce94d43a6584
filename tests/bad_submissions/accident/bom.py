"""The file begins with a byte order mark."""

import json

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.data = b"\xef\xbb\xbf" + json.dumps(s.notebook).encode()
