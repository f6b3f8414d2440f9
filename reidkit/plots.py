"""One function a figure: data and optional axes in, axes or figure out; no computation, never `show()`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .features import Answers
from .ranking import Ranking
from .thresholds import EqualError, Gaussians, Pairs

# Okabe and Ito's colours: told apart with every kind of colour vision, and in grey
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
MARKERS = "os^Dv"  # beside the colours, for print in grey
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, BLACK)
MARKS = "os^DvPX*"  # of as many people

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "legend.edgecolor": "none",  # a pale ground, so that a line behind it crosses no word
    "legend.framealpha": 0.8,
    "legend.fancybox": False,
    "pdf.fonttype": 42,
}


def use_style() -> None:
    """The one style of all figures."""
    plt.rcParams.update(STYLE)  # type: ignore[arg-type]


def save(
    figure: Figure | SubFigure | Axes, name: str, folder: Path | str, about: Mapping[str, Any] | None = None
) -> Path:
    """Write NAME.png and NAME.pdf into a folder; returns the PNG's path. What is added later gets no room of its own.

    Args:
        figure: a figure, or axes of it.
        name: file name, without ending.
        folder: where the files go; made if absent.
        about: where the figure comes from, kept in both files as their description.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    root = figure.get_figure(root=True)
    assert root is not None  # axes outside a figure do not exist here
    root.draw_without_rendering()  # finds room for everything, once: each of the drawings to come would search again
    root.set_layout_engine("none")
    # no date in the files: the same figure is the same bytes
    source = "; ".join(f"{key}: {value}" for key, value in (about or {}).items()) or None
    root.savefig(home / f"{name}.pdf", metadata={"CreationDate": None, "Title": name, "Subject": source})
    root.savefig(home / f"{name}.png", metadata={"Software": None, "Title": name, "Description": source})
    return home / f"{name}.png"


def own_axes(axes: Axes | None, width: float = 4.8, height: float = 3.0) -> Axes:
    """The axes given, or those of a new figure of this size in inches.

    A figure of at most 5 inches is printed in a column of 3.3 inches, where its 9 points become 6. A wider one is
    printed across a page of 6.9 inches.
    """
    if axes is not None:
        return axes
    use_style()
    return plt.subplots(figsize=(width, height))[1]


def picture(path: str, height: int = 128, width: int = 64) -> np.ndarray:
    """An image file as (height, width, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((width, height)))


# --- lesson 01: who is in the data ---------------------------------------------------------------------------


def imbalance(table: pd.DataFrame, *, columns: int = 3, counts: str = "people") -> Figure:
    """Share of every class of every task, one small panel a task (paper 001, Figure 4).

    Args:
        table: `attributes.imbalance`: task, class, count, share in percent.
        columns: panels side by side.
        counts: what is counted, for the axis label.
    """
    use_style()
    tasks = list(dict.fromkeys(table["task"]))
    if len(tasks) > 20:  # PETA asks some hundred yes-or-no questions: one bar each, the commonest forty
        yes = table[table["class"] == "yes"].nlargest(40, "share")
        title = f"yes: the {len(yes)} commonest\nof {len(tasks)} attributes"
        table = yes.assign(**{"class": yes["task"], "task": title})
        tasks, columns = [title], 1
    tasks.sort(key=lambda task: -int((table["task"] == task).sum()))  # panels of like height in a row
    sizes = [int((table["task"] == task).sum()) for task in tasks]
    rows = -(-len(tasks) // columns)
    # a panel is as tall as the classes of the fullest task of its row need
    ratios = [max(sizes[r * columns : (r + 1) * columns]) + 1.5 for r in range(rows)]
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(2.6 * columns, 5.2), 0.2 * sum(ratios)),
        height_ratios=ratios,
        squeeze=False,
        sharex=True,
    )
    for axes, task in zip(grid.flat, tasks, strict=False):
        part = table[table["task"] == task]
        rare = part["share"] < 5
        axes.barh(part["class"], part["share"], color=[VERMILION if r else BLUE for r in rare], height=0.75)
        for place, share in enumerate(part["share"]):
            colour = VERMILION if share < 5 else "black"
            axes.text(share + 1.5, place, f"{share:.1f}", va="center", fontsize=7, color=colour)
        axes.set_title(task)
        axes.set_xlim(0, 118)
        rows_of = tasks.index(task) // columns * columns
        axes.set_ylim(max(sizes[rows_of : rows_of + columns]) - 0.5, -0.6)  # bars of one thickness in a row
        axes.tick_params(axis="y", length=0, labelsize=8)
    for axes in list(grid.flat)[len(tasks) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel(f"% of {counts}")
    return figure


def images_per_person(images: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Histogram of the number of images of each person in a table."""
    axes = own_axes(axes)
    per_person = images.groupby("pid").size()
    axes.hist(
        per_person, bins=list(np.arange(0.5, per_person.max() + 1.5)), color=BLUE, edgecolor="white", linewidth=0.3
    )
    axes.axvline(per_person.median(), color=VERMILION, linestyle="--", label=f"median {per_person.median():g}")
    axes.set(xlabel="images of one person", ylabel="people", title="Images per person")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return axes


def images_per_camera(images: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Bars of the number of images of each camera, stacked by split."""
    axes = own_axes(axes)
    table = images.pivot_table(index="camid", columns="split", values="pid", aggfunc="size", fill_value=0)
    table.index = table.index.astype(str)
    table = table[[split for split in ("train", "val", "query", "gallery") if split in table]]
    table.plot.bar(stacked=True, ax=axes, color=PALETTE[: table.shape[1]], width=0.75, rot=0)
    axes.set(xlabel="camera", ylabel="images", title="Images per camera")
    axes.legend(title=None, loc="upper left", bbox_to_anchor=(1.01, 1))
    return axes


def cooccurrence(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Heat map of P(column | row) in percent, `attributes.cooccurrence`."""
    side = max(7.2, 0.19 * len(table))  # PETA has some hundred columns
    axes = own_axes(axes, side + 0.8, side)
    axes.set_facecolor("0.85")  # grey where nobody has the row's attribute
    sns.heatmap(
        table, ax=axes, cmap="cividis", vmin=0, vmax=100, square=True, xticklabels=True, yticklabels=True,
        cbar_kws={"label": "% of the row's people who have the column", "shrink": 0.7},
    )  # fmt: skip
    axes.set_title("How often attributes go together (grey: nobody has the row's attribute)")
    axes.tick_params(labelsize=7, length=0)
    axes.set(xlabel="", ylabel="")
    return axes


def views(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Heat map of `metrics.view_scores`; orientation 0 faces the camera, each further one is 45 degrees on."""
    axes = own_axes(axes, 4.8, 3.9)
    turned = table.rename(index=_degrees, columns=_degrees)
    sns.heatmap(turned, ax=axes, cmap="cividis", annot=True, fmt=".0f", cbar_kws={"label": "mAP, %"})
    axes.set(xlabel="the match is turned by, degrees", ylabel="the query is turned by, degrees")
    axes.tick_params(axis="y", rotation=0)
    axes.set_title("Which views find each other")
    return axes


def _degrees(orientation: int) -> int:
    return 45 * orientation


# --- images and rankings -------------------------------------------------------------------------------------


def show_image(axes: Axes, image: str | np.ndarray, *, frame: str | None = None, title: str = "") -> None:
    """One image, a file or (H, W, 3), without ticks, with a coloured frame and a small title."""
    axes.imshow(picture(image) if isinstance(image, str) else image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame is not None)
        spine.set_color(frame)
        spine.set_linewidth(2.5)
    axes.set_title(title, fontsize=7, pad=2, loc="center")


def images_grid(images: pd.DataFrame, *, columns: int = 10, titles: Sequence[str] | None = None) -> Figure:
    """The images of a table in a grid, titled with person and camera unless titles are given."""
    use_style()
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(0.75 * columns, 1.65 * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, (axes, row) in enumerate(zip(grid.flat, images.itertuples(), strict=False)):
        axes.set_axis_on()
        show_image(axes, row.path, title=titles[i] if titles else f"{row.pid}, cam {row.camid}")
    return figure


def strips(
    ranking: Ranking, query: pd.DataFrame, gallery: pd.DataFrame, rows: Sequence[int], *, top: int = 10
) -> Figure:
    """Ranked lists: a query a row, its nearest gallery images in order (all five papers have this figure).

    A match has a green frame and a tick, another person a red-orange one and a cross, so that the figure is read
    without colour too. Left-out images (same person, same camera) do not appear.
    """
    use_style()
    figure, grid = plt.subplots(
        len(rows), top + 1, figsize=(0.72 * (top + 1), 1.75 * len(rows)), squeeze=False,
        gridspec_kw={"width_ratios": [1.15, *[1] * top]},
    )  # fmt: skip
    for line, q in zip(grid, rows, strict=True):
        own = query.iloc[q]
        show_image(line[0], own.path, frame=BLACK, title=f"query\n{own.pid}, cam {own.camid}")
        for axes, k in zip(line[1:], range(top), strict=True):
            if k >= ranking.order.shape[1] or not ranking.keep[q, k]:
                axes.set_axis_off()
                continue
            hit = ranking.match[q, k]
            found = gallery.iloc[ranking.order[q, k]]
            title = f"{'✓' if hit else '✗'} {ranking.distance[q, k]:.2f}\n{found.pid}, cam {found.camid}"
            show_image(axes, found.path, frame=GREEN if hit else VERMILION, title=title)
    return figure


def attribute_examples(said: Answers, truth: np.ndarray, rows: Sequence[int], tasks: Sequence[int]) -> Figure:
    """Images, two in a line, with a network's answers and how sure it is; wrong ones are marked (paper 003, Figure 4).

    Args:
        said: what the network says about N images.
        truth: (N, T) classes, -1 where nobody knows: such answers have a question mark.
        rows: which of the N images.
        tasks: which of the T tasks.
    """
    use_style()
    lines = -(-len(rows) // 2)
    figure, grid = plt.subplots(
        lines, 4, figsize=(6.4, lines * (0.35 + 0.17 * max(len(tasks), 10))), squeeze=False,
        gridspec_kw={"width_ratios": [1, 1.75] * 2},
    )  # fmt: skip
    for axes in grid.flat[2 * len(rows) :]:
        axes.set_axis_off()
    for image, words, i in zip(grid.flat[: 2 * len(rows) : 2], grid.flat[1 : 2 * len(rows) : 2], rows, strict=True):
        own = said.table.iloc[i]
        show_image(image, own.path, frame=BLACK, title=f"{own.pid}, cam {own.camid}")
        words.set_axis_off()
        for line, t in enumerate(tasks):
            task = said.tasks[t]
            chance, k = said.probability[t][i].max(0)
            known, right = truth[i, t] >= 0, truth[i, t] == int(k)
            sign, colour = ("?", "#555555") if not known else ("✓", GREEN) if right else ("✗", VERMILION)
            text = f"{sign} {task.name}: {task.classes[int(k)]} {float(chance):.2f}"
            weight = "bold" if known and not right else "normal"
            at = 1 - (line + 0.5) / len(tasks)
            words.text(0, at, text, fontsize=8, color=colour, weight=weight, va="center", transform=words.transAxes)
    return figure


def maps(images: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 7) -> Figure:
    """An image and the same under its attention maps, (H, W, 3) each, in lines of seven with a title below."""
    use_style()
    lines = -(-len(images) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(1.1 * columns, 2.4 * lines), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        axes.set_axis_on()
        show_image(axes, image)
        axes.set_xlabel(title, fontsize=7)
    return figure


def retrieved(
    query: np.ndarray,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    ranking: Ranking,
    threshold: float,
    *,
    title: str = "",
    known: bool = True,
) -> Figure:
    """One query's list in lines of ten, and the distances of its whole gallery below.

    Args:
        query: (H, W, 3), the image asked with.
        images: the first images of the list, (H, W, 3) each.
        titles: a title for each image.
        ranking: one row.
        threshold: fade the images beyond this distance.
        title: of the figure.
        known: whether it is known who the query is; if not, images have no coloured frames.
    """
    use_style()
    lines = max(1, -(-len(images) // 10))
    figure = plt.figure(figsize=(7.9, 1.75 * lines + 2.1))
    grid = figure.add_gridspec(lines + 1, 11, height_ratios=[*[1.75] * lines, 1.6])
    show_image(figure.add_subplot(grid[0, 0]), query, frame=BLACK, title="query")
    for k, (image, text) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(grid[k // 10, 1 + k % 10])
        frame = (GREEN if ranking.match[0, k] else VERMILION) if known else None
        show_image(axes, image, frame=frame, title=text)
        if ranking.distance[0, k] > threshold:
            axes.images[0].set_alpha(0.4)
    axes = figure.add_subplot(grid[lines, 1:])
    kept, hit = ranking.keep[0], ranking.match[0]
    bins = list(np.linspace(ranking.distance[0][kept].min(), ranking.distance[0][kept].max(), 50)) if kept.any() else 1
    for which, colour, name in ((kept & ~hit, ORANGE, "others"), (kept & hit, BLUE, "same person")):
        if which.any():
            label = f"{name} ({which.sum():,})"
            axes.hist(ranking.distance[0][which], bins=bins, density=True, alpha=0.6, color=colour, label=label)
    axes.axvline(threshold, color=BLACK, label=f"threshold {threshold:.3f}")
    axes.set(xlabel=f"{ranking.metric} distance", ylabel="density", yticks=[])
    axes.legend(fontsize=7)
    figure.suptitle(title, fontsize=7, x=0.01, ha="left")
    return figure


def cmc(curves: Mapping[str, np.ndarray], axes: Axes | None = None, *, top: int = 20) -> Axes:
    """Cumulative match curves, one a name: percent of queries with a match within the first k places."""
    axes = own_axes(axes)
    for (name, curve), marker in zip(curves.items(), cycle(MARKERS), strict=False):
        k = np.arange(1, min(top, len(curve)) + 1)
        axes.plot(k, curve[: len(k)], marker=marker, markersize=3, label=name)
    axes.set(xlabel="rank k", ylabel="queries with a match, %", title="CMC", ylim=(0, 102), xticks=[1, 5, 10, 15, 20])
    axes.legend(loc="lower right")  # a curve rises
    return axes


def distances(ranking: Ranking, axes: Axes | None = None) -> Axes:
    """Distributions of the distances to the same person (genuine) and to other people (impostor)."""
    axes = own_axes(axes)
    kept = ranking.keep & np.isfinite(ranking.distance)
    genuine, impostor = ranking.distance[kept & ranking.match], ranking.distance[kept & ~ranking.match]
    bins = list(np.linspace(min(genuine.min(), impostor.min()), max(genuine.max(), impostor.max()), 60))
    for values, colour, name in ((impostor, ORANGE, "other people"), (genuine, BLUE, "same person")):
        axes.hist(values, bins=bins, density=True, alpha=0.6, color=colour, label=f"{name} ({len(values):,} pairs)")
    axes.set(xlabel=f"{ranking.metric} distance", ylabel="density", title="Distances of query and gallery")
    axes.legend()
    return axes


def history(table: pd.DataFrame, names: Sequence[str], axes: Axes | None = None, *, title: str = "Training") -> Axes:
    """Columns of a training's history over its epochs."""
    axes = own_axes(axes)
    for name, marker in zip(names, cycle(MARKERS), strict=False):
        axes.plot(table["epoch"], table[name], marker=marker, markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="mean of the epoch", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return axes


def found(query: str | None, images: Sequence[tuple[str, str]]) -> Figure:
    """What was found, (path, title) in order, behind the image that was asked with, if any."""
    use_style()
    first = int(query is not None)
    figure, line = plt.subplots(1, len(images) + first, figsize=(0.75 * (len(images) + first), 1.75), squeeze=False)
    if query is not None:
        show_image(line[0, 0], query, title="query", frame=BLACK)
    for axes, (path, title) in zip(line[0, first:], images, strict=True):
        show_image(axes, path, title=title)
    return figure


def guessing(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Accuracy and macro F1 of answering with the commonest class, in percent, a pair of bars a task."""
    table = table.head(40)  # PETA has some hundred tasks; more than this cannot be read
    axes = own_axes(axes, 6.0, 0.9 + 0.24 * len(table))
    place = np.arange(len(table))
    axes.barh(place - 0.2, table["accuracy"], height=0.38, color=BLUE, label="accuracy")
    axes.barh(place + 0.2, table["macro F1"], height=0.38, color=SKY, label="macro F1")
    axes.set_yticks(place, list(table.index))
    axes.invert_yaxis()
    axes.set(xlabel="%", xlim=(0, 100), title="Always answering with the commonest class")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return axes


# --- lessons 02 and 03: attributes, then identity ------------------------------------------------------------


def confusion(
    labels: np.ndarray, answers: np.ndarray, classes: Sequence[str], axes: Axes | None = None, *, title: str = ""
) -> Axes:
    """Confusion matrix of one task, each row (a true class) in percent of its images, which stand beside its name.

    Args:
        labels: (N,) class indices; a label of -1 is left out.
        answers: (N,) class indices.
        classes: their names.
        axes: where to draw; None: a new figure.
        title: of the axes.
    """
    axes = own_axes(axes, 3.4, 3.0)
    known = labels >= 0
    table = np.zeros((len(classes), len(classes)))
    np.add.at(table, (labels[known], answers[known]), 1)
    total = table.sum(1)
    shares = 100 * table / np.maximum(total, 1)[:, None]
    names = [f"{name} ({int(n)})" for name, n in zip(classes, total, strict=True)]
    sns.heatmap(
        shares, ax=axes, cmap="cividis", vmin=0, vmax=100, cbar=False, annot=len(classes) <= 10, fmt=".0f",
        annot_kws={"size": 7}, xticklabels=list(classes), yticklabels=names,
    )  # fmt: skip
    axes.set(xlabel="answered", ylabel="", title=title)
    axes.tick_params(labelsize=7, length=0)
    axes.tick_params(axis="x", rotation=45)
    axes.tick_params(axis="y", rotation=0)
    return axes


def recall_of_rare(tables: Mapping[str, pd.DataFrame], axes: Axes | None = None) -> Axes:
    """Recall of every class against its share of the labels; one line a system, through the means of five ranges.

    Args:
        tables: by name, `metrics.class_scores`.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 5.5, 3.4)
    for (name, table), colour, marker in zip(tables.items(), PALETTE, MARKERS, strict=False):
        seen = table[table["count"] > 0]
        share = 100 * seen["count"] / seen.groupby("task")["count"].transform("sum")
        axes.plot(share, seen["recall"], marker, color=colour, markersize=3, alpha=0.35)
        ranges = pd.cut(share, [0, 2, 5, 10, 25, 100])
        means = seen.groupby(ranges, observed=True)["recall"].mean()
        middle = share.groupby(ranges, observed=True).mean()
        axes.plot(middle, means, marker + "-", color=colour, markersize=6, label=name)
    axes.set(xscale="log", xlabel="share of the class, % of the labels", ylabel="recall, %", ylim=(-3, 103))
    axes.set_title("What happens to rare classes")
    axes.set_xticks([1, 2, 5, 10, 25, 50, 100], ["1", "2", "5", "10", "25", "50", "100"])
    axes.legend()
    return axes


def reliability(tables: Mapping[str, pd.DataFrame], axes: Axes | None = None) -> Axes:
    """Accuracy against confidence, bin by bin; on the diagonal a network is as often right as it is sure.

    Args:
        tables: by name, columns confidence, accuracy, count of `thresholds.expected_calibration_error`.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.2, 3.4)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for (name, table), colour, marker in zip(tables.items(), PALETTE, MARKERS, strict=False):
        seen = table[table["count"] > 0]
        axes.plot(seen["confidence"], seen["accuracy"], marker + "-", color=colour, markersize=4, label=name)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title("Calibration")
    axes.legend()
    return axes


def table_beside(
    measured: pd.DataFrame, published: pd.DataFrame, axes: Axes | None = None, *, xlabel: str, title: str = ""
) -> Axes:
    """Measured and published numbers of the same rows and columns: filled bars and hollow diamonds.

    Args:
        measured: percent; rows are groups on the axis, columns are colours.
        published: percent; the same rows and columns, as far as they are published.
        axes: where to draw; None: a new figure.
        xlabel: label of the axis of percent.
        title: of the axes.
    """
    axes = own_axes(axes, 6.5, 0.8 + 0.16 * measured.size)
    n = measured.shape[1]
    place = np.arange(len(measured))
    for k, (name, colour) in enumerate(zip(measured.columns, PALETTE, strict=False)):
        at = place + (k - (n - 1) / 2) * 0.8 / n
        hatch = "" if k < 3 else "////"  # in grey the fourth colour is the third
        axes.barh(at, measured[name], height=0.72 / n, color=colour, hatch=hatch, ec="white", lw=0, label=name)
        if name in published:
            axes.plot(published[name].reindex(measured.index), at, "D", markersize=4, color="white", mec="black")
    axes.plot([], [], "D", markersize=4, color="white", mec="black", label="published")
    axes.set_yticks(place, list(measured.index))
    axes.set(xlabel=xlabel, title=title, xlim=(0, 100), ylim=(len(place) - 0.5, -0.5))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return axes


def distance_fits(
    pairs: Pairs, fits: Gaussians, marks: Mapping[str, float] | None = None, axes: Axes | None = None
) -> Axes:
    """Distances of all pairs and of the correct ones with their fitted normal distributions (paper 001)."""
    axes = own_axes(axes, 6.0, 3.2)
    everything = np.concatenate([pairs.genuine, pairs.impostor])
    bins = list(np.linspace(everything.min(), everything.max(), 80))
    grid = np.linspace(everything.min(), everything.max(), 300)
    weight = np.r_[
        np.ones(len(pairs.genuine)), np.full(len(pairs.impostor), pairs.n_impostor / max(len(pairs.impostor), 1))
    ]
    for values, weights, fit, colour, name in (
        (everything, weight, fits.all, ORANGE, "all pairs"),
        (pairs.genuine, None, fits.genuine, BLUE, "correct pairs"),
    ):
        axes.hist(values, bins=bins, weights=weights, density=True, alpha=0.45, color=colour)
        label = f"{name}: {fit.mean:.2f} ± {fit.deviation:.2f}"
        curve = fit.density(grid) if fit.deviation > 0 else np.full(len(grid), np.nan)  # pairs all of one distance
        axes.plot(grid, curve, color=colour, linewidth=1.8, label=label)
    for (name, value), style in zip((marks or {}).items(), ("--", ":", "-."), strict=False):
        axes.axvline(value, color=BLACK, linestyle=style, linewidth=1, label=f"{name}: {value:.2f}")
    axes.set(xlabel="distance", ylabel="density", title="Distances of query and gallery")
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend above the hills
    axes.legend()
    return axes


def filter_curve(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """What an attribute filter keeps, removes and does to both mAPs, against the differences it allows.

    Args:
        table: `thresholds.filter_curve`.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 6.0, 3.2)
    for column, colour, style, label in (
        ("kept", BLUE, "o-", "matches kept"),
        ("removed", ORANGE, "s-", "strangers removed"),
        ("mAP strict", GREEN, "^-", "mAP strict"),
        ("mAP returned_only", PURPLE, "v--", "mAP returned only"),
    ):
        axes.plot(table["h"], table[column], style, color=colour, markersize=4, label=label)
    axes.set(xlabel="attributes that may differ (h)", ylabel="%", ylim=(0, 102), title="Attributes as a filter")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return axes


def shares(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Share of every class in two data sets against each other, in percent on logarithmic axes.

    Args:
        table: columns task, class, share_real, share_here, count_here.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 6.0, 5.4)
    least = 0.1
    axes.plot([least, 100], [least, 100], color="0.6", linestyle="--", linewidth=1)
    x, y = table["share_real"].clip(lower=least), table["share_here"].clip(lower=least)
    axes.plot(x, y, "o", color=BLUE, markersize=4, alpha=0.7)
    apart = (np.log(x) - np.log(y)).abs()
    for i in apart[apart > np.log(1.3)].index:
        name = f"{table['task'][i]}: {table['class'][i]}"
        axes.annotate(name, (x[i], y[i]), (4, -3), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="Market-1501, % of the training people", ylabel="here, %")
    axes.set_title("Real and synthetic imbalance")
    return axes


# --- lesson 04: points in a plane ----------------------------------------------------------------------------


def plane(
    points: np.ndarray, label: np.ndarray, centres: np.ndarray, radius: np.ndarray, axes: Axes | None = None
) -> Axes:
    """Points (N, 2) of people, a colour and a mark each, and the ball around the centre (P, 2) of each of them."""
    axes = own_axes(axes, 4, 4)
    for person, (centre, reach) in enumerate(zip(centres, radius, strict=True)):
        own = points[label == person]
        axes.plot(*own.T, MARKS[person], color=PALETTE[person], markersize=5)
        axes.add_patch(plt.Circle(tuple(centre), float(reach), fill=False, color="0.7"))
        axes.plot(*centre, "+", color="0.3")
    axes.set_aspect("equal", adjustable="datalim")
    return axes


# --- lesson 08: the same person or not -----------------------------------------------------------------------


def pair_distances(
    pairs: Pairs, marks: Mapping[str, float] | None = None, axes: Axes | None = None, *, log: bool = False
) -> Axes:
    """Distances of genuine and impostor pairs, each kind with an area of 1, and thresholds as upright lines.

    Args:
        pairs: genuine and impostor distances.
        marks: by name, thresholds.
        axes: where to draw; None: a new figure.
        log: logarithmic heights, for the tails.
    """
    axes = own_axes(axes, 6.0, 2.8)
    lowest, highest = (
        min(pairs.genuine.min(), pairs.impostor.min()),
        max(pairs.genuine.max(), pairs.impostor.max()),
    )
    bins = list(np.linspace(lowest, highest, 70))
    for values, n, colour, name in (
        (pairs.impostor, pairs.n_impostor, ORANGE, "impostor"),
        (pairs.genuine, len(pairs.genuine), BLUE, "genuine"),
    ):
        axes.hist(values, bins=bins, density=True, alpha=0.55, color=colour, label=f"{name} ({n:,} pairs)")
    for (name, value), style in zip((marks or {}).items(), ("--", ":", "-."), strict=False):
        axes.axvline(value, color=BLACK, linestyle=style, linewidth=1.2, label=f"{name}: {value:.3g}")
    axes.set(xlabel="distance", ylabel="density", title="Genuine and impostor pairs")
    if log:
        axes.set(yscale="log", ylim=(1e-3, 2e3))  # room for the legend above the hills
        axes.set_yticks([1e-3, 1e-2, 1e-1, 1, 10])
    axes.legend(loc="upper right")
    return axes


def error_curves(table: pd.DataFrame, equal: EqualError | None = None, axes: Axes | None = None) -> Axes:
    """Both error rates over the threshold, and the point where they are equal.

    Args:
        table: columns threshold, far, frr; rates from 0 to 1.
        equal: `thresholds.eer`; None: not drawn.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.4, 2.8)
    axes.plot(table["threshold"], 100 * table["far"], color=ORANGE, label="FAR")
    axes.plot(table["threshold"], 100 * table["frr"], "--", color=BLUE, label="FRR")
    if equal is not None:
        label = f"equal: {100 * equal.rate:.1f} %"
        axes.plot([equal.threshold], [100 * equal.rate], "o", color=BLACK, markersize=5, label=label)
    axes.set(xlabel="threshold", ylabel="% of their pairs", ylim=(-2, 102), title="Error rates over the threshold")
    axes.legend()
    return axes


def trade_off(
    curves: Mapping[str, pd.DataFrame],
    points: Mapping[str, tuple[float, float]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Detection error trade-off: false reject against false accept rate in percent, on logarithmic axes.

    Args:
        curves: by name, columns far and frr; rates from 0 to 1.
        points: by name, (far, frr) of single thresholds.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.8, 3.4)
    rates = {name: 100 * curve[["far", "frr"]][curve["far"] > 0] for name, curve in curves.items()}
    seen = [float(rate["frr"][rate["frr"] > 0].min()) for rate in rates.values() if (rate["frr"] > 0).any()]
    least = 0.7 * min(seen, default=0.1)
    axes.plot([least, 100], [least, 100], color="0.7", linestyle="--", linewidth=1)
    for (name, rate), colour in zip(rates.items(), PALETTE, strict=False):
        axes.plot(rate["far"], rate["frr"].clip(lower=least), color=colour, label=name)
    for (name, point), marker in zip((points or {}).items(), "osD^v", strict=False):
        far, frr = np.maximum(100 * np.array(point), least)  # a rate of 0 stands on the edge
        axes.plot([far], [frr], marker, color=VERMILION, mec="black", markersize=7, label=name, clip_on=False)
    axes.set(xlabel="FAR, % of the strangers", ylabel="FRR, % of the matches")
    axes.set(xscale="log", yscale="log", xlim=(least, 120), ylim=(least, 120))
    axes.set_title("What one error costs in the other")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.legend(loc="lower left")
    return axes


def promises(tables: Mapping[str, pd.DataFrame], axes: Axes | None = None) -> Axes:
    """False accept rate on other people, with bands, against the one wished for; on the diagonal the wish is kept.

    Args:
        tables: by name, columns wish, far, far_low, far_high; rates from 0 to 1.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.6, 3.4)
    for (name, table), colour, marker in zip(tables.items(), PALETTE, "os^D", strict=False):
        wish = 100 * table["wish"]
        axes.fill_between(wish, 100 * table["far_low"], 100 * table["far_high"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(wish, 100 * table["far"], marker + "-", color=colour, markersize=4, label=name)
    first = next(iter(tables.values()))
    ends = [100 * first["wish"].min(), 100 * first["wish"].max()]
    axes.plot(ends, ends, color="0.4", linestyle="--", linewidth=1, label="promise kept")
    axes.set(xscale="log", yscale="log", xlabel="FAR wished for, %", ylabel="FAR of people never seen, %")
    axes.set_title("Wished for, and got")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.legend()
    return axes


def spreads(draws: Mapping[str, np.ndarray], axes: Axes | None = None, *, xlabel: str, title: str = "") -> Axes:
    """Values of several kinds as rows of dots, the middle 95 % of each as a bar with its width written beside it.

    Args:
        draws: by name, (N,) values.
        axes: where to draw; None: a new figure.
        xlabel: what the values are.
        title: of the axes.
    """
    axes = own_axes(axes, 6.4, 0.9 + 0.5 * len(draws))
    rng = np.random.default_rng(0)
    for at, (values, colour) in enumerate(zip(draws.values(), PALETTE, strict=False)):
        finite = np.asarray(values)[np.isfinite(values)]
        if not len(finite):
            continue
        low, high = np.quantile(finite, [0.025, 0.975])
        axes.plot(finite, at + rng.uniform(-0.3, 0.3, len(finite)), ".", color=colour, markersize=2.5, alpha=0.5)
        axes.plot([low, high], [at, at], color=BLACK, linewidth=2, solid_capstyle="butt")
        axes.text(1.01, at, f"{high - low:.2g} wide", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_yticks(range(len(draws)), list(draws))
    axes.set(xlabel=xlabel, title=title, ylim=(len(draws) - 0.5, -0.5))
    return axes


def open_set(
    curves: Mapping[str, pd.DataFrame],
    points: Mapping[str, tuple[float, float]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Detection and identification rate against false alarm rate, in percent; the right end is rank-1 (or rank-k).

    Args:
        curves: by name, `OpenSet.curve`.
        points: by name, (false_alarm, dir) of single thresholds.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.4, 3.0)
    for (name, curve), colour, style in zip(curves.items(), PALETTE, ("-", "--", "-.", ":"), strict=False):
        x, y = 100 * curve["false_alarm"], 100 * curve["dir"]
        axes.step(x, y, where="post", linestyle=style, color=colour, label=name)
        axes.plot(x.iloc[-1:], y.iloc[-1:], "|", color=colour, markersize=14)
    for (name, (alarm, found)), marker in zip((points or {}).items(), "osD", strict=False):
        axes.plot([100 * alarm], [100 * found], marker, color=VERMILION, mec="black", markersize=7, label=name)
    axes.set(xlabel="false alarms, % of the unknown queries", ylabel="found and accepted, % of the known")
    axes.set(title="Open set", xlim=(-2, 102), ylim=(0, 102))
    axes.legend()
    return axes


def alarms(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """False alarm rate of queries against the false accept rate of pairs at the same threshold, in percent.

    Args:
        table: columns far, false_alarm, independent (what it would be if pairs erred by themselves); from 0 to 1.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.4, 3.0)
    axes.plot(100 * table["far"], 100 * table["false_alarm"], color=BLUE, label="measured")
    axes.plot(100 * table["far"], 100 * table["independent"], "--", color=ORANGE, label="if every pair erred alone")
    axes.set(xscale="log", xlabel="FAR, % of the pairs", ylabel="false alarms, % of the unknown queries")
    axes.set(title="One query meets many strangers", ylim=(-2, 102))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend()
    return axes


def probabilities(distance: np.ndarray, curves: Mapping[str, np.ndarray], axes: Axes | None = None) -> Axes:
    """Probabilities of the same person over the distance, one curve a name."""
    axes = own_axes(axes, 4.4, 3.0)
    for (name, curve), colour, style in zip(curves.items(), PALETTE, ("-", "--", "-.", ":"), strict=False):
        axes.plot(distance, curve, linestyle=style, color=colour, label=name)
    axes.axhline(0.5, color="0.7", linewidth=1)
    axes.set(xlabel="distance", ylabel="P(same | distance)", ylim=(-0.02, 1.02), title="A distance as a probability")
    axes.legend()
    return axes


# --- lessons 06 and 07: parts, tasks, attention --------------------------------------------------------------


def heats(
    pictures: Sequence[np.ndarray],
    maps: Mapping[str, np.ndarray],
    titles: Sequence[Sequence[str]] | None = None,
    *,
    across: bool = False,
) -> Figure:
    """Draw one row for each image: the image, then the same under each heat map (paper 002, Figures 1, 3 and 6).

    Args:
        pictures: N images (H, W, 3) uint8.
        maps: by name, (N, H, W) from 0 to 1: attributes, the merged map, the identity heat map.
        titles: for each image, a word over each map, such as the class it is answered with.
        across: draw a column an image instead, for a strip of many images with few maps.
    """
    use_style()
    names = ("image", *maps)
    height, width = pictures[0].shape[:2]
    columns, rows = (len(pictures), len(names)) if across else (len(names), len(pictures))
    size = (0.85 * columns, (0.83 * height / width + 0.16) * rows + 0.15)
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout=layout)
    for i, (line, image) in enumerate(zip(grid.T if across else grid, pictures, strict=True)):
        for j, (axes, name) in enumerate(zip(line, names, strict=True)):
            axes.imshow(image, interpolation="nearest")
            if j:
                axes.imshow(maps[name][i], cmap="inferno", vmin=0, vmax=1, alpha=0.6)
            word = titles[i][j - 1] if titles and j else ""
            head = narrow(name) if i == 0 and not across else name if i == 0 else ""
            if across:
                axes.text(-0.06, 0.5, head, fontsize=7, rotation=90, ha="right", va="center", transform=axes.transAxes)
            above = word if across else f"{head}\n{word}" if head else word
            axes.set_title(above, fontsize=7, pad=2, loc="center")
            axes.set_axis_off()
    return figure


def narrow(name: str) -> str:
    """A name of PETA in lines as wide as a small picture: carryingMessengerBag has three."""
    return textwrap.fill(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name), 11)


def regions(pictures: Sequence[np.ndarray], borders: Sequence[Sequence[float]]) -> Figure:
    """Images side by side with the borders of their parts (paper 002, Figure 4).

    Args:
        pictures: N images (H, W, 3) uint8.
        borders: for each image, the rows between two parts, as shares of the height.
    """
    use_style()
    height, width = pictures[0].shape[:2]
    figure, grid = plt.subplots(1, len(pictures), figsize=(0.85 * len(pictures), 0.85 * height / width), squeeze=False)
    for axes, image, rows in zip(grid[0], pictures, borders, strict=True):
        axes.imshow(image, interpolation="nearest")
        for share in rows:
            axes.axhline(share * height - 0.5, color=YELLOW, linewidth=1.2)
        axes.set_axis_off()
    return figure


def localisation(table: pd.DataFrame, score: str = "energy", axes: Axes | None = None) -> Axes:
    """How well each method finds the part of each attribute: a group of dots a task, baselines hollow.

    Args:
        table: `attention.localisation`: task, method, pointing and energy in percent.
        score: "energy" or "pointing".
        axes: where to draw; None: a new figure.
    """
    tasks, methods = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["method"]))
    axes = own_axes(axes, 5.6, 0.8 + 0.35 * len(tasks))
    hollow = ("centre box", "uniform")
    for i, method in enumerate(methods):
        part = table[table["method"] == method].set_index("task")[score].reindex(tasks)
        at = np.arange(len(tasks)) + 0.6 * ((i + 0.5) / len(methods) - 0.5)
        colour = "0.3" if method in hollow else PALETTE[i % len(PALETTE)]
        face = "none" if method in hollow else colour
        marker = "s" if method == "uniform" else "o" if method in hollow else MARKERS[i % len(MARKERS)]
        axes.plot(part, at, marker, color=colour, mfc=face, markersize=5, label=method)
    axes.set_yticks(range(len(tasks)), tasks)
    meaning = {"energy": "heat inside the part, %", "pointing": "hottest pixel inside the part, % of the images"}
    axes.set(xlabel=meaning[score], ylim=(len(tasks) - 0.5, -0.5), xlim=(-2, None))
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return axes


# --- lesson 10: the report -----------------------------------------------------------------------------------


def verdicts(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Every measured comparison of the papers' claims with its interval; colour and mark say what became of it.

    Args:
        table: `claims.assess`.
        axes: where to draw; None: a new figure.
    """
    table = table[table["n"] > 1].reset_index(drop=True)
    axes = own_axes(axes, 8, 1.1 + 0.24 * len(table))
    looks = {"held": (GREEN, "o"), "not seen": ("0.5", "s"), "reversed": (VERMILION, "D")}
    for verdict, (colour, marker) in looks.items():
        part = table[table["verdict"] == verdict]
        reach = (part["difference"] - part["low"], part["high"] - part["difference"])
        dots: dict[str, Any] = {"fmt": marker, "color": colour, "markersize": 4.5, "label": verdict}
        axes.errorbar(part["difference"], part.index, xerr=reach, elinewidth=1.4, **dots)
    claimed = table["better"] + " > " + table["worse"]
    claimed = claimed.map(lambda text: textwrap.shorten(text, 40, placeholder=" ..."))
    axes.set_yticks(range(len(table)), claimed + ", " + table["metric"] + " (" + table["dataset"] + ")", fontsize=7)
    name: dict[str, Any] = {"ha": "right", "fontsize": 7, "bbox": {"fc": "white", "ec": "none", "pad": 1}}
    for first in table.index[table["system"].ne(table["system"].shift())]:
        axes.axhline(first - 0.5, color="0.85", linewidth=0.8)
        axes.text(0.995, first, table["system"][first], transform=axes.get_yaxis_transform(), **name)
    axes.axvline(0, color="0.4", linewidth=0.8)
    widest = 1.15 * table["difference"].abs().max()  # an interval of two pairs may reach far beyond the picture
    axes.set(xlabel="difference, percentage points", xlim=(-widest, widest), ylim=(len(table) - 0.5, -0.5))
    axes.set_title("What was claimed, and what was measured")
    axes.legend(loc="lower left")
    return axes
