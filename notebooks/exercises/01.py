"""The exercises of lesson 01: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "Three of ten people have a bag. The weight of a class is one over its share. What is the weight of 'yes'?",
    "one number, a factor without a unit",
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
    "Of twenty people four have a bag. A detector says yes to two of these four and to nobody else. What is its macro"
    " F1?",
    "one number, in percent",
    "Count true positives, false positives and false negatives for each of the two classes by itself.",
    "Yes: TP 2, FP 0, FN 2. No: TP 16, FP 2, FN 0. Take the mean of the two F1.",
    mistakes=(
        (100 * 4 / 6, "That is the F1 of 'yes': the macro F1 is its mean with that of 'no'."),
        (100 * 32 / 34, "That is the F1 of 'no': the macro F1 is its mean with that of 'yes'."),
        (90.0, "That is the accuracy, 18 of 20, which hardly notices the bags."),
    ),
)
def _macro_f1() -> float:
    yes = 2 * 2 / (2 * 2 + 0 + 2)
    no = 2 * 16 / (2 * 16 + 2 + 0)
    return 100 * (yes + no) / 2


def _with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another loss of the probability and the labels."""
    start = torch.zeros(())
    return lambda y: descend(lambda logit: loss(torch.sigmoid(logit), y), start, 1.0, 500).sigmoid()


@exercise(
    "A network that sees nothing gives everybody the same probability `p` of a hat. In `y` (N,) 1 is a hat and 0 is"
    " none. Complete the `loss` of its training: where does `p` end?",
    "a function that returns one number, the trained probability, from 0 to 1",
    "The cross-entropy: - log p of those with a hat, - log(1 - p) of the others, and the mean of all.",
    "`-(y * p.log() + (1 - y) * (1 - p).log()).mean()`. Compare where it ends with `y.mean()`.",
    mistakes=(
        (
            _with(lambda p, y: -(y * p.log()).mean()),
            "Nothing holds `p` back: those without a hat cost something too, - log(1 - p).",
        ),
        (
            _with(lambda p, y: (p - y).abs().mean()),
            "The absolute error is least at the median, where nobody has a hat: take the cross-entropy.",
        ),
        (
            _with(lambda p, y: -(y * p.log() + (1 - y) * (1 - p).log()).sum()),
            "With the sum each step is N times as long, and jumps over the goal: take the mean.",
        ),
    ),
    cases=tuple((torch.tensor([1.0] * hats + [0.0] * (100 - hats)),) for hats in (3, 20)),
)
def learn(y: torch.Tensor) -> torch.Tensor:
    """The probability after 500 steps of gradient descent: the share of hats."""
    logit = torch.zeros((), requires_grad=True)
    for _ in range(500):
        p = torch.sigmoid(logit)
        loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
        loss.backward()
        logit.data -= logit.grad
        logit.grad = None
    return torch.sigmoid(logit)
