"""The exercises of lesson 10: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Differences over four splits are 1, 3, 2 and 2. What is their mean, and what their sample standard deviation?",
    "The squared ways to the mean, added, divided by one less than their number; then the root.",
    "The mean is 2; the squares are 1, 1, 0 and 0, divided by 3.",
    mistakes=(
        ((2, (2 / 4) ** 0.5), "The sample standard deviation divides by n - 1."),
        ((2, 2 / 3), "That is the variance: take the root."),
        ((2, (2 / 3) ** 0.5 / 2), "That is the standard error: no division by the root of n yet."),
    ),
)
def _spread() -> tuple[float, float]:
    d = np.array([1, 3, 2, 2])
    return d.mean(), d.std(ddof=1)


@exercise(
    "40 comparisons, none of which is true. How many 95 % intervals leave out 0, on average?",
    "Each of them does so in one case of twenty.",
    "5 % of 40.",
    mistakes=(
        (38, "Those are the ones that contain 0."),
        (0, "Chance alone moves some of them off 0."),
        (1, "Half of them lie above, half below: both leave out 0."),
    ),
)
def _lucky() -> float:
    return 0.05 * 40


@exercise(
    "Write a verdict: 1 if the interval from `low` to `high` is above 0, -1 if it is below, else 0.",
    "All of it is above 0 when its lower end is.",
    "Look at `low > 0` and at `high < 0`.",
    mistakes=(
        (lambda _, high: 1 if high > 0 else -1, "An interval with 0 inside decides nothing."),
        (lambda low, high: 1 if low + high > 0 else -1, "Not the middle: the whole interval must lie on one side."),
        (lambda low, _: 1 if low > 0 else 0, "Below 0 is a verdict as well: reversed."),
    ),
    cases=((0.5, 2.0), (-1.0, 3.0), (-3.0, -0.2), (-2.0, 1.0)),
)
def verdict(low: float, high: float) -> int:
    """Above, below, or undecided."""
    return int(low > 0) - int(high < 0)
