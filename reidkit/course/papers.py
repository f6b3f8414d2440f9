"""The five papers: every number their tables print, and which of our rows answer theirs: published.csv, papers.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import InputError


@dataclass(frozen=True)
class Paper:
    """Who wrote it, what it is called, where and when it appeared."""

    title: str
    authors: str
    venue: str
    year: int | None = None  # None where the paper itself bears no date

    def __str__(self) -> str:
        return ", ".join([self.authors, self.title, self.venue, *([str(self.year)] if self.year else [])])


@dataclass(frozen=True)
class Printed:
    """A table of a paper, and the rows of measured tables that answer its rows."""

    system: str
    table: str
    source: str  # which measured tables: a pattern of file names
    rows: dict[str, str]  # the paper's row by the measured one
    metrics: str = ""  # how those of the table begin; "": those of a ranking


_DATA = tomllib.loads(Path(__file__).with_name("papers.toml").read_text(encoding="utf-8"))
PAPERS: dict[str, Paper] = {system: Paper(**about) for system, about in _DATA["papers"].items()}
PRINTED = tuple(Printed(**table) for table in _DATA["answered"])
# by system and data set: the table that sets a paper's own system beside others, and the paper's row by our variant
COMPARISON_TABLES: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    (table["system"], table["dataset"]): (table["table"], table["rows"]) for table in _DATA["compared"]
}
# by system and data set: the table of the attributes of the test people, and the row of the paper's own system
ATTRIBUTE_TABLES: dict[tuple[str, str], tuple[str, str]] = {
    (table["system"], table["dataset"]): (table["table"], table["row"]) for table in _DATA["attributes"]
}


def published(
    system: str | None = None, table: str | None = None, dataset: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """List every number that the five papers print in a table, one a row; the arguments choose among them.

    Args:
        system: which paper, "aanet" for one; None: all.
        table: as the paper calls it, "Table 3"; None: all.
        dataset: as the numbers call it, "market1501"; "market1501 validation" are people held out from training. None:
            all.
        metric: "mAP", "rank1", "accuracy/gender", ...; None: all.
    Returns:
        system, table, dataset, row, backbone (missing where the paper says none), metric, percent, note (missing but
        where the number is not the printed one, and why), and the paper's title, authors and year.
    Raises:
        InputError: an unknown name; the message lists the known ones.
    """
    rows = pd.read_csv(Path(__file__).with_name("published.csv"))
    for column, wanted in {"system": system, "table": table, "dataset": dataset, "metric": metric}.items():
        if wanted is None:
            continue
        if wanted not in set(rows[column]):
            names = ", ".join(dict.fromkeys(rows[column]))
            raise InputError(f"no published number has the {column} {wanted!r}: choose one of {names}.")
        rows = rows[rows[column] == wanted]
    about = pd.DataFrame([(name, paper.title, paper.authors, paper.year) for name, paper in PAPERS.items()])
    about.columns = ["system", "title", "authors", "year"]
    return rows.merge(about.astype({"year": "Int64"}), on="system").reset_index(drop=True)


def as_printed(system: str, table: str) -> pd.DataFrame:
    """A table as its paper prints it: rows, columns of metrics, percent; InputError for names there are not."""
    return published(system, table).pivot_table(index="row", columns="metric", values="percent", sort=False)
