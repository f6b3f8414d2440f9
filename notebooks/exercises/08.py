"""The exercises of lesson 08: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "Matches stand at the distances 0.2, 0.3 and 0.6, strangers at 0.5, 0.8 and 0.9. What are FAR and FRR at t = 0.3?",
    "two numbers, shares from 0 to 1: FAR, FRR",
    "A pair at exactly t is accepted. Which strangers are that near, which matches are farther?",
    "No stranger of three, one match of three.",
    mistakes=(
        ((1 / 3, 0), "The two are exchanged: FAR is about strangers."),
        ((0, 2 / 3), "The match at 0.3 is at the threshold, so it is accepted."),
        ((0, 1 / 6), "FRR is a share of the matches, of which there are three."),
    ),
)
def _rates() -> tuple[float, float]:
    return 0 / 3, 1 / 3


@exercise(
    "A threshold accepts 1 in 1,000 images of strangers, each independently of the others. Somebody who is not in the"
    " gallery is searched among 1,000 images. How probable is it that at least one is accepted?",
    "one number, a probability from 0 to 1",
    "How likely is it that all 1,000 are rejected?",
    "1 - 0.999 ** 1000.",
    mistakes=(
        (1, "One is accepted on average, but in some searches two or none."),
        (0.999**1000, "That is the probability that none is accepted."),
        (0.001, "That is one pair: a search has a thousand of them."),
    ),
)
def _alarm() -> float:
    return 1 - 0.999**1000


def _pairs(genuine: int, impostor: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances of pairs, and 1 where both images show one person, else 0."""
    rng = np.random.default_rng(seed)
    distance = np.r_[rng.normal(0.5, 0.12, genuine), rng.normal(0.9, 0.12, impostor)]
    return torch.tensor(distance).float(), torch.tensor([1.0] * genuine + [0.0] * impostor)


def _surprise(line: np.ndarray, *_: torch.Tensor) -> float:
    """The mean cross-entropy, in nats, of 5,000 new pairs of which one in a hundred is genuine."""
    distance, same = _pairs(50, 4950, seed=1)
    logit = torch.tensor(line[0] - line[1] * distance.numpy())
    return torch.nn.functional.binary_cross_entropy_with_logits(logit, same.double()).item()


def _with(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], offset: float = np.log(1 / 99)
) -> Callable[..., torch.Tensor]:
    """The training with another loss of the probabilities, or another offset of the new prior."""

    def learnt(distance: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        def total(line: torch.Tensor) -> torch.Tensor:
            return loss(torch.sigmoid(line[0] - line[1] * distance), same)

        return descend(total, torch.zeros(2), 5.0, 500).detach() + torch.tensor([offset, 0])

    return learnt


def _cross_entropy(p: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    return -(same * p.log() + (1 - same) * (1 - p).log()).mean()


@exercise(
    "Half of the pairs in `distance` (N,) are genuine: there `same` (N,) is 1, else 0. Complete the `loss` of `p`, and"
    " the `prior` to add where only 1 pair in 100 is genuine.",
    "a function that returns two numbers, (a, b): `p = sigmoid(a - b * distance)` then costs at most 0.03 nats a pair",
    "The loss is the mean cross-entropy of `p`. A new prior multiplies the odds of every pair with odds of its own.",
    "`-(same * p.log() + (1 - same) * (1 - p).log()).mean()`. And a is a logarithm of odds: add `np.log(1 / 99)`.",
    mistakes=(
        (
            _with(_cross_entropy, 0),
            "The loss is right, but genuine pairs are rare now: add the logarithm of their odds.",
        ),
        (_with(_cross_entropy, np.log(99)), "The loss is right, but genuine pairs are rarer now, so a has to fall."),
        (
            _with(lambda p, same: _cross_entropy(1 - p, same)),
            "`p` is the probability that both images show one person: - log p where `same` is 1.",
        ),
    ),
    cases=(_pairs(200, 200, seed=0),),
    score=_surprise,
    at_most=0.03,
)
def learn(distance: torch.Tensor, same: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The line (a, b) after 500 steps of gradient descent, at the new prior."""
    line = torch.zeros(2, requires_grad=True)
    for _ in range(500):
        p = torch.sigmoid(line[0] - line[1] * distance)
        loss = -(same * p.log() + (1 - same) * (1 - p).log()).mean()
        loss.backward()
        line.data -= 5 * line.grad
        line.grad = None
    prior = np.log(1 / 99)
    return line[0] + prior, line[1]
