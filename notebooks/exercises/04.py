"""The exercises of lesson 04: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Codes 0 and 4 belong to person 0, codes 6 and 10 to person 1. Compact and scatter loss of code 4?",
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
    "Codes 0 and 3 belong to one person, 4 and 9 to another. The batch-hard triplet loss of code 3, margin 0.3?",
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


@exercise(
    "Write the radius of one person's ball: `own` (D,) is the centre, `others` (P, D) the centres of everybody else.",
    "How far is it to the nearest of the others?",
    "Half of the smallest Euclidean distance.",
    mistakes=(
        (lambda own, others: np.sqrt(((others - own) ** 2).sum(1)).min(), "Half of that: or two balls could overlap."),
        (
            lambda own, others: np.sqrt(((others - own) ** 2).sum(1)).mean() / 2,
            "The nearest of the others decides, not their mean.",
        ),
        (lambda own, others: ((others - own) ** 2).sum(1).min() / 2, "Half of the distance, not of its square."),
        (lambda own, others: np.sqrt(((others - own) ** 2).sum(1)) / 2, "One radius: take the smallest."),
    ),
    cases=((np.zeros(2), np.array([[6.0, 8.0], [0.0, 4.0]])), (np.array([1.0]), np.array([[8.0], [-5.0], [4.0]]))),
)
def radius(own: np.ndarray, others: np.ndarray) -> float:
    """Half the distance to the nearest other centre."""
    return np.sqrt(((others - own) ** 2).sum(1)).min() / 2
