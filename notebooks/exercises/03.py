"""The exercises of lesson 03: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "Anchor (0, 0), positive (1, 1), negative (1.5, 0), margin 1: what is the triplet loss, with squared distances?",
    "one number, in squares of the unit of the points",
    "Squared, the positive is 2 away and the negative 2.25.",
    "max(0, 1 + 2 - 2.25).",
    mistakes=(
        (1 + 2**0.5 - 1.5, "Those are the distances themselves: square them."),
        (0, "The negative is farther away, but not by the whole margin."),
        (1.25, "The positive's distance is added, the negative's subtracted."),
    ),
)
def _triplet() -> float:
    return max(0, 1 + (1**2 + 1**2) - 1.5**2)


@exercise(
    "A query's matches stand at places 1, 2 and 60, and its list ends at place 50. What is the average precision of the"
    " whole ranking, and of the list, once strict and once returned only?",
    "three numbers, shares from 0 to 1: whole, strict, returned only",
    "Precision at a match: matches so far over places so far. The three numbers differ in what the third match counts.",
    "Whole: it counts 3/60. Strict: it counts 0. Returned only: it is forgotten, and two matches remain.",
    mistakes=(
        (((1 + 1 + 3 / 60) / 3, 1, 2 / 3), "The last two are exchanged: strict counts the match that is missing."),
        (((1 + 1 + 1 / 60) / 3, 2 / 3, 1), "At place 60 three matches have been seen: 3/60."),
    ),
)
def _three_forms() -> tuple[float, float, float]:
    return (1 + 1 + 3 / 60) / 3, (1 + 1 + 0) / 3, (1 + 1) / 2


def _images(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """60 images of 15 people, of whose six numbers two say who it is; and 240 triplets of rows (T, 3)."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(15), 4)
    person = 2 * rng.normal(size=(15, 2))[who] + 0.1 * rng.normal(size=(60, 2))
    place = 1.5 * rng.normal(size=(60, 4))
    others = [
        (anchor, rng.choice(np.flatnonzero((who == who[anchor]) & (np.arange(60) != anchor))), rng.choice(strangers))
        for anchor, strangers in ((row, np.flatnonzero(who != who[row])) for row in np.repeat(np.arange(60), 4))
    ]
    return torch.tensor(np.concatenate([person, place], 1)).float(), torch.tensor(others)


START = torch.tensor(np.random.default_rng(2).normal(scale=0.3, size=(6, 2))).float()


def _squared(points: torch.Tensor, triplets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances of the anchors to their positives and to their negatives, (T,) each."""
    a, p, n = points[triplets].unbind(1)
    return ((a - p) ** 2).sum(1), ((a - n) ** 2).sum(1)


def _on_new_people(weight: np.ndarray, *_: torch.Tensor) -> float:
    """The mean triplet loss of 15 other people."""
    x, triplets = _images(seed=1)
    near, far = _squared(x @ torch.tensor(weight).float(), triplets)
    return torch.relu(1 + near - far).mean().item()


def _with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another loss of the distances to positives and to negatives."""
    return lambda x, t, start: descend(lambda weight: loss(*_squared(x @ weight, t)).mean(), start, 0.05, 300)


@exercise(
    "`triplets` (T, 3) are rows of `x` (N, 6): anchor, positive, negative. Complete the triplet `loss`, with margin 1"
    " and squared distances.",
    "a function that returns the weights (6, 2), with which new people's triplets have a mean loss of at most 0.15",
    "The margin, plus how far the positive is, less how far the negative is; never below 0; and the mean.",
    "`torch.relu(1 + near - far).mean()`, where `relu` is the max(0, ...) of the equation.",
    mistakes=(
        (
            _with(lambda near, far: torch.relu(near - far)),
            "Without the margin a negative may be as near as the positive: add 1.",
        ),
        (
            _with(lambda near, far: torch.relu(1 + far - near)),
            "Exchanged: the positive's distance is added, the negative's subtracted.",
        ),
        (_with(lambda near, far: near), "Only pulled together: the strangers have to be pushed away too."),  # noqa: ARG005
    ),
    cases=((*_images(seed=0), START),),
    score=_on_new_people,
    at_most=0.15,
)
def learn(x: torch.Tensor, triplets: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Weights (6, 2) after 300 steps of gradient descent."""
    weight = start.requires_grad_()
    for _ in range(300):
        a, p, n = (x @ weight)[triplets].unbind(1)
        near, far = ((a - p) ** 2).sum(1), ((a - n) ** 2).sum(1)
        loss = torch.relu(1 + near - far).mean()
        loss.backward()
        weight.data -= 0.05 * weight.grad
        weight.grad = None
    return weight
