"""Losses against slow loops, other people's code, closed forms, and batches that break naive ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from torch.nn import functional as F

from reidkit.losses import batch_hard_triplet, cross_entropy, hardest_pairs, pairwise_distance

BALANCED, UNEQUAL = [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 2, 3]
MARGINS = [0.0, 0.3, 5.0, None]


def batch(label: list[int], seed: int = 0, d: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(len(label), d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.requires_grad_(), torch.tensor(label)


def slow_triplet(x: np.ndarray, label: list[int], margin: float | None) -> list[float]:
    losses = []
    for a in range(len(x)):
        far = [math.dist(x[a], x[p]) for p in range(len(x)) if label[p] == label[a] and p != a]
        near = [math.dist(x[a], x[n]) for n in range(len(x)) if label[n] != label[a]]
        if not far or not near:
            losses.append(0.0)
        elif margin is None:
            losses.append(math.log(1 + math.exp(max(far) - min(near))))
        else:
            losses.append(max(0.0, margin + max(far) - min(near)))
    return losses


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("label", [BALANCED, UNEQUAL, [0, 0], [0, 1], [5]], ids=str)
def test_triplet_equals_a_slow_loop(label: list[int], margin: float | None) -> None:
    for seed in range(5):
        x, y = batch(label, seed)
        loss = batch_hard_triplet(x, y, margin=margin)
        assert loss.shape == (len(label),) and loss.dtype == torch.float64
        np.testing.assert_allclose(loss.detach(), slow_triplet(x.detach().numpy(), label, margin), atol=1e-12)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("label", [BALANCED, UNEQUAL], ids=str)
def test_triplet_equals_pytorch_metric_learning(label: list[int], margin: float | None) -> None:
    for seed in range(5):
        x, y = batch(label, seed)
        plain = LpDistance(normalize_embeddings=False)
        theirs = TripletMarginLoss(margin or 0.0, distance=plain, smooth_loss=margin is None)
        triplets = BatchHardMiner(distance=plain)(x, y)
        theirs.reducer = torch.nn.Identity()  # the values before the mean
        values = theirs.compute_loss(x, y, triplets, x, y)["loss"]["losses"]
        own = batch_hard_triplet(x, y, margin=margin)
        anchors = triplets[0]
        torch.testing.assert_close(own[anchors], values)
        own_gradient, their_gradient = (torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in (own, values))
        torch.testing.assert_close(own_gradient, their_gradient)


@pytest.mark.parametrize("margin", MARGINS)
def test_gradient_in_double(margin: float | None) -> None:
    x, y = batch(UNEQUAL)
    assert torch.autograd.gradcheck(lambda v: batch_hard_triplet(v, y, margin=margin), x)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("label", [[0] * 4, [0, 1, 2, 3], [0]], ids=["one person", "all different", "one image"])
def test_batches_without_a_triplet_cost_nothing(label: list[int], margin: float | None) -> None:
    x, y = batch(label)
    loss = batch_hard_triplet(x, y, margin=margin)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * len(label)
    assert x.grad is not None and not x.grad.any()


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e4, 1e15])
def test_extreme_values_stay_finite(scale: float, kind: torch.dtype, margin: float | None) -> None:
    """0.0: all rows are equal, and the distance has no derivative."""
    x = (torch.randn(8, 16, generator=torch.Generator().manual_seed(0)) * scale).to(kind).requires_grad_()
    loss = batch_hard_triplet(x, torch.tensor(UNEQUAL), margin=margin)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss).all()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    if scale == 0:
        assert loss.tolist() == pytest.approx([margin or math.log(2)] * 6 + [0, 0])


def test_equal_rows_have_distance_and_gradient_zero() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]], requires_grad=True)
    distance = pairwise_distance(x)
    assert distance.tolist() == [[0, 0, 5], [0, 0, 5], [5, 5, 0]]
    distance[0, 1].backward()
    assert x.grad is not None and not x.grad.any()


def test_a_diverged_embedding_is_not_hidden() -> None:
    x, y = batch(BALANCED)
    assert torch.isnan(batch_hard_triplet(x.detach() * torch.nan, y)).all()


def test_properties_of_the_triplet() -> None:
    x, y = batch(UNEQUAL)
    loss, order = batch_hard_triplet(x, y), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(batch_hard_triplet(x[order], y[order]), loss[order])
    torch.testing.assert_close(batch_hard_triplet(x + 3, 10 - y), loss)  # moved, and people renamed
    torch.testing.assert_close(batch_hard_triplet(2 * x, y, margin=0.6), 2 * loss)
    assert (batch_hard_triplet(x, y, margin=0.5) >= loss).all()


def test_hardest_pairs_say_what_is_lacking() -> None:
    positive, negative = hardest_pairs(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1]))
    assert positive.tolist() == [1, 1, -math.inf] and negative.tolist() == [3, 2, 2]
    assert hardest_pairs(torch.zeros(2, 1), torch.zeros(2))[1].tolist() == [math.inf] * 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_equals_torch_and_its_equation(smoothing: float) -> None:
    logits, label = batch([0, 1, 2, 3, 3, 0])[0], torch.tensor([0, 1, -1, 3, 3, -1])
    loss = cross_entropy(logits, label, smoothing=smoothing)
    known = label >= 0
    torch.testing.assert_close(loss[known], F.cross_entropy(
        logits[known], label[known], label_smoothing=smoothing, reduction="none"
    ))  # fmt: skip
    target = (1 - smoothing) * F.one_hot(label[known], 4) + smoothing / 4
    torch.testing.assert_close(loss[known], -(target * logits[known].log_softmax(1)).sum(1))
    assert loss[~known].tolist() == [0, 0]
    loss.sum().backward()
    assert logits.grad is not None and not logits.grad[~known].any() and logits.grad[known].any(1).all()


def test_cross_entropy_closed_forms_and_gradient() -> None:
    assert cross_entropy(torch.zeros(1, 7), torch.tensor([3])).item() == pytest.approx(math.log(7))
    assert cross_entropy(torch.tensor([[200.0, 0.0]], dtype=torch.bfloat16), torch.tensor([1])).tolist() == [200.0]
    logits, label = batch([0, 1, 2])
    assert torch.autograd.gradcheck(lambda v: cross_entropy(v, label, smoothing=0.1), logits)
