"""What the papers report: every number is there, by name, with its source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import reidkit
from reidkit.images import InputError
from reidkit.papers import PAPERS, published
from reidkit.systems import SYSTEMS
from reidkit.systems import published as as_printed


def test_every_number_has_a_system_a_source_and_is_a_percentage() -> None:
    rows = reidkit.published()
    assert len(rows) == 432 and set(rows["system"]) == set(PAPERS) == set(SYSTEMS) - {"baseline", "histogram"}
    assert rows["percent"].between(0, 100).all() and not rows[["title", "authors"]].isna().any().any()
    assert not rows.duplicated(["system", "table", "dataset", "row", "backbone", "metric"]).any()
    assert set(rows.loc[rows["year"].isna(), "system"]) == {"sharenet"}  # it bears no date
    assert all(paper.title in str(paper) and "None" not in str(paper) for paper in PAPERS.values())


def test_filters_narrow() -> None:
    (row,) = published("two_stage", "Table 1", metric="mAP").query("row == 'with transfer learning'").itertuples()
    assert row.percent == 44.78 and row.dataset == "market1501" and row.year == 2021 and "Trento" not in row.title
    every = published()
    for filters in ({"dataset": "viper"}, {"system": "aanet", "metric": "mAP"}, {"table": "Table 1"}):
        kept = every[np.logical_and.reduce([every[name] == value for name, value in filters.items()])]
        pd.testing.assert_frame_equal(published(**filters), kept.reset_index(drop=True))


@pytest.mark.parametrize(
    ("filters", "known"),
    [
        ({"system": "baseline"}, "two_stage"),
        ({"system": "aanet", "table": "Table 9"}, "Table 4"),
        ({"metric": "map"}, "mAP"),
    ],
)
def test_an_unknown_name_is_told_the_known_ones(filters: dict[str, str], known: str) -> None:
    with pytest.raises(InputError, match=f"choose one of .*{known}"):
        published(**filters)


def test_a_table_as_it_is_printed() -> None:
    table = as_printed("part_multitask", "Table 8")
    assert table.index[0] and set(table.columns) >= {"mAP", "rank1"}
    long = published("part_multitask", "Table 8").set_index(["row", "metric"])["percent"]
    assert all(table.loc[row, metric] == value for (row, metric), value in long.items())
