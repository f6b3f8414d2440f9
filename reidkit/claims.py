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
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from .errors import InputError
from .ranking import RERANKED
from .systems import SYSTEMS
from .tables import markdown

HELD, REVERSED, UNSEEN, UNMEASURED = VERDICTS = ("held", "reversed", "not seen", "not measured")
METRICS = {"rank-1": "rank1", "mAP": "mAP", "global macro F1": "macro_f1", "global accuracy": "accuracy"}
TABLES = ("scores-*", "attributes-*", "transfer-*", "inherent_code-pku*", "sharenet-towncentre", "ablations-*")
PAIR = ["fold", "seed", "profile", "settings"]  # what two measurements must share to be compared


@dataclass(frozen=True)
class Comparison:
    """One pair of rows and one metric: the claim is that the first is better."""

    better: str
    worse: str
    metric: str  # a key of METRICS


def comparisons(claim: str) -> list[Comparison]:
    """Take a claim apart, metric by metric: every row of one place is compared with every row of the next.

    Raises:
        InputError: a sentence of another form.
    """
    order, _, metrics = claim.rpartition(" in ")
    signs = set(re.findall(r" ([<>]) ", order))
    names = re.split(r" [<>] ", order)
    wanted = metrics.split(" and ")
    places = [name.split(" | ") for name in names]
    if len(signs) != 1 or not all(row for place in places for row in place) or not set(wanted) <= set(METRICS):
        raise InputError(
            f"the claim {claim!r} cannot be read: write rows with > or < between (and ' | ' between rows that share a "
            f"place), then ' in ' and metrics ({', '.join(METRICS)}) with ' and ' between."
        )
    if signs == {"<"}:
        places.reverse()
    return [
        Comparison(better, worse, metric)
        for metric in wanted
        for above, below in pairwise(places)
        for better, worse in product(above, below)
    ]


def measured(folder: Path | str) -> pd.DataFrame:
    """The measured tables of a folder, one row a number: source, dataset, row, metric, `PAIR`, value (percent).

    Attributes count on the people held out from training, as in paper 001, over all tasks. A folder without tables
    gives no rows.

    Raises:
        InputError: a table that measures the same thing twice.
    """
    parts = []
    for path in sorted(path for pattern in TABLES for path in Path(folder).glob(f"{pattern}.csv")):
        table = pd.read_csv(path)
        if "loss" in table:
            table = table[(table["task"] == "global") & (table["on"] == "validation")]
            table = table.rename(columns={"loss": "system"}).assign(dataset=path.stem.partition("-")[2])
        table = table.assign(source=path.name, **{name: "" for name in PAIR if name not in table})
        values = [column for column in METRICS.values() if column in table]
        keys = ["source", "dataset", "system", *PAIR]
        if table.duplicated(keys).any():
            twice = table.loc[table.duplicated(keys), "system"].iloc[0]
            raise InputError(f"{path} has {twice!r} twice for the same split, seed and settings: keep one of them.")
        parts.append(table.melt(keys, values, "metric").rename(columns={"system": "row"}).dropna(subset="value"))
        again = {RERANKED + name: name for name in values if RERANKED + name in table}
        after = table.drop(columns=values).rename(columns=again).assign(system=table["system"] + " re-ranked")
        if again:
            parts.append(after.melt(keys, list(again.values()), "metric").rename(columns={"system": "row"}))
    empty = pd.DataFrame(columns=["source", "dataset", "row", *PAIR, "metric", "value"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def interval(differences: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of paired differences and its confidence interval by Student's t: mean, low, high.

    With n differences of standard deviation s (of n - 1), the interval reaches t(n - 1) s / sqrt(n) to both sides. One
    difference has no spread: its interval is infinite. Without any difference the mean is NaN.
    """
    values = np.asarray(differences, float)
    if len(values) < 2:
        return (float(values[0]), -np.inf, np.inf) if len(values) else (np.nan, -np.inf, np.inf)
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def verdict(n: int, low: float, high: float) -> str:
    """Held if the interval is above 0, reversed if below; with 0 inside not seen; below two pairs not measured."""
    if n < 2:
        return UNMEASURED
    return HELD if low > 0 else REVERSED if high < 0 else UNSEEN


def check(folder: Path | str, system: str | None = None) -> pd.DataFrame:
    """Every comparison of the systems' claims over the measured tables of a folder, one row each and table.

    Args:
        folder: that of the measured tables.
        system: whose claims; None: all.
    Returns:
        system, claim, better, worse, metric, dataset, source (the table; both empty where nothing is measured), n
        (pairs), difference (mean of better - worse, percentage points), low, high (95 %), verdict.
    """
    rows = measured(folder)
    found = []
    for name, own in SYSTEMS.items():
        for claim in own.CLAIMS if system in (None, name) else ():
            for comparison in comparisons(claim):
                about = {"system": name, "claim": claim, **comparison.__dict__}
                found += [about | result for result in compare(rows, comparison)]
    return pd.DataFrame(found)


def compare(rows: pd.DataFrame, comparison: Comparison) -> list[dict[str, object]]:
    """Make one comparison over `measured` rows: a result for every table that has both rows, else one without data."""
    chosen = rows[(rows["metric"] == METRICS[comparison.metric])]
    results = []
    for (source, dataset), part in chosen.groupby(["source", "dataset"]):
        values = part.set_index([*PAIR, "row"])["value"].unstack()  # noqa: PD010, which would average silently
        if not {comparison.better, comparison.worse} <= set(values):
            continue
        differences = (values[comparison.better] - values[comparison.worse]).dropna()
        mean, low, high = interval(differences)
        n = len(differences)
        result = {"n": n, "difference": mean, "low": low, "high": high, "verdict": verdict(n, low, high)}
        results.append({"dataset": dataset, "source": source, **result})
    nothing = {"n": 0, "difference": np.nan, "low": -np.inf, "high": np.inf, "verdict": UNMEASURED}
    return results or [{"dataset": "", "source": "", **nothing}]


def details(table: pd.DataFrame) -> pd.DataFrame:
    """`check` for reading: a row a comparison, the interval in one cell."""
    return pd.DataFrame(
        {
            "system": table["system"],
            "claimed": table["better"] + " > " + table["worse"],
            "metric": table["metric"],
            "measured on": table["dataset"],
            "table": table["source"].str.removesuffix(".csv"),
            "n": table["n"],
            "difference": table["difference"].astype(float),
            "95 % interval": [
                f"{low:.1f} to {high:.1f}".replace("-", "−") if n > 1 else ""
                for n, low, high in zip(table["n"], table["low"], table["high"], strict=True)
            ],
            "verdict": table["verdict"],
        }
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """`check` with one row a claim: where it was measured, from how many pairs, what became of its comparisons."""
    rows = []
    for (system, claim), part in table.groupby(["system", "claim"], sort=False):
        answers = []
        for dataset, own in part.groupby("dataset", sort=False):
            counts = own["verdict"].value_counts().reindex(VERDICTS).dropna().astype(int)
            words = [kind if len(counts) == 1 else f"{count} {kind}" for kind, count in counts.items()]
            few, many = own["n"].min(), own["n"].max()
            n = f", n = {few}" if few == many else f", n = {few} to {many}"
            if dataset:
                answers.append(f"{dataset}{n}: {', '.join(words)}")
            else:
                answers.append(f"{len(own)} {UNMEASURED}" if len(own) < len(part) else UNMEASURED)
        count = len(comparisons(claim))
        rows.append({"system": system, "claim": claim, "comparisons": count, "measured": "; ".join(answers)})
    return pd.DataFrame(rows)


def report(folder: Path | str) -> str:
    """The summary of every claim over the measured tables of a folder, in Markdown."""
    return markdown(summary(check(folder)))
