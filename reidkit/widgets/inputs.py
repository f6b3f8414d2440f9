"""What widgets are given: a run or its folder, and images, from a table or one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import torch
from torch import Tensor

from ..data import ImageSet, load, standardise
from ..features import Features, features_of, images_of
from ..runs import Run, load_run

RunOrFolder: TypeAlias = Run | str | os.PathLike[str]


def figures_of(run: Run) -> Path:
    """Where the saved views of a run go: a folder of its own in figures/, beside runs/."""
    home = run.folder.expanduser().absolute()
    return home.parent.parent / "figures" / home.name


def opened(run: RunOrFolder) -> Run:
    """A run, or the one of a folder."""
    return run if isinstance(run, Run) else load_run(Path(run))


def run_and_images(run: RunOrFolder, images: pd.DataFrame | None) -> tuple[Run, pd.DataFrame]:
    """A run, or the one of a folder, and a table of images: the one given, or else the one it was trained on."""
    run = opened(run)
    return run, images_of(run) if images is None else images


def query_and_gallery(run: Run, images: pd.DataFrame) -> tuple[Features, Features]:
    """Descriptors of both splits, also of one without images."""

    def features(split: str) -> Features:
        rows = images[images["split"] == split]
        return Features(torch.empty(0, 0), rows) if rows.empty else features_of(run, images, split)

    return features("query"), features("gallery")


def nameless(paths: Sequence[str]) -> pd.DataFrame:
    """A table of images of which nobody said who they show."""
    return pd.DataFrame({"path": paths, "pid": 0, "camid": -1, "split": "query", "frame": -1, "orientation": -1})


def image_set(paths: Sequence[str], run: Run) -> ImageSet:
    """Images in memory, of the size that a run reads."""
    return load(nameless(paths), run.recipe.height, run.recipe.width, people=())


def pixels_of(paths: Sequence[str], run: Run) -> Tensor:
    """Images (B, 3, H, W) as the network of a run reads them, on its device."""
    return standardise(image_set(paths, run).pixels.to(next(run.network.parameters()).device))
