"""The exercises of lesson 06: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reidkit.course.exercises import descend, exercise


@exercise(
    "A channel of a map has four rows: 2, 5, 1 and 4 from the top. What is the highest value of the whole, of the upper"
    " half and of the lower half?",
    "three numbers, in the unit of the map: whole, upper, lower",
    "Three numbers: of all four rows, of the first two, of the last two.",
    "max(2, 5, 1, 4), max(2, 5), max(1, 4).",
    mistakes=(
        ((3, 3.5, 2.5), "Those are means: max pooling keeps the highest."),
        ((5, 4, 5), "The halves are exchanged: rows count from the top."),
        ((4, 4, 4), "The last row is not the highest everywhere."),
    ),
)
def _halves() -> tuple[float, float, float]:
    return max(2, 5, 1, 4), max(2, 5), max(1, 4)


@exercise(
    "Write the cosine of two gradients `a` and `b`, arrays of one length.",
    "a function that returns one number, from -1 to 1",
    "It is their product divided by both lengths.",
    "`a @ b` over `np.linalg.norm(a) * np.linalg.norm(b)`.",
    mistakes=(
        (lambda a, b: a @ b, "That grows with the gradients: divide by their lengths."),
        (lambda a, b: a @ b / (a @ a * (b @ b)), "a @ a is the length squared: take the root."),
        (lambda a, b: abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b), "The sign matters: below 0 they disagree."),
    ),
    cases=(
        (np.array([3.0, 4.0]), np.array([4.0, 3.0])),
        (np.array([1.0, 0.0, 2.0]), np.array([-2.0, 1.0, -1.0])),
    ),
)
def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Product of two directions."""
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def _with(total: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The training with another sum of the losses and the logarithms of the uncertainties."""
    return lambda losses: 1 / descend(lambda log: total(losses, log), torch.zeros(3), 0.05, 500).exp() ** 2


@exercise(
    "The three `losses` (3,) stay as they are, and their uncertainties are learnt, as `log_sigma` (3,). Complete the"
    " `total` that is minimised.",
    "a function that returns three numbers, the weights 1 / sigma^2 without a unit",
    "It is the sum over the losses of L / sigma^2 + log sigma, and sigma is `log_sigma.exp()`.",
    "`(losses / log_sigma.exp() ** 2 + log_sigma).sum()`. The weights should end at 1 / (2 L).",
    mistakes=(
        (
            _with(lambda losses, log: (losses / log.exp() ** 2).sum()),
            "Without + log sigma a large uncertainty costs nothing, and every weight goes to 0.",
        ),
        (
            _with(lambda losses, log: (losses / log.exp() + log).sum()),
            "The loss is divided by sigma squared, not by sigma.",
        ),
        (
            _with(lambda losses, log: (losses / (2 * log.exp() ** 2) + log).sum()),
            "With half of each loss sigma^2 is L: in this lesson it is 2 L.",
        ),
    ),
    cases=((torch.tensor([8.0, 2.0, 0.5]),), (torch.tensor([4.0, 1.0, 1.0]),)),
)
def learn(losses: torch.Tensor) -> torch.Tensor:
    """Weights (3,) after 500 steps of gradient descent."""
    log_sigma = torch.zeros(3, requires_grad=True)
    for _ in range(500):
        total = (losses / log_sigma.exp() ** 2 + log_sigma).sum()
        total.backward()
        log_sigma.data -= 0.05 * log_sigma.grad
        log_sigma.grad = None
    return 1 / log_sigma.exp() ** 2
