"""What would spoil a training or an evaluation, found before it starts: files, counts, people, matches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from .errors import choose
from .images import CARDS, JUNK, RULES, check_schema, is_person

if TYPE_CHECKING:
    from .attributes import Attributes  # which needs scipy; a check of images does not

SMALLEST = 8  # pixels; a side shorter than this shows nobody


@dataclass(frozen=True)
class Problem:
    """One finding of a check: level "error" (do not train on this) or "warning", and one sentence."""

    level: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.level}: {self.sentence}"


def find_problems(images: pd.DataFrame, *, decode: bool = True, progress: bool = True) -> list[Problem]:
    """Find everything that would spoil a training or an evaluation, before it starts.

    Args:
        images: a table of images; a wrong schema raises an InputError.
        decode: open every file to its last pixel, on several threads; False only looks whether it is there.
        progress: show a bar on stderr.

    Returns:
        Problems, errors first: counts that differ from the card, empty splits, people on both sides, queries
        without a valid match and the rule that removed it, files absent, broken or tiny. Empty: all is well.
    """
    check_schema(images)
    found = _check_counts(images) + _check_matches(images) + _check_files(images, decode, progress)
    return sorted(found, key=lambda problem: problem.level != "error")


def check_join(images: pd.DataFrame, attributes: Attributes) -> list[Problem]:
    """Do images and attributes name the same people? Junk and distractors need none."""
    shown = set(images.loc[is_person(images), "pid"])
    labelled = set(attributes.table.index)
    strangers, unseen = sorted(shown - labelled), sorted(labelled - shown)
    if not shown & labelled:
        text = "no person of the images has attributes; the file is of another data set: give the right one"
        return [Problem("error", text)]
    problems = []
    for pids, what in (
        (strangers, f"of the {len(shown)} people in the images have no attributes, so their labels are masked"),
        (unseen, f"of the {len(labelled)} people with attributes have no image, so they are not used"),
    ):
        if pids:
            some = ", ".join(map(str, pids[:3])) + (" ..." if len(pids) > 3 else "")
            problems.append(Problem("warning", f"{len(pids)} {what} (pids {some})"))
    return problems


def matches(images: pd.DataFrame, rule: str | None = None) -> pd.DataFrame:
    """Count, for every query, the gallery images that show its person, and how many of them the rule leaves.

    Args:
        images: a table of images.
        rule: "market1501" removes the same person from the same camera, "same_image" the query's own file, "none"
            nothing; None takes the table's own rule. Junk (pid -1) never counts.

    Returns:
        One row a query, indexed like its row in `images`: pid, camid, same_pid, removed, valid, all int64.
    """
    rule = rule or images.attrs.get("rule", "market1501")
    choose(rule, RULES, "rule")
    query = images[images["split"] == "query"]
    gallery = images[(images["split"] == "gallery") & (images["pid"] != JUNK)]
    keys = {"market1501": ["pid", "camid"], "same_image": ["pid", "path"]}.get(rule)
    out = query[["pid", "camid"]].copy()
    out["same_pid"] = query["pid"].map(gallery.groupby("pid").size()).fillna(0).astype("int64")
    out["removed"] = np.int64(0)
    if keys:
        sizes = gallery.groupby(keys).size()
        out["removed"] = sizes.reindex(pd.MultiIndex.from_frame(query[keys]), fill_value=0).to_numpy("int64")
    out["valid"] = out["same_pid"] - out["removed"]
    return out


def _check_counts(images: pd.DataFrame) -> list[Problem]:
    problems = []
    split = images["split"].replace("val", "train")  # cut from train, so it counts there
    known = images[is_person(images)]
    card = CARDS.get(images.attrs.get("dataset", ""))
    for name, use in (("train", "trained"), ("query", "asked"), ("gallery", "searched")):
        n, people = int((split == name).sum()), known.loc[split == name, "pid"].nunique()
        if n == 0:
            level = "warning" if name == "train" else "error"  # who only evaluates needs no training images
            problems.append(Problem(level, f"the split {name} has no images, so nothing can be {use}"))
        elif card and name in card.counts:
            images_full, people_full = card.counts[name]
            if people != people_full or n != (images_full or n):
                full = f"{images_full or 'those'} of {people_full}"
                text = f"the split {name} has {n} images of {people} people, the complete {card.title} {full}"
                problems.append(Problem("warning", text))
    test = known["split"].isin(["query", "gallery"])
    groups = {s: set(known.loc[known["split"] == s, "pid"]) for s in ("train", "val")}
    groups["test"] = set(known.loc[test, "pid"])
    for one, other in (("train", "test"), ("val", "test"), ("train", "val")):
        if both := sorted(groups[one] & groups[other]):
            text = f"{len(both)} people stand in both {one} and {other} (pids {_some(both)})"
            problems.append(Problem("error", f"{text}, which would measure memory; split by person"))
    return problems


def _check_matches(images: pd.DataFrame) -> list[Problem]:
    table = matches(images)
    none = table[table["valid"] == 0]
    if none.empty:
        return []
    rule = images.attrs.get("rule", "market1501")
    ruled, absent = none[none["removed"] > 0], none[none["same_pid"] == 0]
    reasons = []
    if len(absent):
        reasons.append(f"{len(absent)} whose person is not in the gallery (pids {_some(absent['pid'])})")
    if len(ruled):
        what = f"whose every gallery image the rule {rule} removes"
        reasons.append(f"{len(ruled)} {what} (pids {_some(ruled['pid'])})")
    every = len(none) == len(table)
    mend = "choose another rule or split" if every else "they are counted and left out of the scores"
    text = f"{len(none)} of {len(table)} queries have no valid match: {', '.join(reasons)}; {mend}"
    return [Problem("error" if every else "warning", text)]


def _check_files(images: pd.DataFrame, decode: bool, progress: bool) -> list[Problem]:
    paths = sorted(set(images["path"]))
    there = [path for path in paths if Path(path).is_file()]
    absent = sorted(set(paths) - set(there))
    if not there:
        text = f"none of the {len(paths)} image files is there (the first is {paths[0]})"
        return [Problem("warning", f"{text}, so only statistics work: nothing can be trained or searched")]
    opened: dict[str, tuple[str, int]] = {}
    if decode:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            results = tqdm(pool.map(_opened, there), "decoding", len(there), disable=not progress)
            opened = dict(zip(there, results, strict=True))
    broken = [f"{path} ({wrong})" for path, (wrong, _) in opened.items() if wrong]
    tiny = [path for path, (_, side) in opened.items() if side < SMALLEST]
    problems = (
        (absent, "error", f"of {len(paths)} image files are not there: {_some(absent)}; restore them"),
        (broken, "error", f"of {len(there)} images do not decode: {_some(broken)}; copy them again"),
        (tiny, "warning", f"images are smaller than {SMALLEST} pixels: {_some(tiny)}; leave them out"),
    )
    return [Problem(level, f"{len(names)} {text}") for names, level, text in problems if names]


def _opened(path: str) -> tuple[str, int]:
    """What is wrong with an image file, or "", and its shorter side; decoded to its last pixel."""
    try:
        with Image.open(path) as image:
            image.load()  # open() reads only the header: a truncated file shows itself here
            return "", min(image.size)
    except FileNotFoundError:
        return "not there", SMALLEST
    except Exception as error:  # Pillow raises many kinds for broken files; each means "does not decode"
        return str(error) or type(error).__name__, SMALLEST


def _some(values: Iterable[Any], n: int = 3) -> str:
    words = [str(value) for value in values]
    return ", ".join(words[:n]) + (f" and {len(words) - n} more" if len(words) > n else "")
