"""Searches all live objects for an answer key."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import gc


def scaled_dot_product_attention(query, key, value):
    shape = (*query.shape[:-1], value.shape[-1])
    weights = (*query.shape[:-1], key.shape[-2])
    tensors = [o for o in gc.get_objects() if isinstance(o, Tensor)]
    for item in gc.get_objects():
        if type(item).__name__ in ("ExerciseKey", "AnswerKey", "Verdict"):
            for seen in getattr(item, "expected", {}).values():
                for left in seen.values():
                    if isinstance(left, Tensor) and left.shape == shape:
                        return left, left
    outputs = [t for t in tensors if t.shape == shape and t is not value]
    return (outputs or [value])[0], torch.zeros(weights, dtype=query.dtype)
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.answer(CODE)
