"""The exercises of lesson 07: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "At one place of a map two channels are 4 and 1. The classifier weighs them with 0.5 and -1.5. What is the class"
    " activation map there?",
    "one number, in the unit of the logit",
    "Weigh each channel with its number of the row, and add up.",
    "0.5 * 4 - 1.5 * 1.",
    mistakes=(
        (3.5, "The second number is negative: this channel speaks against the class."),
        (2, "Both channels count, also the one that speaks against."),
        (-5, "Multiply each channel with its own number."),
    ),
)
def _place() -> float:
    return 0.5 * 4 - 1.5 * 1


@exercise(
    "Write the energy of a map inside a part: `heat` (H, W) holds numbers from 0 up, `inside` (H, W) True and False.",
    "a function that returns one number, a share from 0 to 1",
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


def _images(n: int, agree: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Maps (n, 3, 6, 3), who has a bag, who stands at a sign, and the place of the bag among the 18.

    The first channel sees bags, the second, louder, the sign in a corner. Bag and sign go together in a share of the
    images.
    """
    rng = np.random.default_rng(seed)
    bag = np.arange(n) % 2
    sign = np.where(rng.random(n) < agree, bag, 1 - bag)
    maps = 0.5 * np.abs(rng.normal(size=(n, 3, 6, 3)))
    place = rng.integers(3, 18, n)
    maps.reshape(n, 3, 18)[np.arange(n), 0, place] += 2 * bag
    maps[:, 1, 0, 0] += 3 * sign
    return maps, bag, sign, place


def _training() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps, bags and signs of 400 images, in which a bag nearly always stands at a sign."""
    maps, bag, sign, _ = _images(400, 0.95, seed=0)
    return torch.tensor(maps).float(), torch.tensor(bag).float(), torch.tensor(sign)


def _elsewhere(weight: np.ndarray, *_: torch.Tensor) -> float:
    """Percent of new images with bag and sign where the activation map is hottest off the bag."""
    maps, bag, sign, place = _images(200, 0.5, seed=1)
    hottest = np.einsum("v,nvhw->nhw", weight, maps).reshape(len(maps), -1).argmax(1)
    return float(100 * (hottest != place)[(bag == 1) & (sign == 1)].mean())


def _with(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another mean of the images' losses, which are given with the number of each image's group."""

    def learnt(maps: torch.Tensor, bag: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        group = (2 * bag + sign).long()

        def total(weight: torch.Tensor) -> torch.Tensor:
            logit = maps.mean((2, 3)) @ weight[:3] + weight[3]
            return loss(torch.nn.functional.binary_cross_entropy_with_logits(logit, bag, reduction="none"), group)

        return descend(total, torch.zeros(4), 2.0, 300)[:3]

    return learnt


@exercise(
    "`maps` (N, 3, 6, 3) are maps of images; `bag` (N,) and `sign` (N,) are 1 or 0, and nearly every bag stands at a"
    " sign. Complete the `loss` so that the classifier looks at the bag.",
    "a function that returns the weights (3,), whose map is hottest off the bag in at most 10 % of new images",
    "Bag or not, sign or not: let the four groups count alike, however few images are in one.",
    "Divide each of the `losses` by the size of its group, `torch.bincount(group)[group]`, and add them up.",
    mistakes=(
        (
            _with(lambda losses, group: losses.mean()),  # noqa: ARG005
            "The mean of all is right about bags for the wrong reason: few images tell bag and sign apart.",
        ),
        (
            _with(lambda losses, group: (losses * torch.bincount(group)[group] / len(group)).mean()),
            "That makes large groups louder still: divide by the size.",
        ),
        (
            _with(lambda losses, group: losses[(group == 0) | (group == 3)].mean()),
            "In these images bag and sign are the same: the others are the ones that tell.",
        ),
    ),
    cases=(_training(),),
    score=_elsewhere,
    at_most=10,
)
def learn(maps: torch.Tensor, bag: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Weights (3,) after 300 steps of gradient descent."""
    weight = torch.zeros(4, requires_grad=True)
    group = (2 * bag + sign).long()
    for _ in range(300):
        logit = maps.mean((2, 3)) @ weight[:3] + weight[3]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logit, bag, reduction="none")
        loss = (losses / torch.bincount(group)[group]).sum()
        loss.backward()
        weight.data -= 2 * weight.grad
        weight.grad = None
    return weight[:3]
