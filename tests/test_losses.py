"""Losses against slow loops, other people's code, closed forms, and batches that break naive ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchEasyHardMiner, BatchHardMiner
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from reidkit.attributes import MARKET, Task
from reidkit.data import class_counts
from reidkit.distances import METRICS
from reidkit.errors import InputError
from reidkit.losses import (
    KINDS,
    MINING,
    adjust,
    batch_hard_triplet,
    batch_triplets,
    class_weights,
    compact,
    count_triplets,
    cross_entropy,
    focal,
    half_gaps,
    hardest_pairs,
    pairwise_distance,
    part_presence,
    scatter,
    sigmoid_cross_entropy,
    task_losses,
    triplet,
)

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


# Classes and attributes ---------------------------------------------------------------------------------

ANSWERS = [0, 1, -1, 2, 2, -1]  # of six images to a question of four answers, of which the last never occurs
WEIGHT = torch.tensor([0.5, 3.0, 1.0, 7.0])
GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]


def answers(seed: int = 0, kind: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return batch(ANSWERS, seed)[0].detach().to(kind).requires_grad_(), torch.tensor(ANSWERS)


def slow_entropy(logits: list[float], label: int, gamma: float = 0.0, weight: list[float] | None = None) -> float:
    if label < 0:
        return 0.0
    p = math.exp(logits[label]) / sum(map(math.exp, logits))
    return -(weight[label] if weight else 1) * (1 - p) ** gamma * math.log(p)


def finite(loss: Tensor, *leaves: Tensor) -> None:
    """A loss of at least float32 that is finite, with finite gradients."""
    assert loss.dtype in (torch.float32, torch.float64) and torch.isfinite(loss).all()
    for gradient in torch.autograd.grad(loss.sum(), leaves, retain_graph=True):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_and_weighted_equal_a_slow_loop(gamma: float, weight: Tensor | None) -> None:
    for seed in range(3):
        logits, label = answers(seed)
        given = weight.tolist() if weight is not None else None
        slow = [slow_entropy(row, c, gamma, given) for row, c in zip(logits.tolist(), ANSWERS, strict=True)]
        np.testing.assert_allclose(focal(logits, label, gamma=gamma, weight=weight).detach(), slow, atol=1e-12)
        if gamma == 0:
            np.testing.assert_allclose(cross_entropy(logits, label, weight=weight).detach(), slow, atol=1e-12)


def test_weighted_cross_entropy_equals_torch() -> None:
    logits, label = answers()
    theirs = F.cross_entropy(logits, label, WEIGHT.double(), ignore_index=-1, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, label, weight=WEIGHT), theirs)
    smooth = cross_entropy(logits, label, weight=WEIGHT, smoothing=0.1)  # of the own class, not class by class
    torch.testing.assert_close(smooth, cross_entropy(logits, label, smoothing=0.1) * WEIGHT[label])
    with pytest.raises(InputError, match=r"\(3,\): give one for each of 4 classes"):
        cross_entropy(logits, label, weight=WEIGHT[:3])


@pytest.mark.parametrize("alpha", [-1, 0.25])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_equals_torchvision(gamma: float, alpha: float) -> None:
    """The softmax over (0, x) is the sigmoid of x."""
    x, label = answers()[0][:, 0], torch.tensor([0, 1, 1, 0, 1, 0])
    weight = None if alpha < 0 else torch.tensor([1 - alpha, alpha])
    own = focal(torch.stack([torch.zeros_like(x), x], 1), label, gamma=gamma, weight=weight)
    theirs = sigmoid_focal_loss(x, label.double(), alpha, gamma)
    torch.testing.assert_close(own, theirs)
    for a, b in zip(torch.autograd.grad(own.sum(), x), torch.autograd.grad(theirs.sum(), x), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_what_must_be_equal_is_equal(kind: torch.dtype) -> None:
    """focal with gamma 0 is cross-entropy and weights of 1 are no weights, to the last bit and in the gradient."""
    logits, label = answers(kind=kind)
    one, plain = torch.ones(4), cross_entropy(logits, label)
    (expected,) = torch.autograd.grad(plain.sum(), logits, retain_graph=True)
    for loss in (focal(logits, label, gamma=0), cross_entropy(logits, label, weight=one)):
        assert torch.equal(loss, plain) and torch.equal(torch.autograd.grad(loss.sum(), logits)[0], expected)
    assert torch.equal(focal(logits, label, weight=one), focal(logits, label))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_of_focal_and_weighted(gamma: float) -> None:
    logits, label = answers()
    assert torch.autograd.gradcheck(lambda v: focal(v, label, gamma=gamma, weight=WEIGHT), logits)
    assert torch.autograd.gradcheck(lambda v: cross_entropy(v, label, weight=WEIGHT, smoothing=0.1), logits)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [0.0, 1e-30, 20.0, 1e4, 1e30])
def test_extreme_logits_stay_finite(size: float, kind: torch.dtype, gamma: float) -> None:
    """Surely right, surely wrong, undecided, and missing."""
    logits = torch.tensor([[size, -size], [-size, size], [size, size], [-size, size]], dtype=kind, requires_grad=True)
    label = torch.tensor([0, 0, 1, -1])
    loss = focal(logits, label, gamma=gamma, weight=torch.tensor([1e4, 1.0]))
    finite(loss, logits)
    assert loss[3] == 0
    if size >= 20:
        assert loss[1].item() == pytest.approx(2e4 * logits[1, 1].item()) and loss[0] < 1e-3
    finite(sigmoid_cross_entropy(logits, torch.tensor([[1, 0], [1, 0], [0, 1], [-1, -1]])), logits)
    finite(task_losses([logits], label[:, None], kind="focal", gamma=gamma), logits)


TASKS = (Task("hat", ("no", "yes"), ("hat",)), Task("up", ("red", "blue", "green"), ("up",)))


def test_class_weights_equal_a_count_and_scikit_learn() -> None:
    labels = torch.tensor([[0, 0], [0, 2], [1, -1], [-1, 1], [0, 0], [0, 0]])
    hat, up = class_weights(class_counts(labels, TASKS), TASKS)
    assert hat.dtype == up.dtype == torch.float32
    assert hat.tolist() == [5 / 4, 5] and up.tolist() == pytest.approx([5 / 3, 5, 5])
    for weight, column in zip((hat, up), labels.T.numpy(), strict=True):
        known = column[column >= 0]
        balanced = compute_class_weight("balanced", classes=np.arange(len(weight)), y=known)  # N / (C n_c)
        np.testing.assert_allclose(weight, len(weight) * balanced, rtol=1e-6)
        assert weight[known].mean().item() == pytest.approx(len(weight))


@pytest.mark.parametrize(
    ("labels", "sentence", "weights"),
    [
        ([[0, 0], [1, 1]], "never show up 'green', so", [[2, 2], [2, 2, 0]]),
        ([[0, 0], [-1, 0]], "never show hat 'yes', up 'blue', up 'green', so", [[1, 0], [1, 0, 0]]),
        ([[0, -1], [1, -1]], r"never show up \(any class\), so", [[2, 2], [0, 0, 0]]),
        ([[-1, -1]], r"hat \(any class\), up \(any class\), so", [[0, 0], [0, 0, 0]]),
    ],
)
def test_class_weights_name_what_never_occurs(labels: list, sentence: str, weights: list) -> None:
    with pytest.raises(InputError, match=sentence):
        class_weights(class_counts(torch.tensor(labels), TASKS), TASKS)
    counts = class_counts(torch.tensor(labels), TASKS)
    assert [w.tolist() for w in class_weights(counts, TASKS, absent=0)] == weights


def test_class_weights_count_what_they_do_not_name() -> None:
    labels = torch.zeros(1, len(MARKET.tasks), dtype=torch.int64)
    lacking = sum(len(task.classes) - 1 for task in MARKET.tasks)
    with pytest.raises(InputError, match=f"age 'teenager', age 'adult', age 'old' and {lacking - 3} more, .*absent=0"):
        class_weights(class_counts(labels, MARKET.tasks), MARKET.tasks)
    counts = class_counts(labels[:, :2], TASKS)
    assert [w.tolist() for w in class_weights(counts, TASKS, absent=0.5)] == [[1, 0.5], [1, 0.5, 0.5]]


@pytest.mark.parametrize("kind", KINDS)
def test_task_losses_equal_a_slow_loop(kind: str) -> None:
    """Five tasks of four answers; nobody has a label of the last one."""
    labels = torch.tensor([[*row, -1] for row in itertools.product([-1, 1], [0, 3], [-1, 2], [2])])
    logits = torch.randn(5, len(labels), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    weights = [WEIGHT + t for t in range(5)]
    losses = task_losses(list(logits), labels, kind=kind, weights=weights, gamma=1.5)
    slow = []
    for t in range(5):
        values = [
            slow_entropy(
                logits[t, i].tolist(),
                c,
                1.5 * ("focal" in kind),
                weights[t].tolist() if kind in ("weighted", "alpha_focal") else None,
            )
            for i, c in enumerate(labels[:, t].tolist())
            if c >= 0
        ]
        slow.append(sum(values) / len(values) if values else 0)
    np.testing.assert_allclose(losses.detach(), slow, atol=1e-12)
    losses.sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert not logits.grad[4].any() and logits.grad[3].any() and not logits.grad[0][labels[:, 0] < 0].any()
    assert torch.autograd.gradcheck(lambda v: task_losses(list(v), labels, kind=kind, weights=weights), logits)


@pytest.mark.parametrize("kind", KINDS)
def test_task_losses_without_any_label(kind: str) -> None:
    logits = [torch.randn(2, n, requires_grad=True) for n in (2, 3)]
    losses = task_losses(logits, torch.full((2, 2), -1), kind=kind, weights=[torch.ones(2), torch.ones(3)])
    losses.sum().backward()
    assert losses.tolist() == [0, 0] and not any(x.grad is None or x.grad.any() for x in logits)


def test_task_losses_say_what_is_wrong() -> None:
    logits, labels = [torch.zeros(1, 2)], torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(InputError, match=r"'focl' is not known; did you mean 'focal'.* weighted, focal, alpha_focal"):
        task_losses(logits, labels, kind="focl")
    for kind in ("weighted", "alpha_focal"):
        with pytest.raises(InputError, match=f"'{kind}' needs weights"):
            task_losses(logits, labels, kind=kind)


def test_sigmoid_cross_entropy_equals_a_slow_loop_and_torch() -> None:
    logits = answers()[0]
    target = torch.tensor([[1, 0, -1, 1], [0] * 4, [1] * 4, [-1] * 4, [-1, 1, -1, -1], [0, 1, 0, 1]])
    loss = sigmoid_cross_entropy(logits, target)
    slow = [
        sum(math.log(1 + math.exp(-x if y else x)) for x, y in zip(row, column, strict=True) if y >= 0)
        for row, column in zip(logits.tolist(), target.tolist(), strict=True)
    ]
    np.testing.assert_allclose(loss.detach(), slow, atol=1e-12)
    known = (target >= 0).double()
    theirs = F.binary_cross_entropy_with_logits(logits, target.double(), known, reduction="none").sum(1)
    torch.testing.assert_close(loss, theirs)
    torch.testing.assert_close(sigmoid_cross_entropy(logits, target.double()), loss)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert not gradient[target < 0].any() and gradient[target >= 0].all()
    assert torch.autograd.gradcheck(lambda v: sigmoid_cross_entropy(v, target), logits)


# Triplets -----------------------------------------------------------------------------------------------

WAYS = list(itertools.product([mining for mining in MINING if mining != "random4"], METRICS))


def slow_distance(a: np.ndarray, b: np.ndarray, distance: str) -> float:
    if distance == "cosine":
        return float(1 - a @ b / math.sqrt((a @ a) * (b @ b)))
    return math.dist(a, b) ** (2 if distance == "sqeuclidean" else 1)


def slow_triplets(x: np.ndarray, label: list[int], margin: float, mining: str, distance: str) -> list[float]:
    losses, n = [], len(x)
    for a in range(n):
        apart = [slow_distance(x[a], x[i], distance) for i in range(n)]
        near = [apart[i] for i in range(n) if label[i] != label[a]]
        near = sorted(near)[: {"hard": 1, "hard4": 4, "all": n}[mining]]
        far = [apart[i] for i in range(n) if label[i] == label[a] and i != a]
        values = [max(0.0, margin + p - q) for p in far for q in near]
        losses.append(sum(values) / len(values) if values else 0.0)
    return losses


@pytest.mark.parametrize(("mining", "distance"), WAYS)
@pytest.mark.parametrize("label", [BALANCED, UNEQUAL, [0, 0], [0, 1], [5], [0] * 4], ids=str)
def test_batch_triplets_equal_a_slow_loop(label: list[int], mining: str, distance: str) -> None:
    for seed, margin in itertools.product(range(3), (0.0, 0.3, 5.0)):
        x, y = batch(label, seed)
        loss = batch_triplets(x, y, margin=margin, mining=mining, distance=distance)
        slow = slow_triplets(x.detach().numpy(), label, margin, mining, distance)
        np.testing.assert_allclose(loss.detach(), slow, atol=1e-12)
        finite(loss, x)
        if len(set(label)) in (1, len(label)):  # one person, or all different
            assert not loss.any() and not torch.autograd.grad(loss.sum(), x)[0].any()


@pytest.mark.parametrize(("mining", "distance"), [way for way in WAYS if way[0] != "hard4"])
def test_batch_triplets_equal_pytorch_metric_learning(mining: str, distance: str) -> None:
    """The squared distance of rows of length 1 is twice their cosine distance."""
    twice = 2 if distance == "cosine" else 1
    theirs = LpDistance(normalize_embeddings=distance == "cosine", power=1 if distance == "euclidean" else 2)
    loss = TripletMarginLoss(0.3 * twice, distance=theirs)
    loss.reducer = torch.nn.Identity()
    every = BatchEasyHardMiner(pos_strategy="all", neg_strategy="hard" if mining == "hard" else "all", distance=theirs)
    for label in (BALANCED, UNEQUAL):
        x, y = batch(label)
        triplets = every(x, y) if mining == "hard" else None
        values = loss.compute_loss(x, y, triplets, x, y)["loss"]
        values, (anchors, *_) = values["losses"] / twice, values["indices"]
        mean = values.new_zeros(len(y)).index_add(0, anchors, values) / anchors.bincount(minlength=len(y)).clamp(min=1)
        own = batch_triplets(x, y, margin=0.3, mining=mining, distance=distance)
        torch.testing.assert_close(own, mean)
        gradients = (torch.autograd.grad(v.sum(), x)[0] for v in (own, mean))
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("mining", "distance"), WAYS)
def test_batch_triplets_in_double_and_in_the_extreme(mining: str, distance: str) -> None:
    loss = partial(batch_triplets, margin=0.3, mining=mining, distance=distance)
    x, y = batch(UNEQUAL)
    assert torch.autograd.gradcheck(lambda v: loss(v, y), x)
    assert torch.isnan(loss(x.detach() * torch.nan, y)[:6]).all()  # the anchors that have a positive
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(x[order], 10 - y[order]), loss(x, y)[order])
    for kind, scale in itertools.product((torch.float32, torch.bfloat16), (0.0, 1e-30, 1.0, 1e4, 1e15)):
        flat = (x.detach() * scale).to(kind).requires_grad_()
        finite(loss(flat, y), flat)
        if scale == 0:  # all rows are equal: every triplet is a tie
            assert loss(flat, y).tolist() == pytest.approx([0.3] * 6 + [0, 0])


def test_batch_triplets_by_hand() -> None:
    """Anchor 0 on a line: positives at 1 and 3, others at 2 and -2 (a tie) and 9."""
    x, y = torch.tensor([[0.0], [1.0], [3.0], [2.0], [-2.0], [9.0]]), torch.tensor([0, 0, 0, 1, 2, 3])
    loss = partial(batch_triplets, x, y, margin=0.5, distance="euclidean")
    assert loss(mining="hard")[0] == (0 + 1.5) / 2
    assert loss(mining="all")[0] == (0 + 0 + 0 + 1.5 + 1.5 + 0) / 6
    with pytest.raises(InputError, match="mining 'hrad' is not known; did you mean 'hard'"):
        loss(mining="hrad")
    with pytest.raises(InputError, match="choose one of euclidean, sqeuclidean, cosine"):
        batch_triplets(x, y, margin=0.5, distance="manhattan")


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("label", [BALANCED, UNEQUAL, [0, 0], [0, 1], [5], [0] * 4], ids=str)
def test_a_sum_of_triplets_is_their_mean_times_their_number(label: list[int], mining: str) -> None:
    x, y = batch(label)
    torch.manual_seed(0)
    total = batch_triplets(x, y, margin=5.0, mining=mining, reduction="sum")
    torch.manual_seed(0)
    mean = batch_triplets(x, y, margin=5.0, mining=mining)
    strangers = [sum(other != own for other in label) for own in label]
    most = {"hard": 1, "hard4": 4, "random4": 4, "all": len(label)}[mining]
    counts = torch.tensor([(label.count(own) - 1) * min(most, n) for own, n in zip(label, strangers, strict=True)])
    torch.testing.assert_close(total, mean * counts)
    assert int(count_triplets(y, mining)) == int(counts.sum())
    with pytest.raises(InputError, match="reduction 'some' is not known"):
        batch_triplets(x, y, margin=1.0, reduction="some")


def test_random_negatives_are_four_different_strangers_each_as_often() -> None:
    """Anchor 0 has one positive at its own place and seven strangers at 1, 2, 4 ... 64: a sum says which were drawn."""
    x = torch.tensor([[0.0], [0.0], *([-(2.0**k)] for k in range(7))])
    y = torch.tensor([0, 0, *range(1, 8)])
    torch.manual_seed(0)
    drawn = torch.zeros(7)
    for _ in range(700):
        loss = batch_triplets(x, y, margin=100.0, mining="random4", distance="euclidean", reduction="sum")[0]
        bits = [int(400 - loss) >> k & 1 for k in range(7)]
        assert sum(bits) == 4
        drawn += torch.tensor(bits)
    assert ((drawn / 700 - 4 / 7).abs() < 0.08).all()  # four deviations


def test_cosine_does_not_see_length() -> None:
    x, y = batch(UNEQUAL)
    longer = x * torch.arange(1, 9)[:, None]
    torch.testing.assert_close(batch_triplets(longer, y, margin=0.3), batch_triplets(x, y, margin=0.3))
    torch.testing.assert_close(
        pairwise_distance(x, distance="cosine"), 1 - F.cosine_similarity(x[:, None], x[None], dim=2)
    )


@pytest.mark.parametrize("margin", [0.0, 1.0, 50.0])
def test_given_triplets_equal_a_slow_loop_and_torch(margin: float) -> None:
    a, p, n = (batch(UNEQUAL, seed)[0] for seed in range(3))
    loss = triplet(a, p, n, margin=margin)
    rows = zip(a.tolist(), p.tolist(), n.tolist(), strict=True)
    slow = [max(0, margin + math.dist(i, j) ** 2 - math.dist(i, k) ** 2) for i, j, k in rows]
    np.testing.assert_allclose(loss.detach(), slow, atol=1e-12)
    if margin:  # torch refuses 0
        theirs = torch.nn.TripletMarginWithDistanceLoss(
            distance_function=lambda x, y: (x - y).square().sum(1), margin=margin, reduction="none"
        )
        torch.testing.assert_close(loss, theirs(a, p, n))
    assert torch.autograd.gradcheck(partial(triplet, margin=margin), (a, p, n))
    for kind, scale in itertools.product((torch.float32, torch.bfloat16), (0.0, 1e-30, 1e4, 1e15)):
        few = [(x.detach() * scale).to(kind).requires_grad_() for x in (a, p, n)]
        finite(triplet(*few, margin=margin), *few)
    assert triplet(a, a, a, margin=margin).tolist() == [margin] * 8  # equal rows


# Centres ------------------------------------------------------------------------------------------------


def codes(seed: int = 0, people: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    label = torch.tensor([0, 0, people - 1, people // 2, -1, 0])
    return batch([0] * 6, seed)[0], label, batch([0] * people, seed + 10)[0].detach()


@pytest.mark.parametrize("people", [1, 2, 5])
def test_compact_and_scatter_equal_a_slow_loop(people: int) -> None:
    for seed in range(3):
        code, label, centres = codes(seed, people)
        c = centres.tolist()
        gap = [
            min((math.dist(c[p], c[j]) / 2 for j in range(people) if j != p), default=math.inf) for p in range(people)
        ]
        torch.testing.assert_close(half_gaps(centres), torch.tensor(gap).double())
        drawn, pushed = [], []
        for row, p in zip(code.tolist(), label.tolist(), strict=True):
            drawn.append(max(0, math.dist(row, c[p]) ** 2 - gap[p] ** 2) / 2 if p >= 0 else 0)
            pushed.append(sum(math.dist(row, c[j]) ** 2 for j in range(people) if j != p) / 2 if p >= 0 else 0)
        for radius in (None, half_gaps(centres)):
            np.testing.assert_allclose(compact(code, label, centres, radius).detach(), drawn, atol=1e-12)
        np.testing.assert_allclose(scatter(code, label, centres).detach(), pushed, atol=1e-12)
        finite(compact(code, label, centres), code)
        finite(scatter(code, label, centres), code)


def test_gradient_of_compact_and_scatter() -> None:
    code, label, centres = codes()
    assert torch.autograd.gradcheck(lambda v: compact(v, label, centres), code)
    assert torch.autograd.gradcheck(lambda v: scatter(v, label, centres), code)
    moving = centres.clone().requires_grad_()
    for loss in (compact(code, label, moving, half_gaps(moving)), scatter(code, label, moving)):
        assert torch.autograd.grad(loss.sum(), moving, allow_unused=True) == (None,)
    assert not half_gaps(moving).requires_grad
    (push,) = torch.autograd.grad(scatter(code, label, centres).sum(), code)
    torch.testing.assert_close(push[0], (code[0] - centres[1:]).sum(0))  # away from the others, label 0
    assert not push[4].any()  # label -1


def test_compact_is_nothing_inside_the_ball() -> None:
    centres, label = torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 0, 0, 0])
    code = torch.tensor([[0.0, 0.0], [0.0, 2.0], [1.9, 0.0], [3.0, 0.0]], requires_grad=True)
    loss = compact(code, label, centres)  # radius 2
    assert loss.tolist() == [0, 0, 0, 2.5]
    loss.sum().backward()
    assert code.grad is not None and code.grad.tolist() == [[0, 0]] * 3 + [[3, 0]]
    assert compact(code, label, centres, torch.zeros(2))[1] == 2  # a ball of no size
    assert half_gaps(centres[[0, 0]]).tolist() == [0, 0]  # two people in one place
    assert half_gaps(centres, torch.tensor([1, 1, 0])).tolist() == [2, 2, 2]


def test_nothing_bounds_the_scatter() -> None:
    """What its docstring says: it grows with the square of the scale, and compact holds up to 50 still people."""
    code, label, centres = codes()
    torch.testing.assert_close(scatter(3 * code, label, 3 * centres), 9 * scatter(code, label, centres))
    torch.testing.assert_close(compact(3 * code, label, 3 * centres), 9 * compact(code, label, centres))
    for people, holds in ((50, True), (57, False)):
        code, label, centres = codes(people=people)
        far = code[:1] * 1e6
        total = 5e-5 * compact(far, label[:1], centres) - 1e-6 * scatter(far, label[:1], centres)
        assert (total > 0) == holds


def test_scatter_never_holds_every_difference() -> None:
    code, centres, held = torch.randn(8, 16, requires_grad=True), torch.randn(100, 16), [0]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        scatter(code, torch.arange(8), centres)
    assert max(held) <= 100 * 16


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e15])
def test_extreme_codes_stay_finite(scale: float, kind: torch.dtype) -> None:
    """0.0: every code and every centre is in one place."""
    code, label, centres = codes()
    code, centres = (code.detach() * scale).to(kind).requires_grad_(), (centres * scale).to(kind)
    each = compact(code, label, centres), scatter(code, label, centres)
    for loss in each:
        finite(loss, code)
    if scale == 0:
        assert not any(loss.any() for loss in each)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda x: cross_entropy(x, torch.tensor(ANSWERS), weight=WEIGHT, smoothing=0.1),
    "focal": lambda x: focal(x, torch.tensor(ANSWERS), weight=WEIGHT),
    "sigmoid": lambda x: sigmoid_cross_entropy(x, (x.detach() > 0).long()),
    "batch_hard": lambda x: batch_hard_triplet(x, torch.tensor(BALANCED)),
    "hard": lambda x: batch_triplets(x, torch.tensor(BALANCED), margin=0.3),
    "all": lambda x: batch_triplets(x, torch.tensor(BALANCED), margin=0.3, mining="all"),
    "triplet": lambda x: triplet(x, x.flip(0), x.roll(1, 0)),
    "compact": lambda x: compact(x, torch.tensor(BALANCED), x[::2] * 2),
    "scatter": lambda x: scatter(x, torch.tensor(BALANCED), x[::2] * 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_mixed_precision_changes_nothing(name: str) -> None:
    """Under autocast too, and bf16 in gives float32 out."""
    x = batch([0] * 6)[0].detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = LOSSES[name](x)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, LOSSES[name](x.double()).float())


def test_adjusted_logits_answer_as_if_classes_were_equally_common() -> None:
    """The best logits for one image of every kind are the log posterior; adjusted, those of equal priors."""
    counts = torch.tensor([90.0, 9.0, 1.0])
    weight = counts.sum() / counts
    own = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([own], lr=0.5, max_iter=100, tolerance_grad=1e-10)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (cross_entropy(adjust(own.expand(3, 3), weight), torch.arange(3)) * counts).sum() / counts.sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(own.detach(), torch.zeros(1, 3, dtype=torch.float64), atol=1e-4, rtol=0)
    plain = adjust(torch.zeros(1, 3), weight).softmax(1)
    torch.testing.assert_close(plain, counts[None] / 100)
    torch.testing.assert_close(adjust(torch.zeros(1, 3), 7 * weight).softmax(1), plain)  # up to a factor
    half = adjust(torch.zeros(1, 3), weight, 0.5).softmax(1)
    torch.testing.assert_close(half, (counts.sqrt() / counts.sqrt().sum())[None])
    assert torch.equal(adjust(own.detach(), weight, 0.0), own.detach())


def test_adjusted_logits_of_classes_that_never_occur_are_finite() -> None:
    own = adjust(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0.0, 2.0, 8.0]))
    assert own.dtype == torch.float32 and torch.allclose(own[:, 0], own[:, 1]) and (own[:, 2] < own[:, 1]).all()
    assert torch.isfinite(adjust(torch.zeros(2, 3), torch.zeros(3))).all()


@pytest.mark.parametrize("size", [(4, 2), (3, 5), (1, 1)], ids=str)
def test_part_presence_is_a_slow_look_at_every_place(size: tuple[int, int]) -> None:
    draw, (h, w), (height, width) = np.random.default_rng(0), size, (16, 10)
    parts = draw.choice(4, (5, height, width), p=[0.7, 0.24, 0.05, 0.01])  # of five parts one is never seen
    logits = draw.normal(size=(5, 5, h, w))
    seen = np.zeros_like(logits)
    for n, p, y, x in np.ndindex(*logits.shape):  # the cells torch pools: from floor to ceiling of the borders
        top, bottom = y * height // h, -(-(y + 1) * height // h)
        left, right = x * width // w, -(-(x + 1) * width // w)
        seen[n, p, y, x] = (parts[n, top:bottom, left:right] == p).mean() >= 0.03
    expected = np.zeros(5)
    for n, p, y, x in np.ndindex(*logits.shape):
        weight = 1 / np.sqrt(np.clip(seen[:, p].mean(), 0.002, 0.5))
        yes = 1 / (1 + np.exp(-logits[n, p, y, x]))
        expected[n] -= (weight * np.log(yes) if seen[n, p, y, x] else np.log(1 - yes)) / (h * w)
    x = torch.tensor(logits, requires_grad=True)
    loss = part_presence(x, torch.from_numpy(parts.astype(np.uint8)))
    torch.testing.assert_close(loss, torch.from_numpy(expected))
    loss.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and 0 < seen[:, 1:].mean() < 1
    assert part_presence(x.detach().bfloat16(), torch.from_numpy(parts)).dtype == torch.float32
