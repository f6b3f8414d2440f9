"""The exercises of lesson 10: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Forty pairs of systems are compared, and in truth no system is better than its partner. How many of the forty 95 %"
    " intervals leave out 0, on average?",
    "one number, a count",
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
    "Write a verdict: 1 if the whole interval from `low` to `high` is above 0, -1 if it is below, 0 if 0 lies inside.",
    "a function that returns one number, which is 1, 0 or -1",
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


def _accuracy(seed: int, more: bool) -> float:
    """Train on 200 people of a seed, with two more features or without; percent of right answers on 2,000 others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2200, 6))
    y = x @ [1, 1, 1, 1, 0.9, 0.9] + rng.uniform(0.5, 4) * rng.normal(size=2200) > 0  # some seeds are hard
    x = x if more else x[:, :4]
    weight = np.zeros(x.shape[1])
    for _ in range(200):
        p = 1 / (1 + np.exp(-x[:200] @ weight))
        weight -= 0.5 * x[:200].T @ (p - y[:200]) / 200
    return float(100 * ((x[200:] @ weight > 0) == y[200:]).mean())


def _with(t: float = 2.776, ddof: int = 1, root: float = 5**0.5, shift: int = 0) -> Callable[..., tuple[float, float]]:
    """The interval with another factor, another deviation, another divisor, or other seeds for the second training."""

    def interval(train: Callable[[int, bool], float]) -> tuple[float, float]:
        d = np.array([train(seed, True) - train(seed + shift, False) for seed in range(5)])
        half = t * d.std(ddof=ddof) / root
        return d.mean() - half, d.mean() + half

    return interval


@exercise(
    "`train(seed, more)` trains and returns an accuracy in percent; `more` is True or False. Train both ways with the"
    " seeds 0 to 4. What is the 95 % interval of the mean difference, True minus False? (For five, t is 2.776.)",
    "a function that returns two numbers, in percentage points: low, high",
    "Subtract seed by seed. Half of the width is t times the sample standard deviation, over the root of n.",
    "With the five differences in an array `d`: `half = 2.776 * d.std(ddof=1) / 5**0.5` around `d.mean()`.",
    mistakes=(
        (_with(shift=5), "Both ways need the same seeds: what a seed makes hard or easy then cancels."),
        (_with(ddof=0), "The sample standard deviation divides by n - 1: `ddof=1`."),
        (_with(t=1.96), "1.96 is for very many seeds: with five, so four degrees of freedom, t is 2.776."),
        (_with(root=1), "That is the spread of one difference: that of their mean is smaller by the root of n."),
    ),
    cases=((_accuracy,),),
)
def interval(train: Callable[[int, bool], float]) -> tuple[float, float]:
    """Both ends of the interval of five paired differences."""
    d = np.array([train(seed, True) - train(seed, False) for seed in range(5)])
    half = 2.776 * d.std(ddof=1) / 5**0.5
    return d.mean() - half, d.mean() + half
