"""The course: prepares its data, runs its notebooks with a profile, collects their figures."""

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

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from . import claims, synthetic
from .attributes import VIPER19, Attributes, read_attributes
from .data import ImageSet, load
from .errors import InputError, choose
from .features import answer, stamp
from .files import write
from .images import CARDS, check, default_root, is_person, read_images, validation_fold
from .metrics import Scores, attribute_scores
from .systems import System
from .train import PROFILES, Recipe, Run, environment, learns_attributes, needs_parts

SIZES = {"smoke": "smoke", "quick": "quick", "paper": "full"}  # of the synthetic benchmark, by profile
CELL_SECONDS = {"smoke": 300, "quick": 1800, "paper": 7 * 86400}  # a cell that takes longer hangs


def home() -> Path:
    """The folder that holds notebooks/: the checkout reidkit runs from, or else the working directory."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def lessons() -> list[Path]:
    """The notebooks in order; InputError where there are none."""
    found = sorted((home() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise InputError(
            f"there are no lessons in {home() / 'notebooks'}: clone the repository and install it with pip install -e ."
        )
    return found


def synthetic_root(profile: str) -> Path:
    """Where the synthetic benchmark of a profile lives."""
    return home() / "datasets" / f"synthetic-{SIZES[profile]}"


def prepare(
    dataset: str = "synthetic",
    profile: str = "quick",
    root: str | os.PathLike[str] | None = None,
    *,
    fold: int = 0,
    decode: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """The table of images of a data set; the synthetic one is written first where it is absent.

    Raises:
        InputError: unknown names, a folder that is not what it should be, what `require` finds.
    """
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} is not known: choose one of {', '.join(PROFILES)}.")
    own = synthetic_root(profile)
    if dataset == "synthetic" and ("REIDKIT_ROOT" not in os.environ if root is None else Path(root) == own):
        root = synthetic.write(own, size=SIZES[profile], progress=progress)
    images = read_images(dataset, root, fold=fold)
    require(images, decode=decode, progress=progress)
    return images


def require(images: pd.DataFrame, *, decode: bool = False, progress: bool = False) -> None:
    """Raise InputError unless a system can be trained and measured on these images: before training, not after.

    `decode` opens every image of every split, so that a broken one in the gallery does not cost a training.
    """
    root = images.attrs.get("root", "the table")
    if not (images["split"] == "train").any():
        raise InputError(f"{root} has no images of split train, so nothing can be trained.")
    if not images["path"].map(os.path.exists).any():
        raise InputError(f"none of the {len(images)} images listed in {root} is there: get the images too.")
    wrong = [problem for problem in check(images, decode=decode, progress=progress) if problem.level == "error"]
    if wrong:
        raise InputError(f"{root}: {wrong[0].sentence}.")


def asked_attributes(images: pd.DataFrame) -> Attributes:
    """Read the attributes that systems are asked about: a data set's own, or for VIPeR the nineteen of paper 003.

    Args:
        images: the table of a data set.
    Raises:
        InputError: a data set without attributes.
    """
    attributes = read_attributes(images.attrs["dataset"], images.attrs["root"], fold=images.attrs["fold"])
    return attributes.only(VIPER19) if images.attrs["dataset"] == "viper" else attributes


def attributes_of(images: pd.DataFrame, profile: str = "quick") -> tuple[Attributes, pd.DataFrame]:
    """The attributes of a data set's people, and the table of images they belong to.

    Where a data set has none at hand (PKU-ReID never, Market-1501 without its .mat file) the synthetic people stand
    in, and a printed sentence says so, so that a lesson can be read with any data set.
    """
    try:
        return asked_attributes(images), images
    except InputError as error:
        if images.attrs["dataset"] == "synthetic":
            raise
        print(f"{str(error).rstrip('.')}. This lesson goes on with the attributes of the synthetic people.")
    images = prepare("synthetic", profile, synthetic_root(profile))
    return asked_attributes(images), images


def sets(
    recipe: Recipe,
    images: pd.DataFrame,
    attributes: Attributes | None = None,
    *,
    system: type[System] | None = None,
    progress: bool = False,
) -> tuple[ImageSet, ImageSet | None]:
    """Decode what a recipe trains on, and the people it holds out: `load_or_fit(recipe, *sets(recipe, images))`.

    Args:
        recipe: of the training.
        images: the table of a data set.
        attributes: its labels; None: read from its folder where the system learns attributes.
        system: the class, for a system of your own.
        progress: show bars on stderr.
    Raises:
        InputError: a system that learns attributes on a data set without, one that needs part maps on real people.
    """
    if attributes is None and learns_attributes(recipe, system):
        attributes = asked_attributes(images)
    if recipe.validation:
        images = validation_fold(images, recipe.validation, recipe.seed)

    def decoded(split: str) -> ImageSet:
        rows, parts = images[images["split"] == split], needs_parts(recipe, system) and split == "train"
        return load(rows, recipe.height, recipe.width, attributes=attributes, parts=parts, progress=progress)

    return decoded("train"), decoded("val") if recipe.validation else None


def attribute_table(run: Run, images: pd.DataFrame, *, progress: bool = False) -> pd.DataFrame | None:
    """`metrics.attribute_scores` of a run on images of the test people; None where the run answers no attributes."""
    if not run.network.tasks:
        return None
    attributes = read_attributes(run.recipe.dataset, images.attrs["root"], fold=run.recipe.fold)
    attributes = attributes.only(task.name for task in run.tasks)
    people = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    test = load(people, run.recipe.height, run.recipe.width, attributes=attributes, progress=progress)
    return attribute_scores(test.attributes.numpy(), answer(run, test, progress=progress).classes, run.tasks)


def figures_folder(dataset: str, profile: str) -> Path:
    """Where lessons put their figures: below figures/, in a folder git does not keep."""
    return home() / "figures" / f"{dataset}-{profile}"


def runs_folder() -> Path:
    """Where lessons and commands keep finished runs."""
    return home() / "runs"


# --- running notebooks ---------------------------------------------------------------------------------------


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
        InputError: a cell that failed, named with notebook, cell and exception in one sentence. The notebook up to
            there is kept beside the others as NAME.failed.ipynb.
    """
    # here and not above, because lessons import this module as well and should not wait for what only runs them
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from . import kernels

    notebook = nbformat.read(path, as_version=4)
    out.mkdir(parents=True, exist_ok=True)
    figures = figures_folder(dataset, profile)
    before = files_of(figures)
    sockets = tempfile.TemporaryDirectory(prefix="reidkit")
    # no ports, and no warning about them; the path is absolute because the kernel runs in another folder
    talk = {} if sys.platform == "win32" else {"transport": "ipc", "ip": f"{sockets.name}/kernel"}
    client = NotebookClient(notebook, km=kernels.manager(**talk), timeout=CELL_SECONDS[profile], resources=where(path))
    started = time.perf_counter()
    bar = tqdm(total=len(notebook.cells), desc=path.stem, unit="cell", disable=not progress, leave=False)
    client.on_cell_complete = lambda cell_index, **_: bar.update(cell_index + 1 - bar.n)
    failed = out / f"{path.stem}.failed.ipynb"
    try:
        with kernels.variables({"REIDKIT_PROFILE": profile, "REIDKIT_DATASET": dataset, "TQDM_DISABLE": "1"}):
            client.execute(cleanup_kc=True)  # or the kernel lives on, since it was handed in
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        write(failed, lambda temporary: nbformat.write(notebook, temporary))
        raise InputError(f"{path.name}: {failure(notebook, error)}; what ran is in {failed}.") from None
    finally:
        bar.close()
        sockets.cleanup()
    failed.unlink(missing_ok=True)
    written = out / path.name
    drawn = sorted(Path(name).name for name, _ in files_of(figures) - before)
    notebook.metadata["reidkit"] = {"standing": standing, "figures": drawn}
    write(written, lambda temporary: nbformat.write(notebook, temporary))
    return Executed(path.stem, time.perf_counter() - started, written, len(drawn))


def depends_on(images: pd.DataFrame, profile: str) -> str:
    """Hash all that executed lessons depend on: code, kept tables, data, versions, whether there is a GPU."""
    own, package = home(), Path(__file__).parent
    sources = sorted(path for ending in ("py", "csv") for path in package.rglob(f"*.{ending}"))
    known = hashlib.sha256()
    for path in (*sources, *sorted((own / "figures").glob("*.csv"))):
        known.update(path.read_bytes())
    known.update(images.astype(str).to_csv().encode())
    # annotations beside the images, and other data sets that a lesson looks for; not the people drawn here meanwhile
    for place in (Path(images.attrs["root"]), own / "datasets"):
        entries = place.iterdir() if place.is_dir() else ()
        known.update(repr(sorted(stamp(e) for e in entries if not e.name.startswith("synthetic-"))).encode())
    about = {name: value for name, value in environment().items() if name != "git"}  # the sources are in it already
    known.update(repr((profile, images.attrs, about)).encode())
    return known.hexdigest()


def kept_from_before(path: Path, out: Path, figures: Path, standing: str) -> Executed | None:
    """Give a lesson that ran before, if it still holds: same `standing`, and every figure it wrote is there."""
    written = out / path.name
    if not written.exists():
        return None
    about = json.loads(written.read_text())["metadata"].get("reidkit", {})
    if about.get("standing") != standing or not all((figures / name).exists() for name in about["figures"]):
        return None
    return Executed(path.stem, 0.0, written, len(about["figures"]), kept=True)


def where(path: Path) -> dict[str, Any]:
    """nbclient's way to say in which folder a notebook runs."""
    return {"metadata": {"path": str(path.parent)}}


def files_of(folder: Path) -> set[tuple[str, int]]:
    """Names and times of the files in a folder that may not exist yet."""
    return {(str(file), file.stat().st_mtime_ns) for file in folder.glob("*.png")} if folder.is_dir() else set()


def failure(notebook: Any, error: Exception) -> str:
    """Which cell failed, and how, in one phrase."""
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                return f"cell {number} raised {output['ename']}: {output['evalue']}"
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


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
    if dataset not in CARDS:
        read_images(dataset)  # says which there are
    if html:
        from . import pages

        pages.require()  # before the lessons run, not after
    chosen = lessons()
    if only:
        wanted = tuple(part.strip() for part in only.split(","))
        chosen = [path for path in chosen if path.stem.startswith(wanted)]
        if not chosen:
            names = ", ".join(path.stem for path in lessons())
            raise InputError(f"no lesson starts with {only!r}: there are {names}.")
    started = time.perf_counter()
    images = prepare(dataset, profile, progress=progress)
    say(f"{dataset}: {len(images):,} images in {images.attrs['root']} ({time.perf_counter() - started:.0f} s)")
    home_out = out or home() / "course" / f"{dataset}-{profile}"
    common = depends_on(images, profile)
    done = []
    for path in chosen:
        standing = hashlib.sha256(common.encode() + path.read_bytes()).hexdigest()
        lesson = None if again else kept_from_before(path, home_out, figures_folder(dataset, profile), standing)
        if lesson is None:
            lesson = execute(path, home_out, profile=profile, dataset=dataset, standing=standing, progress=progress)
        took = "nothing changed since it ran" if lesson.kept else f"{lesson.seconds:.0f} s"
        say(f"{lesson.name}: {took}, {lesson.figures} figures")
        done.append(lesson)
    say(f"notebooks with outputs in {home_out}, figures in {figures_folder(dataset, profile)}")
    if html:
        document(profile, dataset, lessons_in=home_out, say=say)
    if not only:
        tables = home() / "figures"
        say(f"what the papers claim, and what the tables of {tables} say to it:\n\n{claims.report(tables)}")
    return done


def document(
    profile: str = "quick",
    dataset: str = "synthetic",
    out: Path | None = None,
    *,
    lessons_in: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Build the documentation with the lessons that were executed: `pages.build`.

    Args:
        profile: with which they ran.
        dataset: on which they ran.
        out: the folder of the pages; None: site/ beside the executed lessons.
        lessons_in: where those are; None: course/<dataset>-<profile>.
        say: called with a line when the pages are written.
    Returns:
        the path of index.html.
    Raises:
        InputError: no executed lessons, no Sphinx, what `pages.build` refuses.
    """
    from . import pages

    choose(profile, PROFILES, "profile")
    choose(dataset, CARDS, "dataset")
    folder = lessons_in or home() / "course" / f"{dataset}-{profile}"
    executed = [path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if ".failed" not in path.name]
    about = "[Lesson 10](notebooks/10_report.ipynb) says how a claim is taken apart and what a verdict means."
    closing = f"# What the papers claim\n\n{about}\n\n{claims.report(home() / 'figures')}"
    title, hide = f"reidkit on {dataset}, {profile}", str(home())
    return pages.build(executed, out or folder / "site", title=title, closing=closing, hide=hide, say=say)


def here(name: str) -> bool:
    """Whether a data set is found in its default place."""
    root = default_root(name)
    return root.exists() or (name == "synthetic" and any(synthetic_root(p).exists() for p in PROFILES))


# --- figures of finished runs ------------------------------------------------------------------------------------


def easy_to_hard(scores: Scores) -> list[int]:
    """Three queries: the best, the median and the worst by average precision (ties: the first)."""
    order = np.argsort(-scores.per_query, kind="stable")[: scores.n_queries - scores.n_without_match]
    return [int(order[0]), int(order[len(order) // 2]), int(order[-1])]
