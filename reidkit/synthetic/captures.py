"""What every image shows: who, from where, how badly cut. One row an image, drawn from the image's own seed."""

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from .population import population
from .scene import CAMERAS, DRAWN, camera

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


@dataclass(frozen=True)
class Size:
    """How many identities and images a set has."""

    train_ids: int
    test_ids: int
    train: int
    query: int
    gallery: int  # junk and distractors included
    junk: int
    distractors: int
    crowd: bool = False  # cameras drawn at random, each person in some of them, and rare attributes less rare

    @property
    def images(self) -> int:
        return self.train + self.query + self.gallery


# `full` has the counts of Market-1501; the others its shares of junk (19.4 %) and distractors (14.2 %).
SIZES = {
    "smoke": Size(10, 10, 96, 40, 114, 22, 16),
    "quick": Size(200, 200, 2400, 800, 3000, 581, 425),
    "full": Size(751, 750, 12936, 3368, 19732, 3819, 2798),
    # to learn from: other people than in any of the above, and places that are in none of them
    "crowd": Size(9600, 300, 32000, 900, 2100, 0, 0, crowd=True),
}
CROWD_SEED = 104_729  # added to the seed of a crowd, so that nobody in it is in a benchmark too
CROWD_POWER = 0.5  # of the counts of attributes: 3 % of the people with a hat become 14 %
# Share of the people of Market-1501 who are seen in each camera, and how many cameras see a person.
SEEN = np.array([652 + 668, 541 + 528, 694 + 715, 241 + 246, 576 + 620, 558 + 577]) / 1501
JUNK_SEEN = np.array([418, 720, 604, 306, 1052, 719]) / 3819
DISTRACTORS_SEEN = np.array([624, 484, 377, 475, 382, 456]) / 2798


def cameras_of(n_ids: int, total: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cameras (0..5) that see each person, at least two, `total` person-camera pairs in all."""
    keys = rng.random((n_ids, len(SEEN))) ** (1 / SEEN)  # weighted sampling without replacement
    order = np.argsort(-keys, axis=1)
    shares = np.array([0.05, 0.13, 0.29, 0.41, 0.12])
    counts = np.sort(rng.choice(np.arange(2, 7), n_ids, p=shares))
    while counts.sum() != total:
        step = 1 if counts.sum() < total else -1
        free = np.flatnonzero(counts < 6 if step == 1 else counts > 2)
        counts[rng.choice(free)] += step
    rng.shuffle(counts)
    return [np.sort(row[:k]) for row, k in zip(order, counts, strict=True)]


def drawn_cameras(n_ids: int, total: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cameras of a crowd that see each person: as many as `total` allows each, all as likely."""
    counts = np.full(n_ids, total // n_ids) + (rng.permutation(n_ids) < total % n_ids)
    return [len(CAMERAS) + np.sort(rng.choice(DRAWN, count, replace=False)) for count in counts]


def share_out(total: int, weights: np.ndarray, least: int = 1) -> np.ndarray:
    """Whole numbers that sum to `total`, at least `least` each, otherwise proportional to the weights."""
    exact = (total - least * len(weights)) * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - least * len(weights) - counts.sum()]] += 1
    return counts + least


def _tracks(
    people: np.ndarray, seen: list[np.ndarray], total: int, split: str, rng: np.random.Generator
) -> list[tuple[Any, ...]]:
    """Person, camera, split, track and kind of images of real people.

    Counts a person and camera have a long tail; the images come in short tracks of neighbouring frames.
    """
    pairs = [(i, camera) for i, cameras in enumerate(seen) for camera in cameras]
    busy = np.exp(rng.normal(0, 0.45, len(people)))
    weights = np.array([busy[i] * np.exp(rng.normal(0, 0.55)) for i, _ in pairs])
    return [
        (people[i], camera, split, track, "person")
        for (i, camera), images in zip(pairs, share_out(total, weights), strict=True)
        for track in np.cumsum(np.r_[0, rng.random(images - 1) < 0.28])
    ]


def plan(size: Size, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """People (one row each; train, then test, then strangers who have no pid) and captures (one row an image)."""
    seed, power = (seed + CROWD_SEED, CROWD_POWER) if size.crowd else (seed, 1.0)
    see = drawn_cameras if size.crowd else cameras_of
    rng = np.random.default_rng([seed, 201])
    total = size.train_ids + size.test_ids
    strangers = max(total // 4, 12)
    people = pd.concat(
        [
            population(size.train_ids, seed, "train", power),
            population(size.test_ids, seed, "test", power),
            population(strangers, seed + 7919, "train", power),
        ],
        ignore_index=True,
    )
    pids = rng.permutation(np.arange(1, total + 1))
    pids = np.r_[np.sort(pids[: size.train_ids]), np.sort(pids[size.train_ids :]), np.zeros(strangers, dtype=int)]
    people.insert(0, "pid", pids)
    people.insert(1, "split", ["train"] * size.train_ids + ["test"] * size.test_ids + ["stranger"] * strangers)
    train, test = np.arange(size.train_ids), np.arange(size.train_ids, total)
    pairs = min(round(size.train_ids * 3262 / 751), size.train)
    rows = _tracks(train, see(size.train_ids, pairs, rng), size.train, "train", rng)
    seen = see(size.test_ids, size.query, rng)
    for person, cameras in zip(test.tolist(), seen, strict=True):
        rows += [(person, camera, "query", int(rng.integers(3)), "person") for camera in cameras]
    rows += _tracks(test, seen, size.gallery - size.junk - size.distractors, "gallery", rng)
    for _ in range(size.junk):
        person, camera = rng.choice(test), rng.choice(6, p=JUNK_SEEN / JUNK_SEEN.sum())
        rows.append((person, camera, "gallery", int(rng.integers(3)), "junk"))
    for _ in range(size.distractors):
        person = int(rng.integers(total, len(people)))
        camera = rng.choice(6, p=DISTRACTORS_SEEN / DISTRACTORS_SEEN.sum())
        rows.append((person, camera, "gallery", int(rng.integers(3)), "distractor"))
    captures = pd.DataFrame(rows, columns=["person", "camera", "split", "track", "kind"])
    captures.insert(0, "number", np.arange(len(captures)))
    captures.insert(1, "pid", np.where(captures["kind"] == "junk", -1, pids[captures["person"]]))
    views = [_view(row, seed, total, len(people)) for row in captures.itertuples()]
    captures = pd.concat([captures, pd.DataFrame(views)], axis=1)
    captures["path"] = _paths(captures, seed)
    return people, captures


def _view(row: Any, seed: int, first_stranger: int, people: int) -> dict[str, object]:
    """Pose, camera state, box and company of one image."""
    along = np.random.default_rng([seed, 301, row.person, row.camera, row.track])  # the same along a track
    rng, through = np.random.default_rng([seed, 302, row.number]), camera(row.camera)
    heading, standing = 45.0 * along.integers(8) + along.normal(0, 7), along.random() < 0.15
    x, z, sun, light = along.uniform(0, 12), along.uniform(0, 5), along.normal(0, 18), along.normal(0, 0.15)
    warm, tilt = along.normal(0, 0.04), along.normal(0, 1.5)
    heading += rng.normal(0, 8)
    view: dict[str, object] = {
        "angle": heading % 360,
        "gait": rng.uniform(0, 2 * np.pi),
        "pace": 0.06 * rng.random() if standing else rng.uniform(0.55, 1.05),
        "elevation": max(through.elevation + tilt, 2.0),
        "exposure": float(np.exp(light + rng.normal(0, 0.03))),
        "warmth": warm + rng.normal(0, 0.008),
        "sun": sun + rng.normal(0, 2),
        "place_x": x + rng.normal(0, 0.3),
        "place_z": z + rng.normal(0, 0.3),
        "wall": through.wall * rng.uniform(0.75, 1.35),
        "noise": int(rng.integers(2**31)),
    }
    return view | _box(rng, row.kind) | _company(rng, first_stranger, people)


def _box(rng: np.random.Generator, kind: str) -> dict[str, object]:
    """Shift (shares of the true box), zoom (> 1 shows more around) and stretch (> 1 shows a wider box)."""
    dx, dy = rng.normal(0, 0.035), rng.normal(0, 0.022)
    zoom, stretch = rng.uniform(0.99, 1.13), np.exp(rng.normal(0, 0.05))
    if kind == "junk" or (kind == "distractor" and rng.random() < 0.55):
        sign = rng.choice([-1, 1], 2)
        form = rng.random()
        if form < 0.35:
            dx, dy = sign[0] * rng.uniform(0.42, 0.75), sign[1] * rng.uniform(0, 0.2)
        elif form < 0.65:
            zoom, dx, dy = rng.uniform(0.38, 0.58), rng.normal(0, 0.08), sign[1] * rng.uniform(0.12, 0.34)
        elif form < 0.85:
            dx, dy = rng.normal(0, 0.1), sign[1] * rng.uniform(0.35, 0.6)
        else:
            zoom, dx, dy = rng.uniform(1.6, 2.1), rng.normal(0, 0.15), rng.normal(0, 0.15)
    elif rng.random() < 0.09:
        dy, zoom = rng.choice([-1, 1]) * rng.uniform(0.06, 0.16), rng.uniform(0.84, 1.22)
    empty = bool(kind == "distractor" and rng.random() < 0.4)
    return {"dx": dx, "dy": dy, "zoom": zoom, "stretch": stretch, "empty": empty}


def _company(rng: np.random.Generator, stranger: int, people: int) -> dict[str, object]:
    """A second person before (z > 0) or behind, and a thing before; -1 and "" for none."""
    other, thing = -1, ""
    draw, side = rng.random(), rng.choice([-1, 1])
    x, z = 0.0, 0.0
    if draw < 0.07:
        other, x, z = (int(rng.integers(stranger, people)), side * rng.uniform(0.26, 0.46), rng.uniform(0.35, 0.8))
    elif draw < 0.20:
        other, x, z = (int(rng.integers(stranger, people)), side * rng.uniform(0.15, 0.65), -rng.uniform(0.5, 1.1))
    elif draw < 0.27:
        thing = str(rng.choice(["post", "cart", "bollard", "plant"]))
        x, z = side * rng.uniform(0.10, 0.42), rng.uniform(0.35, 0.6)
    return {
        "other": other,
        "thing": thing,
        "other_x": x,
        "other_z": z,
        "other_angle": rng.uniform(0, 360),
        "other_gait": rng.uniform(0, 2 * np.pi),
        "other_pace": rng.uniform(0, 1.0),
    }


def _paths(captures: pd.DataFrame, seed: int) -> list[str]:
    """`folder/PPPP_cCsS_FFFFFF_BB.jpg`, unique; frames of one track are 25 apart as in Market-1501."""
    paths: dict[str, None] = {}  # in order
    for row in captures.itertuples():
        along = np.random.default_rng([seed, 401, row.person, row.camera, row.track])
        sequence, first = along.integers(1, 7), along.integers(1, 4000) * 25 + 1
        person = "-1" if row.pid == -1 else f"{row.pid:04d}"
        start = f"{FOLDERS[row.split]}/{person}_c{row.camera + 1}s{sequence}"
        box = 0 if row.split == "query" else 1
        frames = (f"{start}_{frame:06d}_{box:02d}.jpg" for frame in count(int(first), 25))
        paths[next(path for path in frames if path not in paths)] = None
    return list(paths)
