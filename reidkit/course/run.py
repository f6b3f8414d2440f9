"""Runs the lessons with a profile, keeps those that would give the same again, and says which claims held."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm.auto import tqdm

from .. import course
from ..errors import InputError
from ..files import write_whole
from ..images import card_of
from ..source import environment, stamp
from . import claims, pages, warm_kernels

CELL_SECONDS = {"smoke": 300, "quick": 1800, "paper": 7 * 86400}  # a cell that takes longer hangs


@dataclass(frozen=True)
class Executed:
    """One lesson that ran."""

    name: str
    seconds: float
    path: Path  # the notebook with its outputs
    figures: int  # files it wrote
    kept: bool = False  # from before, because nothing it depends on has changed since


def execute(
    path: Path, out: Path, *, profile: str, dataset: str, standing: str = "", progress: bool = True
) -> Executed:
    """Run one notebook with a profile and keep it, outputs and all, in `out`.

    Args:
        path: the notebook.
        out: folder for the executed notebook; made if absent.
        profile: "smoke", "quick" or "paper".
        dataset: a key of `CARDS`.
        standing: what `kept_from_before` will compare, written into the executed notebook.
        progress: show a bar on stderr.
    Raises:
        InputError: a cell that failed or whose figure is missing, named with notebook and cell in one sentence. What
            ran is kept beside the others as NAME.failed.ipynb.
    """
    notebook = nbformat.read(path, as_version=4)
    out.mkdir(parents=True, exist_ok=True)
    figures = course.figures_folder(dataset, profile)
    before = pictures_in(figures)
    sockets = tempfile.TemporaryDirectory(prefix="reidkit")
    # no ports, and no warning about them; the path is absolute because the kernel runs in another folder
    talk = {} if sys.platform == "win32" else {"transport": "ipc", "ip": f"{sockets.name}/kernel"}
    place = {"metadata": {"path": str(path.parent)}}  # the folder it runs in
    seconds = CELL_SECONDS[profile]
    client = NotebookClient(notebook, km=warm_kernels.manager(**talk), timeout=seconds, resources=place)
    started = time.perf_counter()
    bar = tqdm(total=len(notebook.cells), desc=path.stem, unit="cell", disable=not progress, leave=False)
    client.on_cell_complete = lambda cell_index, **_: bar.update(cell_index + 1 - bar.n)
    failed = out / f"{path.stem}.failed.ipynb"
    settings = {"REIDKIT_PROFILE": profile, "REIDKIT_DATASET": dataset, "TQDM_DISABLE": "1"}
    settings["MPLBACKEND"] = warm_kernels.INLINE  # a shell without a screen may ask for another one
    try:  # with cleanup_kc, or the kernel lives on, since it was handed in
        client.execute(cleanup_kc=True, env=os.environ | settings)
        wrong = pages.without_figure(notebook)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        wrong = failure(notebook, error)
    finally:
        bar.close()
        sockets.cleanup()
    if wrong:
        write_whole(failed, lambda temporary: nbformat.write(notebook, temporary))
        raise InputError(f"{path.name}: {wrong}; what ran is in {failed}.")
    failed.unlink(missing_ok=True)
    drawn = sorted(picture.name for picture, _ in pictures_in(figures) - before)
    notebook.metadata["reidkit"] = {"standing": standing, "figures": drawn}
    write_whole(out / path.name, lambda temporary: nbformat.write(notebook, temporary))
    return Executed(path.stem, time.perf_counter() - started, out / path.name, len(drawn))


def pictures_in(folder: Path) -> set[tuple[Path, int]]:
    """The pictures in a folder, which may not exist yet, and when each was written."""
    return {(picture, picture.stat().st_mtime_ns) for picture in folder.glob("*.png")}


def failure(notebook: Any, error: Exception) -> str:
    """Which cell failed, and how, in one phrase."""
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                return f"cell {number} raised {output['ename']}: {output['evalue']}"
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


def depends_on(images: pd.DataFrame, profile: str) -> str:
    """Hash all that executed lessons depend on: code, kept tables, data, versions, whether there is a GPU."""
    home, package = course.home(), Path(course.__file__).parents[1]
    sources = sorted(path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    exercises = sorted((home / "notebooks" / "exercises").glob("*.py"))
    digest = hashlib.sha256()
    for path in (*sources, *exercises, *sorted((home / "figures").glob("*.csv"))):
        digest.update(path.read_bytes())
    digest.update(images.astype(str).to_csv().encode())
    # annotations beside the images, and other data sets that a lesson looks for; not the people drawn here meanwhile
    for place in (Path(images.attrs["root"]), home / "datasets"):
        entries = place.iterdir() if place.is_dir() else ()
        digest.update(repr(sorted(stamp(e) for e in entries if not e.name.startswith("synthetic-"))).encode())
    about = {name: value for name, value in environment().items() if name != "git"}  # the sources are in it already
    digest.update(repr((profile, images.attrs, about)).encode())
    return digest.hexdigest()


def kept_from_before(path: Path, out: Path, figures: Path, standing: str) -> Executed | None:
    """Give a lesson that ran before, if it still holds: same `standing`, its figures in the folder and in itself."""
    written = out / path.name
    if not written.exists():
        return None
    notebook = json.loads(written.read_text())
    about = notebook["metadata"].get("reidkit", {})
    if about.get("standing") != standing or not all((figures / name).exists() for name in about["figures"]):
        return None
    if pages.without_figure(notebook):
        return None
    return Executed(path.stem, 0.0, written, len(about["figures"]), kept=True)


def chosen_lessons(only: str | None) -> list[Path]:
    """The lessons whose name starts with `only`, or with one of several with commas between; None: all."""
    every = course.lessons()
    chosen = [path for path in every if path.stem.startswith(tuple(part.strip() for part in (only or "").split(",")))]
    if not chosen:
        raise InputError(f"no lesson starts with {only!r}: there are {', '.join(path.stem for path in every)}.")
    return chosen


def run(
    profile: str = "quick",
    dataset: str = "synthetic",
    *,
    only: str | None = None,
    again: bool = False,
    out: Path | None = None,
    html: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[Executed]:
    """Run the lessons in order, one line a lesson; those that ran before and would give the same again are kept.

    Args:
        profile: "smoke", "quick" or "paper".
        dataset: a key of `CARDS`.
        only: run the lessons whose name starts with this ("03"), or several with commas between; None: all.
        again: run also those that would be kept.
        out: where the executed notebooks go; None: course/<dataset>-<profile>.
        html: build the documentation from all that were executed there, in the folder site/ beside them.
        progress: show bars on stderr.
        say: called with each line.
    Raises:
        InputError: unknown profile, data set or lesson; a lesson that failed.
    """
    card_of(dataset)  # an unknown name is refused before anything else
    if html:
        pages.require_sphinx()  # before the lessons run, not after
    chosen = chosen_lessons(only)
    started = time.perf_counter()
    images = course.prepare(dataset, profile, progress=progress)
    say(f"{dataset}: {len(images):,} images in {images.attrs['root']} ({time.perf_counter() - started:.0f} s)")
    out = out or course.home() / "course" / f"{dataset}-{profile}"
    figures = course.figures_folder(dataset, profile)
    common = depends_on(images, profile)
    done = []
    for path in chosen:
        standing = hashlib.sha256(common.encode() + path.read_bytes()).hexdigest()
        lesson = None if again else kept_from_before(path, out, figures, standing)
        if lesson is None:
            lesson = execute(path, out, profile=profile, dataset=dataset, standing=standing, progress=progress)
        took = "nothing changed since it ran" if lesson.kept else f"{lesson.seconds:.0f} s"
        say(f"{lesson.name}: {took}, {lesson.figures} figures")
        done.append(lesson)
    say(f"notebooks with outputs in {out}, figures in {figures}")
    if html:
        pages.document(profile, dataset, lessons_in=out, say=say)
    if not only:
        tables = course.home() / "figures"
        say(f"what the papers claim, and what the tables of {tables} say to it:\n\n{claims.in_words(tables)}")
    return done
