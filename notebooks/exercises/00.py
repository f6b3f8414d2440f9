"""The exercises of lesson 00: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from reidkit.course.exercises import descend, exercise


@exercise(
    "The matches of a query stand at places 1, 3 and 6 of its ranking. What is the average precision?",
    "one number, in percent",
    "At each match, ask what share of the list so far was right.",
    "It is the mean of 1/1, 2/3 and 3/6, times 100.",
    mistakes=(
        (100 * (1 / 1 + 1 / 3 + 1 / 6) / 3, "At place 3 two matches have been seen, not one: the second share is 2/3."),
    ),
)
def _average_precision() -> float:
    return 100 * (1 / 1 + 2 / 3 + 3 / 6) / 3


@exercise(
    "Write the Euclidean distances from one query `x`, an array (D,), to every row of a gallery `y`, an array (G, D).",
    "a function that returns one distance a row, (G,), in the unit of the vectors",
    "Subtract, square, add up over the D numbers of each row, take the root.",
    "`y - x` subtracts the query from every row; `.sum(1)` adds up each row.",
    mistakes=(
        (lambda x, y: ((y - x) ** 2).sum(1), "These are the squares: take the root."),
        (
            lambda x, y: np.sqrt(((y - x) ** 2).sum(0)),
            "This adds up over the gallery: use axis 1, the numbers of one row.",
        ),
        (
            lambda x, y: np.abs(y - x).sum(1),
            "This adds up absolute differences (city blocks): square them, and take the root of the sum.",
        ),
        (
            lambda x, y: np.sqrt(((y - x) ** 2).sum()),
            "This gives one number for the whole gallery: add up with axis 1.",
        ),
    ),
    cases=(
        (np.zeros(2), np.array([[3.0, 4.0], [1.0, 0.0]])),
        (np.ones(3), np.array([[1.0, 3.0, 1.0], [2.0, 2.0, 2.0], [1, 1, 1]])),
    ),
)
def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances (G,)."""
    return np.sqrt(((y - x) ** 2).sum(1))


def _images(people: int, each: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of 12 numbers, of which 8 say who it is and 4, louder, where; and the people."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), each)
    person = rng.normal(size=(people, 8))[who] + 0.2 * rng.normal(size=(len(who), 8))
    place = 3 * rng.normal(size=(len(who), 4))
    return torch.tensor(np.concatenate([person, place], 1)).float(), torch.tensor(who)


def _strangers_first(weight: np.ndarray, *_: torch.Tensor) -> float:
    """Percent of the queries of 50 new people whose nearest image shows a stranger."""
    found = _images(50, 2, seed=100)[0].numpy() @ weight
    query, gallery = found[0::2], found[1::2]
    nearest = ((query[:, None] - gallery[None]) ** 2).sum(2).argmin(1)
    return float(100 * (nearest != np.arange(50)).mean())


def _with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another loss of the logits and the people."""
    return lambda x, who: descend(lambda weight: loss(x @ weight, who), torch.zeros(x.shape[1], 20), 1.0, 200)


@exercise(
    "Training images are given as vectors `x` (N, D), and `who` (N,) is the person in each, from 0 to 19. Complete the"
    " `loss` of the training.",
    "a function that returns the weights (D, 20), with which at most 10 % of new queries find a stranger first",
    "`x @ weight` are logits, one for each person: which loss asks for the highest one at the right person?",
    "The cross-entropy: `torch.nn.functional.cross_entropy(x @ weight, who)`.",
    mistakes=(
        (
            _with(lambda logits, who: cross_entropy(logits.softmax(1), who)),
            "`cross_entropy` makes probabilities of the logits by itself: give it the logits.",
        ),
        (
            _with(lambda logits, who: -cross_entropy(logits, who)),
            "The sign: each step goes against the gradient, so the loss has to be what should fall.",
        ),
        (
            _with(lambda logits, who: -logits.softmax(1)[torch.arange(len(who)), who].mean()),
            "That is the probability of the right person: take its logarithm, which asks more of the images that fail.",
        ),
    ),
    cases=(_images(20, 10, seed=0),),
    score=_strangers_first,
    at_most=10,
)
def learn(x: torch.Tensor, who: torch.Tensor) -> torch.Tensor:
    """Weights (D, 20) after 200 steps of gradient descent."""
    weight = torch.zeros(x.shape[1], 20, requires_grad=True)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(x @ weight, who)
        loss.backward()
        weight.data -= weight.grad
        weight.grad = None
    return weight
