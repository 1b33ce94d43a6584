"""A notebook whose metadata is a hundred thousand lists deep."""

from bad_submissions.kit import Submission

HELD = True


def make(s: Submission) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    s.data = b'{"cells": [], "metadata": {"x": ' + deep.encode() + b"}}"
