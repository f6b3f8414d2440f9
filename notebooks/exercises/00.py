"""The exercises of lesson 00: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Three matches stand at places 1, 3 and 6. What is the average precision, in percent?",
    "At each match, ask what share of the list so far was right.",
    "It is the mean of 1/1, 2/3 and 3/6, times 100.",
    mistakes=(
        (100 * (1 / 1 + 1 / 3 + 1 / 6) / 3, "At place 3 two matches have been seen, not one: the second share is 2/3."),
        ((1 / 1 + 2 / 3 + 3 / 6) / 3, "The right share, but the question asks for percent."),
    ),
)
def _average_precision() -> float:
    return 100 * (1 / 1 + 2 / 3 + 3 / 6) / 3


@exercise(
    "Write rank-1 in percent. `match` has a row a query and a column a place, True where the image is right.",
    "Only the first place of every row counts.",
    "`match[:, 0]` is that column; its mean is a share.",
    mistakes=(
        (
            lambda match: 100 * match.any(1).mean(),
            "This finds a match anywhere in the row: look at the first place only.",
        ),
        (lambda match: match[:, 0].sum(), "This counts the queries; make a percentage of it."),
        (lambda match: match[:, 0].mean(), "The right share, but the question asks for percent."),
        (lambda match: 100 * match.mean(), "This averages over all places: look at the first place only."),
    ),
    cases=((np.array([[True, False], [False, True], [True, True]]),), (np.array([[False, False, True]]),)),
)
def rank1(match: np.ndarray) -> float:
    """Percent of queries whose first place is right."""
    return 100 * match[:, 0].mean()


@exercise(
    "Write the Euclidean distances of one query `x` (D,) to every row of a gallery `y` (G, D).",
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
