"""Deep stacks that have to learn to write ten symbols in reverse.

Position i has to fetch the symbol of position 9 - i. So tokens must talk to each other,
and stay apart: a stack in which all tokens become alike cannot solve it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SYMBOLS, LENGTH = 6, 10

READ = 20
"""Over how many of the last batches the accuracy is read: single ones jump."""


@dataclass(frozen=True)
class Reversal:
    """What training showed, step by step, and the accuracy (0 to 1) at its end.

    The accuracy is that of the last 20 batches, each fresh, and read before the model
    learns from it.
    `losses` are mean cross-entropies in nats; `similarity` is the mean cosine of each
    token with the next one, where the tokens leave the stack.
    """

    losses: list[float]
    similarity: list[float]
    accuracy: float


def learn_to_reverse(
    model: nn.Module,
    *,
    lr: float = 0.01,
    warmup: int = 1,
    steps: int = 120,
    batch_size: int = 32,
    seed: int = 0,
) -> Reversal:
    """Train `model` in place with Adam.

    The model maps symbols (B, 10), numbers below 6, to logits (B, 10, 6) and the tokens
    (B, 10, d) they are read from. The learning rate grows linearly to `lr` over the
    first `warmup` steps. Symbols are drawn on the CPU from `seed`.
    """
    generator = torch.Generator().manual_seed(seed)
    where = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses, similarity, right = [], [], []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / warmup)
        symbols = _draw(batch_size, generator).to(where)
        logits, tokens = model(symbols)
        loss = F.cross_entropy(logits.flatten(0, 1), symbols.flip(1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        right.append((logits.argmax(dim=-1) == symbols.flip(1)).double().mean())
        cosines = F.cosine_similarity(tokens[:, 1:], tokens[:, :-1], dim=-1)
        similarity.append(cosines.detach().mean())
    return Reversal(
        torch.stack(losses).tolist(),
        torch.stack(similarity).tolist(),
        torch.stack(right[-READ:]).mean().item(),
    )


def _draw(batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(SYMBOLS, (batch_size, LENGTH), generator=generator)
