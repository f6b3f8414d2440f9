"""What every image shows: who, from where, how badly cut. One row an image, drawn from the image's own seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .population import population
from .scene import CAMERAS

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

    @property
    def images(self) -> int:
        return self.train + self.query + self.gallery


# `full` has the counts of Market-1501; the others its shares of junk (19.4 %) and distractors (14.2 %).
SIZES = {
    "smoke": Size(10, 10, 96, 40, 114, 22, 16),
    "quick": Size(200, 200, 2400, 800, 3000, 581, 425),
    "full": Size(751, 750, 12936, 3368, 19732, 3819, 2798),
}
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


def share_out(total: int, weights: np.ndarray, least: int = 1) -> np.ndarray:
    """Whole numbers that sum to `total`, at least `least` each, otherwise proportional to the weights."""
    exact = (total - least * len(weights)) * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - least * len(weights) - counts.sum()]] += 1
    return counts + least


def _rows(
    pids: np.ndarray, people: np.ndarray, seen: list[np.ndarray], total: int, split: str, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Images of real people: long-tailed counts a person and camera, in short tracks of neighbouring frames."""
    pairs = [(i, c) for i, cameras in enumerate(seen) for c in cameras]
    busy = np.exp(rng.normal(0, 0.45, len(pids)))
    weights = np.array([busy[i] * np.exp(rng.normal(0, 0.55)) for i, _ in pairs])
    rows: list[dict[str, object]] = []
    for (i, camera), count in zip(pairs, share_out(total, weights), strict=True):
        track = -1
        for k in range(count):
            if k == 0 or rng.random() < 0.28:
                track += 1
            rows.append(
                {
                    "pid": int(pids[i]),
                    "person": int(people[i]),
                    "camera": int(camera),
                    "split": split,
                    "track": track,
                    "kind": "person",
                }
            )
    return rows


def plan(size: Size, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """People (one row each; train, then test, then strangers who have no pid) and captures (one row an image)."""
    rng = np.random.default_rng([seed, 201])
    strangers = max((size.train_ids + size.test_ids) // 4, 12)
    people = pd.concat(
        [
            population(size.train_ids, seed, "train"),
            population(size.test_ids, seed, "test"),
            population(strangers, seed + 7919, "train"),
        ],
        ignore_index=True,
    )
    total = size.train_ids + size.test_ids
    pids = rng.permutation(np.arange(1, total + 1))
    pids = np.concatenate([np.sort(pids[: size.train_ids]), np.sort(pids[size.train_ids :])])
    people.insert(0, "pid", np.r_[pids, np.zeros(strangers, dtype=int)])
    people.insert(1, "split", ["train"] * size.train_ids + ["test"] * size.test_ids + ["stranger"] * strangers)
    train, test = np.arange(size.train_ids), np.arange(size.train_ids, total)
    real = size.gallery - size.junk - size.distractors
    pairs = min(round(size.train_ids * 3262 / 751), size.train)
    rows = _rows(pids[train], train, cameras_of(size.train_ids, pairs, rng), size.train, "train", rng)
    seen = cameras_of(size.test_ids, size.query, rng)
    for i, cameras in zip(test, seen, strict=True):
        rows += [
            {
                "pid": int(pids[i]),
                "person": int(i),
                "camera": int(c),
                "split": "query",
                "track": int(rng.integers(3)),
                "kind": "person",
            }
            for c in cameras
        ]
    rows += _rows(pids[test], test, seen, real, "gallery", rng)
    for count, kind, pid, shares in (
        (size.junk, "junk", -1, JUNK_SEEN),
        (size.distractors, "distractor", 0, DISTRACTORS_SEEN),
    ):
        for _ in range(count):
            person = int(rng.choice(test)) if pid else int(rng.integers(total, total + strangers))
            rows.append(
                {
                    "pid": pid,
                    "person": person,
                    "camera": int(rng.choice(6, p=shares / shares.sum())),
                    "split": "gallery",
                    "track": int(rng.integers(3)),
                    "kind": kind,
                }
            )
    captures = pd.DataFrame(rows)
    captures.insert(0, "number", np.arange(len(captures)))
    captures = pd.concat([captures, _views(captures, len(people), total, seed)], axis=1)
    captures["path"] = _paths(captures, seed)
    return people, captures


def _views(captures: pd.DataFrame, n_people: int, first_stranger: int, seed: int) -> pd.DataFrame:
    """Pose, camera state, box and company of every image, from generators of the image and of its track."""
    rows = []
    for number, person, camera, track, kind in zip(
        captures["number"], captures["person"], captures["camera"], captures["track"], captures["kind"], strict=True
    ):
        along = np.random.default_rng([seed, 301, person, camera, track])
        rows.append(_view(along, np.random.default_rng([seed, 302, number]), camera, kind, first_stranger, n_people))
    return pd.DataFrame(rows)


def _view(
    along: np.random.Generator, rng: np.random.Generator, camera: int, kind: str, stranger: int, people: int
) -> dict[str, object]:
    """One image: `along` is shared by the images of a track, `rng` is the image's own."""
    heading, standing = 45.0 * along.integers(8) + along.normal(0, 7), along.random() < 0.15
    x, z, sun, light = along.uniform(0, 12), along.uniform(0, 5), along.normal(0, 18), along.normal(0, 0.15)
    warm, tilt = along.normal(0, 0.04), along.normal(0, 1.5)
    heading += rng.normal(0, 8)
    view: dict[str, object] = {
        "angle": heading % 360,
        "gait": rng.uniform(0, 2 * np.pi),
        "pace": 0.06 * rng.random() if standing else rng.uniform(0.55, 1.05),
        "elevation": max(CAMERAS[camera].elevation + tilt, 2.0),
        "exposure": float(np.exp(light + rng.normal(0, 0.03))),
        "warmth": warm + rng.normal(0, 0.008),
        "sun": sun + rng.normal(0, 2),
        "place_x": x + rng.normal(0, 0.3),
        "place_z": z + rng.normal(0, 0.3),
        "wall": CAMERAS[camera].wall * rng.uniform(0.75, 1.35),
        "noise": int(rng.integers(2**31)),
    }
    return view | _box(rng, kind) | _company(rng, stranger, people)


def _box(rng: np.random.Generator, kind: str) -> dict[str, object]:
    """Shift (shares of the true box), zoom (> 1 shows more around) and stretch (> 1 shows a wider box)."""
    dx, dy, zoom, stretch = (
        rng.normal(0, 0.035),
        rng.normal(0, 0.022),
        rng.uniform(0.99, 1.13),
        np.exp(rng.normal(0, 0.05)),
    )
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
    return {
        "dx": dx,
        "dy": dy,
        "zoom": zoom,
        "stretch": stretch,
        "empty": bool(kind == "distractor" and rng.random() < 0.4),
    }


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
    used: set[str] = set()
    paths = []
    for row in captures.itertuples():
        along = np.random.default_rng([seed, 401, int(row.person), int(row.camera), int(row.track)])
        sequence, frame = int(along.integers(1, 7)), int(along.integers(1, 4000)) * 25 + 1
        head = "-1" if row.pid == -1 else f"{row.pid:04d}"
        box = 0 if row.split == "query" else 1
        while True:
            name = f"{head}_c{row.camera + 1}s{sequence}_{frame:06d}_{box:02d}.jpg"
            path = f"{FOLDERS[str(row.split)]}/{name}"
            if path not in used and not (row.split == "gallery" and path.replace(FOLDERS["gallery"], "query") in used):
                break
            frame += 25
        used.add(path)
        paths.append(path)
    return paths
