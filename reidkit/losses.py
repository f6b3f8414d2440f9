"""Losses as pure functions: one value a sample, the reduction is the caller's.

Shape letters: B batch, D embedding, C identities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def at_least_float32(x: Tensor) -> Tensor:
    """bf16 and fp16 as float32, in which losses are computed; float32 and float64 as they are."""
    return x.float() if x.element_size() < 4 else x


def cross_entropy(logits: Tensor, label: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy of each sample; a missing label (-1) costs nothing.

        L_i = - sum_c y_ic log softmax(logits_i)_c,   y = (1 - smoothing) onehot + smoothing / C

    Label smoothing: Szegedy et al. 2016, as in the "bag of tricks" of Luo et al. 2019.

    Args:
        logits: (B, C). label: (B,) int64, -1 for missing. smoothing: share given to all classes, 0 to 1.
    Returns:
        (B,) in nats, 0 where the label is missing.
    """
    return F.cross_entropy(
        at_least_float32(logits), label, ignore_index=-1, label_smoothing=smoothing, reduction="none"
    )


def pairwise_distance(embedding: Tensor) -> Tensor:
    """Euclidean distance between all rows, (B, D) to (B, B), with a gradient of 0 where two rows are equal."""
    return torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")


def hardest_pairs(embedding: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The farthest image of the same person and the nearest of another, for every anchor.

    Masked with infinity rather than reshaped, so that people may be unequally frequent in the batch.

    Args:
        embedding: (B, D). label: (B,) int64.
    Returns:
        hardest positive distance (B,), -inf without a positive; hardest negative (B,), +inf without a negative.
    """
    distance = pairwise_distance(at_least_float32(embedding))  # (B, B)
    same = label[:, None] == label[None]  # (B, B)
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    positive = distance.masked_fill(~same | itself, -torch.inf).amax(1)
    negative = distance.masked_fill(same, torch.inf).amin(1)
    return positive, negative


def batch_hard_triplet(embedding: Tensor, label: Tensor, *, margin: float | None = 0.3) -> Tensor:
    """Batch-hard triplet loss: every image is an anchor against its hardest positive and hardest negative.

        L_a = max(0, margin + max_p |f_a - f_p| - min_n |f_a - f_n|)
        L_a = log(1 + exp(max_p |f_a - f_p| - min_n |f_a - f_n|))      margin=None, the soft margin

    Hermans et al. 2017, equations 5 and 6. The soft form is a softplus, which does not overflow.

    Args:
        embedding: (B, D). label: (B,) int64. margin: in units of the distance, or None.
    Returns:
        (B,); 0 for an anchor that has no positive or no negative in the batch.
    """
    positive, negative = hardest_pairs(embedding, label)
    lacking = positive.isneginf() | negative.isposinf()
    gap = (positive - negative).masked_fill(lacking, -torch.inf)  # NaN stays NaN: a training that diverged must show
    return F.softplus(gap) if margin is None else F.relu(gap + margin)
