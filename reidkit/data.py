"""Images to tensors: decoded once into memory, beside the labels of their people and what a network learns of them.

Nothing here needs worker processes: the pixels of a whole benchmark fit in memory as uint8 (Market-1501 at
128 x 64: 0.9 GB), and a batch is an indexing operation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from .attributes import Attributes, Task
from .errors import InputError
from .synthetic.write import part_path

Batch = dict[str, Tensor]

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which torchvision's weights were trained with
STD = (0.229, 0.224, 0.225)


def class_counts(labels: Tensor, tasks: Sequence[Task]) -> list[tuple[int, ...]]:
    """How many images have each class of each task, from labels (N, T) with -1 for missing: (T, classes)."""
    return [
        tuple(torch.bincount(column[column >= 0], minlength=len(task.classes)).tolist())
        for task, column in zip(tasks, labels.unbind(1), strict=True)
    ]


def binary_columns(tasks: Sequence[Task]) -> Tensor:
    """The columns of the binary view, (A, 2) int64: which task each belongs to, and for which class it is a yes.

    A task of two answers has one column, for its second answer. Any other task has one column for each answer, except
    for a colour's last, "multi".
    """
    counts = [len(task.binary_columns) for task in tasks]
    rows = [(t, 1 if n == 1 else k) for t, n in enumerate(counts) for k in range(n)]
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 2)


def binary_labels(labels: Tensor, columns: Tensor) -> Tensor:
    """Class indices (B, T) in the binary view of `binary_columns` (A, 2): (B, A) int64, 1 yes, 0 no, -1 missing."""
    of_task = labels[:, columns[:, 0]]  # (B, A)
    return (of_task == columns[:, 1]).long().masked_fill(of_task < 0, -1)


def class_logits(logits: Tensor, tasks: Sequence[Task]) -> list[Tensor]:
    """Logits of the binary view (B, A) as those of each task's classes, T of (B, classes).

    An answer without a column of its own (no; multi-colour) has the logit 0: it is chosen where no column says yes.
    """
    classes = []
    for task, columns in zip(tasks, logits.split([len(task.binary_columns) for task in tasks], 1), strict=True):
        none = columns.new_zeros(len(columns), len(task.classes) - columns.shape[1])  # (B, 0 or 1)
        classes.append(torch.cat([none, columns] if len(task.classes) == 2 else [columns, none], 1))
    return classes


def decode(paths: Iterable[str], height: int, width: int, *, progress: bool = False) -> Tensor:
    """Image files to one uint8 tensor (N, 3, height, width), resized with antialiasing; a path is decoded once.

    Raises:
        InputError: files that are absent or do not decode, with the first names and their number.
    """
    place, unique = pd.factorize(np.array(list(paths), dtype=object))
    pixels = torch.empty(len(unique), 3, height, width, dtype=torch.uint8)

    def one(i: int) -> str | None:
        try:
            with Image.open(unique[i]) as image:
                small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        except Exception as error:  # Pillow raises many kinds for broken files; each means "does not decode"
            reason = "is not there" if isinstance(error, FileNotFoundError) else "does not decode"
            return f"{unique[i]} {reason}"
        pixels[i] = torch.from_numpy(np.array(small)).permute(2, 0, 1)
        return None

    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        bar = tqdm(pool.map(one, range(len(unique))), "decoding", len(unique), disable=not progress, leave=False)
        bad = [problem for problem in bar if problem]
    if bad:
        raise InputError(
            f"{len(bad)} of {len(unique)} images cannot be read: {'; '.join(bad[:3])}{' ...' if bad[3:] else ''}: "
            "`reidkit data check` lists them; copy them again or take them out of the table."
        )
    return pixels if len(unique) == len(place) else pixels[place]


@dataclass(frozen=True)
class Targets:
    """What a set of training images asks of a network: how many people and images, and every task with its classes.

    `counts` are the images of each class of each task, from which the weighted losses take their weights.
    """

    people: int
    images: int = 0
    tasks: tuple[Task, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()  # (T, classes)

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and words, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Targets:
        """Back from `to_dict`."""
        tasks = tuple(Task(t["name"], tuple(t["classes"]), tuple(t["columns"])) for t in values["tasks"])
        return cls(values["people"], values["images"], tasks, tuple(tuple(c) for c in values["counts"]))


@dataclass(frozen=True)
class ImageSet:
    """Images in memory beside their table: what training and description read.

    `label` numbers the people 0..C-1 in the order of `people`; images of anybody else have -1.
    """

    table: pd.DataFrame  # N rows, the schema of `images`
    pixels: Tensor  # (N, 3, H, W) uint8
    label: Tensor  # (N,) int64
    attributes: Tensor  # (N, T) int64, -1 for missing
    people: tuple[int, ...]  # the pid of each label
    tasks: tuple[Task, ...] = ()  # the T columns of attributes
    parts: Tensor | None = None  # (N, H, W) uint8, the `part_masks` of synthetic people, where a training asks for them

    @property
    def targets(self) -> Targets:
        """What these images ask of a network."""
        counts = class_counts(self.attributes, self.tasks)
        return Targets(len(self.people), len(self), self.tasks, tuple(counts))

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, index: np.ndarray) -> Batch:
        """The images of these rows: image (B, 3, H, W) uint8; pid, label, camid, index (B,); attributes (B, T).

        And parts (B, H, W), where there are any.
        """
        rows = torch.as_tensor(index)
        return ({} if self.parts is None else {"parts": self.parts[rows]}) | {
            "image": self.pixels[rows],
            "pid": torch.as_tensor(self.table["pid"].to_numpy()[index]),
            "label": self.label[rows],
            "camid": torch.as_tensor(self.table["camid"].to_numpy()[index]),
            "index": rows,
            "attributes": self.attributes[rows],
        }


def part_masks(images: pd.DataFrame, height: int, width: int) -> Tensor:
    """The body part of every pixel of synthetic images, uint8 (N, height, width), numbers of `synthetic.PARTS`.

    Raises:
        InputError: images without part maps.
    """
    root = Path(images.attrs.get("root", ""))
    masks = np.empty((len(images), height, width), np.uint8)
    for i, path in enumerate(images["path"]):
        try:
            file = root / part_path(Path(path).relative_to(root).as_posix())
            with Image.open(file) as image:
                masks[i] = np.asarray(image.resize((width, height), Image.Resampling.NEAREST))
        except (OSError, ValueError):
            raise InputError(
                f"there is no part map of {path}: only the synthetic people have them (reidkit data synthetic)."
            ) from None
    return torch.from_numpy(masks)


def load(
    table: pd.DataFrame,
    height: int,
    width: int,
    *,
    attributes: Attributes | None = None,
    people: tuple[int, ...] | None = None,
    parts: bool = False,
    progress: bool = False,
) -> ImageSet:
    """Decode the images of a table into an ImageSet.

    Args:
        table: rows of `read_images`, usually of one split.
        height: pixels, at least 8.
        width: pixels, at least 8.
        attributes: joined by pid; None gives T = 0.
        people: pids of the labels in order; None: the table's own, sorted, without junk.
        parts: load the part maps of synthetic people too.
        progress: show a bar on stderr.
    Raises:
        InputError: an empty table, images that cannot be read, no part maps where they are asked for.
    """
    if table.empty:
        raise InputError("the table of images is empty: look at the split asked for and at `reidkit data check`.")
    if height < 8 or width < 8:
        raise InputError(f"images of {height} x {width} pixels are too small: ask for at least 8 x 8.")
    pids = table["pid"].to_numpy()
    if people is None:
        people = tuple(int(p) for p in np.unique(pids) if p >= 0)
    label = torch.tensor(pd.Index(people, dtype="int64").get_indexer(pids))
    tasks = attributes.of(pids) if attributes is not None else np.empty((len(pids), 0), dtype=np.int64)
    pixels = decode(table["path"], height, width, progress=progress)
    asked = attributes.schema.tasks if attributes is not None else ()
    masks = part_masks(table, height, width) if parts else None
    return ImageSet(table.reset_index(drop=True), pixels, label, torch.tensor(tasks), people, asked, masks)


def standardise(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to floats with ImageNet's mean and deviation, channels last (fastest on CPU and GPU)."""
    mean, std = (torch.tensor(x, device=images.device)[:, None, None] * 255 for x in (MEAN, STD))
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def unstandardise(images: Tensor) -> Tensor:
    """Back from `standardise` to RGB in 0..1, (B, 3, H, W)."""
    mean, std = (torch.tensor(x, device=images.device)[:, None, None] for x in (MEAN, STD))
    return (images * std + mean).clamp(0, 1)
