"""The exercises of lesson 02: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "Of 1,440 images 24 show a hat and half show a bag. The weight of a class is one over its share. What is the weight"
    " of the hat, and how many times the weight of the bag is that?",
    "two numbers, factors without a unit: the weight, how many times",
    "The share is 24 / 1440; the class with half of the images has a weight too.",
    "One over the share is 60; the other class has the weight 2.",
    mistakes=(
        ((60, 60), "The class with half of the images has the weight 2, so divide by that."),
        ((24 / 1440, 30), "The first number is the share: the weight is one over it."),
        ((60, 120), "The common class is the quieter one: divide by its weight."),
    ),
)
def _weights() -> tuple[float, float]:
    weight = 1440 / 24
    return weight, weight / 2


@exercise(
    "The higher the probability p of the true class, the less of the cross-entropy does the focal loss keep. With"
    " gamma = 2, from which p on is it less than a quarter?",
    "one number, a probability from 0 to 1",
    "What is kept is (1 - p) squared.",
    "Solve (1 - p)^2 = 1/4.",
    mistakes=(
        (0.75, "That solves 1 - p = 1/4, which is gamma 1."),
        (0.25, "That is what is kept: ask for which p it is kept."),
    ),
)
def _probability() -> float:
    return 1 - (1 / 4) ** (1 / 2)


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    """600 images as two features and a 1 for the bias, 24 of them with a hat; and who has one."""
    rng = np.random.default_rng(0)
    hat = np.arange(600) < 24
    features = rng.normal(size=(600, 2)) + np.outer(hat, [1.5, 1.0])
    return torch.tensor(np.c_[features, np.ones(600)]).float(), torch.tensor(hat).float()


def _missed(weight: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> float:
    """Percent of wrong answers, the mean over those with and those without a hat."""
    yes, hat = x.numpy() @ weight > 0, y.numpy() == 1
    return float(50 * ((~yes[hat]).mean() + yes[~hat].mean()))


def _with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another loss of the probabilities and the labels."""
    return lambda x, y: descend(lambda weight: loss(torch.sigmoid(x @ weight), y), torch.zeros(3), 0.5, 500)


@exercise(
    "`x` (N, 3) are features of images; `y` (N,) is 1 for a hat, which few have, and 0 for none. Complete the `loss` so"
    " that both classes count alike.",
    "a function that returns the weights (3,), with which at most 20 % of answers are wrong, as a mean of both classes",
    "Each image's cross-entropy, times a weight of its class.",
    "The weight of a hat is 1 / share with `share = y.mean()`, that of no hat 1 / (1 - share); then the mean.",
    mistakes=(
        (
            _with(lambda p, y: -(y * p.log() + (1 - y) * (1 - p).log()).mean()),
            "Without weights the many decide, and they have no hat: weigh each class with one over its share.",
        ),
        (
            _with(lambda p, y: -(y / (1 - y.mean()) * p.log() + (1 - y) / y.mean() * (1 - p).log()).mean()),
            "The weights are exchanged: the rare class is the loud one.",
        ),
        (
            _with(lambda p, y: -(y * (1 - p) ** 2 * p.log() + (1 - y) * p**2 * (1 - p).log()).mean()),
            "The focal factor knows hard from easy, not rare from common: weigh each class with one over its share.",
        ),
    ),
    cases=(_images(),),
    score=_missed,
    at_most=20,
)
def learn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Weights (3,) after 500 steps of gradient descent."""
    weight = torch.zeros(3, requires_grad=True)
    for _ in range(500):
        p, share = torch.sigmoid(x @ weight), y.mean()
        loss = -(y / share * p.log() + (1 - y) / (1 - share) * (1 - p).log()).mean()
        loss.backward()
        weight.data -= 0.5 * weight.grad
        weight.grad = None
    return weight
