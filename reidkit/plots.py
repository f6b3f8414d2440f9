"""One function a figure: data and optional axes in, axes or figure out; no computation, never `show()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .ranking import Ranking

# Okabe and Ito's colours: told apart with every kind of colour vision, and in grey
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, BLACK)

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
    "legend.frameon": False,
    "pdf.fonttype": 42,
}


def use_style() -> None:
    """The one style of all figures."""
    plt.rcParams.update(STYLE)  # type: ignore[arg-type]


def save(figure: Figure | SubFigure | Axes, name: str, folder: Path | str) -> Path:
    """Write NAME.png and NAME.pdf into a folder; returns the PNG's path."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    root = figure.get_figure(root=True)
    assert root is not None  # axes outside a figure do not exist here
    # no date in the files: the same figure is the same bytes
    root.savefig(home / f"{name}.pdf", metadata={"CreationDate": None})
    root.savefig(home / f"{name}.png", metadata={"Software": None})
    return home / f"{name}.png"


def own_axes(axes: Axes | None, width: float = 5.0, height: float = 3.0) -> Axes:
    """The axes given, or those of a new figure of this size in inches."""
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
        counts: what is counted, for the axis label.
    """
    use_style()
    tasks = list(dict.fromkeys(table["task"]))
    if len(tasks) > 20:  # PETA asks some hundred yes-or-no questions: one bar each, the commonest forty
        yes = table[table["class"] == "yes"].nlargest(40, "share")
        title = f"yes: the {len(yes)} commonest of {len(tasks)} attributes"
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
        figsize=(3.1 * columns, 0.2 * sum(ratios)),
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
    axes.legend(title=None)
    return axes


def cooccurrence(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Heat map of P(column | row) in percent, `attributes.cooccurrence`."""
    side = max(7.2, 0.19 * len(table))  # PETA has some hundred columns
    axes = own_axes(axes, side + 1, side)
    axes.set_facecolor("0.85")  # grey where nobody has the row's attribute
    sns.heatmap(
        table, ax=axes, cmap="cividis", vmin=0, vmax=100, square=True, xticklabels=True, yticklabels=True,
        cbar_kws={"label": "% of the row's people who have the column", "shrink": 0.7},
    )  # fmt: skip
    axes.set_title("How often attributes go together (grey: nobody has the row's attribute)")
    axes.tick_params(labelsize=7, length=0)
    axes.set(xlabel="", ylabel="")
    return axes


# --- images and rankings -------------------------------------------------------------------------------------


def show_image(axes: Axes, path: str, *, frame: str | None = None, title: str = "") -> None:
    """One image without ticks, with a coloured frame and a small title."""
    axes.imshow(picture(path), interpolation="nearest")
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


def cmc(curves: Mapping[str, np.ndarray], axes: Axes | None = None, *, top: int = 20) -> Axes:
    """Cumulative match curves, one a name: percent of queries with a match within the first k places."""
    axes = own_axes(axes)
    for name, curve in curves.items():
        k = np.arange(1, min(top, len(curve)) + 1)
        axes.plot(k, curve[: len(k)], marker="o", markersize=3, label=name)
    axes.set(xlabel="rank k", ylabel="queries with a match, %", title="CMC", ylim=(0, 102), xticks=[1, 5, 10, 15, 20])
    axes.legend()
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


def history(table: pd.DataFrame, names: Sequence[str], axes: Axes | None = None) -> Axes:
    """Columns of a training's history over its epochs."""
    axes = own_axes(axes)
    for name in names:
        axes.plot(table["epoch"], table[name], marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="mean of the epoch", title="Training")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return axes


def found(query: str, images: Sequence[tuple[str, str]]) -> Figure:
    """An image of one's own and what was found for it: (path, title) in order."""
    use_style()
    figure, line = plt.subplots(1, len(images) + 1, figsize=(0.75 * (len(images) + 1), 1.75), squeeze=False)
    show_image(line[0, 0], query, title="query", frame=BLACK)
    for axes, (path, title) in zip(line[0, 1:], images, strict=True):
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
