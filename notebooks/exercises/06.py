"""The exercises of lesson 06: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "A channel of a map is 2, 5, 1, 4 from the top. What is the highest of the whole, the upper and the lower half?",
    "Three numbers: of all four rows, of the first two, of the last two.",
    "max(2, 5, 1, 4), max(2, 5), max(1, 4).",
    mistakes=(
        ((3, 3.5, 2.5), "Those are means: max pooling keeps the highest."),
        ((5, 4, 5), "The halves are exchanged: rows count from the top."),
        ((4, 4, 4), "The last row is not the highest everywhere."),
    ),
)
def _halves() -> tuple[float, float, float]:
    return max(2, 5, 1, 4), max(2, 5), max(1, 4)


@exercise(
    "Three losses are 8, 2 and 0.5. With the best uncertainties, what is the weight 1 / sigma^2 of each?",
    "The best sigma^2 is 2 L.",
    "1 / (2 * 8), and so on.",
    mistakes=(
        ((16, 4, 1), "That is sigma^2; the weight is one over it."),
        ((1 / 8, 1 / 2, 2), "sigma^2 is 2 L, not L."),
        ((0.5, 0.5, 0.5), "Those are the contributions L / sigma^2; the weights differ."),
    ),
)
def _best_weights() -> tuple[float, float, float]:
    return 1 / (2 * 8), 1 / (2 * 2), 1 / (2 * 0.5)


@exercise(
    "Write the cosine of two gradients `a` and `b`, arrays of one length.",
    "It is their product divided by both lengths.",
    "`a @ b` over `np.linalg.norm(a) * np.linalg.norm(b)`.",
    mistakes=(
        (lambda a, b: a @ b, "That grows with the gradients: divide by their lengths."),
        (lambda a, b: a @ b / (a @ a * (b @ b)), "a @ a is the length squared: take the root."),
        (lambda a, b: abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b), "The sign matters: below 0 they disagree."),
    ),
    cases=(
        (np.array([3.0, 4.0]), np.array([4.0, 3.0])),
        (np.array([1.0, 0.0, 2.0]), np.array([-2.0, 1.0, -1.0])),
    ),
)
def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Product of two directions."""
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
