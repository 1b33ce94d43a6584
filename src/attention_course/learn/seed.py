"""The numbers of the lecture notes that this course grew from.

The notes draw eight tokens of width 3 and three weight matrices of shape (3, 2), and
print them to four decimals. They are repeated here as printed, in float64, so that
chapters 03 and 04 can work the notes' results by hand: what is computed from these
numbers agrees with what the notes print to about 2e-4. `PRINTED_Q`, `PRINTED_K` and
`PRINTED_V` are the queries, keys and values that the notes print.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PRINTED_K", "PRINTED_Q", "PRINTED_V", "W_K", "W_Q", "W_V", "X"]


def _table(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


#: The tokens, (token, d_model) = (8, 3).
X = _table(
    [
        [-0.5320, 0.4759, -0.2298],
        [-0.5578, -0.1919, -1.0992],
        [0.0023, 0.8613, -1.6658],
        [-0.4668, -0.6010, 0.3714],
        [-0.0131, 0.4123, -1.3400],
        [-0.4208, 0.6782, -1.5569],
        [-0.1636, -1.5453, -1.5914],
        [0.2377, -0.6397, 1.0430],
    ]
)

#: The query weights, (d_model, d_k) = (3, 2), to be used as ``X @ W_Q``.
W_Q = _table([[-0.9201, 0.2973], [0.9331, -1.8127], [-1.3428, 0.4633]])

#: The key weights, (d_model, d_k) = (3, 2), to be used as ``X @ W_K``.
W_K = _table([[0.9912, -0.8361], [-0.3777, 0.3517], [-0.9956, -0.4792]])

#: The value weights, (d_model, d_v) = (3, 2), to be used as ``X @ W_V``.
W_V = _table([[-0.1911, -1.3999], [0.8213, 0.7084], [1.7573, 0.6895]])

#: What the notes print for ``X @ W_Q``, (token, d_k) = (8, 2).
PRINTED_Q = _table(
    [
        [1.2422, -1.1273],
        [1.8102, -0.3273],
        [3.0384, -2.3324],
        [-0.6300, 1.1227],
        [2.1961, -1.3721],
        [3.1105, -2.0757],
        [0.8456, 2.0153],
        [-2.2161, 1.7135],
    ]
)

#: What the notes print for ``X @ W_K``, (token, d_k) = (8, 2).
PRINTED_K = _table(
    [
        [-0.47822, 0.72236],
        [0.61387, 0.92565],
        [1.3355, 1.0992],
        [-0.60549, 0.00094737],
        [1.1654, 0.79807],
        [0.87680, 1.3364],
        [2.0058, 0.35585],
        [-0.56115, -0.92353],
    ]
)

#: What the notes print for ``X @ W_V``, (token, d_v) = (8, 2).
PRINTED_V = _table(
    [
        [0.088615, 0.92343],
        [-1.9825, -0.11281],
        [-2.2203, -0.54159],
        [0.24837, 0.48382],
        [-2.0137, -0.61348],
        [-2.0985, -0.0039164],
        [-4.0344, -1.9628],
        [1.2620, -0.066873],
    ]
)
