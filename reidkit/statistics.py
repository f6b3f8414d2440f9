"""How often people have an attribute, and which attributes go together (paper 001, Figure 4)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from .attributes import Attributes
from .errors import InputError, choose


def imbalance(
    attributes: Attributes, images: pd.DataFrame | None = None, *, split: str | None = "train"
) -> pd.DataFrame:
    """Count every class of every task: per person, or per image where a table of images is given.

    Args:
        attributes: the labels.
        images: a table of images, joined by pid; None counts every person once.
        split: "train" or "test"; with images also "val", "query" or "gallery" ("test" is both). None: all.

    Returns:
        Columns task, class, count, share in the order of the schema. share is percent of the people or images
        that have a label for the task.
    """
    weights = _weights(attributes, images, split)
    rows = []
    for task in attributes.schema.tasks:
        codes = attributes.tasks[task.name]
        total = int(weights[codes >= 0].sum())
        for k, cls in enumerate(task.classes):
            count = int(weights[codes == k].sum())
            rows.append((task.name, cls, count, 100 * count / total if total else float("nan")))
    return pd.DataFrame(rows, columns=["task", "class", "count", "share"])


def cooccurrence(
    attributes: Attributes, images: pd.DataFrame | None = None, split: str | None = "train", *, measure: str = "percent"
) -> pd.DataFrame:
    """How the columns of the binary view go together, (A, A) floats, over those that have both labels.

    Args:
        attributes: the labels.
        images: as for `imbalance`.
        split: as for `imbalance`.
        measure: "percent" is P(column | row) x 100; "lift" is P(column | row) / P(column), 1 if independent; "phi" is
            Pearson's correlation of the two, -1 to 1.

    Returns:
        A square table, rows and columns named alike; NaN where a row (for phi: or a column) never varies.
    """
    weights = _weights(attributes, images, split).to_numpy("float64")[:, None]
    values = attributes.binary.to_numpy("float64")
    yes, known = (values == 1).astype("float64"), (values >= 0).astype("float64")
    pairs = known.T @ (weights * known)  # (A, A) weight of those with both labels
    both = yes.T @ (weights * yes)
    row = yes.T @ (weights * known)  # row yes, column known
    measures: dict[str, Callable[[], np.ndarray]] = {
        "percent": lambda: 100 * both / row,
        "lift": lambda: both * pairs / (row * row.T),
        "phi": lambda: (both * pairs - row * row.T) / np.sqrt(row * (pairs - row) * row.T * (pairs - row.T)),
    }
    choose(measure, measures, "measure")
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame(measures[measure](), attributes.binary.columns, attributes.binary.columns)


def _weights(attributes: Attributes, images: pd.DataFrame | None, split: str | None) -> pd.Series:
    """How often each annotated person counts: once, or as many times as it has images in the split.

    Junk, distractors and people without attributes have none and are not counted.
    """
    people = attributes.table.index
    if images is None:
        weights = (attributes.split.notna() if split is None else attributes.split == split).reindex(people)
    else:
        parts = {"test": ["query", "gallery"], None: list(images["split"].unique())}.get(split, [split])
        shown = images.loc[images["split"].isin(parts) & (images["pid"] >= 0), "pid"]
        weights = shown.value_counts().reindex(people, fill_value=0)
    if weights.sum() == 0:
        what = "people" if images is None else "images"
        raise InputError(f"no {what} with attributes in the split {split!r}; choose train or test, or another file")
    return weights.astype("int64")
