"""The course: where it lives, and the data that its lessons and the commands prepare.

What needs torch is imported where it is called: `reidkit doctor` speaks without it, and `reidkit course` starts its
kernels' imports (`warm_kernels`) before its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..attributes import VIPER19, Attributes, read_attributes
from ..checks import find_problems
from ..errors import InputError, choose
from ..images import default_root, is_person, read_images, validation_fold

if TYPE_CHECKING:
    from ..data import ImageSet
    from ..metrics import Scores
    from ..recipes import Recipe
    from ..runs import Run
    from ..systems import System

SYNTHETIC_SIZES = {"smoke": "smoke", "quick": "quick", "paper": "full"}  # of the synthetic benchmark, by profile


def home() -> Path:
    """The folder that holds notebooks/: the checkout reidkit runs from, or else the working directory."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def lessons() -> list[Path]:
    """The notebooks in order; InputError where there are none."""
    folder = home() / "notebooks"
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise InputError(f"there are no lessons in {folder}: clone the repository and install it with pip install -e .")
    return notebooks


def synthetic_root(profile: str) -> Path:
    """Where the synthetic benchmark of a profile lives."""
    return home() / "datasets" / f"synthetic-{SYNTHETIC_SIZES[profile]}"


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
        InputError: unknown names, a folder that is not what it should be, what `require_trainable` finds.
    """
    from .. import synthetic

    choose(profile, SYNTHETIC_SIZES, "profile")
    default = synthetic_root(profile)
    if dataset == "synthetic" and ("REIDKIT_ROOT" not in os.environ if root is None else Path(root) == default):
        root = synthetic.write(default, size=SYNTHETIC_SIZES[profile], progress=progress)
    images = read_images(dataset, root, fold=fold)
    require_trainable(images, decode=decode, progress=progress)
    return images


def require_trainable(images: pd.DataFrame, *, decode: bool = False, progress: bool = False) -> None:
    """Raise InputError unless a system can be trained and measured on these images: before training, not after.

    `decode` opens every image of every split, so that a broken one in the gallery does not cost a training.
    """
    root = images.attrs.get("root", "the table")
    if not (images["split"] == "train").any():
        raise InputError(f"{root} has no images of split train, so nothing can be trained.")
    if not images["path"].map(os.path.exists).any():
        raise InputError(f"none of the {len(images)} images listed in {root} is there: get the images too.")
    for problem in find_problems(images, decode=decode, progress=progress):
        if problem.level == "error":
            raise InputError(f"{root}: {problem.sentence}.")


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
    from ..data import load
    from ..recipes import learns_attributes, needs_parts

    try:  # also of a stage that learns none, so that every stage holds out the same people
        labels = attributes or asked_attributes(images)
    except InputError:
        labels = None
        if learns_attributes(recipe, system):
            raise
    if attributes is None and learns_attributes(recipe, system):
        attributes = labels
    if recipe.validation:
        images = validation_fold(images, recipe.validation, recipe.seed, labels.tasks if labels else None)

    def decoded(split: str) -> ImageSet:
        rows, parts = images[images["split"] == split], needs_parts(recipe, system) and split == "train"
        return load(rows, recipe.height, recipe.width, attributes=attributes, parts=parts, progress=progress)

    return decoded("train"), decoded("val") if recipe.validation else None


def attribute_table(run: Run, images: pd.DataFrame, *, progress: bool = False) -> pd.DataFrame | None:
    """`metrics.attribute_scores` of a run on images of the test people; None where the run answers no attributes."""
    from ..data import load
    from ..features import answer
    from ..metrics import attribute_scores

    if not run.network.tasks:
        return None
    attributes = read_attributes(run.recipe.dataset, images.attrs["root"], fold=run.recipe.fold)
    attributes = attributes.only(task.name for task in run.tasks)
    people = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    test = load(people, run.recipe.height, run.recipe.width, attributes=attributes, progress=progress)
    return attribute_scores(test.attributes.numpy(), answer(run, test, progress=progress).classes, run.tasks)


def baseline_recipe(dataset: str = "synthetic", profile: str = "quick") -> Recipe:
    """The recipe that lesson 00 trains, lessons 08 and 09 look into, and every table has beside it.

    In `quick` the synthetic people are shown small: that takes a minute, and leaves mistakes to look at.

    Args:
        dataset: a name of `reidkit data list`.
        profile: "smoke", "quick" or "paper".
    """
    from ..recipes import recipe

    if (dataset, profile) != ("synthetic", "quick"):
        return recipe("baseline", profile, dataset=dataset)
    return recipe("baseline", profile, height=64, width=32, epochs=3, lr=3e-3, backbone_lr=0.3)


def references(images: pd.DataFrame, profile: str = "quick") -> dict[str, Scores]:
    """What stands beside every table of people: colours, with nothing learnt, and the baseline of lesson 00.

    Args:
        images: the table of a data set.
        profile: "smoke", "quick" or "paper"; a run that is not there yet is trained.
    """
    from ..features import features_of
    from ..ranking import Comparison
    from ..recipes import recipe
    from ..runs import load_or_fit

    scores, name = {}, images.attrs["dataset"]
    plans = recipe("histogram", profile, dataset=name), baseline_recipe(name, profile)
    for title, plan in zip(("colours alone", "baseline (lesson 00)"), plans, strict=True):
        run = load_or_fit(plan, *sets(plan, images), runs=runs_folder())
        query, gallery = (features_of(run, images, split) for split in ("query", "gallery"))
        scores[title] = Comparison.of(query, gallery, plan.metric).score()
    return scores


def figures_folder(dataset: str, profile: str) -> Path:
    """Where lessons put their figures: below figures/, in a folder git does not keep."""
    return home() / "figures" / f"{dataset}-{profile}"


def runs_folder() -> Path:
    """Where lessons and commands keep finished runs."""
    return home() / "runs"


def here(name: str) -> bool:
    """Whether a data set is found in its default place."""
    root = default_root(name)
    return root.exists() or (
        name == "synthetic" and any(synthetic_root(profile).exists() for profile in SYNTHETIC_SIZES)
    )


def easy_to_hard(scores: Scores) -> list[int]:
    """Three queries: the best, the median and the worst by average precision (ties: the first)."""
    order = np.argsort(-scores.per_query, kind="stable")[: scores.n_queries - scores.n_without_match]
    return [int(order[0]), int(order[len(order) // 2]), int(order[-1])]
