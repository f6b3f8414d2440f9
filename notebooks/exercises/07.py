"""The exercises of lesson 07: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Two channels are 4 and 1 at a place, the classifier's row is (0.5, -2). What is the activation map there?",
    "Weigh each channel with its number of the row, and add up.",
    "0.5 * 4 - 2 * 1.",
    mistakes=(
        (4, "The second number is negative: this channel speaks against the class."),
        (2, "Both channels count, also the one that speaks against."),
        (2.5, "Multiply each channel with its own number."),
    ),
)
def _place() -> float:
    return 0.5 * 4 - 2 * 1


@exercise(
    "An activation map is 3, 1, 0 and -2 at its four places, and the bias is 1. What is the logit?",
    "The logit is the mean of the map, plus the bias.",
    "(3 + 1 + 0 - 2) / 4 + 1.",
    mistakes=(
        (3, "That is the sum plus the bias: the network takes the mean."),
        (0.5, "The bias is missing."),
        (4 / 4 + 1, "The place that speaks against the class counts as well."),
    ),
)
def _logit() -> float:
    return (3 + 1 + 0 - 2) / 4 + 1


@exercise(
    "Write the energy of a map `heat` (H, W) inside a mask `inside` (H, W), arrays of numbers and of True and False.",
    "How much of the whole sum lies where the mask is True?",
    "`heat[inside].sum()` over `heat.sum()`.",
    mistakes=(
        (lambda heat, inside: heat[inside].sum(), "A share: divide by the sum of the whole map."),
        (lambda _, inside: inside.mean(), "That is the part's area, what a map without an opinion scores."),
        (lambda heat, inside: heat[inside].mean() / heat.mean(), "Sums, not means: a small part holds little heat."),
    ),
    cases=(
        (np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([[False, False], [True, False]])),
        (np.array([[0.2, 0.3, 0.5]]), np.array([[True, False, True]])),
    ),
)
def energy(heat: np.ndarray, inside: np.ndarray) -> float:
    """Share of a map's sum that lies on a part."""
    return heat[inside].sum() / heat.sum()
