"""The exercises of lesson 04: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "Person 0 has the codes 0 and 4, person 1 the codes 6 and 10. What are the compact and the scatter loss of code 4?",
    "two numbers, in squares of the unit of the codes: compact, scatter",
    "The centres are 2 and 8, both radii 3. Is code 4 inside its ball?",
    "It is 2 from its centre, less than 3; and 4 from the other: half of 4 squared.",
    mistakes=(
        ((0, 16), "The scatter loss has a factor of one half."),
        ((2, 8), "Code 4 is inside its ball of radius 3: the compact loss does not see it."),
        ((-2.5, 8), "The compact loss is never negative: inside the ball it is 0."),
        ((8, 0), "The two are exchanged: the compact loss comes first."),
    ),
)
def _centres() -> tuple[float, float]:
    compact = max(0, (4 - 2) ** 2 - 3**2) / 2
    scatter = (4 - 8) ** 2 / 2
    return compact, scatter


@exercise(
    "One person has the codes 0 and 3, another 4 and 9. What is the batch-hard triplet loss of code 3, margin 0.3?",
    "one number, in the unit of the codes: distances are not squared",
    "The farthest image of the same person, the nearest stranger.",
    "Farthest own: 0, at 3. Nearest stranger: 4, at 1. So 0.3 + 3 - 1.",
    mistakes=(
        (0, "The nearest stranger is 4, not 9."),
        (2.0, "The margin is missing."),
        (0.3 + 9 - 1, "Here distances are not squared."),
    ),
)
def _batch_hard() -> float:
    return max(0, 0.3 + abs(3 - 0) - abs(3 - 4))


def _points() -> tuple[torch.Tensor, torch.Tensor]:
    """Four people with four points each, all about one centre; and whose they are."""
    points = np.random.default_rng(0).normal(size=(4, 4, 2))
    points -= points.mean(1, keepdims=True)
    return torch.tensor(points.reshape(16, 2)).float(), torch.arange(4).repeat_interleave(4)


def _loss_of(points: np.ndarray, _: torch.Tensor, who: torch.Tensor) -> float:
    """The mean batch-hard triplet loss with margin 0.3."""
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))
    same = (who[:, None] == who).numpy()
    farthest, nearest = np.where(same, distance, 0).max(1), np.where(same, np.inf, distance).min(1)
    return float(np.maximum(0, 0.3 + farthest - nearest).mean())


def _with(pair: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> Callable[..., torch.Tensor]:
    """The training with another choice of the own and of the strange distance, from distances and who is the same."""

    def loss(points: torch.Tensor, who: torch.Tensor) -> torch.Tensor:
        own, strange = pair(torch.cdist(points, points), who[:, None] == who)
        return torch.relu(0.3 + own - strange).mean()

    return lambda start, who: descend(lambda points: loss(points, who), start, 0.5, 300)


@exercise(
    "`start` (16, 2) are points of four people, `who` (16,) says whose. Complete `farthest` and `nearest`, (16,) each,"
    " of the batch-hard triplet loss.",
    "a function that returns the moved points (16, 2), whose mean loss with margin 0.3 is at most 0.01",
    "Per row: the largest distance where `same` is True, the smallest where it is False.",
    "`distance.masked_fill(~same, 0).amax(1)`, and `distance.masked_fill(same, torch.inf).amin(1)`.",
    mistakes=(
        (
            _with(lambda d, same: (d.masked_fill(~same, 0).amax(1), d.masked_fill(same, 0).amax(1))),
            "That is the farthest stranger: the nearest one is the one to push away.",
        ),
        (
            _with(lambda d, same: (d.masked_fill(~same, torch.inf).amin(1), d.masked_fill(same, torch.inf).amin(1))),
            "Nearest to each point is the point itself, at 0: take the farthest of its person.",
        ),
        (
            _with(lambda d, same: (d.amax(1), d.masked_fill(same, torch.inf).amin(1))),
            "The farthest of all is often a stranger: only those of the same person count.",
        ),
        (
            _with(lambda d, same: (d.masked_fill(~same, 0).amax(1), d.amin(1))),
            "The nearest of all is the point itself, at 0: only strangers count.",
        ),
    ),
    cases=(_points(),),
    score=_loss_of,
    at_most=0.01,
)
def learn(start: torch.Tensor, who: torch.Tensor) -> torch.Tensor:
    """Points (16, 2) after 300 steps of gradient descent."""
    points = start.requires_grad_()
    for _ in range(300):
        distance, same = torch.cdist(points, points), who[:, None] == who
        farthest = distance.masked_fill(~same, 0).amax(1)
        nearest = distance.masked_fill(same, torch.inf).amin(1)
        loss = torch.relu(0.3 + farthest - nearest).mean()
        loss.backward()
        points.data -= 0.5 * points.grad
        points.grad = None
    return points
