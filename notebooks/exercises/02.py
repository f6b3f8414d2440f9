"""The exercises of lesson 02: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "A class has 24 of 1,440 images. Its weight as inverse share? And over that of a class with half of them?",
    "The share is 24 / 1440; the class with half of the images has a weight too.",
    "One over the share is 60; the other class has the weight 2.",
    mistakes=(
        ((60, 60), "The class with half of the images has the weight 2, so divide by that."),
        ((24 / 1440, 30), "The first number is the share: the weight is one over it."),
        ((60, 120), "The common class is the quieter one: divide by its weight."),
    ),
)
def _weights() -> tuple[float, float]:
    weight = 1440 / 24
    return weight, weight / 2


@exercise(
    "From which probability on does the focal loss with gamma 2 keep less than a quarter of the cross-entropy?",
    "What is kept is (1 - p) squared.",
    "Solve (1 - p)^2 = 1/4.",
    mistakes=(
        (0.75, "That solves 1 - p = 1/4, which is gamma 1."),
        (0.25, "That is what is kept: ask for which p it is kept."),
    ),
)
def _probability() -> float:
    return 1 - (1 / 4) ** (1 / 2)


@exercise(
    "Write the focal loss of the probability `p` of the true class.",
    "It is the cross-entropy, - log p, times a factor that is small for easy images.",
    "The factor is (1 - p) ** gamma.",
    mistakes=(
        (lambda p, gamma: -(p**gamma) * np.log(p), "The factor has to be small where p is near 1: (1 - p), not p."),
        (lambda p, gamma: (1 - p) ** gamma * np.log(p), "A loss is not negative: the sign is missing."),
        (lambda p, gamma: -((1 - p) ** gamma) * np.log(1 - p), "The logarithm is that of p, the true class."),
        (lambda p, gamma: -gamma * (1 - p) * np.log(p), "gamma is a power of (1 - p), not a factor."),
    ),
    cases=((0.9, 2.0), (0.1, 2.0), (0.5, 0.0), (0.7, 5.0)),
)
def focal(p: float, gamma: float) -> float:
    """- (1 - p)^gamma log p."""
    return -((1 - p) ** gamma) * np.log(p)
