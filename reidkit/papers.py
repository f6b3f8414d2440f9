"""The five papers, and every number their tables report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .errors import InputError


@dataclass(frozen=True)
class Paper:
    """Who wrote it, what it is called, where and when it appeared."""

    title: str
    authors: str
    venue: str
    year: int | None  # None where the paper itself bears no date

    def __str__(self) -> str:
        return ", ".join([self.authors, self.title, self.venue, *([str(self.year)] if self.year else [])])


PAPERS: dict[str, Paper] = {
    "sharenet": Paper(  # undated; the youngest paper it cites is of March 2017
        "Joint Attribute Learning for Deep Person Re-Identification",
        "J. Agrawal, V. Namboodiri",
        "IIT Kanpur",
        None,
    ),
    "two_stage": Paper(  # a report of the course of 2020-2021
        "Person Attributes Recognition and Re-Identification",
        "S. Caldarella, F. Pedeni, G. Trebucchi",
        "University of Trento, Deep Learning project",
        2021,
    ),
    "aanet": Paper(
        "AANet: Attribute Attention Network for Person Re-Identifications",
        "C.-P. Tay, S. Roy, K.-H. Yap",
        "CVPR",
        2019,
    ),
    "part_multitask": Paper(
        "Person Re-Identification With Joint Verification and Identification of Identity-Attribute Labels",
        "S. Zhang, Y. He, J. Wei, S. Mei, S. Wan, K. Chen",
        "IEEE Access",
        2019,
    ),
    "inherent_code": Paper(
        "What Makes You Look Like You: Learning an Inherent Feature Representation for Person Re-Identification",
        "W.-L. Wei, J.-C. Lin, Y.-Y. Lin, H.-Y. M. Liao",
        "AVSS",
        2019,
    ),
}


def published(
    system: str | None = None,
    table: str | None = None,
    dataset: str | None = None,
    metric: str | None = None,
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
            known = ", ".join(dict.fromkeys(rows[column]))
            raise InputError(f"no published number has the {column} {wanted!r}: choose one of {known}.")
        rows = rows[rows[column] == wanted]
    about = pd.DataFrame([(name, p.title, p.authors, p.year) for name, p in PAPERS.items()])
    about.columns = ["system", "title", "authors", "year"]
    return rows.merge(about.astype({"year": "Int64"}), on="system").reset_index(drop=True)
