"""Tiny fake data sets in the layout of every real one, for tests that have no real data.

Each function writes one folder under the path it is given and returns the root that a reader takes; `dressed` and
`tiny_backbone` stay in memory, for trainings that take no time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from reidkit.attributes import DUKE, MARKET, Schema, Task
from reidkit.backbones import Backbone, take_over
from reidkit.data import ImageSet
from reidkit.ranking import Comparison, Labels
from reidkit.systems import System

MARKET_NAMES = {
    "bounding_box_train": [f"{pid:04d}_c{cam}s1_{10 * cam:06d}_01.jpg" for pid in (2, 7, 10, 11, 12) for cam in (1, 2)],
    "query": [f"{pid:04d}_c1s1_000100_00.jpg" for pid in (1, 3, 4)],
    "bounding_box_test": [
        "0001_c1s1_000101_01.jpg",  # same camera as its query: the rule removes it
        "0001_c2s1_000102_01.jpg",
        "0003_c1s1_000103_01.jpg",  # the only image of 3, same camera: no valid match
        "0000_c3s1_000104_01.jpg",
        "-1_c1s1_000105_01.jpg",
    ],
}


def image(path: Path, seed: int = 0, size: tuple[int, int] = (16, 32)) -> Path:
    """Write one noise image, width x height, in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def market(root: Path) -> Path:
    """Market-1501: 5 training people; queries 1, 3, 4; of these 3 and 4 have no valid match; a stray file."""
    for folder, names in MARKET_NAMES.items():
        for seed, name in enumerate(names):
            image(root / folder / name, seed)
        (root / folder / "Thumbs.db").write_bytes(b"stray")
    return root


def synthetic(root: Path) -> Path:
    """The synthetic layout: Market's folders, attributes, and synthetic.csv with orientation and frame."""
    market(root)
    rows = []
    for folder, names in MARKET_NAMES.items():
        for k, name in enumerate(names):
            pid, cam = name.split("_")[:2]
            rows.append((f"{folder}/{name}", int(pid), int(cam[1]), folder, 100 + k, k % 8))
    columns = ["path", "pid", "camid", "split", "frame", "orientation"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "synthetic.csv", index=False)
    attribute_mat(root / "market_attribute.mat")
    return root


def market_lists(root: Path) -> Path:
    """Market-1501 as lists of names without images, in root/market_lists."""
    folder = root / "market_lists"
    folder.mkdir(parents=True)
    for part, (name, files) in zip(("train", "query", "test"), MARKET_NAMES.items(), strict=True):
        lines = [f"{file.split('_')[0]},{name}/{file}" for file in files]
        (folder / f"market1501_{part}.csv").write_text("\n".join(lines) + "\n")
    return root


def duke(root: Path) -> Path:
    """DukeMTMC-reID: training people 1 and 8, query 2, gallery 2 and the distractor 5000."""
    names = {
        "bounding_box_train": ["0001_c1_f0000100.jpg", "0001_c2_f0000200.jpg", "0008_c8_f0000300.jpg"],
        "query": ["0002_c1_f0000400.jpg"],
        "bounding_box_test": ["0002_c2_f0000500.jpg", "5000_c5_f0000600.jpg"],
    }
    for folder, files in names.items():
        for seed, name in enumerate(files):
            image(root / folder / name, seed)
    return root


def viper(root: Path, *, original: bool = False, people: int = 8) -> Path:
    """VIPeR: PETA's archive with Label.txt, or the original cam_a and cam_b. Person 0 is a real person."""
    for pid in range(people):
        for cam, angle in ((1, 45), (2, 90)):
            name = f"cam_{'ab'[cam - 1]}/{pid:03d}_{angle}.bmp" if original else f"archive/{pid:03d}_{angle}_{cam}.bmp"
            image(root / name, pid)
    if not original:
        labels(root / "archive" / "Label.txt", range(people), width=3)
    return root


def pku(root: Path, people: int = 6) -> Path:
    """PKU-ReID: two cameras with eight orientations each."""
    for pid in range(1, people + 1):
        for cam in (1, 2):
            for side in range(1, 9):
                image(root / f"{pid:03d}_{cam:02d}_{side}.png", pid)
    return root


def towncentre(root: Path, people: int = 6) -> Path:
    """TownCentre: person k has k + 1 images; all but the last are labelled, and one label has no image."""
    for pid in range(people):
        for frame in range(pid + 1):
            image(root / "archive" / f"{pid}_{100 + frame}.jpg", frame)
    labels(root / "archive" / "Label.txt", [*range(people - 1), 99], width=1)
    return root


def labels(path: Path, pids: range | list[int], width: int) -> Path:
    """PETA's Label.txt: odd pids wear a hat, the others sneakers under their long name."""
    words = ["personalMale footwearSneakers", "personalFemale accessoryHat"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{pid:0{width}d} {words[pid % 2]}\n" for pid in pids))
    return path


def table(file: Path, **columns: list[object]) -> Path:
    """A table of one's own with two training and two test people; keywords add or replace columns."""
    names = [f"images/{k}.png" for k in range(6)]
    for seed, name in enumerate(names):
        image(file.parent / name, seed)
    fixed: dict[str, list[object]] = {
        "path": list(names),
        "pid": [1, 1, 2, 3, 3, 4],
        "split": ["train", "train", "train", "query", "gallery", "gallery"],
    }
    frame = pd.DataFrame({**fixed, **columns})
    frame.to_parquet(file) if file.suffix == ".parquet" else frame.to_csv(file, index=False)
    return file


def attribute_mat(
    file: Path,
    schema: Schema = MARKET,
    pids: tuple[tuple[int, ...], tuple[int, ...]] = ((2, 7, 10, 11, 12), (1, 3, 4)),
    values: dict[tuple[str, str], list[int]] | None = None,
) -> Path:
    """An attribute file as published: codes from 1, ids as text, the fields of test in another order.

    values: (split, column) -> codes, where they are not to be all 1.
    """
    struct = {}
    for split, ids, order in (("train", pids[0], schema.columns), ("test", pids[1], schema.columns[::-1])):
        part = {c: np.array((values or {}).get((split, c), [1] * len(ids)), dtype=np.uint8) for c in order}
        struct[split] = {**part, "image_index": np.array([f"{pid:04d}" for pid in ids], dtype=object)}
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"duke_attribute" if schema is DUKE else "market_attribute": struct})
    return file


CLOTHES = (Task("shirt", ("red", "green", "blue"), ("shirt",)), Task("bright", ("no", "yes"), ("bright",)))


def dressed(people: int = 9, shots: int = 4, seed: int = 0, first: int = 1) -> ImageSet:
    """People, 32 x 16, whose clothes answer two tasks: red (5 of 9), green (3) or blue shirts; 2 of 9 bright trousers.

    Everyone has a tint of their own, so that people can be told apart; the light and the background change.
    """
    rng = np.random.default_rng(seed)
    k = np.arange(people)
    shirt, bright = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])[k % 9], (k % 4 == 3).astype(int)
    dyes = np.array([[190, 40, 40], [40, 170, 60], [40, 60, 200]])
    tints = np.stack([dyes[shirt] + rng.integers(-25, 26, (people, 3)), np.where(bright, 220, 40)[:, None] + [0, 0, 0]])
    pixels = np.empty((people * shots, 3, 32, 16), np.uint8)
    for i in range(len(pixels)):
        scene = np.ones((32, 16, 3)) * rng.integers(90, 150)
        scene[4:18, 3:13], scene[18:30, 4:12] = tints[:, i // shots]
        scene = scene * rng.uniform(0.8, 1.15) + rng.normal(0, 12, scene.shape)
        pixels[i] = scene.clip(0, 255).transpose(2, 0, 1)
    pid = np.repeat(k + first, shots)
    rows = pd.DataFrame({"path": [f"{first}-{i}.png" for i in range(len(pid))], "pid": pid, "camid": 1})
    answers = torch.from_numpy(np.stack([shirt, bright], 1)).repeat_interleave(shots, 0)
    label = torch.from_numpy(np.repeat(k, shots))
    return ImageSet(
        rows.assign(split="train"), torch.from_numpy(pixels), label, answers, tuple((k + first).tolist()), CLOTHES
    )


def tiny_backbone(name: str = "resnet18", pretrained: str = "none", last_stride: int = 2) -> Backbone:
    """One convolution in the place of `backbones.build`."""
    del name, last_stride
    stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU())
    backbone = Backbone("tiny", nn.ModuleDict({"stem": stem}), channels=16, stride=4)
    if pretrained != "none":
        take_over(backbone, Path(pretrained))
    return backbone


def small_resnet(name: str = "resnet18", pretrained: str = "none", last_stride: int = 2) -> Backbone:
    """Stages as a ResNet names them, each of one or two convolutions, in the place of `backbones.build`."""
    del name, pretrained

    def block(inside: int, outside: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(inside, outside, 3, stride, 1)
        return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())

    stages = {
        "stem": block(3, 16, 2),
        "layer3": nn.Sequential(block(16, 16, 1), block(16, 16, 1)),
        "layer4": nn.Sequential(block(16, 24, last_stride)),
    }
    return Backbone("small", nn.ModuleDict(stages), channels=24, stride=2 * last_stride)


def losses_of(system: type[System]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The objective of (output, batch, options) and the watch of (output, batch) of a system, without a network."""

    def bare(options: Any) -> System:
        own = system.__new__(system)
        nn.Module.__init__(own)
        own.options = options
        return own

    return (
        lambda output, batch, options: bare(options).objective(output, batch),
        lambda output, batch: bare(system.Options()).watch(output, batch),
    )


def compared(
    query: Any = None,
    gallery: Any = None,
    *,
    distance: Any = None,
    metric: str = "euclidean",
    rule: str = "market1501",
    **labels: Any,
) -> Comparison:
    """A comparison of descriptors, or of the distances instead, from one dict of all that a test has made."""
    if distance is not None:
        return Comparison.of_distances(distance, Labels(**labels), rule)
    return Comparison.of_descriptors(query, gallery, Labels(**labels), metric, rule)
