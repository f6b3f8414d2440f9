"""What a search returns: lists cut at a distance, filtered by attributes, or asked for by words (paper 001, 4.2.1).

Retrieval (mAP, kept, removed) is in percent. Shape letters: Q queries, G gallery images, T attribute tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from torch import Tensor

from ..attributes import Task
from ..errors import InputError, choose
from ..features import Answers
from ..metrics import AP_FORMS, average_precision
from ..ranking import Comparison, Ranking


def mean_threshold(comparison: Comparison) -> np.ndarray:
    """Average each query's distances to the gallery images that the rule leaves in (paper 001, 4.2.1).

    Returns:
        (Q,) float64; NaN, which accepts nothing, where the rule leaves nothing in.
    """
    means = np.full(len(comparison), np.nan)
    for rows, distance, keep, _ in comparison.blocks():
        total = np.sum(distance, axis=1, where=keep, dtype=np.float64)
        np.divide(total, keep.sum(1), out=means[rows], where=keep.any(1))
    return means


def as_answers(answers: Any, n: int | None, what: str) -> np.ndarray:
    """Attribute classes (N, T) as integers, -1 (or below) for no answer; n rows if n is given, else InputError."""
    array = answers.detach().cpu().numpy() if isinstance(answers, Tensor) else np.asarray(answers)
    if array.ndim != 2 or (n is not None and len(array) != n):
        rows = "N" if n is None else n
        raise InputError(
            f"{what} has the shape {array.shape}, expected ({rows}, T): one row an image, one column a task."
        )
    if array.dtype.kind not in "iub" and not (array.dtype.kind == "f" and np.array_equal(array, np.round(array))):
        raise InputError(f"{what} holds {array.dtype} values that are no class numbers: give integers, -1 for a hole.")
    return array.astype(np.int32)


def hamming(query_answers: Any, gallery_answers: Any) -> np.ndarray:
    """Count the tasks in which both images have an answer (0 or more) and the answers differ.

    Goes through one task at a time: nothing of shape (Q, G, T) is made. For a block of queries give its rows.

    Args:
        query_answers: (Q, T) integers.
        gallery_answers: (G, T) integers.
    Returns:
        (Q, G) int16.
    """
    q, g = as_answers(query_answers, None, "query_answers"), as_answers(gallery_answers, None, "gallery_answers")
    if q.shape[1] != g.shape[1]:
        raise InputError(
            f"query_answers has {q.shape[1]} tasks and gallery_answers {g.shape[1]}: both must answer the same tasks."
        )
    count = np.zeros((len(q), len(g)), np.int16)
    for a, b in zip(q.T, g.T, strict=True):
        count += (a[:, None] != b) & (a >= 0)[:, None] & (b >= 0)
    return count


@dataclass(frozen=True)
class Filtered:
    """What is left of the ranked lists after a filter, over the queries that had a valid match before it."""

    mAP: float  # percent, strict: a match that was filtered out counts as missed, so AP is divided by all matches
    mAP_returned_only: float  # percent, AP divided by the matches still there; queries with none left are left out
    returned: float  # mean number of gallery images returned
    kept: float  # percent of all true matches that are returned
    removed: float  # percent of all false matches that are not returned; NaN where there are none
    n_queries: int  # all queries given
    n_without_match: int  # of them, those that the rule left without any match: in none of the numbers above
    n_empty: int  # scored queries to which nothing at all is returned: AP 0 in mAP
    n_lost: int  # scored queries to which no match is returned, the empty ones included: AP 0 in mAP
    ap: str


def filtered(
    comparison: Comparison,
    threshold: Any = None,
    *,
    answers: tuple[Any, Any] | None = None,
    h: int | None = None,
    ap: str = "precision",
) -> Filtered:
    """Score the lists after a distance threshold, the attribute filter, both or neither (paper 001, 4.2.1).

    AP counts places in the list that is left. With neither filter `mAP` is that of `ranking.evaluate`.
    The paper does not say what it divides by; it appears to mean `mAP_returned_only`.

    Args:
        comparison: queries and gallery, a `ranking.Comparison`.
        threshold: a gallery image is returned if its distance is at most this: a number, or (Q,) one a query; None: no
            threshold.
        answers: attribute classes of queries (Q, T) and gallery (G, T), -1 for a hole, see `hamming`; None: no
            attribute filter.
        h: an image is returned if it differs from the query in at most this many tasks.
        ap: "precision" or "trapezoid", see `metrics.average_precision`.
    Raises:
        InputError: shapes that do not fit, answers without h or h without answers, no query with a match.
    """
    if (answers is None) != (h is None):
        raise InputError("the attribute filter needs both answers=(query, gallery) and h: give both, or neither.")
    if h is not None and h < 0:
        raise InputError(f"h is {h}: let an image differ in 0 tasks at least.")
    return _select(comparison, threshold, answers, [0 if h is None else h], ap)[0]


def filter_curve(
    comparison: Comparison,
    query_answers: Any,
    gallery_answers: Any,
    *,
    threshold: Any = None,
    ap: str = "precision",
) -> pd.DataFrame:
    """The attribute filter as a trade-off: `filtered` for h = 0..T in one pass.

    Args:
        comparison: queries and gallery, a `ranking.Comparison`.
        query_answers: (Q, T) integers, -1 for a hole.
        gallery_answers: (G, T) integers, -1 for a hole.
        threshold: a distance threshold on top, as in `filtered`.
        ap: "precision" or "trapezoid", see `metrics.average_precision`.
    Returns:
        T + 1 rows: h, kept and removed (percent of true and false matches), returned (mean number of images),
        "mAP strict" and "mAP returned_only" (percent), n_empty, n_lost (queries).
    """
    n_tasks = as_answers(query_answers, len(comparison), "query_answers").shape[1]
    scores = _select(comparison, threshold, (query_answers, gallery_answers), range(n_tasks + 1), ap)
    table = pd.DataFrame([vars(score) for score in scores]).rename_axis("h").reset_index()
    table = table.rename(columns={"mAP": "mAP strict", "mAP_returned_only": "mAP returned_only"})
    return table[["h", "kept", "removed", "returned", "mAP strict", "mAP returned_only", "n_empty", "n_lost"]]


def _select(
    comparison: Comparison, threshold: Any, answers: tuple[Any, Any] | None, limits: Sequence[int], ap: str
) -> list[Filtered]:
    """`filtered` for several h at once: every list is sorted once, whatever their number."""
    choose(ap, AP_FORMS, "ap")
    limit = _per_query(threshold, len(comparison))
    if answers is not None:
        answers = (
            as_answers(answers[0], len(comparison), "query_answers"),
            as_answers(answers[1], len(comparison.labels.gallery_pids), "gallery_answers"),
        )
    per_query: list[list[tuple[float, int, int]]] = []  # a scored query: for every h, (AP, matches, images) returned
    n_true, n_false = [], []  # of every scored query, before the filter
    for rows, distance, keep, match in comparison.blocks():
        inside = keep & (distance <= limit[rows, None])
        differ = None if answers is None else hamming(answers[0][rows], answers[1])
        for i in np.flatnonzero(match.any(1)):
            n_true.append(int(match[i].sum()))
            n_false.append(int(keep[i].sum()) - n_true[-1])
            index = np.flatnonzero(inside[i])
            index = index[np.argsort(distance[i, index], kind="stable")]  # (R,) nearest first, ties by gallery index
            hits = match[i, index]
            tasks = np.zeros(len(index), np.int16) if differ is None else differ[i, index]
            found = []
            for h in limits:
                passed = tasks <= h
                places = np.cumsum(passed)[passed & hits]
                found.append((average_precision(places, ap) if len(places) else 0.0, len(places), int(passed.sum())))
            per_query.append(found)
    if not per_query:
        raise InputError(
            f"none of the {len(comparison)} queries has a valid match in the gallery under rule "
            f"{comparison.rule!r}: look whether query and gallery share people, and from different cameras."
        )
    true, false = np.array(n_true), np.array(n_false)
    precision, matches, images = np.moveaxis(np.array(per_query, dtype=np.float64), 2, 0)  # (Q', H) each
    scores = []
    for own, m, n in zip(precision.T, matches.T, images.T, strict=True):
        scores.append(
            Filtered(
                mAP=float(100 * (own * (m / true)).mean()),
                mAP_returned_only=float(100 * own[m > 0].mean()) if m.any() else nan,
                returned=float(n.mean()),
                kept=float(100 * m.sum() / true.sum()),
                removed=float(100 - 100 * (n - m).sum() / false.sum()) if false.any() else nan,
                n_queries=len(comparison),
                n_without_match=len(comparison) - len(true),
                n_empty=int(np.count_nonzero(n == 0)),
                n_lost=int(np.count_nonzero(m == 0)),
                ap=ap,
            )
        )
    return scores


def _per_query(threshold: Any, n: int) -> np.ndarray:
    """A threshold as one number a query, (Q,) float64; None accepts everything."""
    value = threshold.detach().cpu().numpy() if isinstance(threshold, Tensor) else threshold
    limit = np.asarray(inf if value is None else value, dtype=np.float64)
    if limit.ndim == 0 and isnan(limit):
        raise InputError("threshold is NaN: give a distance.")
    if limit.shape not in ((), (n,)):
        raise InputError(f"threshold has the shape {limit.shape}, expected a number or ({n},): one for each query.")
    return np.broadcast_to(limit, (n,))


def description(wanted: Mapping[str, str], tasks: Sequence[Task]) -> dict[int, int]:
    """Turn what is asked for, {"gender": "female", "backpack": "yes"}, into class indices by the number of the task.

    Raises:
        InputError: nothing asked for, an attribute or an answer that is not known.
    """
    names = [task.name for task in tasks]
    asked = {}
    if not wanted:
        raise InputError(f"nothing is asked for: give one or more of {', '.join(names)}.")
    for name, answer in wanted.items():
        choose(name, names, "attribute")
        number = names.index(name)
        choose(answer, tasks[number].classes, name)
        asked[number] = tasks[number].classes.index(answer)
    return asked


def described_as(answers: Answers, wanted: Mapping[str, str], scale: np.ndarray | None = None) -> np.ndarray:
    """Estimate how probably each image shows all that is asked for: search by words, without any query image.

        P(all) = prod_t softmax(log p_t / T_t)[wanted_t]

    The product assumes that the network errs on each attribute independently of the others.

    Args:
        answers: what a network says about N images.
        wanted: the answers asked for, see `description`.
        scale: `temperatures` (T,), so that probabilities mean what they say; None: the network's own probabilities.
    Returns:
        (N,) from 0 to 1.
    """
    scale = np.ones(len(answers.tasks)) if scale is None else scale
    out = np.zeros(len(answers.table))
    for number, answer in description(wanted, answers.tasks).items():
        logits = np.log(np.maximum(answers.probability[number].double().numpy(), 1e-12)) / scale[number]
        out += log_softmax(logits, axis=1)[:, answer]
    return np.exp(out)


def leave_out(ranking: Ranking, out: np.ndarray) -> Ranking:
    """The ranking without some gallery images, (Q, G) bool: by attributes that do not fit (paper 002, figure 8).

    What is left out stands at the end of its row, as what the rule leaves out does, and is no match any more.
    """
    if out.shape[0] != len(ranking) or out.shape[1] <= ranking.order.max(initial=-1):
        raise InputError(
            f"out has the shape {out.shape}: give a yes or no for each of {len(ranking)} queries and image."
        )
    keep = ranking.keep & ~np.take_along_axis(out, ranking.order, axis=1)
    behind = np.argsort(~keep, axis=1, kind="stable")
    order, distance, match, keep = (
        np.take_along_axis(part, behind, axis=1) for part in (ranking.order, ranking.distance, ranking.match, keep)
    )
    return Ranking(order, np.where(keep, distance, np.inf), match & keep, keep, ranking.rule, ranking.metric)
