"""The exercises of lesson 09: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Matches at places 2 and 4: average precision in both forms (precision, trapezoid), in percent?",
    "Precision: shares at the matches. Trapezoid: the mean of that share and the one just before each match.",
    "At the matches 1/2 and 2/4; just before them 0/1 and 1/3.",
    mistakes=(
        ((50, 50), "The trapezoid looks at the share just before each match too: 0/1 and 1/3."),
        ((0.5, 1 / 3), "The right shares, but the question asks for percent."),
        ((100 / 3, 50), "The two are exchanged: the trapezoid is the lower one."),
    ),
)
def _both_forms() -> tuple[float, float]:
    precision = 100 * (1 / 2 + 2 / 4) / 2
    trapezoid = 100 * ((0 / 1 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2
    return precision, trapezoid


@exercise(
    "At which lambda does re-ranking change no order at all?",
    "Lambda is the share of the old distance in the new one.",
    "Only the old distance may count.",
    mistakes=(
        (0, "There only the neighbours count: the other end."),
        (0.3, "That is the usual value, and it changes a lot."),
    ),
)
def _lambda() -> float:
    return 1.0


@exercise(
    "Which pairs are among each other's `k` nearest? `distance` (N, N) has infinity for an image and itself.",
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
