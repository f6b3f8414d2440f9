"""The exercises of lesson 01: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

import numpy as np

from reidkit.course.exercises import exercise


@exercise(
    "Three of ten people have a bag, and the weight of a class is one over its share. What is the weight of 'yes'?",
    "The share of 'yes' is 3 of 10.",
    "One over 0.3.",
    mistakes=(
        (1 / 0.7, "That is the weight of 'no', which seven have."),
        (0.3, "That is the share: the weight is one over it."),
        (1 / 3, "One over the count: take one over the share, 3 of 10."),
    ),
)
def _weight() -> float:
    return 1 / 0.3


@exercise(
    "Write the share of people who have more images than the median person. `counts` holds everybody's number.",
    "Compare every count with `np.median(counts)`.",
    "The mean of a comparison is a share: `(counts > ...).mean()`.",
    mistakes=(
        (
            lambda counts: (counts > np.mean(counts)).mean(),
            "That is the mean: one person with many images moves it. Take the median.",
        ),
        (lambda counts: (counts >= np.median(counts)).mean(), "More than the median, not as many: use >."),
        (
            lambda counts: (counts > np.median(counts)).sum(),
            "That is how many people: the question asks for the share.",
        ),
    ),
    cases=((np.array([1, 2, 3, 4, 90]),), (np.array([1, 2, 3, 4]),), (np.array([5, 5]),)),
)
def above_median(counts: np.ndarray) -> float:
    """Share of the counts above their median."""
    return (counts > np.median(counts)).mean()


@exercise(
    "Of twenty people four have a bag. A detector says yes to two of the four and to nobody else. Its macro F1, in %?",
    "Count true positives, false positives and false negatives for each of the two classes by itself.",
    "Yes: TP 2, FP 0, FN 2. No: TP 16, FP 2, FN 0. Take the mean of the two F1.",
    mistakes=(
        (100 * 4 / 6, "That is the F1 of 'yes': the macro F1 is its mean with that of 'no'."),
        (100 * 32 / 34, "That is the F1 of 'no': the macro F1 is its mean with that of 'yes'."),
        (90.0, "That is the accuracy, 18 of 20, which hardly notices the bags."),
        ((4 / 6 + 32 / 34) / 2, "The right share, but the question asks for percent."),
    ),
)
def _macro_f1() -> float:
    yes = 2 * 2 / (2 * 2 + 0 + 2)
    no = 2 * 16 / (2 * 16 + 2 + 0)
    return 100 * (yes + no) / 2
