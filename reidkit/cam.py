"""Class activation maps as pure functions, in the graph: where a linear classifier behind a pooled map finds its class.

Shape letters: B batch, V channels, T tasks, H and W of the map. Zhou et al. 2016; the merged map is paper 002's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .losses import at_least_float32


def class_map(features: Tensor, weight: Tensor) -> Tensor:
    """How much each place speaks for a class: its mean over the map, plus the bias, is the class's logit.

        CAM_bt(h, w) = sum_v weight_btv features_bv(h, w)

    Args:
        features: (B, V, H, W), what is pooled.
        weight: (B, T, V), the classifier's row of the class asked for.
    Returns:
        (B, T, H, W) in units of the logit.
    """
    return torch.einsum("btv,bvhw->bthw", weight.to(features.dtype), features)


def normalise(maps: Tensor, inside: Tensor | None = None) -> Tensor:
    """Each map from 0 at its lowest place to 1 at its highest; a constant one becomes 0.

    Args:
        maps: (..., H, W).
        inside: bool, to be broadcast to the maps: the places that count. Elsewhere the result is 0. None: all.
    Returns:
        (..., H, W), from 0 to 1.
    """
    maps = at_least_float32(maps)
    inside = torch.ones_like(maps, dtype=torch.bool) if inside is None else inside
    low = maps.masked_fill(~inside, torch.inf).amin((-2, -1), keepdim=True)
    span = maps.masked_fill(~inside, -torch.inf).amax((-2, -1), keepdim=True) - low
    # not clamped: a constant map would have a huge gradient
    return ((maps - low) / torch.where(span > 0, span, 1)).masked_fill(~inside, 0)


def contrasts(weight: Tensor) -> Tensor:
    """The rows of a classifier less their mean: what tells its classes apart.

    Softmax cross-entropy gives the mean of the rows no gradient, so this mean stays what chance put there.

    Args:
        weight: (classes, V).
    Returns:
        (classes, V), whose sum over the classes is 0.
    """
    return weight - weight.mean(0)


def merge(maps: Tensor, inside: Tensor | None = None) -> Tensor:
    """The attribute attention map of paper 002: the highest of the normalised maps, and 0 below its own mean.

        M = max_t normalise(CAM_t),   A(h, w) = M(h, w) where M(h, w) >= mean M, else 0

    Args:
        maps: (B, T, H, W).
        inside: bool, to be broadcast to the maps: where each is read, as for `normalise`. None: everywhere.
    Returns:
        (B, H, W), from 0 to 1.
    """
    merged = normalise(maps, inside).amax(1)
    return merged.masked_fill(merged < merged.mean((1, 2), keepdim=True), 0)
