"""What the papers report: every number is there, by name, with its source."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import reidkit
from reidkit.course.papers import PAPERS, as_printed, published
from reidkit.errors import InputError
from reidkit.systems import SYSTEMS


def test_every_number_has_a_system_a_source_and_is_a_percentage() -> None:
    rows = reidkit.published()
    assert len(rows) == 432 and set(rows["system"]) == set(PAPERS) == set(SYSTEMS) - {"baseline", "histogram", "start"}
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


TEXTS = {"sharenet": "000", "two_stage": "001", "aanet": "002", "part_multitask": "003", "inherent_code": "004"}


def printed(number: float) -> set[str]:
    """A number as a text may print it, without the point, which a scan often loses: 82.3 and 823."""
    return {form.replace(".", "") for form in (f"{number:g}", f"{number:.1f}", f"{number:.2f}")}


def lines_of(text: str) -> list[list[str]]:
    """The numbers of each line, without their points."""
    return [[token.replace(".", "") for token in re.findall(r"\d+(?:\.\d+)?", line)] for line in text.splitlines()]


def stand_in(numbers: list[float], line: list[str]) -> bool:
    """Whether a line has all these numbers, each as often as here."""
    left = list(line)
    for number in numbers:
        found = next((token for token in left if token in printed(number)), None)
        if found is None:
            return False
        left.remove(found)
    return True


@pytest.mark.parametrize("system", TEXTS)
def test_every_number_stands_in_a_line_of_its_text(system: str, shared: Path) -> None:
    """A row of a table is a line of the text; in 001 the tables of tasks are turned, and a task is a line."""
    lines = lines_of(next((shared / "papers").glob(f"{TEXTS[system]}_*.txt")).read_text())
    rows = published(system)
    rows.loc[rows["note"].notna(), "percent"] = 71.5  # the one whose printed number we do not believe
    assert rows["note"].notna().sum() == (system == "part_multitask")
    for (table, dataset), part in rows.groupby(["table", "dataset"]):
        turned = system == "two_stage"
        for key, numbers in part.groupby("metric" if turned else "row", sort=False)["percent"]:
            assert any(stand_in(list(numbers), line) for line in lines), (table, dataset, key, list(numbers))


def test_the_believed_number_is_that_of_the_printed_average() -> None:
    row = published("part_multitask", "Table 7").query("row == 'ARN'").set_index("metric")["percent"]
    assert round(row.drop("accuracy/average").mean(), 1) == row["accuracy/average"]


def test_backbones_are_named_where_the_paper_prints_them() -> None:
    assert published("part_multitask")["backbone"].notna().all()
    ours = published("part_multitask").query("row.str.startswith('Ours')", engine="python")
    assert set(ours["backbone"]) == {"resnet50"}
