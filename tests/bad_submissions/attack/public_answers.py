"""Reads the public answer key and returns its expected outputs when it knows the inputs."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
from attention_course.learn.checking import read_key

KEY = read_key().exercises["scaled_dot_product_attention"]


def scaled_dot_product_attention(query, key, value):
    for case in KEY.cases:
        args = case.build("cpu").get("args", ())
        if len(args) == 3 and args[0].shape == query.shape and torch.equal(args[0], query):
            seen = KEY.expected[case.name]
            found = [v for k, v in seen.items() if isinstance(v, Tensor) and ":" not in k]
            if len(found) > 1:
                return found[0] + 0 * query.sum(), found[1]
    same = [c for c in KEY.cases if c.build("cpu")["args"][0].shape == query.shape]
    for case in same:
        found = [v for k, v in KEY.expected[case.name].items() if isinstance(v, Tensor) and ":" not in k]
        return found[0] + 0 * query.sum(), found[1]
    return query, key
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
