"""Scores of a retrieval: CMC, mAP in both published forms, mINP; and of answers to attributes.

Every score of a retrieval is a function of the places of a query's matches alone (`ranking.places_of_matches`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, recall_score

from .attributes import Task
from .errors import InputError, choose

AP_FORMS = ("precision", "trapezoid")
PLACES = (1, 5, 10, 20)  # of the CMC curve, in every table


def average_precision(places: np.ndarray, ap: str = "precision") -> float:
    """Average precision of one ranking, from 0 to 1.

    precision   mean over the hits of k / r_k: the precision at each hit, what today's libraries print
    trapezoid   mean over the hits of (k / r_k + p_k) / 2 with p_k = (k - 1) / (r_k - 1), and 1 for r_k = 1:
                the area under the precision-recall curve of the first Market-1501 evaluation code
                (Zheng et al. 2015)

    Args:
        places: (M,) ascending places r_k of the matches, 1 = first, M >= 1.
        ap: "precision" or "trapezoid".
    """
    hits = np.arange(1, len(places) + 1)
    precision = hits / places
    if ap == "precision":
        return float(precision.mean())
    before = np.where(places > 1, (hits - 1) / np.maximum(places - 1, 1), 1.0)
    return float((precision + before).mean() / 2)


@dataclass(frozen=True)
class Scores:
    """What a retrieval scored, in percent; queries without a valid match are counted and left out of the means."""

    mAP: float
    cmc: np.ndarray  # (K,) percent of queries with a match within the first k + 1 places
    mINP: float  # mean share of matches up to the last one (Ye et al. 2021), percent
    n_queries: int  # all queries given
    n_without_match: int  # of them, those that the rule left without any match
    per_query: np.ndarray  # (Q,) AP in percent, NaN without a match
    first: np.ndarray  # (Q,) place of the first match, 1 = first, NaN without a match
    metric: str
    rule: str
    ap: str

    @property
    def rank1(self) -> float:
        """Percent of queries whose first place is a match."""
        return float(self.cmc[0])

    def at(self, k: int) -> float:
        """CMC rank-k in percent; beyond the gallery's end the curve is flat."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])

    def to_dict(self) -> dict[str, float | int | str]:
        """The numbers of a results table, ready for JSON."""
        scores = {"mAP": self.mAP, **{f"rank{k}": self.at(k) for k in PLACES}, "mINP": self.mINP}
        about = {name: getattr(self, name) for name in ("n_queries", "n_without_match", "metric", "rule", "ap")}
        return {name: round(score, 4) for name, score in scores.items()} | about

    def __str__(self) -> str:
        without = f", {self.n_without_match} without a match left out" if self.n_without_match else ""
        return (
            f"mAP {self.mAP:.1f} ({self.ap}), rank-1 {self.at(1):.1f}, rank-5 {self.at(5):.1f}, "
            f"rank-10 {self.at(10):.1f}, mINP {self.mINP:.1f}; {self.n_queries} queries{without}; "
            f"{self.metric}, rule {self.rule}"
        )


def scores_of(places: list[np.ndarray], n_gallery: int, metric: str, rule: str, ap: str, max_rank: int) -> Scores:
    """Scores from the places of the matches of every query (an empty array: no valid match)."""
    choose(ap, AP_FORMS, "ap")
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}: ask for at least one place of the CMC curve.")
    valid = [p for p in places if len(p)]
    if not valid:
        raise InputError(
            f"none of the {len(places)} queries has a valid match in the gallery under rule {rule!r}: look whether "
            "query and gallery share people at all, and whether they come from different cameras; rule='none' "
            "leaves nothing out."
        )
    per_query = np.array([100 * average_precision(p, ap) if len(p) else np.nan for p in places])
    first = np.array([p[0] if len(p) else np.nan for p in places])
    cmc = 100 * (first[np.isfinite(first), None] <= np.arange(1, min(max_rank, n_gallery) + 1)).mean(0)
    minp = 100 * float(np.mean([len(p) / p[-1] for p in valid]))
    mean, lost = float(np.nanmean(per_query)), len(places) - len(valid)
    return Scores(mean, cmc, minp, len(places), lost, per_query, first, metric, rule, ap)


# --- attributes ----------------------------------------------------------------------------------------------


def attribute_scores(labels: np.ndarray, answers: np.ndarray, tasks: Sequence[Task]) -> pd.DataFrame:
    """Score the answers to attributes: one row a task, and the row "global", the mean of the tasks (paper 001).

    Accuracy hides what happens to a rare class: "nobody wears a hat" is right for 97 % of Market-1501. So beside it
    stand `commonest`, the accuracy of always giving the commonest answer of these labels; `macro_f1`, the mean of the
    classes' F1; and `mean_accuracy` (mA), the mean of their recalls (Deng et al. 2014 for two classes, one half each).
    The latter two run over the classes that occur among the labels.

    Args:
        labels: (N, T) class indices; a label of -1 is missing and not counted.
        answers: (N, T) class indices.
        tasks: the T tasks.
    Returns:
        Columns n (labels), commonest, accuracy, macro_f1, mean_accuracy, all but n in percent, indexed by task; NaN
        for a task without any label, which the mean leaves out.
    """
    rows = []
    for task, label, answer in zip(tasks, labels.T, answers.T, strict=True):
        known = label >= 0
        truth, said = label[known], answer[known]
        if not known.any():
            rows.append((task.name, 0, *[np.nan] * 4))
            continue
        classes = np.unique(truth)
        f1 = f1_score(truth, said, labels=classes, average="macro", zero_division=0)
        recall = recall_score(truth, said, labels=classes, average="macro", zero_division=0)
        commonest = np.bincount(truth).max() / len(truth)
        rows.append((task.name, len(truth), *(100 * x for x in (commonest, (truth == said).mean(), f1, recall))))
    table = pd.DataFrame(rows, columns=["task", "n", "commonest", "accuracy", "macro_f1", "mean_accuracy"])
    table = table.set_index("task")
    table.loc["global"] = {**table.mean(), "n": table["n"].max()}
    return table.astype({"n": int})


def column_scores(labels: np.ndarray, yes: np.ndarray, columns: np.ndarray, tasks: Sequence[Task]) -> pd.DataFrame:
    """Score yes and no answers (paper 003, Tables 6 and 7): for each task the mean accuracy of its columns.

    Most people do not wear a given one of nine colours, so the accuracy is high where few columns say yes. Beside it
    stands `commonest`, the accuracy of always giving each column's commonest answer.

    Args:
        labels: (N, A), 1 yes, 0 no, -1 missing and not counted.
        yes: (N, A) bool, the answers.
        columns: (A, 2), the task and class of each column, as `data.binary_columns` gives them.
        tasks: the T tasks.
    Returns:
        Columns n (labels), commonest, accuracy in percent, indexed by task, and the row "global", the mean of the
        tasks; NaN for a task without any label, which the mean leaves out.
    """
    known = labels >= 0
    n = known.sum(0)
    share = np.divide((labels == 1).sum(0), n, out=np.full(len(n), np.nan), where=n > 0)
    right = np.divide(((labels == 1) == yes).sum(0, where=known), n, out=np.full(len(n), np.nan), where=n > 0)
    each = pd.DataFrame({"n": n, "commonest": 100 * np.maximum(share, 1 - share), "accuracy": 100 * right})
    table = each.groupby(columns[:, 0]).agg({"n": "max", "commonest": "mean", "accuracy": "mean"})
    table.index = pd.Index([tasks[t].name for t in table.index], name="task")
    table.loc["global"] = {**table.mean(), "n": table["n"].max()}
    return table.astype({"n": int})


def class_scores(labels: np.ndarray, answers: np.ndarray, tasks: Sequence[Task]) -> pd.DataFrame:
    """Recall, precision and F1 of every class beside how often it occurs, so that no mean hides a rare one.

    Args:
        labels: (N, T) class indices; a label of -1 is missing and not counted.
        answers: (N, T) class indices.
        tasks: the T tasks.
    Returns:
        Columns task, class, count (labels), answered (answers), recall, precision, f1 in percent; recall is NaN for a
        class that does not occur, precision for one that is never answered.
    """
    rows: list[tuple[Any, ...]] = []
    for task, label, answer in zip(tasks, labels.T, answers.T, strict=True):
        known, n = label >= 0, len(task.classes)
        count, answered, right = (
            np.bincount(values[which & (values >= 0)], minlength=n)
            for values, which in ((label, known), (answer, known), (label, answer == label))
        )
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            shares = (100 * right / count, 100 * right / answered, 200 * right / (count + answered))
        rows += zip([task.name] * n, task.classes, count, answered, *shares, strict=True)
    return pd.DataFrame(rows, columns=["task", "class", "count", "answered", "recall", "precision", "f1"])
