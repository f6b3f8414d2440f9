"""The exercises of lesson 09: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "The matches of a query stand at places 2 and 4. What is its average precision in both forms?",
    "two numbers, in percent: precision, trapezoid",
    "Precision: shares at the matches. Trapezoid: the mean of that share and the one just before each match.",
    "At the matches 1/2 and 2/4; just before them 0/1 and 1/3.",
    mistakes=(
        ((50, 50), "The trapezoid looks at the share just before each match too: 0/1 and 1/3."),
        ((100 / 3, 50), "The two are exchanged: the trapezoid is the lower one."),
    ),
)
def _both_forms() -> tuple[float, float]:
    precision = 100 * (1 / 2 + 2 / 4) / 2
    trapezoid = 100 * ((0 / 1 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2
    return precision, trapezoid


@exercise(
    "Which images are among each other's `k` nearest? `distance` (N, N) is infinite from an image to itself.",
    "a function that returns an array (N, N), True or False for each pair",
    "Who is near to whom: compare each row with its k-th smallest distance. Then both ways.",
    "`near = distance <= np.sort(distance, 1)[:, k - 1 : k]`, and `near.T` is the other way.",
    mistakes=(
        (
            lambda distance, k: distance <= np.sort(distance, 1)[:, k - 1 : k],
            "This is one way only: the other must think so too.",
        ),
        (
            lambda distance, k: (lambda near: near | near.T)(distance <= np.sort(distance, 1)[:, k - 1 : k]),
            "Both ways: and (&), not or.",
        ),
        (
            lambda distance, k: (lambda near: near & near.T)(distance < np.sort(distance, 1)[:, k - 1 : k]),
            "The k-th nearest is among the k: use <=.",
        ),
    ),
    cases=tuple(
        (np.abs(np.subtract.outer(x, x)) + np.diag(np.full(len(x), np.inf)), k)
        for x, k in ((np.array([0.0, 1.0, 3.0, 3.5]), 1), (np.array([0.0, 2.0, 3.0, 7.0]), 2))
    ),
)
def mutual(distance: np.ndarray, k: int) -> np.ndarray:
    """Who is among whose k nearest, and the other way round (N, N)."""
    near = distance <= np.sort(distance, 1)[:, k - 1 : k]
    return near & near.T


def _distances(n: int, seed: int) -> np.ndarray:
    """Three distances of n queries to n images, (n, n, 3): by a network, by colours, and, loudest, by place.

    Query i and image i show one person, which the first two know.
    """
    rng = np.random.default_rng(seed)
    distance = rng.normal(1.2, 0.2, (n, n, 3)) * [1, 1, 3]
    distance[np.arange(n), np.arange(n)] -= [0.7, 0.6, 0]
    return np.abs(distance)


def _strangers_first(weight: np.ndarray, _: torch.Tensor) -> float:
    """Percent of 50 new queries that begin with a stranger."""
    return float(100 * ((_distances(50, seed=1) @ weight).argmin(1) != np.arange(50)).mean())


def _with(loss: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another loss of the summed distances."""
    return lambda distance: descend(lambda weight: loss(distance @ weight), torch.ones(3), 0.5, 300)


@exercise(
    "`distance` (Q, Q, 3) holds three distances of each query to each image; query i and image i show one person."
    " Complete the `loss` of their weighted sum `total` (Q, Q).",
    "a function that returns the weights (3,), with which at most 5 % of new queries begin with a stranger",
    "The own image, `total.diagonal()`, should be nearer than the others in its row. Which losses ask that?",
    "`torch.nn.functional.cross_entropy(-total, torch.arange(len(total)))`: near is a high logit, so the sign turns.",
    mistakes=(
        (
            _with(lambda total: torch.nn.functional.cross_entropy(total, torch.arange(len(total)))),
            "That wants the own image farthest: a logit is high where a distance is small, so turn the sign.",
        ),
        (_with(lambda total: total.diagonal().mean()), "The own image alone is no ranking: compare it with its row."),
        (_with(lambda total: -total.mean()), "That moves all away, the own image too: compare it with its row."),
    ),
    cases=((torch.tensor(_distances(30, seed=0)).float(),),),
    score=_strangers_first,
    at_most=5,
)
def learn(distance: torch.Tensor) -> torch.Tensor:
    """Weights (3,) after 300 steps of gradient descent."""
    weight = torch.ones(3, requires_grad=True)
    for _ in range(300):
        total = distance @ weight
        loss = torch.nn.functional.cross_entropy(-total, torch.arange(len(total)))
        loss.backward()
        weight.data -= 0.5 * weight.grad
        weight.grad = None
    return weight
