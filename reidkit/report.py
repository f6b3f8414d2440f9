"""Every figure and table kind of the five papers, from finished runs and measured tables, with where it comes from.

Numbers of the figures are those of the papers: 001 two_stage, 002 aanet, 003 part_multitask, 004 inherent_code and
000 sharenet.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import attention, claims, plots, tables
from .attributes import Attributes, read_attributes
from .course import easy_to_hard
from .data import ImageSet, binary_columns, binary_labels, load, standardise
from .errors import InputError
from .features import Answers, answer, features_of
from .images import is_person, read_images
from .metrics import attribute_scores, column_scores
from .papers import PAPERS, published
from .ranking import RERANKED, Comparison, Ranking, measured_row
from .recipes import Recipe, recipe
from .runs import Run, load_run
from .source import git_state
from .statistics import imbalance
from .systems import SYSTEMS
from .systems.aanet import attended, peak_regions
from .systems.part_multitask import PartMultitask, is_lower
from .thresholds import filters, verification
from .thresholds.filters import leave_out

FILTER = (  # what a list is filtered by, as far as it is answered (002 Figure 8): Market-1501's names and PETA's
    "gender", "backpack", "upcolor", "downcolor", "personalFemale", "carryingBackpack", "lowerBodyTrousers",
)  # fmt: skip
SHOWN = 14  # attributes beside an image


def draw(runs: Sequence[Path], measured: Path, folder: Path) -> Iterator[str]:
    """Draw data sets, runs and tables into sub-folders of `folder`; yields a line each.

    Args:
        runs: finished runs; their data sets are described too. A run that cannot be read, or whose data have gone, is
            named and left out.
        measured: the folder with the measured tables.
        folder: where the sub-folders go.
    Raises:
        InputError: no run that could be drawn.
    """
    described: list[tuple[str, str, int]] = []
    drawn: list[Run] = []
    for path in runs:
        try:
            run = load_run(path)
            images, labels = data_of(run)
        except InputError as error:
            if path == runs[-1] and not drawn:
                raise
            yield f"{path.name}: left out, {str(error).rstrip('.')}"
            continue
        key = (run.recipe.dataset, images.attrs["root"], run.recipe.fold)
        if key not in described:
            described.append(key)
            number = sum(dataset == run.recipe.dataset for dataset, _, _ in described)
            name = f"data-{run.recipe.dataset}" + (f"-{number}" if number > 1 else "")
            yield line(name, data_figures(images, labels, folder / name))
        yield line(path.name, run_figures(run, images, labels, folder / path.name))
        drawn.append(run)
    yield line("comparison", comparisons(drawn, folder))
    yield line("tables", measured_tables(measured, folder / "tables"))


def finished(runs: Path) -> list[Path]:
    """The finished runs in a folder; InputError where there are none."""
    found = sorted(path.parent for path in runs.glob("*/recipe.json") if not path.parent.name.startswith("."))
    if not found:
        raise InputError(f"there is no finished run in {runs}: `reidkit train` or `reidkit course` makes one.")
    return found


def line(name: str, paths: Sequence[Path]) -> str:
    """What was drawn, in one line."""
    return (
        f"{name}: {', '.join(dict.fromkeys(path.stem for path in paths))} in {paths[0].parent}"
        if paths
        else f"{name}: nothing"
    )


def data_of(run: Run) -> tuple[pd.DataFrame, Attributes | None]:
    """The images a run was trained on, read again, and the attributes of their people where they are known."""
    about = json.loads((run.folder / "environment.json").read_text())
    images = read_images(run.recipe.dataset, about["root"] or None, fold=run.recipe.fold)
    try:
        return images, read_attributes(run.recipe.dataset, images.attrs["root"], fold=run.recipe.fold)
    except InputError:
        return images, None


# --- a data set ----------------------------------------------------------------------------------------------


def data_figures(images: pd.DataFrame, labels: Attributes | None, folder: Path) -> list[Path]:
    """Statistics of a data set (001 Figure 4, 003 Tables 1 and 2)."""
    name = images.attrs["dataset"]
    about = {"data set": name, "fold": images.attrs["fold"], "commit": git_state()}
    paths = [tables.save(statistics(images), "statistics", folder, about, caption=f"{name}: images, people, cameras")]
    figure, (left, right) = split_axes()
    plots.images_per_person(images[images["split"] == "train"], left)
    plots.images_per_camera(images, right)
    paths.append(plots.save(figure, "images", folder, about))
    if labels is not None:
        shares = imbalance(labels)
        paths.append(plots.save(plots.imbalance(shares), "imbalance", folder, about))
        caption = f"{name}: the attributes of the training people"
        paths.append(tables.save(shares, "imbalance-table", folder, about, caption=caption, digits=2))
        caption = f"{name}: the attributes of each half of the body, with the number of their classes"
        paths.append(tables.save(halves(labels), "halves", folder, about, caption=caption))
    plt.close("all")
    return paths


def split_axes() -> tuple[Figure, np.ndarray]:
    """A figure with two panels beside each other."""
    plots.use_style()
    return plt.subplots(1, 2, figsize=(7.2, 2.6))


def statistics(images: pd.DataFrame) -> pd.DataFrame:
    """Images, people, cameras and images a person of every split; distractors and junk are images of nobody."""
    rows = []
    for split, part in images.groupby("split", sort=False):
        people = part[is_person(part)]
        n = people["pid"].nunique()
        rows.append(
            (
                split,
                len(part),
                n,
                part["camid"].nunique(),
                len(people) / n if n else float("nan"),
                len(part) - len(people),
            )
        )
    return pd.DataFrame(rows, columns=["split", "images", "people", "cameras", "images a person", "of nobody"])


def halves(labels: Attributes) -> pd.DataFrame:
    """The attributes of the upper and the lower half of the body, as paper 003 groups them."""
    rows = []
    for part, lower in (("upper", False), ("lower", True)):
        own = [task for task in labels.schema.tasks if is_lower(task.name) == lower]
        rows.append((part, len(own), ", ".join(f"{task.name} ({len(task.classes)})" for task in own)))
    return pd.DataFrame(rows, columns=["half", "attributes", "which"])


# --- a run ---------------------------------------------------------------------------------------------------


def run_figures(run: Run, images: pd.DataFrame, labels: Attributes | None, folder: Path) -> list[Path]:
    """What the papers show of one system: lists, curves, distances, training; attributes where it answers them."""
    plan = run.recipe
    commit = json.loads((run.folder / "environment.json").read_text())["git"]
    about = {"run": run.folder.name, "system": plan.system, "data set": plan.dataset, "fold": plan.fold}
    about |= {"seed": plan.seed, "commit": commit}
    query, gallery = (features_of(run, images, split) for split in ("query", "gallery"))
    scores = Comparison.of(query, gallery, plan.metric).score()
    ranking = Comparison.of(query, gallery, plan.metric).rank()
    compared = Comparison.of(query, gallery, plan.metric)
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
    paths = [tables.save(numbers, "scores", folder, about, caption=title)]
    if run.network.classifiers():  # an AlexNet answers from a vector and has no map
        figures |= maps(run, query.table)  # 002 1, 3, 4 and 6
    if run.network.tasks and labels is not None:
        labels = labels.only(task.name for task in run.tasks)
        said = tuple(answers(run, part.table, labels) for part in (query, gallery))
        truth = labels.of(query.table["pid"])
        figures["attributes"] = plots.attribute_examples(
            said[0], truth, examples(said[0], truth), mixed(truth)
        )  # 003 4
        before_after, rows = filtered(ranking, said)
        if rows:
            shown = range(len(rows))
            figures["filter"] = plots.strips(before_after, query.table.iloc[rows], gallery.table, shown)  # 002 8
            mark(figures["filter"], ("whole list", "filtered") * (len(rows) // 2))
        if isinstance(run.network, PartMultitask):  # whose paper's Tables 6 and 7 are of columns, on the gallery
            images_of_people = gallery.table[is_person(gallery.table)]
            pixels = load(images_of_people, plan.height, plan.width, attributes=labels, people=())
            right, of = columns_table(run.network, pixels), "gallery, mean accuracy of yes and no"
        else:
            right, of = attribute_scores(truth, said[0].classes, run.tasks), "queries"
        table = beside_published(plan.system, plan.dataset, right)
        caption = f"{title}; attributes of the {of}, %"
        paths.append(tables.save(table, "attribute-table", folder, about, caption=caption))  # 002 4, 003 6 and 7
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


def maps(run: Run, table: pd.DataFrame) -> dict[str, Figure | Axes]:
    """Where a network sees the attributes of a few people: a map each, merged, and beside the map of identity."""
    network = run.network
    several = table.reset_index(drop=True).groupby("pid").head(1)
    several = several.iloc[:: max(1, len(several) // 8)].head(8)
    own = load(several, run.recipe.height, run.recipe.width, people=())
    pixels = standardise(own.pixels)
    pictures = [image.permute(1, 2, 0).numpy() for image in own.pixels]
    tasks = [run.tasks[t] for t in attended([task.name for task in run.tasks])]
    merged = {"merged": attention.merged_map(network, pixels).numpy()}
    each = {task.name: attention.attribute_maps(network, pixels, task.name, "cam").numpy() for task in tasks[:6]}
    with torch.no_grad():
        said = dict(zip(network.tasks, (logits.argmax(1).tolist() for logits in network.answer(pixels)), strict=True))
    words = [[task.classes[said[task.name][i]] for task in tasks[:6]] for i in range(len(pictures))]
    figures: dict[str, Figure | Axes] = {}
    with torch.no_grad():
        knows_people = network.identify(pixels[:1]).shape[1] > 0
    if knows_people:
        identity = {"identity": attention.identity_maps(network, pixels, "layercam").numpy()}
        figures["identity"] = plots.heats(pictures, merged | identity, across=True)
        each = identity | each
        words = [["", *row] for row in words]
    few = slice(0, 4)
    shown = {name: heat[few] for name, heat in (each | merged).items()}
    figures["attention"] = plots.heats(pictures[few], shown, [[*row, ""] for row in words[few]])
    if run.recipe.system == "aanet":
        with torch.no_grad():
            rows = peak_regions(network.backbone(pixels)).numpy()
        borders = [((np.flatnonzero(np.diff(own)) + 1) / len(own)).tolist() for own in rows]
        figures["parts"] = plots.regions(pictures, borders)
    return figures


SHARES = ("accuracy", "answers", "active", "wrong")  # what systems watch beside their losses, from 0 to 1
OTHERS = ("positive", "negative", "distance", "length", "sigma_")  # and in units of their own
CLOCK = ("epoch", "lr", "seconds", "images_per_second")


def training(history: pd.DataFrame, tasks: Sequence[str]) -> Figure:
    """Losses, shares and the rest of a training over its epochs, a panel each; losses of many tasks as their sum."""
    own = [name for name in tasks if name in history]
    table = history.drop(columns=[name for name in history if name in own or name.removeprefix("val_") in own])
    if own:
        table["all tasks"] = history[own].sum(axis=1)
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


def answers(run: Run, table: pd.DataFrame, labels: Attributes) -> Answers:
    """What a run says about the attributes of a table's images."""
    pixels = load(table, run.recipe.height, run.recipe.width, attributes=labels, people=())
    return answer(run, pixels)


def examples(said: Answers, truth: np.ndarray) -> list[int]:
    """Four images from the one with most right answers to the one with fewest, at equal steps (ties: the first)."""
    right = ((said.classes == truth) & (truth >= 0)).sum(1)
    order = np.argsort(-right, kind="stable")
    return [int(order[k]) for k in np.linspace(0, len(order) - 1, min(4, len(order))).round().astype(int)]


def mixed(truth: np.ndarray) -> list[int]:
    """The attributes to show, in their order: all, or those whose commonest class is least common."""
    commonest = [
        np.bincount(column[column >= 0], minlength=1).max() / max((column >= 0).sum(), 1) for column in truth.T
    ]
    return sorted(np.argsort(commonest, kind="stable")[:SHOWN].tolist())


def filtered(ranking: Ranking, said: tuple[Answers, ...], places: int = 10) -> tuple[Ranking, list[int]]:
    """Three queries before and after an attribute filter: those it helps most and second most, and costs most.

    Whoever differs in one of `FILTER` is left out; gain is counted in matches among the first places.

    Returns:
        a ranking of two rows a query, and the queries they belong to; no rows where the filter changes no query.
    """
    used = [t for t, task in enumerate(said[0].tasks) if task.name in FILTER] or [0]
    out = (said[0].classes[:, None, used] != said[1].classes[None, :, used]).any(2)
    after = leave_out(ranking, out)
    gain = (after.match & after.keep)[:, :places].sum(1) - (ranking.match & ranking.keep)[:, :places].sum(1)
    best = np.argsort(-gain, kind="stable")
    rows = list(dict.fromkeys([*best[:2].tolist(), int(gain.argmin())])) if gain.any() else []

    def beside(before: np.ndarray, behind: np.ndarray) -> np.ndarray:
        return np.stack([before[rows], behind[rows]], 1).reshape(-1, before.shape[1])

    order = beside(ranking.order, after.order)
    distance = beside(ranking.distance, after.distance)
    match, keep = beside(ranking.match, after.match), beside(ranking.keep, after.keep)
    pairs = Ranking(order, distance, match, keep, ranking.rule, ranking.metric)
    return pairs, [row for row in rows for _ in range(2)]


def mark(figure: Figure | Axes, words: Sequence[str]) -> None:
    """Write a word to the left of every row of a figure of ranked lists."""
    assert isinstance(figure, Figure)
    columns = len(figure.axes) // len(words)
    for axes, word in zip(figure.axes[::columns], words, strict=True):
        axes.set_ylabel(word, fontsize=8)


OWN = {  # where a paper prints the attributes of its own system, of the test people of a data set: table, row
    ("aanet", "market1501"): ("Table 4", "AANet-152"),
    ("part_multitask", "market1501"): ("Table 6", "Ours"),
    ("part_multitask", "dukemtmc"): ("Table 7", "Ours"),
}
STANDS_FOR = {"synthetic": "market1501"}  # whose published numbers stand beside those of people that do not exist


def beside_published(system: str, dataset: str, scores: pd.DataFrame) -> pd.DataFrame:
    """A table of attributes with the accuracy that the system's paper prints for each task of this data set.

    Args:
        system: by name.
        dataset: by name; the synthetic people stand beside Market-1501, whose attributes they have.
        scores: indexed by task.
    Returns:
        the tasks as a column, and a column named after the published row and data set where there is one.
    """
    table = scores.reset_index()
    dataset = STANDS_FOR.get(dataset, dataset)
    if (system, dataset) not in OWN:
        return table
    name, row = OWN[system, dataset]
    rows = published(system, name)
    rows = rows[(rows["row"] == row) & rows["metric"].str.startswith("accuracy/")]
    known = dict(zip(rows["metric"].str.removeprefix("accuracy/"), rows["percent"], strict=True))
    known["global"] = known.get("global", known.get("mean", known.get("average", float("nan"))))
    return table.assign(**{f"{row} on {dataset}": [known.get(task, float("nan")) for task in table["task"]]})


# --- tables --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """A table of a paper, and the rows of measured tables that answer its rows."""

    system: str
    table: str
    source: str  # which measured tables: a pattern of file names
    rows: dict[str, str] = field(default_factory=dict)  # the paper's row by the measured one
    metrics: str = ""  # only those that begin so


LOSSES = {"cross_entropy": "Vanilla CE", "weighted": "Weighted CE", "focal": "Focal", "alpha_focal": "AlphaFocal"}
PRINTED = (
    Printed(
        "sharenet",
        "Fig. 3",
        "*-towncentre",
        {"triplet-alexnet": "Triplet", **{f"sharenet-{i}": f"Sharenet-{i}" for i in (5, 6, 7)}},
    ),
    Printed(
        "two_stage",
        "Table 1",
        "transfer-*",
        {
            "second stage without the first, cluster negatives": "without transfer learning",
            "second stage with the first, cluster negatives": "with transfer learning",
        },
    ),
    Printed("two_stage", "Table 2", "attributes-*", LOSSES, "accuracy/"),
    Printed("two_stage", "Table 3", "attributes-*", LOSSES, "f1/"),
    Printed(
        "aanet",
        "Table 3",
        "ablations-aanet-*",
        {
            "global": "L_g",
            "parts": "L_g+L_p",
            "attributes": "L_g+L_p+L_a",
            "uncertainty": "L_g+L_p+L_a, uncertainty",
            "attention": "L_g+L_p+L_a+L_aa, uncertainty",
        },
    ),
    Printed(
        "part_multitask",
        "Table 8",
        "ablations-part_multitask-*",
        {"ours": "Ours", **{row: f"Ours-{row}" for row in ("woID", "woAttr", "woIM", "woVM")}},
    ),
    Printed(
        "inherent_code",
        "Table 1",
        "inherent_code-pku",
        {
            "set1": "set1: classification",
            "set2": "set2: + compact",
            "set3": "set3: + compact + scatter",
            "triplet18": "ResNet18_htri",
            "triplet50": "ResNet50_htri",
        },
    ),
)


def measured_tables(measured: Path, folder: Path) -> list[Path]:
    """Every table of the papers that measured tables answer, and what became of the claims.

    Each is a CSV with one number a row, Markdown and LaTeX with the published number beside the measured one, and a
    figure: bars are measured, diamonds published.
    """
    paths = []
    for printed in PRINTED:
        for path in sorted(measured.glob(f"{printed.source}.csv")):
            numbers = compared(long(path), printed)
            if numbers.empty:
                continue
            dataset, name = (
                path.stem.split("-")[-1],
                f"{printed.system}-{slug(printed.table)}-{path.stem.split('-')[-1]}",
            )
            where = ", ".join(dict.fromkeys(published(printed.system, printed.table)["dataset"]))
            caption = f"{printed.system}, {printed.table}: measured on {dataset}, published on {where}, %"
            about = {"measured": path.name, "published": PAPERS[printed.system], "commit": git_state()}
            paths.append(tables.save(numbers, name, folder, about, caption=caption, shown=wide(numbers)))
            figure = bars(numbers, caption)
            if figure is not None:
                paths.append(plots.save(figure, name, folder, about))
    answered = claims.check(measured)
    about = {"measured": measured.name, "confidence": "95 %, paired differences", "commit": git_state()}
    for name, shown in (("claims", claims.summary(answered)), ("claims-details", claims.details(answered))):
        paths.append(tables.save(shown, name, folder, about, caption="What the papers claim, and what was measured"))
    plt.close("all")
    return paths


def slug(text: str) -> str:
    """A name for a file: "Table 1" is table1."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def long(path: Path) -> pd.DataFrame:
    """A measured table with one number a row: row, metric (as `papers.published` calls it), value.

    mAP is the area under the precision-recall curve, as the papers have it, where the table holds it. Re-ranked scores
    are rows of their own, "... re-ranked".
    """
    table = pd.read_csv(path)
    if "loss" not in table:
        return pd.concat([scored(table), scored(table, RERANKED, " re-ranked")], ignore_index=True)
    held_out = table[table["on"] == "validation"].rename(
        columns={"accuracy": "accuracy/", "macro_f1": "f1/", "loss": "row"}
    )
    numbers = held_out.melt(["row", "task"], ["accuracy/", "f1/"], "metric")
    return numbers.assign(metric=numbers["metric"] + numbers["task"]).drop(columns="task")


SCORES = ("rank1", "rank5", "rank10", "rank20", "mAP")


def scored(table: pd.DataFrame, start: str = "", mark: str = "") -> pd.DataFrame:
    """The scores of a table whose columns begin with `start`, one a row: row (with `mark` behind it), metric, value."""
    area = f"{start}mAP_trapezoid"
    table = table.assign(**{f"{start}mAP": table[area]}) if area in table else table
    values = {start + name: name for name in SCORES if start + name in table}
    numbers = table.assign(row=table["system"] + mark)[["row", *values]].rename(columns=values)
    return numbers.melt("row", list(values.values()), "metric") if values else pd.DataFrame()


def compared(numbers: pd.DataFrame, printed: Printed) -> pd.DataFrame:
    """Mean, sample deviation and n of every measured number beside the published one, and what else the paper prints.

    Returns:
        row, metric, n, mean, deviation, published; n is 0 and mean missing for rows that only the paper has.
    """
    numbers = numbers[numbers["row"].isin(list(printed.rows)) & numbers["metric"].str.startswith(printed.metrics)]
    paper = published(printed.system, printed.table)
    if numbers.empty:
        return pd.DataFrame()
    kept = numbers.groupby(["row", "metric"], sort=False)["value"].agg(["size", "mean", "std"]).reset_index()
    kept.columns = ["row", "metric", "n", "mean", "deviation"]
    kept["row"] = kept["row"].map(printed.rows)
    beside = paper[["row", "metric", "percent"]].rename(columns={"percent": "published"})
    found = kept.merge(beside, on=["row", "metric"], how="left")
    peers = beside[~beside["row"].isin(found["row"]) & beside["metric"].isin(found["metric"])]
    found = pd.concat([found, peers.assign(n=0)], ignore_index=True)
    order = {row: i for i, row in enumerate(paper["row"].drop_duplicates())}
    return found.sort_values("row", key=lambda rows: rows.map(order), kind="stable").reset_index(drop=True)


def wide(numbers: pd.DataFrame) -> pd.DataFrame:
    """`compared` for reading: measured and published columns of every metric, or of every row where there are many."""
    down, across = ("metric", "row") if numbers["metric"].nunique() > 6 else ("row", "metric")
    measured, paper = {}, {}
    for row in numbers.itertuples():
        spread = f" ± {row.deviation:.1f}" if row.n > 1 else ""
        key = (getattr(row, down).rpartition("/")[2], getattr(row, across))
        measured[key] = f"{row.mean:.1f}{spread}" if row.n else ""
        paper[key] = "" if np.isnan(row.published) else f"{row.published:g}"
    columns = list(dict.fromkeys(key[1] for key in measured))
    lines = []
    for name in dict.fromkeys(key[0] for key in measured):
        cells = {down.replace("metric", "task"): name}
        if down == "row":
            cells["n"] = str(numbers.loc[numbers["row"] == name, "n"].max() or "")
        for column in columns:
            cells[column] = measured.get((name, column), "")
            cells[f"{column} (paper)"] = paper.get((name, column), "")
        lines.append(cells)
    table = pd.DataFrame(lines)
    return table[[name for name in table if (table[name] != "").any()]]


def bars(numbers: pd.DataFrame, title: str) -> Axes | None:
    """`compared` as bars with the published numbers as diamonds: rows and metrics that the paper prints, if any."""
    numbers = numbers[numbers["n"] > 0]
    many = numbers["metric"].nunique() > 6
    down, across = ("metric", "row") if many else ("row", "metric")
    printed = numbers.dropna(subset="published")
    if printed[down].nunique() < 2:
        return None
    numbers = numbers[numbers[down].isin(printed[down]) & numbers[across].isin(printed[across])]
    sides = [numbers.pivot_table(index=down, columns=across, values=v, sort=False) for v in ("mean", "published")]
    if many:
        sides = [side.rename(index=lambda name: name.rpartition("/")[2]) for side in sides]
    return headed(plots.table_beside(*sides, xlabel="%"), title)


def headed(axes: Axes, title: str) -> Axes:
    """A title over the whole figure, for axes that long names leave little room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.suptitle(textwrap.fill(title, 80, break_on_hyphens=False), x=0.01, ha="left", fontsize=10)
    return axes


# --- runs beside each other ----------------------------------------------------------------------------------

COMPARED = {  # where a paper prints its own system beside others: data, table, its row by variant
    ("sharenet", "market1501"): ("Fig. 4", {"triplet-alexnet": "Baseline1-TripletA", "sharenet-7": "Sharenet-7A"}),
    ("aanet", "market1501"): (
        "Table 2",
        {"attention": "AANet-50", "deeper": "AANet-152", "deeper re-ranked": "AANet-152 + RR"},
    ),
    ("aanet", "dukemtmc"): (
        "Table 1",
        {"attention": "AANet-50", "deeper": "AANet-152", "deeper re-ranked": "AANet-152 + RR"},
    ),
    ("part_multitask", "market1501"): ("Table 3", {"ours": "Ours(woRK)", "ours re-ranked": "Ours"}),
    ("part_multitask", "dukemtmc"): ("Table 4", {"ours": "Ours(woRK)", "ours re-ranked": "Ours"}),
    ("part_multitask", "viper"): ("Table 5", {"ours": "Ours"}),
    ("sharenet", "towncentre"): ("Fig. 3", PRINTED[0].rows),
    ("inherent_code", "pku"): ("Table 1", PRINTED[-1].rows),
}


def comparisons(runs: Sequence[Run], folder: Path) -> list[Path]:
    """The runs on one data set in one profile beside each other (000 Figure 4, 002 Tables 1 and 2, 003 Tables 3 to 5).

    A row is a system and what it changes, over its seeds and folds, as it is and re-ranked; the published number is
    that of the same data set, and of Market-1501 for synthetic people. Below stand the other rows of the papers' own
    comparisons. Reads the scores that `run_figures` left in `folder`.
    """
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kinds.setdefault((run.recipe.dataset, run.recipe.profile), []).append(run)
    paths = []
    for (dataset, profile), own in kinds.items():
        numbers = beside(own, folder)
        name = f"comparison-{dataset}-{profile}"
        about = {"runs": ", ".join(run.folder.name for run in own), "data set": dataset, "commit": git_state()}
        on = STANDS_FOR.get(dataset, dataset)
        caption = f"Systems on {dataset}, profile {profile}, %"
        caption += f"; published on {on}" if numbers["published"].notna().any() else ""
        paths.append(tables.save(numbers, name, folder / "tables", about, caption=caption, shown=wide(numbers)))
        rank1 = numbers[(numbers["metric"] == "rank1") & (numbers["n"] > 0)].set_index("row")
        if len(rank1) > 1:
            sides = [rank1[[column]].set_axis(["rank-1"], axis=1) for column in ("mean", "published")]
            axes = headed(plots.table_beside(*sides, xlabel="%"), caption)
            paths.append(plots.save(axes, name, folder / "tables", about))
    plt.close("all")
    return paths


def beside(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """Scores of runs on one data set beside those of the papers' comparisons, one number a row.

    mAP is the area under the precision-recall curve, as the papers have it.

    Returns:
        row, metric, n, mean, deviation, published; n is 0 and mean missing for rows that only a paper has.
    """
    rows, peers = [], []
    for run in runs:
        plan = run.recipe
        variant = variant_of(plan)
        trained = "" if plan.system == "histogram" else f"{plan.backbone}, epochs {plan.epochs}"
        name = ", ".join(filter(None, (plan.system, variant, trained)))
        table, printed = COMPARED.get((plan.system, STANDS_FOR.get(plan.dataset, plan.dataset)), ("", {}))
        paper = published(plan.system, table) if table else published().iloc[:0]
        scores = pd.read_csv(folder / run.folder.name / "scores.csv").assign(system=variant)
        for line in pd.concat([scored(scores), scored(scores, RERANKED, " re-ranked")]).itertuples():
            known = paper.loc[(paper["row"] == printed.get(line.row)) & (paper["metric"] == line.metric), "percent"]
            number = float(known.iloc[0]) if len(known) else float("nan")
            rows.append((name + line.row.removeprefix(variant).replace(" re", ", re"), line.metric, line.value, number))
        others = paper[~paper["row"].isin(printed.values()) & paper["metric"].isin(SCORES)]
        peers.append(others.assign(row=others["row"] + f" ({plan.system}, {table})", n=0))
    numbers = pd.DataFrame(rows, columns=["row", "metric", "value", "published"])
    kept = numbers.groupby(["row", "metric"], sort=False).agg(
        n=("value", "size"), mean=("value", "mean"), deviation=("value", "std"), published=("published", "first")
    )
    below = pd.concat(peers)[["row", "metric", "n", "percent"]].drop_duplicates(["row", "metric"])
    return pd.concat([kept.reset_index(), below.rename(columns={"percent": "published"})], ignore_index=True)


def variant_of(plan: Recipe) -> str:
    """Which of its system's VARIANTS a recipe is, whatever its profile changes; "" where it is none."""
    system = SYSTEMS[plan.system]
    rows = system.VARIANTS

    def settings(of: Recipe) -> dict[str, object]:
        return asdict(of) | asdict(system.Options(**of.options))

    names = {"backbone", *(name for row in rows.values() for name in row.get("all", {}))}
    mine = settings(plan)
    for variant in rows:
        other = settings(recipe(plan.system, plan.profile, variant))
        if all(mine[name] == other[name] for name in names):
            return variant
    return ""
