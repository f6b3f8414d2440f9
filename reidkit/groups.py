"""Whom a retrieval finds and whom it fails: scores by group of people and by view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .distances import pairwise
from .errors import InputError
from .features import Features
from .metrics import Scores, average_precision


def by_group(scores: Scores, pids: Any, groups: Any, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Whom a retrieval fails: mAP and rank-1 of every group of queries, each with a 95 % interval over people.

    The queries of one person succeed and fail together. So the interval draws people, not queries: as many as the
    group has, with replacement, each with all their queries of the group. It holds the middle 95 % of the means
    (percentile bootstrap). The gallery is not drawn. With few people the interval is wide, and even so too narrow.

    Args:
        scores: what the queries scored, from `evaluate` or `Comparison.score`.
        pids: (Q,) integers, the person of each query.
        groups: (Q,) the name of each query's group; None or NaN belongs to none. Of a pandas categorical every category
            has a row, in its order.
        resamples: how often people are drawn, at least 1.
        seed: of the draws; the same for every group.

    Returns:
        One row a group, indexed by its name. Columns people and queries (those with a match, which alone count),
        without_match (queries left out), and in percent mAP, mAP_low, mAP_high, rank1, rank1_low, rank1_high. Scores
        are NaN where nothing counts. An interval is NaN below two people, and where all people score the same.

    Raises:
        InputError: not one pid and one group for each query, or fewer than one draw.
    """
    people, which = np.asarray(pids), pd.Categorical(groups)
    for name, given in (("pids", people), ("groups", which)):
        if given.shape != scores.per_query.shape:
            raise InputError(
                f"{name} has the shape {given.shape}: give one value for each of {scores.n_queries} queries."
            )
    if resamples < 1:
        raise InputError(f"resamples is {resamples}: draw the people at least once.")
    values = pd.DataFrame({"mAP": scores.per_query, "rank1": np.where(scores.first == 1, 100.0, 0.0)})  # (Q, 2)
    counts = np.isfinite(scores.per_query)
    rows = []
    for code in range(len(which.categories)):
        mine = which.codes == code
        by_person = values[mine & counts].groupby(people[mine & counts])
        row: dict[str, float] = {"people": by_person.ngroups, "queries": int((mine & counts).sum())}
        row["without_match"] = int((mine & ~counts).sum())
        sizes = by_person.size().to_numpy()  # (P,)
        for name in values:
            sums = by_person[name].sum().to_numpy()  # (P,)
            row[name] = sums.sum() / sizes.sum() if len(sizes) else np.nan
            row[f"{name}_low"], row[f"{name}_high"] = _band_over_people(sums, sizes, resamples, seed)
        rows.append(row)
    bands = [f"{name}{end}" for name in values for end in ("", "_low", "_high")]
    index = pd.Index(which.categories, name="group")
    return pd.DataFrame(rows, index, ["people", "queries", "without_match", *bands])


def _band_over_people(total: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """The middle 95 % of sum / number of values over draws of people, from the sum and number of each, (P,)."""
    n = len(sizes)
    if n < 2 or np.ptp(total / sizes) < 1e-9:
        return np.nan, np.nan
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)  # (resamples, P), how often
    low, high = np.quantile((drawn @ total) / (drawn @ sizes), [0.025, 0.975])
    return float(low), float(high)


def view_scores(query: Features, gallery: Features, metric: str = "euclidean") -> pd.DataFrame:
    """Show which views are hard: mAP by the orientation of the query (rows) and of the matches that count (columns).

    Matches are images from other cameras. A match in another orientation than the column's is left out. Every stranger
    stays, so that all cells are ranked against the same people.

    Returns:
        Percent, indexed by orientation; NaN where no query has such a match.
    Raises:
        InputError: images without orientations.
    """
    asked, shown = query.table, gallery.table
    if (asked["orientation"] < 0).all() or (shown["orientation"] < 0).all():
        raise InputError(f"the images of {asked.attrs.get('dataset', 'this table')} have no orientation: ask others.")
    distance = pairwise(query.descriptor, gallery.descriptor, metric).numpy()
    pids, cameras, views = (shown[name].to_numpy() for name in ("pid", "camid", "orientation"))
    rows = []
    for i, (pid, camera, view) in enumerate(zip(asked["pid"], asked["camid"], asked["orientation"], strict=True)):
        strangers = np.sort(distance[i, (pids != pid) & (pids >= 0)])
        for other in np.unique(views[views >= 0]):
            near = np.sort(distance[i, (pids == pid) & (cameras != camera) & (views == other)])
            if len(near) and view >= 0:
                places = np.searchsorted(strangers, near) + 1 + np.arange(len(near))
                rows.append((view, other, 100 * average_precision(places)))
    table = pd.DataFrame(rows, columns=["query", "match", "mAP"]).pivot_table("mAP", "query", "match")
    every = np.unique(np.concatenate([asked["orientation"], views]))
    return table.reindex(index=every[every >= 0], columns=every[every >= 0])
