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
        features: (B, V, H, W), what is pooled. weight: (B, T, V), the classifier's row of the class asked for.
    Returns:
        (B, T, H, W) in units of the logit.
    """
    return torch.einsum("btv,bvhw->bthw", weight.to(features.dtype), features)


def normalise(maps: Tensor) -> Tensor:
    """Each map of (..., H, W) from 0 at its lowest place to 1 at its highest; a constant one becomes 0."""
    maps = at_least_float32(maps)
    low = maps.amin((-2, -1), keepdim=True)
    span = maps.amax((-2, -1), keepdim=True) - low
    return (maps - low) / torch.where(span > 0, span, 1)  # not clamped: a constant map would have a huge gradient


def merge(maps: Tensor) -> Tensor:
    """The attribute attention map of paper 002: the highest of the normalised maps, and 0 below its own mean.

        M = max_t normalise(CAM_t),   A(h, w) = M(h, w) where M(h, w) >= mean M, else 0

    Args:
        maps: (B, T, H, W).
    Returns:
        (B, H, W), from 0 to 1.
    """
    merged = normalise(maps).amax(1)
    return merged.masked_fill(merged < merged.mean((1, 2), keepdim=True), 0)
