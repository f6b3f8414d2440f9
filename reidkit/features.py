"""A trained network over images: descriptors beside the table they belong to, saved and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from .attributes import Task
from .data import ImageSet, load, standardise
from .devices import fabric_for
from .errors import InputError
from .files import write_whole
from .images import INTEGERS, read_images
from .recipes import Recipe
from .runs import Run
from .source import stamp
from .systems import System


@dataclass(frozen=True)
class Features:
    """Descriptors (N, D) and the rows of the table they were computed from."""

    descriptor: Tensor  # (N, D) float32, on the CPU
    table: pd.DataFrame  # N rows, the schema of `images`

    def __len__(self) -> int:
        return len(self.descriptor)

    def save(self, path: Path | str) -> None:
        """Write a .safetensors file, whole or not at all; the image paths travel in its metadata."""
        numbers = {name: torch.from_numpy(self.table[name].to_numpy(np.int64, copy=True)) for name in INTEGERS}
        about = {name: json.dumps(list(self.table[name])) for name in ("path", "split")}
        about["attrs"] = json.dumps(self.table.attrs)
        tensors = {"descriptor": self.descriptor.contiguous(), **numbers}
        write_whole(Path(path), lambda temporary: save_file(tensors, temporary, about))

    @classmethod
    def load(cls, path: Path | str) -> Features:
        """Read what `save` wrote; InputError where the file is absent or is something else."""
        try:
            with safe_open(Path(path), "pt") as file:
                about = file.metadata()
                columns: dict[str, Any] = {name: json.loads(about[name]) for name in ("path", "split")}
                columns |= {name: file.get_tensor(name).numpy() for name in INTEGERS}
                table = pd.DataFrame(columns)[["path", "pid", "camid", "split", "frame", "orientation"]]
                table.attrs = json.loads(about["attrs"])
                return cls(file.get_tensor("descriptor"), table)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} holds no descriptors ({error}): run `reidkit train` again.") from None


@torch.inference_mode()
def describe(
    network: System,
    images: ImageSet,
    recipe: Recipe,
    *,
    fabric: Fabric | None = None,
    batch: int = 256,
    progress: bool = False,
) -> Features:
    """Descriptors of all images with a trained network, in the recipe's precision, float32 out.

    Args:
        network: of any system.
        images: in memory.
        recipe: that of the training, for the precision.
        fabric: device and precision; None: those of `fabric_for`.
        batch: images at once.
        progress: with a bar.
    """
    fabric = fabric or fabric_for(recipe)
    system, rows = network.to(fabric.device).eval(), []
    for pixels in _batches(images, fabric, batch, "describing" if progress else ""):
        with fabric.autocast():
            rows.append(system.describe(pixels).float().cpu())  # (B, D)
    return Features(torch.cat(rows), images.table)


def _batches(images: ImageSet, fabric: Fabric, batch: int, doing: str) -> Iterator[Tensor]:
    """Standardised images on the device, a batch at a time; with a bar if `doing` names it."""
    for pixels in tqdm(images.pixels.split(batch), doing, disable=not doing, leave=False):
        yield standardise(pixels.to(fabric.device))


@dataclass(frozen=True)
class Answers:
    """What a network says about the attributes of N images, beside the table they belong to."""

    probability: tuple[Tensor, ...]  # T of (N, classes) float32: softmax of each task
    tasks: tuple[Task, ...]  # T
    table: pd.DataFrame  # N rows

    @property
    def classes(self) -> np.ndarray:
        """The likeliest class of each task, (N, T) int64."""
        return torch.stack([p.argmax(1) for p in self.probability], 1).numpy()


@torch.inference_mode()
def answer(run: Run, images: ImageSet, *, batch: int = 256, progress: bool = False) -> Answers:
    """The attributes that a finished run sees in images.

    Raises:
        InputError: a run whose network answers no attributes.
    """
    if not run.network.tasks:
        raise InputError(f"{run.folder} answers no attributes: give a run of a system, or stage, that learns them.")
    fabric = fabric_for(run.recipe)
    system, rows = run.network.to(fabric.device).eval(), []
    for pixels in _batches(images, fabric, batch, "answering" if progress else ""):
        with fabric.autocast():
            rows.append([logits.float().softmax(1).cpu() for logits in system.answer(pixels)])
    return Answers(tuple(torch.cat(task) for task in zip(*rows, strict=True)), run.tasks, images.table)


def features_of(run: Run, images: pd.DataFrame, split: str, *, progress: bool = False) -> Features:
    """Descriptors of one split for a finished run: read from its folder, or computed once and kept there.

    Args:
        run: finished.
        images: the whole table of the data set the run was trained on.
        split: by name.
        progress: with a bar.
    Raises:
        InputError: a split without images; images that cannot be read.
    """
    path = run.folder / f"features-{split}.safetensors"
    rows = images[images["split"] == split]
    if path.exists():
        kept = Features.load(path)
        if list(kept.table["path"]) == list(rows["path"]):
            return Features(kept.descriptor, rows.reset_index(drop=True))  # who is who may have been corrected since
    if rows.empty:
        raise InputError(f"there are no images of split {split!r} in {images.attrs.get('root', 'the table')}.")
    pixels = load(rows, run.recipe.height, run.recipe.width, people=run.people, progress=progress)
    features = describe(run.network, pixels, run.recipe, progress=progress)
    features.save(path)
    return features


def images_of(run: Run, root: Path | str | None = None) -> pd.DataFrame:
    """The table of images a run was trained on, read again from where it was, or from `root` where it is now.

    Raises:
        InputError: nothing is there.
    """
    about = json.loads((run.folder / "environment.json").read_text())
    return read_images(run.recipe.dataset, root or about["root"] or None, fold=run.recipe.fold)


def answers_of(run: Run, table: pd.DataFrame, *, keep: bool = False, progress: bool = False) -> Answers:
    """`answer` for images on disk.

    Args:
        run: finished, of a system that answers attributes.
        table: rows of `read_images`.
        keep: in the run's folder, beside its descriptors; the next call reads them there, as long as no file of
            these has changed.
        progress: with a bar.
    Raises:
        InputError: images that cannot be read, a run that answers no attributes.
    """
    files = hashlib.sha256("\n".join(map(stamp, table["path"])).encode()).hexdigest()[:16]
    path = run.folder / f"answers-{files}.safetensors"
    if keep and path.exists():
        try:
            kept = load_file(path)
            return Answers(tuple(kept[task.name] for task in run.tasks), run.tasks, table.reset_index(drop=True))
        except (SafetensorError, KeyError) as error:
            raise InputError(f"{path} holds no answers ({error}): delete it, and they are asked again.") from None
    pixels = load(table, run.recipe.height, run.recipe.width, people=(), progress=progress)
    answers = answer(run, pixels, progress=progress)
    if keep:
        named = {task.name: p.contiguous() for task, p in zip(run.tasks, answers.probability, strict=True)}
        write_whole(path, lambda temporary: save_file(named, temporary))
    return answers
