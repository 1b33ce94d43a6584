"""Two questions at once: what one attention head cannot answer and two can.

A scene is a row of places, each of one colour. A query asks for the colours at two
places, and the order counts: "what is at place 2, and what is at place 5?" One layer
of attention looks at the scene, and a linear readout names both colours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_course.learn.devices import device as default_device

PLACES = 8
COLOURS = 4


@dataclass(frozen=True)
class Questions:
    """Scenes, the two places that are asked for, and the two right colours.

    ``scenes`` (B, PLACES), ``asked`` (B, 2) and ``answers`` (B, 2), all int64.
    """

    scenes: Tensor
    asked: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Questions:
        """The same questions on another device."""
        return Questions(
            self.scenes.to(device), self.asked.to(device), self.answers.to(device)
        )


def make_questions(number: int, generator: torch.Generator) -> Questions:
    """``number`` random scenes with two different places each, on the CPU."""
    scenes = torch.randint(COLOURS, (number, PLACES), generator=generator)
    asked = torch.rand(number, PLACES, generator=generator).argsort(dim=1)[:, :2]
    return Questions(scenes, asked, scenes.gather(1, asked))


class Reader(nn.Module):
    """One layer of attention over a scene, then a readout of two colours.

    A token is its colour plus its place; the query is the sum of "first question:
    place p" and "second question: place q". The readout is linear, or, with
    ``hidden`` units, a small network.
    """

    def __init__(self, num_heads: int, width: int = 32, hidden: int = 0) -> None:
        super().__init__()
        self.colour = nn.Embedding(COLOURS, width)
        self.place = nn.Embedding(PLACES, width)
        self.first = nn.Embedding(PLACES, width)
        self.second = nn.Embedding(PLACES, width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.readout: nn.Module = nn.Linear(width, 2 * COLOURS)
        if hidden:
            self.readout = nn.Sequential(
                nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2 * COLOURS)
            )

    def look(self, scenes: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """What the query read (B, width) and each head's weights (B, H, PLACES)."""
        tokens = self.colour(scenes) + self.place.weight  # (batch, place, width)
        query = self.first(asked[:, :1]) + self.second(asked[:, 1:])
        attn_output, attn_weights = self.attention(
            query, tokens, tokens, average_attn_weights=False
        )
        return attn_output[:, 0], attn_weights[:, :, 0]

    def forward(self, scenes: Tensor, asked: Tensor) -> Tensor:
        """Logits (B, 2, COLOURS): one row for each of the two questions."""
        attn_output, _ = self.look(scenes, asked)
        return self.readout(attn_output).unflatten(-1, (2, COLOURS))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside the ``with`` block: fastest for a model so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def train_reader(
    num_heads: int,
    width: int = 32,
    hidden: int = 0,
    *,
    seed: int = 0,
    steps: int = 300,
    batch_size: int = 128,
    lr: float = 5e-3,
    device: torch.device = default_device,
) -> Reader:
    """A reader trained with Adam on fresh questions in every step.

    Weights and questions are drawn on the CPU from ``seed``, so that every device
    sees the same ones; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = Reader(num_heads, width, hidden).to(device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(reader.parameters(), lr=lr)
    for _ in range(steps):
        batch = make_questions(batch_size, generator).to(device)
        logits = reader(batch.scenes, batch.asked)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return reader.eval()


@torch.no_grad()
def answered(reader: Reader, questions: Questions) -> Tensor:
    """The share of right answers to the first and to the second question: (2,)."""
    guesses = reader(questions.scenes, questions.asked).argmax(dim=-1)
    return (guesses == questions.answers).double().mean(dim=0).cpu()


def silence(reader: Reader, head: int) -> Reader:
    """A copy of the reader in which one head reads as before but writes nothing."""
    silent = copy.deepcopy(reader)
    head_dim = silent.attention.head_dim
    with torch.no_grad():
        own = slice(head * head_dim, (head + 1) * head_dim)
        silent.attention.out_proj.weight[:, own] = 0
    return silent
