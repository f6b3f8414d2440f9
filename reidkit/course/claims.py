"""What the papers claim, and what the measured tables say to it.

A claim is a sentence of a system's `CLAIMS`, "a > b > c in rank-1 and mAP": an order of rows of measured tables, and
the metrics it is about. It is taken apart into comparisons of neighbours, from which the rest of the order follows.
"a | b > c" puts each of two rows above a third; "a re-ranked" is the row a after re-ranking; mAP is that of the form
"precision" (`metrics.average_precision`). Each comparison is answered by paired differences: both rows were measured on
the same split with the same seed, so what split and seed do to both cancels. Splits of one data set share people and a
few seeds are few: an interval says how much the trainings varied, not how other data would answer. And of
twenty comparisons without any true difference, about one interval leaves out 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import InputError
from ..systems import SYSTEMS
from .measured import PAIRED, read_measured
from .tables import markdown

HELD, REVERSED, UNSEEN, UNMEASURED = VERDICTS = ("held", "reversed", "not seen", "not measured")
MEASURED_AS = {"rank-1": "rank1", "mAP": "mAP", "global macro F1": "f1/global", "global accuracy": "accuracy/global"}
SOURCES = ("scores-*", "attributes-*", "transfer-*", "inherent_code-pku*", "sharenet-towncentre", "ablations-*")


@dataclass(frozen=True)
class Claimed:
    """One comparison of a claim: that the first of two rows is better in one metric."""

    better: str
    worse: str
    metric: str  # a key of MEASURED_AS


def comparisons(claim: str) -> list[Claimed]:
    """Take a claim apart, metric by metric: every row of one place is compared with every row of the next.

    Raises:
        InputError: a sentence of another form.
    """
    order, _, metrics = claim.rpartition(" in ")
    signs = set(re.findall(r" ([<>]) ", order))
    names = re.split(r" [<>] ", order)
    wanted = metrics.split(" and ")
    places = [name.split(" | ") for name in names]
    if len(signs) != 1 or not all(row for place in places for row in place) or not set(wanted) <= set(MEASURED_AS):
        raise InputError(
            f"the claim {claim!r} cannot be read: write rows with > or < between (and ' | ' between rows that share a "
            f"place), then ' in ' and metrics ({', '.join(MEASURED_AS)}) with ' and ' between."
        )
    if signs == {"<"}:
        places.reverse()
    return [
        Claimed(better, worse, metric)
        for metric in wanted
        for above, below in pairwise(places)
        for better, worse in product(above, below)
    ]


def numbers_in(folder: Path | str) -> pd.DataFrame:
    """What the measured tables of a folder hold of the metrics that claims are about, a number a row.

    Attributes count over all tasks. A folder without tables gives no rows.

    Returns:
        The columns of `read_measured`.
    Raises:
        InputError: a table that measures the same thing twice.
    """
    paths = sorted(path for pattern in SOURCES for path in Path(folder).glob(f"{pattern}.csv"))
    if not paths:
        return pd.DataFrame(columns=["source", "dataset", "row", *PAIRED, "metric", "value"])
    numbers = pd.concat(map(read_measured, paths), ignore_index=True)
    return numbers[numbers["metric"].isin(MEASURED_AS.values())].dropna(subset="value")


def interval(differences: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of paired differences and its confidence interval by Student's t: mean, low, high.

    With n differences of standard deviation s (of n - 1), the interval reaches t(n - 1) s / sqrt(n) to both sides. One
    difference has no spread: its interval is infinite. Without any difference the mean is NaN.
    """
    values = np.asarray(differences, float)
    if len(values) < 2:
        return (float(values[0]), -np.inf, np.inf) if len(values) else (np.nan, -np.inf, np.inf)
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)  # ttest_1samp, without its warnings
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def verdict(n: int, low: float, high: float) -> str:
    """Held if the interval is above 0, reversed if below; with 0 inside not seen; below two pairs not measured."""
    if n < 2:
        return UNMEASURED
    return HELD if low > 0 else REVERSED if high < 0 else UNSEEN


def assess(folder: Path | str, system: str | None = None) -> pd.DataFrame:
    """Every comparison of the systems' claims over the measured tables of a folder, one row each and table.

    Args:
        folder: that of the measured tables.
        system: whose claims; None: all.
    Returns:
        system, claim, better, worse, metric, dataset, source (the table; both empty where nothing is measured), n
        (pairs), difference (mean of better - worse, percentage points), low, high (95 %), verdict.
    """
    numbers = numbers_in(folder)
    rows = []
    for name in SYSTEMS:
        for claim in SYSTEMS[name].CLAIMS if system in (None, name) else ():
            for claimed in comparisons(claim):
                about = {"system": name, "claim": claim, **asdict(claimed)}
                rows += [about | result for result in results(numbers, claimed)]
    return pd.DataFrame(rows)


def results(numbers: pd.DataFrame, claimed: Claimed) -> list[dict[str, object]]:
    """Make one comparison over `measured` numbers: a result for every table with both rows, else one without data."""
    of_metric = numbers[numbers["metric"] == MEASURED_AS[claimed.metric]]
    made = []
    for (source, dataset), part in of_metric.groupby(["source", "dataset"]):
        values = part.pivot(index=PAIRED, columns="row", values="value")  # noqa: PD010, which would average silently
        if {claimed.better, claimed.worse} <= set(values):
            differences = (values[claimed.better] - values[claimed.worse]).dropna()
            made.append({"dataset": dataset, "source": source, **result(differences)})
    return made or [{"dataset": "", "source": "", **result([])}]


def result(differences: Sequence[float]) -> dict[str, object]:
    """What paired differences say: n, difference (their mean), low, high, verdict."""
    n = len(differences)
    mean, low, high = interval(differences)
    return {"n": n, "difference": mean, "low": low, "high": high, "verdict": verdict(n, low, high)}


def details(table: pd.DataFrame) -> pd.DataFrame:
    """`assess` for reading: a row a comparison, the interval in one cell."""
    intervals = [
        f"{low:.1f} to {high:.1f}".replace("-", "−") if n > 1 else ""
        for n, low, high in zip(table["n"], table["low"], table["high"], strict=True)
    ]
    shown = table[["system", "metric", "dataset", "source", "n", "difference", "verdict"]].copy()
    shown["source"] = shown["source"].str.removesuffix(".csv")
    shown.insert(1, "claimed", table["better"] + " > " + table["worse"])
    shown.insert(7, "95 % interval", intervals)
    return shown.rename(columns={"dataset": "measured on", "source": "table"})


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """`assess` with one row a claim: where it was measured, from how many pairs, what became of its comparisons."""
    rows = []
    for (system, claim), of_claim in table.groupby(["system", "claim"], sort=False):
        answers = []
        for dataset, part in of_claim.groupby("dataset", sort=False):
            counts = part["verdict"].value_counts().reindex(VERDICTS).dropna().astype(int)
            words = [kind if len(counts) == 1 else f"{count} {kind}" for kind, count in counts.items()]
            few, many = part["n"].min(), part["n"].max()
            n = f"n = {few}" if few == many else f"n = {few} to {many}"
            if dataset:
                answers.append(f"{dataset}, {n}: {', '.join(words)}")
            else:
                answers.append(f"{len(part)} {UNMEASURED}" if len(part) < len(of_claim) else UNMEASURED)
        count = len(comparisons(claim))
        rows.append({"system": system, "claim": claim, "comparisons": count, "measured": "; ".join(answers)})
    return pd.DataFrame(rows)


def in_words(folder: Path | str) -> str:
    """The summary of every claim over the measured tables of a folder, in Markdown."""
    return markdown(summary(assess(folder)))
