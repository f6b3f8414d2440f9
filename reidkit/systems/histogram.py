"""A descriptor without any learning: colour histograms of six stripes. What a trained network has to beat.

Pixels count the less the farther they are from the upright middle line, where the person is: without that weight the
background speaks louder than the clothes (the idea of Farenzena et al. 2010, with the box's own axis).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..data import Batch, Targets, standardise, unstandardise
from .base import Recipes, System, require


def hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB in 0..1, (B, 3, H, W), to hue, saturation and value, each (B, H, W) in 0..1."""
    value, channel = images.max(1)
    chroma = value - images.amin(1)
    safe = chroma.clamp(min=1e-6)
    r, g, b = images.unbind(1)
    sectors = torch.stack([((g - b) / safe) % 6, (b - r) / safe + 2, (r - g) / safe + 4], 1)  # (B, 3, H, W)
    hue = sectors.gather(1, channel[:, None])[:, 0] / 6
    return torch.where(chroma > 0, hue, 0.0), chroma / value.clamp(min=1e-6), value


class Histogram(System):
    """Six-stripe HSV histogram; square roots of shares, so that L2 is the Hellinger distance."""

    name = "histogram"

    @dataclass(frozen=True)
    class Options:
        """The histogram's own knobs."""

        stripes: int = 6  # horizontal stripes, head to feet
        hues: int = 8  # bins of hue
        saturations: int = 3
        values: int = 3
        sigma: float = 0.12  # of the Gaussian weight about the middle line, as a share of the width

        def __post_init__(self) -> None:
            require(self, "a number above 0", *vars(self))

    options: Options

    def __init__(self, backbone: Backbone | None, targets: Targets | None, options: Options) -> None:
        del backbone, targets  # nothing is learnt, so there is no map either
        super().__init__(Backbone("none", nn.ModuleDict(), channels=3, stride=1), Targets(0), options)

    def forward(self, images: Tensor) -> Tensor:
        return self.describe(images)

    def describe(self, images: Tensor) -> Tensor:
        """Standardised images (B, 3, H, W) to (B, stripes * hues * saturations * values), rows of unit length."""
        options = self.options
        pixels = (unstandardise(images.float()) * 255).round() / 255  # a grey has no hue, not that of its rounding
        h, s, v = hsv(pixels)
        bins = [(h, options.hues), (s, options.saturations), (v, options.values)]
        cell = torch.zeros_like(h, dtype=torch.long)
        for share, n in bins:
            cell = cell * n + (share * n).long().clamp(0, n - 1)
        n_cells = options.hues * options.saturations * options.values
        rows = torch.arange(h.shape[1], device=h.device) * options.stripes // h.shape[1]  # (H,) stripe of every row
        cell = cell + rows[:, None] * n_cells
        counts = torch.zeros(len(h), options.stripes * n_cells, device=h.device)
        across = (torch.arange(h.shape[2], device=h.device) + 0.5) / h.shape[2] - 0.5  # (W,)
        weight = torch.exp(-((across / options.sigma) ** 2) / 2).expand_as(h)
        counts.scatter_add_(1, cell.flatten(1), weight.flatten(1))
        return (counts / counts.sum(1, keepdim=True)).sqrt()

    def objective(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Nothing to learn: one loss of 0."""
        del batch
        return {"none": output.sum() * 0}

    RECIPES: ClassVar[Recipes] = {name: {"epochs": 0} for name in ("smoke", "quick", "paper")}


@torch.no_grad()
def colours(pixels: Tensor, batch: int = 512) -> Tensor:
    """The histogram, with its default options, of uint8 images (N, 3, H, W): (N, D) floats."""
    network = Histogram(None, None, Histogram.Options())
    return torch.cat([network.describe(standardise(part)) for part in pixels.split(batch)])
