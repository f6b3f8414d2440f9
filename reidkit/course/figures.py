"""Every figure and table kind of the five papers, from finished runs and measured tables, with where it comes from.

Numbers of the figures are those of the papers: 001 two_stage, 002 aanet, 003 part_multitask, 004 inherent_code and
000 sharenet.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import attention, plots
from ..attributes import Attributes, read_attributes
from ..data import ImageSet, binary_columns, binary_labels, load, standardise
from ..errors import InputError
from ..features import Answers, answers_of, features_of, images_of
from ..images import is_person
from ..metrics import attribute_scores, column_scores
from ..ranking import Comparison, Ranking
from ..runs import Run, load_run
from ..source import git_state
from ..statistics import imbalance
from ..systems.aanet import attended, peak_regions
from ..systems.part_multitask import PartMultitask, is_lower
from ..thresholds import filters, verification
from ..thresholds.filters import leave_out
from . import claims, easy_to_hard, measured
from .measured import measured_row
from .papers import PAPERS, PRINTED, published
from .tables import save_table

FILTER = (  # what a list is filtered by, as far as it is answered (002 Figure 8): Market-1501's names and PETA's
    "gender", "backpack", "upcolor", "downcolor", "personalFemale", "carryingBackpack", "lowerBodyTrousers",
)  # fmt: skip
SHOWN = 14  # attributes beside an image
SHARES = ("accuracy", "answers", "active", "wrong")  # what systems watch beside their losses, from 0 to 1
OTHERS = ("positive", "negative", "distance", "length", "sigma_")  # and in units of their own
CLOCK = ("epoch", "lr", "seconds", "images_per_second")


def draw(runs: Sequence[Path], tables: Path, folder: Path) -> Iterator[str]:
    """Draw data sets, runs and tables into sub-folders of `folder`; yields a line each.

    Args:
        runs: finished runs; their data sets are described too. A run that cannot be read, or whose data have gone, is
            named and left out.
        tables: the folder with the measured tables.
        folder: where the sub-folders go.
    Raises:
        InputError: no run that could be drawn.
    """
    described: list[tuple[str, str, int]] = []
    drawn: list[Run] = []
    for path in runs:
        try:
            run = load_run(path)
            images = images_of(run)
        except InputError as error:
            if path == runs[-1] and not drawn:
                raise
            yield f"{path.name}: left out, {str(error).rstrip('.')}"
            continue
        labels = None
        with suppress(InputError):  # nobody may know them
            labels = read_attributes(run.recipe.dataset, images.attrs["root"], fold=run.recipe.fold)
        key = (run.recipe.dataset, images.attrs["root"], run.recipe.fold)
        if key not in described:
            described.append(key)
            number = sum(dataset == run.recipe.dataset for dataset, _, _ in described)
            name = f"data-{run.recipe.dataset}" + (f"-{number}" if number > 1 else "")
            yield listed(name, data_figures(images, labels, folder / name))
        yield listed(path.name, run_figures(run, images, labels, folder / path.name))
        drawn.append(run)
    yield listed("comparison", run_tables(drawn, folder))
    yield listed("tables", measured_tables(tables, folder / "tables"))


def finished(runs: Path) -> list[Path]:
    """The finished runs in a folder; InputError where there are none."""
    folders = sorted(path.parent for path in runs.glob("*/recipe.json") if not path.parent.name.startswith("."))
    if not folders:
        raise InputError(f"there is no finished run in {runs}: `reidkit train` or `reidkit course` makes one.")
    return folders


def listed(name: str, paths: Sequence[Path]) -> str:
    """What was drawn, in one line."""
    names = ", ".join(dict.fromkeys(path.stem for path in paths))
    return f"{name}: {names} in {paths[0].parent}" if paths else f"{name}: nothing"


# --- a data set ----------------------------------------------------------------------------------------------


def data_figures(images: pd.DataFrame, labels: Attributes | None, folder: Path) -> list[Path]:
    """Statistics of a data set (001 Figure 4, 003 Tables 1 and 2)."""
    name = images.attrs["dataset"]
    about = {"data set": name, "fold": images.attrs["fold"], "commit": git_state()}
    caption = f"{name}: images, people, cameras"
    paths = [save_table(split_counts(images), "statistics", folder, about, caption=caption)]
    plots.use_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6))
    plots.images_per_person(images[images["split"] == "train"], left)
    plots.images_per_camera(images, right)
    paths.append(plots.save(figure, "images", folder, about))
    if labels is not None:
        shares = imbalance(labels)
        paths.append(plots.save(plots.imbalance(shares), "imbalance", folder, about))
        caption = f"{name}: the attributes of the training people"
        paths.append(save_table(shares, "imbalance-table", folder, about, caption=caption, digits=2))
        caption = f"{name}: the attributes of each half of the body, with the number of their classes"
        paths.append(save_table(halves(labels), "halves", folder, about, caption=caption))
    plt.close("all")
    return paths


def split_counts(images: pd.DataFrame) -> pd.DataFrame:
    """Images, people, cameras and images a person of every split; distractors and junk are images of nobody."""
    rows = []
    for split, part in images.groupby("split", sort=False):
        people = part[is_person(part)]
        n = people["pid"].nunique()
        each = len(people) / n if n else float("nan")
        rows.append((split, len(part), n, part["camid"].nunique(), each, len(part) - len(people)))
    return pd.DataFrame(rows, columns=["split", "images", "people", "cameras", "images a person", "of nobody"])


def halves(labels: Attributes) -> pd.DataFrame:
    """The attributes of the upper and the lower half of the body, as paper 003 groups them."""
    rows = []
    for half, lower in (("upper", False), ("lower", True)):
        tasks = [task for task in labels.schema.tasks if is_lower(task.name) == lower]
        rows.append((half, len(tasks), ", ".join(f"{task.name} ({len(task.classes)})" for task in tasks)))
    return pd.DataFrame(rows, columns=["half", "attributes", "which"])


# --- a run ---------------------------------------------------------------------------------------------------


def run_figures(run: Run, images: pd.DataFrame, labels: Attributes | None, folder: Path) -> list[Path]:
    """What the papers show of one system: lists, curves, distances, training; attributes where it answers them."""
    plan = run.recipe
    commit = json.loads((run.folder / "environment.json").read_text())["git"]
    about = {"run": run.folder.name, "system": plan.system, "data set": plan.dataset, "fold": plan.fold}
    about |= {"seed": plan.seed, "commit": commit}
    query, gallery = (features_of(run, images, split) for split in ("query", "gallery"))
    compared = Comparison.of(query, gallery, plan.metric)
    scores, ranking = compared.score(), compared.rank()
    pairs = verification.pairs(compared)
    mean = float(np.nanmean(filters.mean_threshold(compared)))
    title = f"{plan.system} on {plan.dataset}: mAP {scores.mAP:.1f}, rank-1 {scores.rank1:.1f}"
    figures: dict[str, Figure | Axes] = {
        "ranked": plots.strips(ranking, query.table, gallery.table, easy_to_hard(scores)),  # 000 5, 002 7, 003 3, 004 3
        "cmc": plots.cmc({title: scores.cmc}),
        "distances": plots.distance_fits(pairs, verification.fit_gaussians(pairs), {"mean": mean}),  # 001 3
    }
    if len(run.history):
        figures["training"] = training(run.history, [task.name for task in run.tasks])
    numbers = pd.DataFrame([scores.to_dict() | measured_row(query, gallery, plan.metric)])
    paths = [save_table(numbers, "scores", folder, about, caption=title)]
    if run.network.classifiers():  # an AlexNet answers from a vector and has no map
        figures |= attention_figures(run, query.table)  # 002 1, 3, 4 and 6
    if run.network.tasks and labels is not None:
        labels = labels.only(task.name for task in run.tasks)
        said, said_of_gallery = (answers_of(run, part.table) for part in (query, gallery))
        truth = labels.of(query.table["pid"])
        best_to_worst, tasks = examples(said, truth), most_mixed(truth)
        figures["attributes"] = plots.attribute_examples(said, truth, best_to_worst, tasks)  # 003 4
        before_after, queries = filter_examples(ranking, (said, said_of_gallery))
        if queries:
            figure = plots.strips(before_after, query.table.iloc[queries], gallery.table, range(len(queries)))
            name_rows(figure, ("whole list", "filtered") * (len(queries) // 2))
            figures["filter"] = figure  # 002 8
        if isinstance(run.network, PartMultitask):  # whose paper's Tables 6 and 7 are of columns, on the gallery
            people = gallery.table[is_person(gallery.table)]
            pixels = load(people, plan.height, plan.width, attributes=labels, people=())
            right, of = columns_table(run.network, pixels), "gallery, mean accuracy of yes and no"
        else:
            right, of = attribute_scores(truth, said.classes, run.tasks), "queries"
        table = measured.attributes_beside_published(plan.system, plan.dataset, right)
        caption = f"{title}; attributes of the {of}, %"
        paths.append(save_table(table, "attribute-table", folder, about, caption=caption))  # 002 4, 003 6 and 7
    paths = [plots.save(figure, name, folder, about) for name, figure in figures.items()] + paths
    plt.close("all")
    return paths


def columns_table(network: PartMultitask, images: ImageSet) -> pd.DataFrame:
    """How often each column of the binary view is answered right, as paper 003 counts: a row a task, its columns' mean.

    Args:
        network: a trained network that answers yes or no.
        images: with the attributes it was asked.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        yes = torch.cat([network.yes(standardise(part.to(device))).cpu() > 0 for part in images.pixels.split(256)])
    columns = binary_columns(images.tasks)
    return column_scores(binary_labels(images.attributes, columns).numpy(), yes.numpy(), columns.numpy(), images.tasks)


def attention_figures(run: Run, table: pd.DataFrame) -> dict[str, Figure | Axes]:
    """Where a network sees the attributes of a few people: a map each, merged, and beside the map of identity."""
    network = run.network
    people = table.reset_index(drop=True).groupby("pid").head(1)
    people = people.iloc[:: max(1, len(people) // 8)].head(8)
    images = load(people, run.recipe.height, run.recipe.width, people=())
    pixels = standardise(images.pixels)
    pictures = [image.permute(1, 2, 0).numpy() for image in images.pixels]
    tasks = [run.tasks[t] for t in attended([task.name for task in run.tasks])]
    merged = {"merged": attention.merged_map(network, pixels).numpy()}
    maps = {task.name: attention.attribute_maps(network, pixels, task.name, "cam").numpy() for task in tasks[:6]}
    with torch.no_grad():
        classes = dict(zip(network.tasks, (logits.argmax(1) for logits in network.answer(pixels)), strict=True))
        knows_people = network.identify(pixels[:1]).shape[1] > 0
    words = [[task.classes[classes[task.name][i]] for task in tasks[:6]] for i in range(len(pictures))]
    figures: dict[str, Figure | Axes] = {}
    if knows_people:
        identity = {"identity": attention.identity_maps(network, pixels, "layercam").numpy()}
        figures["identity"] = plots.heats(pictures, merged | identity, across=True)
        maps = identity | maps
        words = [["", *row] for row in words]
    few = {name: heat[:4] for name, heat in (maps | merged).items()}
    figures["attention"] = plots.heats(pictures[:4], few, [[*row, ""] for row in words[:4]])
    if run.recipe.system == "aanet":
        with torch.no_grad():
            regions = peak_regions(network.backbone(pixels)).numpy()
        borders = [((np.flatnonzero(np.diff(rows)) + 1) / len(rows)).tolist() for rows in regions]
        figures["parts"] = plots.regions(pictures, borders)
    return figures


def training(history: pd.DataFrame, tasks: Sequence[str]) -> Figure:
    """Losses, shares and the rest of a training over its epochs, a panel each; losses of many tasks as their sum."""
    of_tasks = [name for name in tasks if name in history]
    table = history.drop(columns=[name for name in history if name.removeprefix("val_") in of_tasks])
    if of_tasks:
        table["all tasks"] = history[of_tasks].sum(axis=1)
    panels: dict[str, list[str]] = {"Losses": [], "Shares": [], "Distances and weights": []}
    for name in table.columns.difference(CLOCK, sort=False):
        plain = name.removeprefix("val_")
        kind = "Shares" if plain in SHARES else "Distances and weights" if plain.startswith(OTHERS) else "Losses"
        panels[kind].append(name)
    panels = {title: names for title, names in panels.items() if names}
    plots.use_style()
    figure, grid = plt.subplots(1, len(panels), figsize=(3.3 * len(panels), 2.8), squeeze=False)
    for axes, (title, names) in zip(grid[0], panels.items(), strict=True):
        plots.history(table, names, axes, title=title)
    return figure


def examples(said: Answers, truth: np.ndarray) -> list[int]:
    """Four images from the one with most right answers to the one with fewest, at equal steps (ties: the first)."""
    right = ((said.classes == truth) & (truth >= 0)).sum(1)
    order = np.argsort(-right, kind="stable")
    return order[np.linspace(0, len(order) - 1, min(4, len(order))).round().astype(int)].tolist()


def most_mixed(truth: np.ndarray) -> list[int]:
    """The attributes to show, in their order: all, or those whose commonest class is least common."""
    labels = [column[column >= 0] for column in truth.T]
    commonest = [np.bincount(column, minlength=1).max() / max(len(column), 1) for column in labels]
    return sorted(np.argsort(commonest, kind="stable")[:SHOWN].tolist())


def filter_examples(ranking: Ranking, said: tuple[Answers, ...], places: int = 10) -> tuple[Ranking, list[int]]:
    """Three queries before and after an attribute filter: those it helps most and second most, and costs most.

    Whoever differs in one of `FILTER` is left out; gain is counted in matches among the first places.

    Returns:
        a ranking of two rows a query, and the queries they belong to; no rows where the filter changes no query.
    """
    used = [t for t, task in enumerate(said[0].tasks) if task.name in FILTER] or [0]
    differ = said[0].classes[:, None, used] != said[1].classes[None, :, used]  # (Q, G, T)
    after = leave_out(ranking, differ.any(2))
    gain = (after.match & after.keep)[:, :places].sum(1) - (ranking.match & ranking.keep)[:, :places].sum(1)
    best = np.argsort(-gain, kind="stable")
    queries = list(dict.fromkeys([*best[:2].tolist(), int(gain.argmin())])) if gain.any() else []

    def in_turn(name: str) -> np.ndarray:
        both = np.stack([getattr(ranking, name)[queries], getattr(after, name)[queries]], 1)  # (queries, 2, K)
        return both.reshape(-1, both.shape[2])

    arrays: dict[str, Any] = {name: in_turn(name) for name in ("order", "distance", "match", "keep")}
    return replace(ranking, **arrays), [query for query in queries for _ in range(2)]


def name_rows(figure: Figure, names: Sequence[str]) -> None:
    """Write a name to the left of every row of a figure of ranked lists."""
    columns = len(figure.axes) // len(names)
    for axes, name in zip(figure.axes[::columns], names, strict=True):
        axes.set_ylabel(name, fontsize=8)


# --- tables --------------------------------------------------------------------------------------------------


def measured_tables(tables: Path, folder: Path) -> list[Path]:
    """Every table of the papers that measured tables answer, and what became of the claims.

    Each is a CSV with one number a row, Markdown and LaTeX with the published number beside the measured one, and a
    figure: bars are measured, diamonds published.

    Args:
        tables: the folder with the measured tables.
        folder: where the new ones go.
    """
    paths = []
    for printed in PRINTED:
        for path in sorted(tables.glob(f"{printed.source}.csv")):
            numbers = measured.beside_published(measured.read_measured(path, "trapezoid"), printed)
            if numbers.empty:
                continue
            dataset = path.stem.split("-")[-1]
            table = "".join(filter(str.isalnum, printed.table.lower()))
            name = f"{printed.system}-{table}-{dataset}"
            where = ", ".join(published(printed.system, printed.table)["dataset"].unique())
            caption = f"{printed.system}, {printed.table}: measured on {dataset}, published on {where}, %"
            about = {"measured": path.name, "published": PAPERS[printed.system], "commit": git_state()}
            paths.append(save_table(numbers, name, folder, about, caption=caption, shown=measured.for_reading(numbers)))
            axes = bars(numbers, caption)
            if axes is not None:
                paths.append(plots.save(axes, name, folder, about))
    assessed = claims.assess(tables)
    about = {"measured": tables.name, "confidence": "95 %, paired differences", "commit": git_state()}
    for name, shown in (("claims", claims.summary(assessed)), ("claims-details", claims.details(assessed))):
        paths.append(save_table(shown, name, folder, about, caption="What the papers claim, and what was measured"))
    plt.close("all")
    return paths


def bars(numbers: pd.DataFrame, title: str) -> Axes | None:
    """Numbers as bars with the published ones as diamonds: rows and metrics that the paper prints, if any."""
    numbers = numbers[numbers["n"] > 0]
    down, across = measured.down_and_across(numbers)
    printed = numbers.dropna(subset="published")
    if printed[down].nunique() < 2:
        return None
    numbers = numbers[numbers[down].isin(printed[down]) & numbers[across].isin(printed[across])]
    sides = [numbers.pivot_table(index=down, columns=across, values=v, sort=False) for v in ("mean", "published")]
    if down == "metric":
        sides = [side.rename(index=lambda name: name.rpartition("/")[2]) for side in sides]
    return under_title(plots.table_beside(*sides, xlabel="%"), title)


def under_title(axes: Axes, title: str) -> Axes:
    """Axes under a title over the whole figure, where long names leave them little room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.suptitle(textwrap.fill(title, 80, break_on_hyphens=False), x=0.01, ha="left", fontsize=10)
    return axes


def run_tables(runs: Sequence[Run], folder: Path) -> list[Path]:
    """The runs on one data set in one profile beside each other (000 Figure 4, 002 Tables 1 and 2, 003 Tables 3 to 5).

    A row is a system and what it changes, over its seeds and folds, as it is and re-ranked; the published number is
    that of the same data set, and of Market-1501 for synthetic people. Below stand the other rows of the papers' own
    comparisons. Reads the scores that `run_figures` left in `folder`.
    """
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kinds.setdefault((run.recipe.dataset, run.recipe.profile), []).append(run)
    paths = []
    for (dataset, profile), alike in kinds.items():
        numbers = measured.runs_beside_published(alike, folder)
        name = f"comparison-{dataset}-{profile}"
        about = {"runs": ", ".join(run.folder.name for run in alike), "data set": dataset, "commit": git_state()}
        caption = f"Systems on {dataset}, profile {profile}, %"
        if numbers["published"].notna().any():
            caption += f"; published on {measured.STANDS_FOR.get(dataset, dataset)}"
        paths.append(
            save_table(numbers, name, folder / "tables", about, caption=caption, shown=measured.for_reading(numbers))
        )
        rank1 = numbers[(numbers["metric"] == "rank1") & (numbers["n"] > 0)].set_index("row")
        if len(rank1) > 1:
            sides = [rank1[[column]].set_axis(["rank-1"], axis=1) for column in ("mean", "published")]
            axes = under_title(plots.table_beside(*sides, xlabel="%"), caption)
            paths.append(plots.save(axes, name, folder / "tables", about))
    plt.close("all")
    return paths
