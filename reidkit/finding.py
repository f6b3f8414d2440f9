"""Find people by a picture, by words, or by both: what `reidkit search` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .data import load
from .errors import InputError
from .features import Features, answers_of, describe, features_of, images_of
from .images import absolute
from .ranking import Comparison, Labels
from .runs import Run
from .source import stamp
from .thresholds.filters import described_as, description, leave_out

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
SOMEBODY = -2  # the person of a picture from outside, whom nobody in a gallery is called


def find(
    run: Run,
    image: Path | None = None,
    wanted: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    root: Path | None = None,
    rerank: bool = False,
    scale: Callable[[], np.ndarray | None] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Sort a gallery by likeness to a picture, or by how probably it shows what is described; with both, keep who fits.

    Args:
        run: finished; one that answers attributes where something is described.
        image: a picture of one person.
        wanted: answers by attribute, {"gender": "female"}.
        folder: search in these pictures instead of the run's own gallery.
        root: where the run's data set is now, if it moved.
        rerank: by common neighbours of the picture.
        scale: gives the answers' certainty, see `filters.described_as`; called once all else is checked.
        progress: show bars on stderr.
    Returns:
        Rows of the gallery's table, the best first, with a column distance, or probability where there is no picture.
    Raises:
        InputError: neither picture nor words, words the run does not know, pictures that cannot be read.
    """
    plan, wanted = run.recipe, wanted or {}
    if image is None and rerank:
        raise InputError("re-ranking compares neighbours of a picture: give a picture too.")
    if wanted and not run.network.tasks:
        raise InputError(
            f"{run.folder} answers no attributes: give a run of a system that learns them, such as two_stage."
        )
    asked = description(wanted, run.tasks) if wanted or image is None else {}  # refuses words before a file is read
    gallery = features_in(run, folder, progress=progress) if folder else None
    if image is None:
        table = gallery.table if gallery else images_of(run, root).query("split == 'gallery' and pid != -1")
        probability = described_as(answers_of(run, table, keep=True, progress=progress), wanted, scale and scale())
        order = np.argsort(-probability, kind="stable")
        return table.iloc[order].assign(probability=probability[order])
    picture = pd.DataFrame({"path": [str(absolute(image))], "pid": [0], "camid": [-1], "split": ["query"]})
    query = describe(run.network, load(picture, plan.height, plan.width), plan).descriptor
    gallery = gallery or features_of(run, images_of(run, root), "gallery", progress=progress)
    labels = Labels([SOMEBODY], gallery.table["pid"].to_numpy())
    comparison = Comparison.of_descriptors(query, gallery.descriptor, labels, plan.metric, "none")
    ranking = (comparison.rerank(progress=progress) if rerank else comparison).rank()
    if asked:
        answers = answers_of(run, gallery.table, keep=True, progress=progress).classes
        ranking = leave_out(ranking, np.any([answers[:, task] != k for task, k in asked.items()], axis=0)[None])
    kept = ranking.keep[0]
    return gallery.table.iloc[ranking.order[0][kept]].assign(distance=ranking.distance[0][kept])


def features_in(run: Run, folder: Path | str, *, progress: bool = False) -> Features:
    """Descriptors of every picture below a folder of one's own, by a finished run.

    They are kept in the run's folder. The next call describes only pictures that are new or were changed since, and
    forgets those that are gone.

    Returns:
        Features whose table has the pid 0 and camid -1 everywhere: nobody said who is who.
    Raises:
        InputError: no folder, no picture in it, pictures that cannot be read.
    """
    place = absolute(folder)
    if not place.is_dir():
        raise InputError(f"{folder} is no folder: give one that holds pictures of people, one person a picture.")
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not files:
        raise InputError(f"there is no picture in {folder}: it should hold files that end in {', '.join(PICTURES)}.")
    stamps = [stamp(file) for file in files]
    kept_in = run.folder / f"features-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}.safetensors"
    kept = Features.load(kept_in) if kept_in.exists() else None
    rows = {stamp: i for i, stamp in enumerate(kept.table.attrs["stamps"])} if kept else {}
    table = pd.DataFrame({"path": [str(file) for file in files], "pid": 0, "camid": -1, "split": "gallery"})
    table = table.assign(frame=-1, orientation=-1)
    table.attrs = {"dataset": "table", "root": str(place), "rule": "none", "fold": 0, "stamps": stamps}
    new = [i for i, stamp in enumerate(stamps) if stamp not in rows]
    if kept and not new:
        known = kept.descriptor
    else:
        pixels = load(table.iloc[new], run.recipe.height, run.recipe.width, people=(), progress=progress)
        fresh = describe(run.network, pixels, run.recipe, progress=progress).descriptor
        known = torch.cat([kept.descriptor, fresh]) if kept else fresh
    first = len(rows)
    rows |= {stamps[i]: first + n for n, i in enumerate(new)}
    features = Features(known[[rows[stamp] for stamp in stamps]], table)
    if kept is None or kept.table.attrs["stamps"] != stamps:
        features.save(kept_in)
    return features
