"""Images to tensors: decoded once into memory, augmented a batch at a time, drawn P people x K images.

Nothing here needs worker processes: the pixels of a whole benchmark fit in memory as uint8 (Market-1501 at
128 x 64: 0.9 GB), and a batch is an indexing operation.
"""

from __future__ import annotations

import math
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
from torch.nn import functional as F
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
    out = []
    for task, own in zip(tasks, logits.split([len(task.binary_columns) for task in tasks], 1), strict=True):
        none = own.new_zeros(len(own), len(task.classes) - own.shape[1])  # (B, 0 or 1)
        out.append(torch.cat([none, own] if len(task.classes) == 2 else [own, none], 1))
    return out


def decode(paths: Iterable[str], height: int, width: int, *, progress: bool = False) -> Tensor:
    """Image files to one uint8 tensor (N, 3, height, width), resized with antialiasing; a path is decoded once.

    Raises:
        InputError: files that are absent or do not decode, with the first names and their number.
    """
    names = list(paths)
    unique = list(dict.fromkeys(names))
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
    place = {name: i for i, name in enumerate(unique)}
    return pixels if len(unique) == len(names) else pixels[[place[name] for name in names]]


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
    number = {pid: i for i, pid in enumerate(people)}
    label = torch.tensor([number.get(int(p), -1) for p in pids])
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


# --- augmentation: whole batches, every random number from the generator given, so that a seed is enough -----


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
    b, c, h, w = images.shape
    padded = F.pad(images, (pad, pad, pad, pad))
    top, left = torch.randint(0, 2 * pad + 1, (2, b, 1), generator=generator).to(images.device)
    rows = (top + torch.arange(h, device=images.device))[:, None, :, None]  # (B, 1, H, 1)
    columns = (left + torch.arange(w, device=images.device))[:, None, None, :]  # (B, 1, 1, W)
    sample = torch.arange(b, device=images.device)[:, None, None, None]
    channel = torch.arange(c, device=images.device)[None, :, None, None]
    return padded[sample, channel, rows, columns]


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

    turned = turn(images[:, :3], "bilinear")
    if images.shape[1] > 3:
        turned = torch.cat([turned, turn(images[:, 3:], "nearest")], 1)
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
    y = torch.arange(h, device=images.device)[None, :, None]
    x = torch.arange(w, device=images.device)[None, None, :]
    inside = (y >= top[:, None, None]) & (y < (top + high)[:, None, None])
    inside = inside & (x >= left[:, None, None]) & (x < (left + wide)[:, None, None])
    inside = inside & (u[0] < probability)[:, None, None]  # (B, H, W)
    mean = torch.tensor([255 * value for value in MEAN] + [0] * (c - 3), device=images.device).to(images.dtype)
    return torch.where(inside[:, None], mean[:, None, None], images)


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change the light: each channel times at most 1 +- `strength`, all of them plus or minus at most 60 `strength`.

    Args:
        images: (B, 3, H, W) uint8.
        strength: from 0 to 1.
        generator: source of the random numbers.
    """
    b = len(images)
    gain = 1 + strength * (2 * torch.rand(b, 3, generator=generator) - 1)
    offset = 60 * strength * (2 * torch.rand(b, 1, generator=generator) - 1)
    gain, offset = (x.to(images.device)[..., None, None] for x in (gain, offset))
    return (images * gain + offset).clamp(0, 255).round().to(images.dtype)


def recolour(
    images: Tensor, labels: Tensor, coloured: Tensor, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Keep the shapes, lose the colours: put red, green and blue in another order and make colour labels unknown.

    Args:
        images: (B, 3, H, W).
        labels: (B, T) int64.
        coloured: (T,) bool, the tasks whose answer is a colour.
        probability: of each image to be recoloured; one order in six is the old one.
        generator: source of the random numbers.
    Returns:
        images (B, 3, H, W) and labels (B, T) with -1 for the colours of recoloured images.
    """
    b = len(images)
    changed = (torch.rand(b, generator=generator) < probability).to(images.device)
    order = torch.rand(b, 3, generator=generator).argsort(1).to(images.device)  # (B, 3)
    other = images.gather(1, order[:, :, None, None].expand_as(images))
    unknown = changed[:, None] & coloured.to(images.device)
    return torch.where(changed[:, None, None, None], other, images), labels.masked_fill(unknown, -1)


def mix(
    images: Tensor, labels: Tensor, spans: Tensor, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Put two people in one image: from a random row down it is another image of the batch. Keep what is still known.

    This is CutMix (Yun et al. 2019) with one horizontal cut. Labels are not mixed but chosen: a hat goes with the
    head, a skirt with the legs. A task has a label where both people share it. Where the cut leaves its span in one
    piece, the task has the label of the person seen there, the upper or the lower one. Else it becomes -1. So the five
    hats of a training set are seen on everybody, and a network that knows its people by heart is wrong about them.

    Args:
        images: (B, C, H, W).
        labels: (B, T) int64, -1 for missing.
        spans: (T, 2), where each task is decided, from 0, the image's upper rim, to 1, its lower rim.
        probability: of each image to be cut.
        generator: source of the random numbers.
    Returns:
        images (B, C, H, W) and labels (B, T).
    """
    b, _, h, _ = images.shape
    cut = torch.rand(b, generator=generator) < probability
    row = torch.where(cut, torch.randint(1, h, (b,), generator=generator), h).to(images.device)  # the lower one's first
    other = torch.randperm(b, generator=generator).to(images.device)
    above = torch.arange(h, device=images.device) < row[:, None]  # (B, H)
    spans = spans.to(images.device)
    upper, lower = spans[:, 1] * h <= row[:, None], spans[:, 0] * h >= row[:, None]  # (B, T)
    below = labels[other]
    chosen = torch.where(lower, below, labels).masked_fill(~(upper | lower | (labels == below)), -1)
    return torch.where(above[:, None, :, None], images, images[other]), chosen


def paste(
    images: Tensor, labels: Tensor, parts: Tensor, things: Sequence[int], probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Put bags and hats of some people on others: cut out what a thing's part map holds, paste it in the same place.

    This is copy-paste (Ghiasi et al. 2021) with the labels of people: who gets a handbag has a handbag. The few who
    wear a thing lend it to everybody, so that a network cannot know the thing by its owner.

    Args:
        images: (B, C, H, W).
        labels: (B, T) int64, 1 for who has the thing.
        parts: (B, H, W), the part of each pixel.
        things: the T tasks' numbers among the parts, 0 for a task that is no thing.
        probability: of each image to be given one of the things, each as likely. The thing comes from an image of the
            batch that shows it (0.5 % of its pixels); where nobody shows it, nothing is given.
        generator: source of the random numbers.
    Returns:
        images (B, C, H, W) and labels (B, T).
    """
    asked = [(t, part) for t, part in enumerate(things) if part]
    if not asked:
        return images, labels
    task, number = torch.tensor(asked, device=images.device).T  # (K,) each
    seen = torch.stack([(parts == part).float().mean((1, 2)) for part in number], 1) >= 0.005  # (B, K)
    b = len(images)
    given = torch.rand(b, generator=generator).to(images.device) < probability
    thing = torch.randint(len(asked), (b,), generator=generator).to(images.device)
    chance = torch.rand(b, b, generator=generator).to(images.device)
    owner = (chance * seen.T[thing]).argmax(1)  # one of those who show it, at random
    given &= seen.any(0)[thing]
    inside = given[:, None, None] & (parts[owner] == number[thing][:, None, None])  # (B, H, W)
    now = given[:, None] & (torch.arange(labels.shape[1], device=images.device) == task[thing][:, None])  # (B, T)
    return torch.where(inside[:, None], images[owner], images), labels.masked_fill(now, 1)


# --- samplers: one epoch as a list of index arrays, decided before it starts ---------------------------------


def shuffled_batches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every image once in random order; a last batch of a single image is left out (a batch norm needs two)."""
    order = rng.permutation(n)
    return [part for part in (order[i : i + size] for i in range(0, n, size)) if len(part) > 1]


def pk_batches(label: np.ndarray, people: int, instances: int, rng: np.random.Generator) -> list[np.ndarray]:
    """P x K sampling (Hermans et al. 2017): each batch holds `people` people with `instances` images of each.

    Every image stands in about one batch an epoch. A person's images are shuffled and cut into groups of K; a short
    group is filled up by drawing again. A batch takes one group from each of P different people. The epoch ends when
    fewer than P people have a group left.

    Args:
        label: (N,) integers, -1 for images that are not drawn.
        people: P, people in a batch.
        instances: K, images of each person in a batch.
        rng: source of the random numbers.
    Returns:
        index arrays of length P * K (fewer people than P in all: as many as there are).
    Raises:
        InputError: fewer than two people, so that no image has a negative.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for person in np.unique(label[label >= 0]):
        own = rng.permutation(np.flatnonzero(label == person))
        short = -len(own) % instances
        own = np.concatenate([own, rng.choice(own, short, replace=short > len(own))])
        groups[int(person)] = list(own.reshape(-1, instances))
    if len(groups) < 2:
        raise InputError(
            f"P x K sampling found {len(groups)} person in the training images: a triplet needs at least two people."
        )
    people = min(people, len(groups))
    batches = []
    while len(groups) >= people:
        drawn = rng.choice(sorted(groups), people, replace=False)
        batches.append(np.concatenate([groups[p].pop() for p in drawn]))
        groups = {p: left for p, left in groups.items() if left}
    return batches


def triplet_batches(
    label: np.ndarray, size: int, rng: np.random.Generator, group: np.ndarray | None = None
) -> list[np.ndarray]:
    """Draw the triplets of an epoch ahead: every image whose person has a second one is an anchor once.

    The positive is another image of the anchor's person. The negative is an image of somebody else, from the anchor's
    own group where there is one (look-alikes, paper 001), else from all.

    Args:
        label: (N,) integers, -1 for images that are not drawn.
        size: triplets in a batch.
        rng: source of the random numbers.
        group: (N,) integers, equal for look-alikes; None: all are in one group.
    Returns:
        index arrays of length 3 * size: anchors, then their positives, then their negatives; the last may be shorter.
    Raises:
        InputError: nobody has two images, or there is one person only.
    """
    known = np.flatnonzero(label >= 0)
    own = {int(person): known[label[known] == person] for person in np.unique(label[known])}
    anchors = rng.permutation([i for i in known if len(own[int(label[i])]) > 1])
    if len(own) < 2 or not len(anchors):
        raise InputError(
            f"triplets need two people, one of them with two images: found {len(own)} people and {len(known)} images."
        )
    mates = np.zeros(len(label), dtype=np.int64) if group is None else group
    groups = {int(g): known[mates[known] == g] for g in np.unique(mates[known])}
    triplets = np.empty((len(anchors), 3), dtype=np.int64)
    for row, anchor in enumerate(anchors):
        same = own[int(label[anchor])]
        positive = rng.choice(same[same != anchor])
        near = groups[int(mates[anchor])]
        others = near[label[near] != label[anchor]]
        if not len(others):
            others = known[label[known] != label[anchor]]
        triplets[row] = anchor, positive, rng.choice(others)
    return [triplets[i : i + size].T.ravel() for i in range(0, len(triplets), size)]


# --- imbalance -----------------------------------------------------------------------------------------------


def oversample(table: pd.DataFrame, attributes: Attributes, power: float = 0.5, most: int = 8) -> pd.DataFrame:
    """Repeat the rows of people with a rare answer, so that a training sees them more often.

    An image appears max_t (N / (C_t n_t))^power times, where n_t of the N images share its answer to task t of C_t
    classes. That is once for an answer as common as in a balanced set, and with power 1/2 three times for one nine
    times rarer. `Targets.counts` of the result count the repeated images, so losses that weigh classes fit.

    Args:
        table: rows of `read_images`.
        attributes: joined by pid.
        power: from 0, no repetition, to 1, all balanced.
        most: repetitions at most.
    """
    labels = attributes.of(table["pid"].to_numpy())  # (N, T)
    times = np.ones(len(table))
    for task, own in zip(attributes.schema.tasks, labels.T, strict=True):
        counts = np.bincount(own[own >= 0], minlength=len(task.classes))
        rare = (own >= 0).sum() / len(task.classes) / np.maximum(counts, 1)  # (C,)
        times = np.maximum(times, np.where(own >= 0, rare[own], 0) ** power)
    return table.iloc[np.repeat(np.arange(len(table)), times.round().clip(1, most).astype(int))]
