"""The exercises of lesson 03: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Anchor (0, 0), positive (1, 1), negative (1.5, 0), margin 1: what is the loss, with squared distances?",
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
    "Matches at places 1, 2 and 60; the list ends at place 50. AP (a share) of the whole ranking, strict, returned?",
    "Precision at a match: matches so far over places so far. The three numbers differ in what the third match counts.",
    "Whole: it counts 3/60. Strict: it counts 0. Returned only: it is forgotten, and two matches remain.",
    mistakes=(
        (((1 + 1 + 3 / 60) / 3, 1, 2 / 3), "The last two are exchanged: strict counts the match that is missing."),
        (((1 + 1 + 1 / 60) / 3, 2 / 3, 1), "At place 60 three matches have been seen: 3/60."),
        ((100 * 2.05 / 3, 100 * 2 / 3, 100), "The right percentages, but the question asks for shares."),
    ),
)
def _three_forms() -> tuple[float, float, float]:
    return (1 + 1 + 3 / 60) / 3, (1 + 1 + 0) / 3, (1 + 1) / 2


@exercise(
    "Write the filter: which rows of `gallery` (G, T) differ from `query` (T,) in at most `h` attributes?",
    "Compare, count the differences of each row, compare the count with h.",
    "`(gallery != query).sum(1)` counts them.",
    mistakes=(
        (
            lambda query, gallery, h: (gallery != query).sum(1) < h,
            "At most h: somebody with exactly h differences stays.",
        ),
        (
            lambda query, gallery, h: (gallery != query).sum(1) > h,
            "Those are the ones thrown out: the question asks who stays.",
        ),
        (lambda query, gallery, h: (gallery == query).sum(1) <= h, "This counts what agrees: count what differs, !=."),
    ),
    cases=(
        (np.array([0, 1, 2]), np.array([[0, 1, 2], [0, 1, 0], [1, 0, 0]]), 1),
        (np.array([0, 1]), np.array([[1, 1], [0, 1], [1, 0]]), 0),
    ),
)
def stays(query: np.ndarray, gallery: np.ndarray, h: int) -> np.ndarray:
    """Who differs in at most h attributes (G,)."""
    return (gallery != query).sum(1) <= h
