"""The README's code runs, its commands are those of the command line, and what it links is there."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest

from reidkit import claims, cli, report
from reidkit.papers import published

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []


def test_every_command_is_listed_and_every_listed_command_exists() -> None:
    listed = re.findall(r"^    reidkit ((?:data )?[a-z]+)", TEXT, re.M)
    names = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    inner = {f"data {command.name}" for command in cli.data.registered_commands}
    assert set(listed) == names | inner


def test_the_tree_names_every_module() -> None:
    tree = TEXT[TEXT.index("## The tree") :]
    modules = [p.name for p in (ROOT / "reidkit").rglob("*.py") if p.name != "__init__.py"]
    missing = [name for name in modules if name not in tree]
    assert missing == []


# --- its numbers are those of figures/*.csv -----------------------------------------------------------------------

COLUMNS = {"rank-1": "rank1", "rank-10": "rank10", "far": "rank1_far", "macro F1": "macro_f1"}
COLUMNS |= {"mean accuracy": "mean_accuracy", "recall of rare": "rare_recall", "F1 of rare": "rare_f1"}
TABLES: tuple[tuple[str, dict[str, str]], ...] = (  # in their order: the measured table, its rows by other names
    ("scores-pku", {}),
    ("scores-viper", {"part-based multi-task network (`part_multitask`, 19 attributes)": "ours"}),
    ("scores-synthetic", {}),
    ("attributes-synthetic", {"cross-entropy": "cross_entropy", "alpha-balanced focal": "alpha_focal"}),
    ("attributes-viper", {"cross-entropy": "cross_entropy", "alpha-balanced focal": "alpha_focal"}),
    ("transfer-synthetic", {"first stage alone, never shown an identity": "first stage alone"}),
    (
        "inherent_code-pku",
        {"batch-hard triplet, ResNet-50": "triplet50", "batch-hard triplet, ResNet-18": "triplet18"}
        | {"set1: softmax": "set1", "set2: + compact": "set2", "set3: + scatter": "set3"},
    ),
    ("sharenet-towncentre", {"triplet alone": "triplet-alexnet"}),
    (
        "ablations-aanet-synthetic",
        {"+ parts": "parts", "+ attributes": "attributes", "+ learnt uncertainty": "uncertainty"}
        | {"+ attribute attention": "attention"},
    ),
    (
        "ablations-part_multitask-synthetic",
        {"all three losses": "ours", "without identity": "woID", "without attributes": "woAttr"}
        | {"without both": "woIM", "without triplets": "woVM"},
    ),
)


def tables() -> list[list[dict[str, str]]]:
    """The tables of measured numbers: those with a column of mAP or accuracy, a row a dict."""
    part = TEXT[TEXT.index("## What was measured") : TEXT.index("## The tree")]
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", part, re.M):
        head, _, *rows = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines())
        if {"mAP", "accuracy"} & set(head):
            found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def measured(name: str) -> pd.DataFrame:
    """A measured table with its rows in the column row; of attributes what the held-out people gave on all tasks."""
    table = pd.read_csv(ROOT / "figures" / f"{name}.csv")
    if "loss" in table:
        return table[(table["on"] == "validation") & (table["task"] == "global")].rename(columns={"loss": "row"})
    if name == "scores-viper":
        table = pd.concat([table, pd.read_csv(ROOT / "figures" / "ablations-part_multitask-viper.csv")])
    return table.rename(columns={"system": "row"})


def test_measured_tables_are_those_of_the_files() -> None:
    assert len(tables()) == len(TABLES)
    for shown, (name, names) in zip(tables(), TABLES, strict=True):
        values = measured(name)
        count = 0
        for line in shown:
            label, *_ = line.values()
            if label.startswith("*"):
                continue  # a published row
            plain = label.replace("everybody", "random negatives").replace("look-alike negatives", "cluster negatives")
            own = names.get(label, plain.replace("negatives from random", "random"))
            row = values[values["row"].str.lower() == own.lower()]
            assert len(row), f"{name} has no row {label!r}"
            for column, cell in line.items():
                number = row.get(COLUMNS.get(column, column))
                if column == "n":
                    assert cell == str(len(row)), f"{name}, {label}"
                elif number is None or not cell or cell == label or column.startswith("*"):
                    continue
                elif column == "minutes":
                    assert cell == f"{number.mean():.1f}".replace("0.0", "0"), f"{name}, {label}: {column}"
                else:
                    assert cell == f"{number.mean():.1f} ± {number.std():.1f}", f"{name}, {label}: {column}"
                    count += 1
        assert count >= 4, f"nothing was compared with {name}"


def test_published_numbers_are_those_of_the_papers() -> None:
    metrics = {"rank-1": "rank1", "accuracy": "accuracy/global", "macro F1": "f1/global"}
    count = 0
    for shown, (name, names) in zip(tables(), TABLES, strict=True):
        papers = [printed for printed in report.PRINTED if fnmatch(name, printed.source)]
        for line in shown:
            label, *_ = line.values()
            own = names.get(label, label.lower().replace("look-alike", "cluster"))
            for column, cell in line.items():
                kind = column.strip("*").removeprefix("published ")
                if not cell or kind == column or label.startswith("*"):
                    continue
                number = cell.strip("*")
                found = [
                    f"{row.percent:.{len(number.partition('.')[2])}f}"
                    for printed in papers
                    for row in published(printed.system, printed.table).itertuples()
                    if row.row == printed.rows.get(own) and row.metric == metrics.get(kind, kind)
                ]
                assert found == [number], f"{name}, {label}: {column}"
                count += 1
    assert count > 30


def test_differences_are_those_of_the_claims() -> None:
    """Every difference with its interval, "5.5 (-2.5 to 13.5)", stands among the checked claims, one way round."""
    table = claims.check(ROOT / "figures")
    known = set()
    for row in table[table["n"] > 1].itertuples():
        known.add((f"{row.difference:.1f}", f"{row.low:.1f}", f"{row.high:.1f}"))
        known.add((f"{-row.difference:.1f}", f"{-row.high:.1f}", f"{-row.low:.1f}"))
    said = re.findall(r"(\d+\.\d)(?: mAP)?(?: \(|, )(?:95 % interval[^\d-]*)?(-?\d+\.\d) to (-?\d+\.\d)\)", TEXT)
    assert len(said) >= 6 and set(said) <= known, set(said) - known


def test_the_table_of_attention_is_that_of_the_file() -> None:
    means = pd.read_csv(ROOT / "figures" / "attention-aanet.csv").groupby(["task", "method"])["pointing"].mean()
    (block,) = re.findall(r"^\| attribute \| CAM.*\n(?:\|.*\n)+", TEXT, re.M)
    head, _, *rows = ([cell.strip(" *") for cell in line.strip()[1:-1].split("|")] for line in block.splitlines())
    assert len(rows) == 10
    for task, *cells in rows:
        assert cells == [f"{means[task, method.lower()]:.1f}" for method in head[1:]], task


def test_what_is_learnable_is_that_of_the_file() -> None:
    block = re.search(r"^\| macro F1 .*\n\|-.*\n((?:\|.*\n)+)", TEXT, re.M)
    assert block
    shown = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block[1].splitlines()]
    table = pd.read_csv(ROOT / "figures" / "learnable.csv", index_col="task", dtype=str, keep_default_na=False)
    columns = ["commonest", "part map", "network", "gain", "gain 0", "gain 1", "gain 2"]
    assert shown == [[task, *row] for task, row in zip(table.index, table[columns].to_numpy(), strict=True)][:-1]
    assert len(shown) == 12 and table["gain"].astype(float).min() > 10  # as the text below it says
    without = pd.read_csv(ROOT / "figures" / "learnable-pixels.csv", index_col="task", dtype=str)["gain"]
    assert f"the gain is {without['up']} on sleeves, {without['handbag']} on handbags, {without['age']} on age" in TEXT
