"""The exercises of lesson 05: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "An image has two known columns, a yes and a no. The network gives the first a probability of yes of 0.8 and the"
    " second one of 0.2. What is the loss of the image?",
    "one number, in nats (natural logarithms), added up over the columns",
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
    "The layers before layer 3 have 1 million weights, layer 3 has 3 million and those after it have 6. Two tasks share"
    " everything up to layer 3, and layer 3 too. How many weights are there?",
    "one number, in millions",
    "What stands before the fork is there once, what comes after it twice.",
    "1 + 3 once, 6 twice.",
    mistakes=(
        (10, "That is one network without a fork: the layers after it are copied."),
        (1 + 2 * 3 + 2 * 6, "Layer 3 is shared: its 3 millions are there once."),
        (20, "Only what comes after the fork is copied."),
        (16e6, "In millions, please."),
    ),
)
def _fork() -> float:
    return 1 + 3 + 2 * 6


def _images() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """300 images as four features and a 1 for the bias, their four columns with holes, and the truth without."""
    rng = np.random.default_rng(0)
    x = np.c_[rng.normal(size=(300, 4)), np.ones(300)]
    rule = np.r_[1.5 * rng.normal(size=(4, 4)), -np.ones((1, 4))]
    truth = x @ rule + 0.3 * rng.normal(size=(300, 4)) > 0
    hole = rng.random((300, 4)) < np.where(truth, 0.8, 0.1)  # a yes is often left out
    return torch.tensor(x).float(), torch.tensor(np.where(hole, -1, truth)), truth


def _wrong(weight: np.ndarray, x: torch.Tensor, _: torch.Tensor) -> float:
    """Percent of wrong answers, those included that nobody noted."""
    return float(100 * ((x.numpy() @ weight > 0) != _images()[2]).mean())


def _with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another loss of the probabilities and the labels."""
    return lambda x, y: descend(lambda weight: loss(torch.sigmoid(x @ weight), y), torch.zeros(5, 4), 1.0, 300)


@exercise(
    "`x` (N, 5) are features of images; in `y` (N, 4) a column is 1 for yes, 0 for no, and -1 where nobody knows."
    " Complete the `loss`, the mean over what is known.",
    "a function that returns the weights (5, 4), with which at most 15 % of all answers are wrong, holes included",
    "The truth has the probability p where y is 1 and 1 - p where y is 0; a hole costs nothing.",
    "`known = y >= 0`, then the mean of `-torch.where(y == 1, p, 1 - p)[known].log()`.",
    mistakes=(
        (
            _with(lambda p, y: -torch.where(y == 1, p, 1 - p).log().mean()),
            "A hole is no 'no': leave out the columns where y is -1.",
        ),
        (
            _with(lambda p, y: -(y * p.log() + (1 - y) * (1 - p).log()).mean()),
            "With y = -1 this formula turns a hole into a loud 'no': leave the holes out.",
        ),
        (_with(lambda p, y: -p[y == 1].log().mean()), "The columns with a no cost something too: - log(1 - p)."),
    ),
    cases=(_images()[:2],),
    score=_wrong,
    at_most=15,
)
def learn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Weights (5, 4) after 300 steps of gradient descent."""
    weight = torch.zeros(5, 4, requires_grad=True)
    for _ in range(300):
        p, known = torch.sigmoid(x @ weight), y >= 0
        loss = -torch.where(y == 1, p, 1 - p)[known].log().mean()
        loss.backward()
        weight.data -= weight.grad
        weight.grad = None
    return weight
