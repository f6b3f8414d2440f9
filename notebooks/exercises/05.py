"""The exercises of lesson 05: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Two known columns, a yes answered with 0.8 and a no answered with 0.2. What is the loss?",
    "What probability does each column give to the truth?",
    "Both give it 0.8: add two times - log 0.8.",
    mistakes=(
        (-np.log(0.8), "Two columns: add their losses."),
        (-np.log(0.8) - np.log(0.2), "A no answered with 0.2 is right with 0.8: the logarithm of 1 - 0.2."),
        (2 * np.log(0.8), "A loss is not negative: the sign is missing."),
    ),
)
def _two_columns() -> float:
    return -np.log(0.8) - np.log(1 - 0.2)


@exercise(
    "A layer has 3 million weights, those before it 1, those behind it 6. How many with the fork right behind it?",
    "What stands before the fork is there once, what comes after it twice.",
    "1 + 3 once, 6 twice.",
    mistakes=(
        (10, "That is one network without a fork: the layers behind it are copied."),
        (1 + 2 * 3 + 2 * 6, "The fork is behind the layer: its 3 millions are shared."),
        (20, "Only what comes behind the fork is copied."),
        (16e6, "In millions, please."),
    ),
)
def _fork() -> float:
    return 1 + 3 + 2 * 6


@exercise(
    "Write the loss of one image: `p` (A,) are probabilities of yes, `y` (A,) is 1, 0, or -1 where nobody knows.",
    "The truth has the probability p where y is 1 and 1 - p where y is 0; a hole costs nothing.",
    "`known = y >= 0`, then add up - log np.where(y == 1, p, 1 - p) over the known.",
    mistakes=(
        (
            lambda p, y: -np.log(np.where(y == 1, p, 1 - p)).sum(),
            "A hole is no 'no': leave out the columns where y is -1.",
        ),
        (
            lambda p, y: -np.log(np.where(y == 1, p, 1 - p))[y >= 0].mean(),
            "The sum over the known columns, not their mean.",
        ),
        (lambda p, y: -np.log(p)[y == 1].sum(), "The columns with a no cost something too: - log(1 - p)."),
    ),
    cases=((np.array([0.5, 0.25, 0.9]), np.array([1, 0, -1])), (np.array([0.8, 0.2]), np.array([1, 0]))),
)
def loss_of_image(p: np.ndarray, y: np.ndarray) -> float:
    """Sum of the sigmoid cross-entropies of the known columns."""
    known = y >= 0
    right = np.where(y == 1, p, 1 - p)
    return -np.log(right[known]).sum()
