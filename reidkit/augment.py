"""Changes to whole training batches: light, place, and what is hidden.

Every random number comes from the generator that is given, in an order that never changes. So a seed and the number
of an epoch are enough to repeat it, and a training that was interrupted ends with the very bits of an undisturbed one.
Transforms of a library draw from the process's own generator, image by image. They also know nothing of part maps,
which move along here as a further layer of the images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .data import MEAN, Batch


def layered(batch: Batch) -> Tensor:
    """The images of a batch, and its part maps as a fourth layer where it has any: (B, 3 or 4, H, W) uint8."""
    return torch.cat([batch["image"], batch["parts"][:, None]], 1) if "parts" in batch else batch["image"]


def parted(batch: Batch, layers: Tensor) -> Batch:
    """The batch with other layers, back from `layered`."""
    return {**batch, "image": layers[:, :3]} | ({"parts": layers[:, 3]} if "parts" in batch else {})


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2, (B, C, H, W)."""
    mirror = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(mirror[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Pad by `pad` black pixels on every side and crop back at a random place, (B, C, H, W)."""
    b, _, h, w = images.shape
    padded = F.pad(images, (pad, pad, pad, pad))
    corners = torch.randint(0, 2 * pad + 1, (2, b), generator=generator).T.tolist()
    return torch.stack([image[:, y : y + h, x : x + w] for image, (y, x) in zip(padded, corners, strict=True)])


def rotate(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turn each image about its centre by up to `degrees` either way, edges repeated, (B, C, H, W).

    The three colours are bilinear; further layers, part maps, take the nearest pixel.
    """
    b, _, h, w = images.shape
    angle = ((torch.rand(b, generator=generator) * 2 - 1) * math.radians(degrees)).to(images.device)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # grid coordinates run from -1 to 1 on both sides, so the rotation carries the ratio of the sides
    theta = torch.stack([cos, -sin * h / w, zero, sin * w / h, cos, zero], 1).view(b, 2, 3)
    grid = F.affine_grid(theta, [b, 3, h, w], align_corners=False)

    def turn(layers: Tensor, mode: str) -> Tensor:
        return F.grid_sample(layers.float(), grid, mode, padding_mode="border", align_corners=False)

    turned = torch.cat([turn(images[:, :3], "bilinear"), turn(images[:, 3:], "nearest")], 1)
    return turned.round().to(images.dtype) if images.dtype == torch.uint8 else turned


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Random erasing (Zhong et al. 2020): a rectangle of 2 to 40 % of the area becomes the mean colour.

    Further layers, part maps, are background there.
    """
    b, c, h, w = images.shape
    u = torch.rand(5, b, generator=generator).to(images.device)
    area = (0.02 + 0.38 * u[1]) * h * w
    ratio = torch.exp(math.log(0.3) + (math.log(3.33) - math.log(0.3)) * u[2])
    high, wide = (area * ratio).sqrt().clamp(max=h - 1), (area / ratio).sqrt().clamp(max=w - 1)
    top, left = u[3] * (h - high), u[4] * (w - wide)
    y, x = (torch.arange(n, device=images.device) for n in (h, w))
    rows = (y >= top[:, None]) & (y < (top + high)[:, None]) & (u[0] < probability)[:, None]  # (B, H)
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])  # (B, W)
    inside = rows[:, :, None] & columns[:, None]  # (B, H, W)
    mean = torch.tensor([255 * value for value in MEAN] + [0] * (c - 3), device=images.device).to(images.dtype)
    return torch.where(inside[:, None], mean[:, None, None], images)


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change the light: each channel times at most 1 +- `strength`, all of them plus or minus at most 60 `strength`.

    Args:
        images: (B, 3, H, W) uint8.
        strength: from 0 to 1.
        generator: source of the random numbers.
    """
    gain = 1 + strength * (2 * torch.rand(len(images), 3, generator=generator) - 1)
    offset = 60 * strength * (2 * torch.rand(len(images), 1, generator=generator) - 1)
    gain, offset = (x.to(images.device)[..., None, None] for x in (gain, offset))
    return (images * gain + offset).clamp(0, 255).round().to(images.dtype)
