"""One function a figure: data and optional axes in, axes or figure out; no computation, never `show()`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, product, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import confusion_matrix

from .features import Answers
from .ranking import Ranking
from .thresholds.verification import EqualError, Gaussians, Pairs

# Okabe and Ito's colours: told apart with every kind of colour vision, and in grey
PALETTE = BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
MARKERS = "os^Dv"  # beside the colours, for print in grey
LINES = ("-", "--", "-.", ":")
MARKS = "os^DvPX*"  # of as many people

Pictures = Sequence[np.ndarray]  # (H, W, 3) uint8 each
Tables = Mapping[str, pd.DataFrame]  # by name
Points = Mapping[str, tuple[float, float]]  # by name, two rates from 0 to 1
Thresholds = Mapping[str, float]  # by name


def use_style() -> None:
    """The one style of all figures."""
    plt.style.use("reidkit.figures")
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=PALETTE)


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


# --- what several figures have ---------------------------------------------------------------------------------


def labelled(axes: Axes, *, legend: str = "best", **properties: Any) -> Axes:
    """The same axes with labels and a legend.

    Args:
        axes: with all that is drawn.
        legend: "beside" the axes, or one of matplotlib's places inside.
        properties: of `Axes.set`.
    """
    axes.set(**properties)
    place: Any = "upper left" if legend == "beside" else legend  # matplotlib's stubs want a literal
    axes.legend(loc=place, bbox_to_anchor=(1.01, 1) if legend == "beside" else None)
    return axes


class Tile(NamedTuple):
    """An image, a file or (H, W, 3), with a small title above and a coloured frame around it."""

    image: str | np.ndarray
    title: str = ""
    frame: str | None = None


def show_image(axes: Axes, image: str | np.ndarray, *, frame: str | None = None, title: str = "") -> None:
    """One image, a file or (H, W, 3), without ticks, with a coloured frame and a small title."""
    if isinstance(image, str):
        with Image.open(image) as file:
            image = np.asarray(file.convert("RGB").resize((64, 128)))
    axes.imshow(image, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=frame is not None, color=frame, linewidth=2.5)
    axes.set_title(title, fontsize=7, pad=2, loc="center")


def tiled(tiles: Sequence[Tile | None], columns: int, width: float, height: float, **options: Any) -> Figure:
    """Images in lines; its axes are in the order of the tiles.

    Args:
        tiles: line after line; None: an empty place.
        columns: of a line.
        width: of a place, in inches.
        height: of a place, in inches.
        options: of `plt.subplots`.
    """
    use_style()
    lines = -(-len(tiles) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(width * columns, height * lines), squeeze=False, **options)
    for axes, tile in zip_longest(grid.flat, tiles):
        if tile is None:
            axes.set_axis_off()
        else:
            show_image(axes, tile.image, frame=tile.frame, title=tile.title)
    return figure


def mark_points(axes: Axes, points: Points | None, least: float = 0) -> None:
    """Two rates each as a mark, in percent; what is below the least stands on the edge."""
    for (name, rates), marker in zip((points or {}).items(), "osD^v", strict=False):
        x, y = np.maximum(100 * np.array(rates), least)
        axes.plot(x, y, marker, color=VERMILION, mec="black", markersize=7, label=name, clip_on=False)


def upright(axes: Axes, thresholds: Thresholds | None, digits: str, width: float) -> None:
    """Thresholds as upright lines of this width in points, with their values in this format in the legend."""
    for (name, value), style in zip((thresholds or {}).items(), ("--", ":", "-."), strict=False):
        axes.axvline(value, color=BLACK, linestyle=style, linewidth=width, label=f"{name}: {value:{digits}}")


def densities(axes: Axes, others: np.ndarray, same: np.ndarray, labels: Sequence[str], **options: Any) -> None:
    """Distances of two kinds on the same bins, each with an area of 1; a kind without any is left out.

    Args:
        axes: where to draw.
        others: distances to other people.
        same: distances to the same person.
        labels: of both, in this order.
        options: of `Axes.hist`.
    """
    both = np.concatenate([others, same])
    for values, colour, label in zip((others, same), (ORANGE, BLUE), labels, strict=True):
        if len(values):
            axes.hist(values, range=(both.min(), both.max()), density=True, color=colour, label=label, **options)


# --- lesson 01: who is in the data ---------------------------------------------------------------------------


def imbalance(table: pd.DataFrame, *, columns: int = 3, counts: str = "people") -> Figure:
    """Share of every class of every task, one small panel a task (paper 001, Figure 4).

    Args:
        table: `statistics.imbalance`: task, class, count, share in percent.
        columns: panels side by side.
        counts: what is counted, for the axis label.
    """
    use_style()
    tasks = table["task"].nunique()
    if tasks > 20:  # PETA asks some hundred yes-or-no questions: one bar each, the commonest forty
        yes = table[table["class"] == "yes"].nlargest(40, "share")
        title = f"yes: the {len(yes)} commonest\nof {tasks} attributes"
        table, columns = yes.assign(**{"class": yes["task"], "task": title}), 1
    sizes = table.groupby("task", sort=False).size().sort_values(ascending=False, kind="stable")
    tallest = sizes.to_numpy()[::columns] + 1.5  # of each row: it is as tall as the classes of its fullest task need
    figure, grid = plt.subplots(
        len(tallest), columns, figsize=(max(2.6 * columns, 5.2), 0.2 * tallest.sum()), height_ratios=tallest,
        squeeze=False, sharex=True,
    )  # fmt: skip
    for place, (axes, task) in enumerate(zip(grid.flat, sizes.index, strict=False)):
        part = table[table["task"] == task]
        rare = part["share"] < 5
        bars = axes.barh(part["class"], part["share"], color=np.where(rare, VERMILION, BLUE), height=0.75)
        shares = axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
        plt.setp([share for share, few in zip(shares, rare, strict=True) if few], color=VERMILION)
        # bars of one thickness in a row
        axes.set(title=task, xlim=(0, 118), ylim=(tallest[place // columns] - 2, -0.6))
        axes.tick_params(axis="y", length=0, labelsize=8)
    plt.setp(grid.flat[len(sizes) :], visible=False)
    plt.setp(grid[-1], xlabel=f"% of {counts}")
    return figure


def images_per_person(images: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Histogram of the number of images of each person in a table."""
    axes = own_axes(axes)
    per_person = images.groupby("pid").size()
    people = per_person.value_counts()
    axes.bar(people.index, people, width=1, color=BLUE, edgecolor="white", linewidth=0.3)
    axes.axvline(per_person.median(), color=VERMILION, linestyle="--", label=f"median {per_person.median():g}")
    axes.locator_params(integer=True)
    return labelled(axes, xlabel="images of one person", ylabel="people", title="Images per person", xlim=(0, None))


def images_per_camera(images: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Bars of the number of images of each camera, stacked by split."""
    axes = own_axes(axes)
    table = pd.crosstab(images["camid"], images["split"])
    table = table[[split for split in ("train", "val", "query", "gallery") if split in table]]
    table.plot.bar(stacked=True, ax=axes, color=PALETTE[: table.shape[1]], width=0.75, rot=0)
    return labelled(axes, legend="beside", xlabel="camera", ylabel="images", title="Images per camera")


def cooccurrence(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Heat map of P(column | row) in percent, `statistics.cooccurrence`."""
    side = max(7.2, 0.19 * len(table))  # PETA has some hundred columns
    axes = own_axes(axes, side + 0.8, side)
    axes.set_facecolor("0.85")  # grey where nobody has the row's attribute
    sns.heatmap(
        table, ax=axes, cmap="cividis", vmin=0, vmax=100, square=True, xticklabels=True, yticklabels=True,
        cbar_kws={"label": "% of the row's people who have the column", "shrink": 0.7},
    )  # fmt: skip
    axes.set(xlabel="", ylabel="", title="How often attributes go together (grey: nobody has the row's attribute)")
    axes.tick_params(labelsize=7, length=0)
    return axes


def guessing(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Accuracy and macro F1 of answering with the commonest class, in percent, a pair of bars a task."""
    table = table[["accuracy", "macro F1"]].head(40)  # PETA has some hundred tasks; more than this cannot be read
    axes = own_axes(axes, 6.0, 0.9 + 0.24 * len(table))
    table.plot.barh(ax=axes, width=0.78, color=[BLUE, SKY], title="Always answering with the commonest class")
    axes.invert_yaxis()
    return labelled(axes, legend="beside", xlabel="%", ylabel="", xlim=(0, 100))


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
    axes.loglog(x, y, "o", color=BLUE, markersize=4, alpha=0.7)
    apart = (np.log(x) - np.log(y)).abs() > np.log(1.3)
    for i in table.index[apart]:
        name = f"{table['task'][i]}: {table['class'][i]}"
        axes.annotate(name, (x[i], y[i]), (4, -3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="Market-1501, % of the training people", ylabel="here, %", title="Real and synthetic imbalance")
    return axes


# --- images and rankings -------------------------------------------------------------------------------------


def who(image: Any) -> str:
    """Person and camera of a row of a table of images."""
    return f"{image.pid}, cam {image.camid}"


def images_grid(images: pd.DataFrame, *, columns: int = 10, titles: Sequence[str] | None = None) -> Figure:
    """The images of a table in a grid, titled with person and camera unless titles are given."""
    words = titles or [who(image) for image in images.itertuples()]
    return tiled([Tile(*pair) for pair in zip(images["path"], words, strict=True)], columns, 0.75, 1.65)


def found(query: str | None, images: Sequence[tuple[str, str]]) -> Figure:
    """What was found, (path, title) in order, behind the image that was asked with, if any."""
    asked = [Tile(query, "query", BLACK)] if query is not None else []
    tiles = asked + [Tile(path, title) for path, title in images]
    return tiled(tiles, len(tiles), 0.75, 1.75)


def strips(
    ranking: Ranking, query: pd.DataFrame, gallery: pd.DataFrame, rows: Sequence[int], *, top: int = 10
) -> Figure:
    """Ranked lists: a query a row, its nearest gallery images in order (all five papers have this figure).

    A match has a green frame and a tick, another person a red-orange one and a cross, so that the figure is read
    without colour too. Left-out images (same person, same camera) do not appear.
    """
    tiles: list[Tile | None] = []
    for q in rows:
        asked, kept = query.iloc[q], np.flatnonzero(ranking.keep[q, :top])
        tiles.append(Tile(asked.path, f"query\n{who(asked)}", BLACK))
        for k in kept:
            image = gallery.iloc[ranking.order[q, k]]
            sign, frame = ("✓", GREEN) if ranking.match[q, k] else ("✗", VERMILION)
            tiles.append(Tile(image.path, f"{sign} {ranking.distance[q, k]:.2f}\n{who(image)}", frame))
        tiles += [None] * (top - len(kept))
    return tiled(tiles, top + 1, 0.72, 1.75, width_ratios=[1.15, *[1] * top])


def attribute_examples(said: Answers, truth: np.ndarray, rows: Sequence[int], tasks: Sequence[int]) -> Figure:
    """Images, two in a line, with a network's answers and how sure it is; wrong ones are marked (paper 003, Figure 4).

    Args:
        said: what the network says about N images.
        truth: (N, T) classes, -1 where nobody knows: such answers have a question mark.
        rows: which of the N images.
        tasks: which of the T tasks.
    """
    tiles: list[Tile | None] = []
    for image in said.table.iloc[list(rows)].itertuples():
        tiles += [Tile(image.path, who(image), BLACK), None]
    figure = tiled(tiles, 4, 1.6, 0.35 + 0.17 * max(len(tasks), 10), width_ratios=[1, 1.75] * 2)
    for words, i in zip(figure.axes[1::2], rows, strict=False):
        for line, t in enumerate(tasks):
            task, (chance, answer) = said.tasks[t], said.probability[t][i].max(0)
            known, right = truth[i, t] >= 0, truth[i, t] == int(answer)
            sign, colour = ("?", "#555555") if not known else ("✓", GREEN) if right else ("✗", VERMILION)
            text = f"{sign} {task.name}: {task.classes[int(answer)]} {float(chance):.2f}"
            weight = "bold" if known and not right else "normal"
            at = 1 - (line + 0.5) / len(tasks)
            words.text(0, at, text, fontsize=8, color=colour, weight=weight, va="center", transform=words.transAxes)
    return figure


def maps(images: Pictures, titles: Sequence[str], *, columns: int = 7) -> Figure:
    """An image and the same under its attention maps, (H, W, 3) each, in lines of seven with a title below."""
    figure = tiled([Tile(image) for image in images], columns, 1.1, 2.4)
    for axes, title in zip(figure.axes, titles, strict=False):
        axes.set_xlabel(title, fontsize=7)
    return figure


def retrieved(
    query: np.ndarray,
    images: Pictures,
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
    distance, keep, match = ranking.distance[0], ranking.keep[0], ranking.match[0]
    show_image(figure.add_subplot(grid[0, 0]), query, frame=BLACK, title="query")
    for k, (image, text) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(grid[k // 10, 1 + k % 10])
        show_image(axes, image, frame=(GREEN if match[k] else VERMILION) if known else None, title=text)
        axes.images[0].set_alpha(0.4 if distance[k] > threshold else None)
    axes = figure.add_subplot(grid[lines, 1:])
    others, same = distance[keep & ~match], distance[keep & match]
    densities(axes, others, same, [f"others ({len(others):,})", f"same person ({len(same):,})"], bins=49, alpha=0.6)
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
    axes.set(title="CMC", ylim=(0, 102), xticks=[1, 5, 10, 15, 20])
    return labelled(axes, legend="lower right", xlabel="rank k", ylabel="queries with a match, %")  # a curve rises


def history(table: pd.DataFrame, names: Sequence[str], axes: Axes | None = None, *, title: str = "Training") -> Axes:
    """Columns of a training's history over its epochs."""
    axes = own_axes(axes)
    for name, marker in zip(names, cycle(MARKERS), strict=False):
        axes.plot(table["epoch"], table[name], marker=marker, markersize=3, label=name)
    axes.locator_params(axis="x", integer=True)
    return labelled(axes, xlabel="epoch", ylabel="mean of the epoch", title=title)


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
    counts = confusion_matrix(labels, answers, labels=range(-1, len(classes)))[1:, 1:]  # without those nobody knows
    total = counts.sum(1)
    names = [f"{name} ({n})" for name, n in zip(classes, total, strict=True)]
    sns.heatmap(
        100 * counts / np.maximum(total, 1)[:, None], ax=axes, cmap="cividis", vmin=0, vmax=100, cbar=False, fmt=".0f",
        annot=len(classes) <= 10, annot_kws={"size": 7}, xticklabels=list(classes), yticklabels=names,
    )  # fmt: skip
    axes.set(xlabel="answered", ylabel="", title=title)
    axes.tick_params(axis="x", rotation=45, labelsize=7, length=0)
    axes.tick_params(axis="y", rotation=0, labelsize=7, length=0)
    return axes


def recall_of_rare(tables: Tables, axes: Axes | None = None) -> Axes:
    """Recall of every class against its share of the labels; one line a system, through the means of five ranges.

    Args:
        tables: by name, `metrics.class_scores`.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 5.5, 3.4)
    for (name, table), colour, marker in zip(tables.items(), PALETTE, MARKERS, strict=False):
        seen = table[table["count"] > 0]
        seen = seen.assign(share=100 * seen["count"] / seen.groupby("task")["count"].transform("sum"))
        axes.plot(seen["share"], seen["recall"], marker, color=colour, markersize=3, alpha=0.35)
        means = seen.groupby(pd.cut(seen["share"], [0, 2, 5, 10, 25, 100]), observed=True)[["share", "recall"]].mean()
        axes.plot(means["share"], means["recall"], marker + "-", color=colour, markersize=6, label=name)
    shares = [1, 2, 5, 10, 25, 50, 100]
    axes.set(xscale="log", xticks=shares, xticklabels=shares, ylim=(-3, 103), title="What happens to rare classes")
    return labelled(axes, xlabel="share of the class, % of the labels", ylabel="recall, %")


def reliability(tables: Tables, axes: Axes | None = None) -> Axes:
    """Accuracy against confidence, bin by bin; on the diagonal a network is as often right as it is sure.

    Args:
        tables: by name, columns confidence, accuracy, count of `calibration.expected_calibration_error`.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.2, 3.4)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for (name, table), colour, marker in zip(tables.items(), PALETTE, MARKERS, strict=False):
        seen = table[table["count"] > 0]
        axes.plot(seen["confidence"], seen["accuracy"], marker + "-", color=colour, markersize=4, label=name)
    ends = (-0.02, 1.02)
    return labelled(axes, xlabel="confidence", ylabel="accuracy", xlim=ends, ylim=ends, title="Calibration")


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
    ends = (len(place) - 0.5, -0.5)
    return labelled(axes, legend="beside", xlabel=xlabel, title=title, xlim=(0, 100), ylim=ends)


def distance_fits(pairs: Pairs, fits: Gaussians, marks: Thresholds | None = None, axes: Axes | None = None) -> Axes:
    """Distances of all pairs and of the correct ones with their fitted normal distributions (paper 001)."""
    axes = own_axes(axes, 6.0, 3.2)
    everything = np.concatenate([pairs.genuine, pairs.impostor])
    edges = (everything.min(), everything.max())
    grid = np.linspace(*edges, 300)
    stands_for = pairs.n_impostor / max(len(pairs.impostor), 1)  # each impostor pair of a sample
    weights = np.repeat([1, stands_for], [len(pairs.genuine), len(pairs.impostor)])
    for values, weight, fit, colour, name in (
        (everything, weights, fits.all, ORANGE, "all pairs"),
        (pairs.genuine, None, fits.genuine, BLUE, "correct pairs"),
    ):
        axes.hist(values, bins=79, range=edges, weights=weight, density=True, alpha=0.45, color=colour)
        label = f"{name}: {fit.mean:.2f} ± {fit.deviation:.2f}"
        density = norm.pdf(grid, fit.mean, fit.deviation or np.nan)  # pairs all of one distance have none
        axes.plot(grid, density, color=colour, linewidth=1.8, label=label)
    upright(axes, marks, ".2f", 1)
    ends = (0, 1.3 * axes.get_ylim()[1])  # room for the legend above the hills
    return labelled(axes, xlabel="distance", ylabel="density", ylim=ends, title="Distances of query and gallery")


def filter_curve(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """What an attribute filter keeps, removes and does to both mAPs, against the differences it allows.

    Args:
        table: `filters.filter_curve`.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 6.0, 3.2)
    columns = ["kept", "removed", "mAP strict", "mAP returned_only"]
    labels = ["matches kept", "strangers removed", "mAP strict", "mAP returned only"]
    colours, styles = [BLUE, ORANGE, GREEN, PURPLE], ["o-", "s-", "^-", "v--"]
    table.plot(x="h", y=columns, label=labels, color=colours, style=styles, markersize=4, ylim=(0, 102), ax=axes)
    axes.locator_params(axis="x", integer=True)
    title = "Attributes as a filter"
    return labelled(axes, legend="beside", xlabel="attributes that may differ (h)", ylabel="%", title=title)


# --- lesson 04: points in a plane ----------------------------------------------------------------------------


def plane(
    points: np.ndarray, label: np.ndarray, centres: np.ndarray, radius: np.ndarray, axes: Axes | None = None
) -> Axes:
    """Points (N, 2) of people, a colour and a mark each, and the ball around the centre (P, 2) of each of them."""
    axes = own_axes(axes, 4, 4)
    for person, (centre, reach) in enumerate(zip(centres, radius, strict=True)):
        axes.plot(*points[label == person].T, MARKS[person], color=PALETTE[person], markersize=5)
        axes.add_patch(plt.Circle(tuple(centre), float(reach), fill=False, color="0.7"))
        axes.plot(*centre, "+", color="0.3")
    axes.set_aspect("equal", adjustable="datalim")
    return axes


def views(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Heat map of `groups.view_scores`; orientation 0 faces the camera, each further one is 45 degrees on."""
    axes = own_axes(axes, 4.8, 3.9)
    degrees = table.set_axis(45 * table.index).set_axis(45 * table.columns, axis="columns")
    sns.heatmap(degrees, ax=axes, cmap="cividis", annot=True, fmt=".0f", cbar_kws={"label": "mAP, %"})
    axes.set(xlabel="the match is turned by, degrees", ylabel="the query is turned by, degrees")
    axes.set_title("Which views find each other")
    axes.tick_params(axis="y", rotation=0)
    return axes


# --- lesson 08: the same person or not -----------------------------------------------------------------------


def pair_distances(
    pairs: Pairs, marks: Thresholds | None = None, axes: Axes | None = None, *, log: bool = False
) -> Axes:
    """Distances of genuine and impostor pairs, each kind with an area of 1, and thresholds as upright lines.

    Args:
        pairs: genuine and impostor distances.
        marks: by name, thresholds.
        axes: where to draw; None: a new figure.
        log: logarithmic heights, for the tails, and the legend beside them.
    """
    axes = own_axes(axes, 6.0, 2.8)
    labels = [f"impostor ({pairs.n_impostor:,} pairs)", f"genuine ({len(pairs.genuine):,} pairs)"]
    densities(axes, pairs.impostor, pairs.genuine, labels, bins=69, alpha=0.55)
    upright(axes, marks, "#.3g", 1.2)
    if log:
        axes.set_yscale("log")
    place = "beside" if log else "upper right"
    return labelled(axes, legend=place, xlabel="distance", ylabel="density", title="Genuine and impostor pairs")


def error_curves(table: pd.DataFrame, equal: EqualError | None = None, axes: Axes | None = None) -> Axes:
    """Both error rates over the threshold, and the point where they are equal.

    Args:
        table: columns threshold, far, frr; rates from 0 to 1.
        equal: `verification.eer`; None: not drawn.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.4, 2.8)
    axes.plot(table["threshold"], 100 * table["far"], color=ORANGE, label="FAR")
    axes.plot(table["threshold"], 100 * table["frr"], "--", color=BLUE, label="FRR")
    if equal is not None:
        percent = 100 * equal.rate
        axes.plot(equal.threshold, percent, "o", color=BLACK, markersize=5, label=f"equal: {percent:.1f} %")
    title = "Error rates over the threshold"
    return labelled(axes, xlabel="threshold", ylabel="% of their pairs", ylim=(-2, 102), title=title)


def trade_off(curves: Tables, points: Points | None = None, axes: Axes | None = None) -> Axes:
    """Detection error trade-off: false reject against false accept rate in percent, on logarithmic axes.

    Args:
        curves: by name, columns far and frr; rates from 0 to 1.
        points: by name, (far, frr) of single thresholds.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.8, 3.4)
    rates = {name: 100 * curve[["far", "frr"]][curve["far"] > 0] for name, curve in curves.items()}
    least = 0.7 * min((frr for rate in rates.values() for frr in rate["frr"] if frr > 0), default=0.1)
    axes.plot([least, 100], [least, 100], color="0.7", linestyle="--", linewidth=1)
    for (name, rate), colour in zip(rates.items(), PALETTE, strict=False):
        axes.plot(rate["far"], rate["frr"].clip(lower=least), color=colour, label=name)
    mark_points(axes, points, least)
    axes.set(
        xscale="log", yscale="log", xlim=(least, 120), ylim=(least, 120), title="What one error costs in the other"
    )
    for axis in (axes.xaxis, axes.yaxis):  # 0.1, 1, 10 instead of powers, and nothing between them
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    return labelled(axes, legend="lower left", xlabel="FAR, % of the strangers", ylabel="FRR, % of the matches")


def open_set(curves: Tables, points: Points | None = None, axes: Axes | None = None) -> Axes:
    """Detection and identification rate against false alarm rate, in percent; the right end is rank-1 (or rank-k).

    Args:
        curves: by name, `OpenSet.curve`.
        points: by name, (false_alarm, dir) of single thresholds.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.4, 3.0)
    for (name, curve), colour, style in zip(curves.items(), PALETTE, LINES, strict=False):
        x, y = 100 * curve["false_alarm"], 100 * curve["dir"]
        axes.step(x, y, where="post", linestyle=style, color=colour, label=name)
        axes.plot(x.iloc[-1:], y.iloc[-1:], "|", color=colour, markersize=14)
    mark_points(axes, points)
    axes.set(xlabel="false alarms, % of the unknown queries", ylabel="found and accepted, % of the known")
    return labelled(axes, title="Open set", xlim=(-2, 102), ylim=(0, 102))


def alarms(table: pd.DataFrame, points: Points | None = None, axes: Axes | None = None) -> Axes:
    """False alarm rate of queries against the false accept rate of pairs at the same threshold, in percent.

    Args:
        table: columns far, false_alarm, independent (what it would be if pairs erred by themselves); rates from 0 to 1,
            far above 0.
        points: by name, (far, false_alarm) of single thresholds.
        axes: where to draw; None: a new figure.
    """
    axes = own_axes(axes, 4.4, 3.0)
    axes.plot(100 * table["far"], 100 * table["false_alarm"], color=BLUE, label="measured")
    axes.plot(100 * table["far"], 100 * table["independent"], "--", color=ORANGE, label="if every pair erred alone")
    mark_points(axes, points, 100 * table["far"].min())
    axes.set(xscale="log", ylim=(-2, 102), title="One query meets many strangers")
    axes.xaxis.set_major_formatter("{x:g}")
    return labelled(axes, xlabel="FAR, % of the pairs", ylabel="false alarms, % of the unknown queries")


def probabilities(distance: np.ndarray, curves: Mapping[str, np.ndarray], axes: Axes | None = None) -> Axes:
    """Probabilities of the same person over the distance, one curve a name."""
    axes = own_axes(axes, 4.4, 3.0)
    for (name, curve), colour, style in zip(curves.items(), PALETTE, LINES, strict=False):
        axes.plot(distance, curve, linestyle=style, color=colour, label=name)
    axes.axhline(0.5, color="0.7", linewidth=1)
    title = "A distance as a probability"
    return labelled(axes, xlabel="distance", ylabel="P(same | distance)", ylim=(-0.02, 1.02), title=title)


# --- lessons 06 and 07: parts, tasks, attention --------------------------------------------------------------


def heats(
    pictures: Pictures,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[Sequence[str]] = (),
    *,
    across: bool = False,
    outlines: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draw one row for each image: the image, then the same under each heat map (paper 002, Figures 1, 3 and 6).

    Args:
        pictures: N images (H, W, 3) uint8.
        maps: by name, (N, H, W) from 0 to 1: attributes, the merged map, the identity heat map.
        titles: for each image, a word over each map, such as the class it is answered with.
        across: draw a column an image instead, for a strip of many images with few maps.
        outlines: by the name of a map, (N, H, W) bool whose rim is drawn over it: where the part is.
    """
    names, numbers = ["image", *maps], range(len(pictures))
    places = [(i, name) for name, i in product(names, numbers)] if across else list(product(numbers, names))
    words = pd.DataFrame(titles, columns=list(maps)).reindex(index=numbers, columns=names, fill_value="")
    columns, rows = (len(numbers), len(names)) if across else (len(names), len(numbers))
    height, width = pictures[0].shape[:2]
    tiles = [Tile(pictures[i]) for i, _ in places]
    figure = tiled(tiles, columns, 0.85, 0.83 * height / width + 0.16 + 0.15 / rows)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    for axes, (i, name) in zip(figure.axes, places, strict=True):
        if name in maps:
            axes.imshow(maps[name][i], cmap="inferno", vmin=0, vmax=1, alpha=0.6)
        if outlines and name in outlines and outlines[name][i].any():
            axes.contour(outlines[name][i], [0.5], colors="white", linewidths=0.9)
        word = str(words.loc[i, name])
        if i == 0 and across:
            axes.text(-0.06, 0.5, name, fontsize=7, rotation=90, ha="right", va="center", transform=axes.transAxes)
        elif i == 0:  # a name of PETA in lines as wide as a small picture: carryingMessengerBag has three
            word = textwrap.fill(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name), 11) + "\n" + word
        axes.set_title(word, fontsize=7, pad=2, loc="center")
    return figure


def regions(pictures: Pictures, borders: Sequence[Sequence[float]]) -> Figure:
    """Images side by side with the borders of their parts (paper 002, Figure 4).

    Args:
        pictures: N images (H, W, 3) uint8.
        borders: for each image, the rows between two parts, as shares of the height.
    """
    height, width = pictures[0].shape[:2]
    figure = tiled([Tile(image) for image in pictures], len(pictures), 0.85, 0.85 * height / width)
    for axes, rows in zip(figure.axes, borders, strict=True):
        for share in rows:
            axes.axhline(share * height - 0.5, color=YELLOW, linewidth=1.2)
    return figure


def by_attribute(table: pd.DataFrame, score: str, kind: str, axes: Axes | None = None, *, xlabel: str) -> Axes:
    """A group of dots an attribute, with their intervals; what is only there to compare with is hollow.

    Args:
        table: `attention.localisation` or `attention.survival`.
        score: a column in percent, such as "pointing"; the ends of its interval have its name and _low or _high.
        kind: the column that says which dot it is, such as "method".
        axes: where to draw; None: a new figure.
        xlabel: what the score means.
    """
    tasks, kinds = table["task"].unique(), table[kind].unique()
    axes = own_axes(axes, 5.6, 0.8 + 0.35 * len(tasks))
    full = [name for name in kinds if not re.match("centre|uniform|random|elsewhere", name)]
    for i, name in enumerate(kinds):
        one = table[table[kind] == name].set_index("task").reindex(tasks)
        at = np.arange(len(tasks)) + 0.7 * ((i + 0.5) / len(kinds) - 0.5)
        colour, face = (PALETTE[full.index(name)], None) if name in full else ("0.45", "white")
        reach = [one[score] - one[f"{score}_low"], one[f"{score}_high"] - one[score]]
        marker = MARKERS[(full.index(name) if name in full else i - len(full)) % len(MARKERS)]
        dots: dict[str, Any] = {"fmt": marker, "color": colour, "mfc": face, "markersize": 4.5, "elinewidth": 1.1}
        axes.errorbar(one[score], at, xerr=np.maximum(reach, 0), label=name, **dots)
    for border in range(1, len(tasks)):
        axes.axhline(border - 0.5, color="0.9", linewidth=0.8)
    counts = table.groupby("task")["images"].max().reindex(tasks)
    axes.set_yticks(range(len(tasks)), [f"{task} ({n})" for task, n in counts.items()])
    return labelled(axes, legend="beside", xlabel=xlabel, ylim=(len(tasks) - 0.5, -0.5), xlim=(-2, 102))


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
    claimed = (table["better"] + " > " + table["worse"]).map(
        lambda text: textwrap.shorten(text, 40, placeholder=" ...")
    )
    axes.set_yticks(range(len(table)), claimed + ", " + table["metric"] + " (" + table["dataset"] + ")", fontsize=7)
    name: dict[str, Any] = {"ha": "right", "fontsize": 7, "bbox": {"fc": "white", "ec": "none", "pad": 1}}
    for first in table.index[table["system"].ne(table["system"].shift())]:
        axes.axhline(first - 0.5, color="0.85", linewidth=0.8)
        axes.text(0.995, first, table["system"][first], transform=axes.get_yaxis_transform(), **name)
    axes.axvline(0, color="0.4", linewidth=0.8)
    widest = 1.15 * table["difference"].abs().max()  # an interval of two pairs may reach far beyond the picture
    axes.set(xlim=(-widest, widest), ylim=(len(table) - 0.5, -0.5), title="What was claimed, and what was measured")
    return labelled(axes, legend="lower left", xlabel="difference, percentage points")
