"""What is drawn of a run, what stands beside the published numbers, and where it is from."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import prints
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from reidkit import course, plots
from reidkit.attributes import MARKET, Task, read_attributes
from reidkit.course import figures, measured
from reidkit.course.papers import COMPARISON_TABLES, PRINTED, published
from reidkit.errors import InputError
from reidkit.features import Answers
from reidkit.images import read_images
from reidkit.metrics import column_scores
from reidkit.ranking import Ranking
from reidkit.recipes import recipe
from reidkit.runs import Run, load_or_fit
from reidkit.systems import SYSTEMS

TINY: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "epochs": 1, "batch": 4}
TINY |= {"pretrained": "none", "backbone_lr": 1.0}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A tiny network that answers attributes, trained for an epoch."""
    monkeypatch.setattr("reidkit.train.build", fakes.tiny_backbone)
    images = read_images("synthetic", fakes.synthetic(tmp_path / "synthetic"))
    plan = recipe("two_stage", **TINY)
    return load_or_fit(plan, *course.sets(plan, images), runs=tmp_path / "runs", progress=False, say=lambda _: None)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What would be wrong on paper with each figure that is saved, by its name."""
    found: dict[str, list[str]] = {}

    def save(figure: Any, name: str, *args: Any) -> Path:
        found[name] = prints.faults(figure.get_figure(root=True))
        return saved(figure, name, *args)

    saved = plots.save
    monkeypatch.setattr(plots, "save", save)
    return found


def answers(*classes: list[int]) -> Answers:
    """What a sure network says: a list of T classes an image."""
    said = np.array(classes)
    tasks = tuple(Task(f"task{t}", ("a", "b", "c"), ()) for t in range(said.shape[1]))
    return Answers(tuple(torch.eye(3)[column] for column in said.T), tasks, pd.DataFrame({"pid": range(len(said))}))


@pytest.mark.slow
def test_a_run_and_its_data_are_drawn_and_say_where_they_come_from(
    run: Run, tmp_path: Path, looked_at: dict[str, list[str]]
) -> None:
    lines = list(figures.draw([run.folder], tmp_path / "none", tmp_path / "out"))
    assert [text.partition(":")[0] for text in lines] == ["data-synthetic", run.folder.name, "comparison", "tables"]
    own = tmp_path / "out" / run.folder.name
    assert len(looked_at) >= 7 and {name: wrong for name, wrong in looked_at.items() if wrong} == {}
    for name in ("ranked", "cmc", "distances", "training", "attributes", "attention"):
        with Image.open(own / f"{name}.png") as image:
            about = image.info["Description"]
        assert all(word in about for word in (run.folder.name, "two_stage", "synthetic", "seed: 0", "commit: "))
        assert b"/Subject" in (own / f"{name}.pdf").read_bytes()
    assert f"run: {run.folder.name}" in (own / "attribute-table.tex").read_text()
    table = pd.read_csv(own / "attribute-table.csv").set_index("task")
    assert set(table.columns) == {"n", "commonest", "accuracy", "macro_f1", "mean_accuracy"}  # nothing is published
    for name in ("statistics", "halves", "imbalance-table"):
        assert "data set: synthetic" in (tmp_path / "out" / "data-synthetic" / f"{name}.md").read_text()
    assert (tmp_path / "out" / "tables" / "claims.md").is_file()
    beside = pd.read_csv(tmp_path / "out" / "tables" / "comparison-synthetic-quick.csv")
    name = "two_stage, cross_entropy, resnet18, epochs 1"
    assert beside["row"].unique().tolist() == [name, f"{name}, re-ranked"]
    scores = pd.read_csv(own / "scores.csv").iloc[0]
    names = [("mAP_trapezoid" if metric == "mAP" else metric) for metric in beside["metric"]]
    assert beside["mean"].tolist() == [scores[n] for n in names[:5]] + [scores[f"reranked_{n}"] for n in names[5:]]
    assert not plt.get_fignums()  # nothing stays open


def test_only_finished_runs_are_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        figures.finished(tmp_path)
    (tmp_path / "half").mkdir()
    with pytest.raises(InputError):
        list(figures.draw([tmp_path / "half"], tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_many_questions_of_yes_and_no_are_printed_too(looked_at: dict[str, list[str]], tmp_path: Path) -> None:
    rows = [(f"carryingMessengerBag{i}", answer, 1, 50.0) for i in range(50) for answer in ("no", "yes")]
    table = pd.DataFrame(rows, columns=["task", "class", "count", "share"])
    plots.save(plots.imbalance(table), "imbalance", tmp_path)
    assert looked_at == {"imbalance": []}


def test_prints_see_what_is_wrong() -> None:
    figure = Figure(figsize=(4, 3))
    figure.text(0.5, 0.5, "well", size=9)
    assert prints.faults(figure) == []
    figure.text(0.98, 0.5, "too far to the right", size=7)
    small, beyond = prints.faults(figure)
    assert small == "7 points" and beyond.startswith("beyond the right edge")
    figure = Figure(figsize=(4, 3))
    for axes in figure.subplots(1, 2):
        axes.set_title("a title longer than the axes below it")
    assert any(" over " in fault for fault in prints.faults(figure))


@pytest.mark.slow
def test_a_run_whose_data_have_gone_is_left_out(run: Run, tmp_path: Path) -> None:
    gone = tmp_path / "runs" / "a-gone"
    shutil.copytree(run.folder, gone)
    about = json.loads((gone / "environment.json").read_text())
    (gone / "environment.json").write_text(json.dumps(about | {"root": str(tmp_path / "nowhere")}))
    first = next(figures.draw([gone, run.folder], tmp_path, tmp_path / "out"))
    assert first.startswith("a-gone: left out, ") and "nowhere" in first
    with pytest.raises(InputError, match="nowhere"):
        list(figures.draw([gone], tmp_path, tmp_path / "other"))


def test_a_variant_is_known_by_its_settings() -> None:
    for system, own in SYSTEMS.items():
        for name in own.VARIANTS:
            plan = recipe(system, "quick", name, seed=3, epochs=7, dataset="viper")
            found = measured.variant_of(plan)  # the first of those that are the same
            assert recipe(system, "quick", found, seed=3, epochs=7, dataset="viper") == plan, (system, name)
    assert measured.variant_of(recipe("histogram")) == ""
    assert measured.variant_of(recipe("part_multitask", identity=0.5)) == ""
    assert measured.variant_of(recipe("aanet", "paper", backbone="resnet152", batch=24)) == "deeper"
    assert measured.variant_of(recipe("aanet", "paper", backbone="resnet101")) == ""  # no row of the paper is that deep


def test_only_seeds_and_folds_share_a_row() -> None:
    """Means are of one recipe: another start, size or kind of negatives is another row, named by what differs."""
    start, blank = recipe("aanet"), recipe("aanet", pretrained="none")
    short = "aanet, attention, resnet18, epochs 1"
    assert measured.names_of([start, recipe("aanet", seed=1), recipe("aanet", fold=2)]) == [short] * 3
    assert measured.names_of([start, blank, replace(blank, seed=1)]) == [
        f"{short}, pretrained {word}" for word in ("synthetic", "none", "none")
    ]
    second = [recipe("two_stage", variant="identity", pretrained=f"/runs/{seed}", seed=seed) for seed in (0, 1)]
    assert len(set(measured.names_of(second))) == 1  # each from the first stage of its own seed
    changed = [replace(second[0], negatives="similar"), recipe("aanet", channels=64), start]
    assert len(set(measured.names_of([*second, *changed]))) == 4
    assert measured.names_of(changed[1:])[0].endswith("channels 64")  # an option of the system
    assert "alone" in measured.names_of([recipe("two_stage", variant="alone")])[0]


def test_runs_stand_beside_each_other(tmp_path: Path) -> None:
    runs = []
    for seed, mean in enumerate((30.0, 40.0)):
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        scores = {"mAP": 0.0, "mAP_trapezoid": mean, "rank1": 2 * mean, "rank5": 90.0, "reranked_rank1": 99.0}
        pd.DataFrame([scores]).to_csv(folder / "scores.csv")
        runs.append(SimpleNamespace(folder=folder, recipe=recipe("aanet", seed=seed)))
    table = measured.runs_beside_published(runs, tmp_path).set_index(["row", "metric"])  # type: ignore[arg-type]
    own = "aanet, attention, resnet18, epochs 1"
    assert table.loc[(own, "mAP"), ["n", "mean", "published"]].tolist() == [2, 35, 82.45]  # Table 2, Market-1501
    assert table.loc[(own, "rank1"), "deviation"] == pytest.approx(200**0.5)
    assert np.isnan(table.loc[(own, "rank5"), "published"])
    assert table.loc[(f"{own}, re-ranked", "rank1"), "mean"] == 99
    peer = table.loc[("PCB (aanet, Table 2)", "rank1")]
    assert peer["n"] == 0 and np.isnan(peer["mean"]) and peer["published"] == 93.8
    assert not any(row.startswith("AANet-50") for row, _ in table.index)  # it stands beside ours


def test_yes_and_no_are_counted_by_column() -> None:
    tasks = (Task("hat", ("no", "yes"), ("hat",)), Task("colour", ("red", "blue", "multi"), ("red", "blue")))
    columns = np.array([[0, 1], [1, 0], [1, 1]])
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, -1, -1], [0, 0, 0]])
    yes = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    table = column_scores(labels, yes, columns, tasks)
    assert table.loc["hat"].tolist() == [4, 75, 75]  # three of four are no; one no is answered yes
    assert table.loc["colour"].tolist() == [
        3,
        pytest.approx(100 * (2 / 3 + 1) / 2),
        pytest.approx(100 * (1 + 2 / 3) / 2),
    ]
    assert table.loc["global", "accuracy"] == pytest.approx((75 + 100 * 5 / 6) / 2)
    nothing = column_scores(labels * 0 - 1, yes, columns, tasks)
    assert nothing["n"].tolist() == [0, 0, 0] and nothing["accuracy"].isna().all()


def test_attributes_stand_beside_those_of_the_paper() -> None:
    scores = pd.DataFrame({"task": ["gender", "global"], "accuracy": [50.0, 60.0]}).set_index("task")
    for system, dataset, name, printed in (
        ("part_multitask", "synthetic", "Ours on market1501", [84.5, 87.6]),  # Table 6
        ("part_multitask", "dukemtmc", "Ours on dukemtmc", [85.4, 87.9]),  # Table 7
        ("aanet", "market1501", "AANet-152 on market1501", [92.31, 87.80]),
    ):
        assert measured.attributes_beside_published(system, dataset, scores)[name].tolist() == printed
    for system, dataset in (
        ("sharenet", "market1501"),
        ("aanet", "dukemtmc"),  # Table 4 is of Market-1501 alone
        ("two_stage", "market1501"),  # printed of people held out from training, a column a loss: Tables 2 and 3
        ("part_multitask", "viper"),
    ):
        assert list(measured.attributes_beside_published(system, dataset, scores)) == ["task", "accuracy"]


def test_rows_of_other_systems_are_published() -> None:
    for (system, dataset), (table, rows) in COMPARISON_TABLES.items():
        paper = published(system, table)
        assert {row.removesuffix(" re-ranked") for row in rows} <= set(SYSTEMS[system].VARIANTS)
        assert set(rows.values()) <= set(paper["row"])
        assert set(paper["dataset"].str.removesuffix("-reid")) == {dataset}


def test_statistics_count_people_and_nobody() -> None:
    images = pd.DataFrame(
        {"pid": [1, 1, 2, 7, 7, 0, -1], "camid": [1, 2, 1, 1, 2, 3, 3], "split": ["train"] * 3 + ["gallery"] * 4}
    )
    images.attrs["dataset"] = "market1501"
    train, gallery = figures.split_counts(images).itertuples(index=False, name=None)
    assert train == ("train", 3, 2, 2, 1.5, 0) and gallery == ("gallery", 4, 1, 3, 2.0, 2)
    empty = figures.split_counts(images[images["pid"] < 1])
    assert empty["people"].tolist() == [0] and np.isnan(empty["images a person"][0])


def test_every_attribute_is_of_one_half(tmp_path: Path) -> None:
    labels = read_attributes("synthetic", fakes.synthetic(tmp_path / "synthetic"))
    upper, lower = figures.halves(labels).itertuples(index=False)
    assert upper.attributes + lower.attributes == len(MARKET.tasks)
    assert "downcolor (" in lower.which and "upcolor (" in upper.which


def test_the_filter_shows_the_best_and_the_worst_query() -> None:
    match = np.array([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0]], bool)
    order = np.tile(np.arange(4), (3, 1))
    ranking = Ranking(order, np.tile(np.arange(4.0), (3, 1)), match, np.ones((3, 4), bool), "none", "cosine")
    said = answers([0], [0], [1]), answers([1], [0], [0], [0])
    found, rows = figures.filter_examples(ranking, said, places=1)
    # query 0 gains its match at the first place, query 2 stays, query 1 loses it
    assert rows == [0, 0, 2, 2, 1, 1]
    assert found.order[0].tolist() == [0, 1, 2, 3] and found.order[1].tolist() == [1, 2, 3, 0]
    assert found.match[1].tolist() == [True, True, False, False] and not found.match[5][0]
    assert (found.keep.sum(1) == [4, 3, 4, 1, 4, 3]).all()
    assert figures.filter_examples(ranking, (answers([0], [0], [0]), answers([0], [0], [0], [0])))[1] == []


def test_examples_go_from_right_to_wrong() -> None:
    said = answers([0, 0], [1, 1], [0, 1], [1, 0], [0, 0])
    truth = np.array([[0, 0], [0, 0], [0, 0], [0, -1], [0, -1]])
    assert figures.examples(said, truth) == [0, 2, 1, 3]  # of 2, 1, 1, 0, 0 right: at equal steps
    assert len(figures.examples(answers([0], [1]), np.zeros((2, 1), int))) == 2


def test_attributes_shown_are_the_mixed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.array([[0, 0, -1, 1], [0, 1, -1, 0], [0, 1, -1, 1], [0, 0, 0, 1]])
    assert figures.most_mixed(truth) == [0, 1, 2, 3]
    monkeypatch.setattr(figures, "SHOWN", 2)
    assert figures.most_mixed(truth) == [1, 3]


def test_a_long_list_of_losses_is_their_sum() -> None:
    history = pd.DataFrame(
        {"epoch": [1, 2], "lr": [0.1, 0.1], "seconds": [1, 1], "images_per_second": [9, 9], "hat": [1.0, 2.0]}
        | {"bag": [3.0, 5.0], "accuracy": [0.5, 0.6], "val_loss": [4.0, 3.0], "val_hat": [1, 1], "positive": [7, 8]}
    )
    figure = figures.training(history, ["hat", "bag"])
    drawn = {axes.get_title(loc="left"): axes.get_legend_handles_labels()[1] for axes in figure.axes}
    assert drawn == {
        "Losses": ["val_loss", "all tasks"],
        "Shares": ["accuracy"],
        "Distances and weights": ["positive"],
    }
    assert figure.axes[0].lines[1].get_ydata().tolist() == [4, 7]  # type: ignore[union-attr]
    plt.close(figure)


def test_what_is_printed_exists_on_both_sides() -> None:
    for printed in PRINTED:
        paper = published(printed.system, printed.table)
        assert set(printed.rows.values()) <= set(paper["row"])
        rows = {row for row in printed.rows if "stage" not in row}  # those are rows of benchmarks/transfer.py
        assert rows <= set(SYSTEMS[printed.system].VARIANTS)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A measured table of two rows over two splits, and four losses on one task and on all."""
    rows = [
        {"system": row, "dataset": "pku", "fold": fold, "seed": 0, "rank1": value, "mAP": value / 2}
        for row, values in {"set1": (60.0, 70.0), "triplet18": (40.0, 40.0)}.items()
        for fold, value in enumerate(values)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "inherent_code-pku.csv", index=False)
    losses = [
        {
            "task": t,
            "loss": loss,
            "on": on,
            "fold": 0,
            "seed": 0,
            "accuracy": 50.0 + i + 9 * (on == "test"),
            "macro_f1": 40,
        }
        for i, loss in enumerate(("cross_entropy", "weighted", "focal", "alpha_focal"))
        for t in ("hat", "footwear", "age", "gender", "bag", "up", "global")
        for on in ("validation", "test")
    ]
    pd.DataFrame(losses).to_csv(tmp_path / "attributes-viper.csv", index=False)
    return tmp_path


def test_measured_beside_published(tables: Path) -> None:
    (printed,) = (p for p in PRINTED if p.system == "inherent_code")
    table = measured.beside_published(measured.read_measured(tables / "inherent_code-pku.csv", "trapezoid"), printed)
    measured_rows = table[table["n"] > 0]
    assert list(dict.fromkeys(measured_rows["row"])) == ["ResNet18_htri", "set1: classification"]  # the paper's order
    peer = table.set_index(["row", "metric"]).loc[("set3: + compact + scatter", "mAP")]
    assert peer["n"] == 0 and np.isnan(peer["mean"]) and peer["published"] == 56.8
    row = table.set_index(["row", "metric"]).loc[("set1: classification", "rank1")]
    assert row.tolist() == [2, 65, pytest.approx(50**0.5), 67.3]
    shown = measured.for_reading(table).set_index("row")
    assert shown.loc["set1: classification"].to_dict() == {
        "n": "2", "rank1": "65.0 ± 7.1", "rank1 (paper)": "67.3", "mAP": "32.5 ± 3.5", "mAP (paper)": "51.5",
    }  # fmt: skip
    other = replace(printed, rows={"nobody": "set2: + compact"})
    assert measured.beside_published(measured.read_measured(tables / "inherent_code-pku.csv", "trapezoid"), other).empty


def test_tables_of_tasks_turn(tables: Path) -> None:
    printed = next(p for p in PRINTED if p.table == "Table 2")
    table = measured.beside_published(measured.read_measured(tables / "attributes-viper.csv", "trapezoid"), printed)
    assert set(table["metric"]) == {
        f"accuracy/{t}" for t in ("hat", "footwear", "age", "gender", "bag", "up", "global")
    }
    shown = measured.for_reading(table).set_index("task")
    assert shown.loc["hat", "Weighted CE"] == "51.0"  # the people held out, and one training has no deviation
    assert shown.loc["hat", "Vanilla CE (paper)"] == "94.84" and shown.loc["footwear", "Vanilla CE (paper)"] == ""


def test_all_tables_are_written(tables: Path, tmp_path: Path, looked_at: dict[str, list[str]]) -> None:
    paths = figures.measured_tables(tables, tmp_path / "tables")
    assert looked_at and not any(looked_at.values())
    names = {path.name for path in paths}
    assert names == {
        "inherent_code-table1-pku.csv", "inherent_code-table1-pku.png", "two_stage-table2-viper.csv",
        "two_stage-table2-viper.png", "two_stage-table3-viper.csv", "two_stage-table3-viper.png", "claims.csv",
        "claims-details.csv",
    }  # fmt: skip
    text = (tmp_path / "tables" / "inherent_code-table1-pku.tex").read_text()
    assert r"65.0 $\pm$ 7.1 & 67.3" in text and re.search(
        r"% measured: inherent_code-pku\.csv; published: .*2019", text
    )
    numbers = pd.read_csv(tmp_path / "tables" / "inherent_code-table1-pku.csv")  # one number a row
    assert len(numbers) == 4 + 3 * 2 and (numbers["n"] > 0).sum() == 4


def test_nothing_published_nothing_drawn() -> None:
    table = pd.DataFrame({"row": ["a", "b"], "metric": "mAP", "n": 1, "mean": 1.0, "published": [np.nan, 2.0]})
    assert figures.bars(table, "one is no comparison") is None
    axes = figures.bars(table.assign(published=[3.0, 2.0]), "two are")
    assert axes is not None and [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    plt.close("all")
