"""Where the code once differed from the papers: a test for each line of that audit, named after paper and section."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from torchvision import models

from reidkit import course, runs, train
from reidkit.attributes import MARKET, VIPER19, Task
from reidkit.backbones import build
from reidkit.cam import contrasts, normalise
from reidkit.course import claims, figures, measured
from reidkit.course.measured import measured_row
from reidkit.course.papers import COMPARISON_TABLES, PRINTED, published
from reidkit.data import Targets, binary_columns, binary_labels
from reidkit.errors import InputError
from reidkit.features import Features
from reidkit.images import read_images
from reidkit.losses import batch_hard_triplet, batch_triplets, class_weights, compact, scatter, sigmoid_cross_entropy
from reidkit.metrics import column_scores
from reidkit.ranking import Comparison
from reidkit.recipes import options_of, recipe
from reidkit.systems import SYSTEMS, aanet, inherent_code, part_multitask, sharenet
from reidkit.systems.aanet import AANet
from reidkit.systems.inherent_code import InherentCode
from reidkit.systems.part_multitask import PartMultitask
from reidkit.systems.sharenet import Sharenet
from reidkit.systems.two_stage import TwoStage
from reidkit.train import fit

TOP = Path(__file__).parents[1]
FIGURES = TOP / "figures"
SMALL: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "pad": 0, "batch": 12}
PEOPLE = fakes.dressed(6, 4)
BATCH = PEOPLE.batch(np.arange(24))
IMAGES = train.standardise(BATCH["image"])


def text_of(number: str) -> str:
    """All cells of a lesson, one after the other."""
    (path,) = (TOP / "notebooks").glob(f"{number}_*.ipynb")
    return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])


# --- all systems --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "resnet18", "resnet50", "resnet152"])
def test_all_first_imagenet_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Papers of 2017 to 2020 started from torchvision's first weights; the second are there by name."""
    asked: list[str] = []

    def state(self: Any, **_: Any) -> dict[str, torch.Tensor]:
        asked.append(self.name)
        return getattr(models, name)(weights=None).state_dict()

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", state)
    build(name, "torchvision")
    assert asked == ["IMAGENET1K_V1"]
    if name in ("alexnet", "resnet18"):
        with pytest.raises(InputError, match=f"no second ImageNet weights of {name}"):
            build(name, "torchvision-v2")
    else:
        build(name, "torchvision-v2")
        assert asked[1:] == ["IMAGENET1K_V2"]


def test_all_measured_rows_hold_both_forms_of_ap_and_re_ranked_scores(rng: np.random.Generator) -> None:
    sides = []
    for n, split in ((10, "query"), (40, "gallery")):
        pids = np.arange(n) % 5 + 1
        rows = {"path": [f"{split}{i}" for i in range(n)], "pid": pids, "camid": 1 + (split == "gallery")}
        table = pd.DataFrame({**rows, "split": split, "frame": -1, "orientation": -1})
        table.attrs["rule"] = "market1501"
        codes = torch.from_numpy(rng.normal(size=(n, 8)) + pids[:, None]).float()
        sides.append(Features(codes, table))
    row = measured_row(*sides, "cosine")
    for start, again in (("", False), ("reranked_", True)):
        for column, ap in (("mAP", "precision"), ("mAP_trapezoid", "trapezoid")):
            comparison = Comparison.of(*sides, "cosine")
            expected = (comparison.rerank() if again else comparison).score(ap)
            assert row[start + column] == pytest.approx(expected.mAP, abs=1e-4)
        assert [row[f"{start}rank{k}"] for k in (1, 5, 10, 20)] == [expected.at(k) for k in (1, 5, 10, 20)]
    assert len(row) == 12 and row["mAP"] != row["mAP_trapezoid"]


def test_all_tables_hold_the_peers_rows() -> None:
    printed = next(p for p in PRINTED if p.table == "Table 8")
    numbers = pd.DataFrame({"row": ["ours"], "metric": ["mAP"], "value": [30.0]})
    table = measured.beside_published(numbers, printed).set_index("row")
    assert table.loc["Ours", ["n", "mean", "published"]].tolist() == [1, 30, 81.5]
    assert table.loc["Ours-woID", ["n", "published"]].tolist() == [0, 62.8]
    for (system, _), (name, rows) in COMPARISON_TABLES.items():
        assert len(published(system, name)["row"].unique()) >= len(set(rows.values()))


def test_all_claims_stand_as_the_texts_state_them() -> None:
    found = {
        name: {(pair.better, pair.worse) for claim in module.CLAIMS for pair in claims.comparisons(claim)}
        for name, module in SYSTEMS.items()
    }
    assert {
        ("ours", row)
        for row in (
            "woID",
            "woAttr",
            "woVM",
            "woIM",
        )
    } <= found["part_multitask"]
    assert ("sharenet-7", "triplet-alexnet") in found["sharenet"]
    both = {(a, b) for a in ("cross_entropy", "weighted") for b in ("focal", "alpha_focal")}
    assert both <= found["two_stage"]
    assert ("attention re-ranked", "attention") in found["aanet"]
    assert ("ours re-ranked", "ours") in found["part_multitask"]
    assert ("deeper", "attention") in found["aanet"]
    assert {("attention", row) for row in ("uncertainty", "attributes", "parts", "global")} <= found["aanet"]
    assert ("set3", "set1") in found["inherent_code"]


def test_002_published_peers_are_below() -> None:
    """ "AANet > its peers" is a claim about other people's numbers: it holds in what the paper prints."""
    for table, depth in (("Table 1", "50"), ("Table 2", "50")):
        rows = published("aanet", table, metric="mAP").set_index("row")["percent"]
        peers = rows[[name for name in rows.index if "AANet" not in name and "RR" not in name]]
        deeper = {"GP-reID", "SPReID"}
        assert rows[f"AANet-{depth}"] > peers.drop(list(deeper)).max()
        assert rows["AANet-152"] > peers.max()
        assert rows["AANet-152 + RR"] > rows[["GP-reID + RR", "SPReID + RR"]].max()


# --- 000, Sharenet --------------------------------------------------------------------------------------------------


def test_000_section_3d_sums_over_triplets_and_images() -> None:
    columns = binary_columns(fakes.CLOTHES)
    draw = torch.Generator().manual_seed(0)
    output = sharenet.Output(torch.randn(24, 5, generator=draw), torch.randn(24, 4, generator=draw), columns)
    for mining in ("hard", "hard4", "all"):
        options = Sharenet.Options(alpha=0.3, mining=mining, reduction="sum")
        losses = fakes.losses_of(Sharenet)[0](output, BATCH, options)
        triplets = batch_triplets(output.embedding, BATCH["label"], margin=0.5, mining=mining, reduction="sum").sum()
        known = sigmoid_cross_entropy(output.logits, binary_labels(BATCH["attributes"], columns)).sum()
        ratio = losses["attributes"] / losses["triplet"]
        torch.testing.assert_close(ratio, 0.3 * known / triplets)
    assert options_of(recipe("sharenet", "paper")).reduction == "sum"
    mean = fakes.losses_of(Sharenet)[0](output, BATCH, Sharenet.Options(alpha=0.3, mining="all"))
    assert mean["attributes"] / mean["triplet"] > 10 * ratio  # with means the attributes weigh many times as much


def test_000_reference_7_mines_at_random_first_and_the_four_hardest_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "build", fakes.tiny_backbone)
    used: list[str] = []
    plain = sharenet.batch_triplets
    monkeypatch.setattr(sharenet, "batch_triplets", lambda *a, **k: (used.append(k["mining"]), plain(*a, **k))[1])
    changes = {"epochs": 4, "share": "stem", "mining": "curriculum", "random_epochs": 3, "reduction": "sum", **SMALL}
    own = recipe("sharenet", "smoke", **changes)
    kept: list[dict[str, Any]] = []
    fit(own, PEOPLE, progress=False, after_epoch=lambda now: kept.append(json_of(now)))
    steps = len(used) // 4
    assert used == ["random4"] * 3 * steps + ["hard4"] * steps
    assert [state["epoch"] for state in kept] == [1, 2, 3, 4]  # kept with the weights: a resumed training goes on there
    paper = options_of(recipe("sharenet", "paper"))
    assert (paper.mining, paper.random_epochs) == ("curriculum", 10)


def json_of(now: dict[str, Any]) -> dict[str, int]:
    return {"epoch": int(now["network"]["epoch"])}


# --- 001, two stages --------------------------------------------------------------------------------------------------


def test_001_section_4_2_without_transfer_starts_where_the_profile_does() -> None:
    assert recipe("two_stage", "paper", "alone") == recipe("two_stage", "paper", "identity")
    assert recipe("two_stage", "paper", "alone").pretrained == "torchvision"
    assert recipe("two_stage", "quick", "alone").pretrained == "none"  # the first one's backbone is the bundled start
    assert '"none"' not in text_of("03") and '"none"' not in (TOP / "benchmarks" / "transfer.py").read_text()


def test_001_section_3_1_2_weights_are_inverse_frequencies() -> None:
    tasks, counts = (Task("age", ("a", "b", "c", "d"), ("age",)),), ((80, 15, 5, 0),)
    targets = Targets(2, 100, tasks, counts)
    paper = TwoStage(fakes.tiny_backbone(), targets, TwoStage.Options(balance=False))
    torch.testing.assert_close(paper.get_buffer("weights0"), torch.tensor([100 / 80, 100 / 15, 100 / 5, 0]))
    ours = TwoStage(fakes.tiny_backbone(), targets, TwoStage.Options())
    torch.testing.assert_close(ours.get_buffer("weights0"), class_weights(counts, tasks, absent=0.0)[0] / 3)
    assert not options_of(recipe("two_stage", "paper", "weighted")).balance


def test_001_table_1_is_reported_whole_and_filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text has its filters under the mAP of Table 1, and does not say what it divides by."""
    monkeypatch.setattr(train, "build", fakes.tiny_backbone)
    monkeypatch.syspath_prepend(str(TOP / "benchmarks"))
    transfer = importlib.import_module("transfer")
    images = read_images("synthetic", fakes.synthetic(tmp_path / "synthetic"))
    plan = recipe("two_stage", height=32, width=16, precision="32-true", epochs=1, batch=4, pretrained="none")
    quiet: dict[str, Any] = {"progress": False, "say": lambda _: None}
    run = runs.load_or_fit(plan, *course.sets(plan, images), runs=tmp_path / "runs", **quiet)
    row = transfer.measure(run, images, run)
    assert {"mAP", "mAP_trapezoid", "rank1", "reranked_mAP"} <= set(row)
    for kind in ("threshold", "filter"):
        assert 0 <= row[f"mAP_{kind}_strict"] <= row["mAP_trapezoid"] + 1e-9
        assert np.isnan(row[f"mAP_{kind}_returned"]) or row[f"mAP_{kind}_returned"] >= row[f"mAP_{kind}_strict"] - 1e-9


def test_001_tables_2_and_3_stand_beside_their_own_losses() -> None:
    scores = pd.DataFrame({"task": ["gender"], "accuracy": [50.0]}).set_index("task")
    for dataset in ("market1501", "synthetic", "viper"):
        assert list(measured.attributes_beside_published("two_stage", dataset, scores)) == ["task", "accuracy"]
    rows = {p.table: p.rows for p in PRINTED if p.system == "two_stage"}
    assert rows["Table 2"] == rows["Table 3"] and len(set(rows["Table 2"].values())) == 4


# --- 002, AANet -------------------------------------------------------------------------------------------------------


def attentive(**options: Any) -> AANet:
    """AANet on tall images of people, whose two tasks are asked at the top and at the bottom."""
    torch.manual_seed(0)
    tasks = (Task("hair", ("short", "long"), ("hair",)), Task("down", ("long", "short"), ("down",)))
    targets = Targets(6, 24, tasks, ((12, 12), (12, 12)))
    return AANet(fakes.small_resnet(last_stride=1), targets, AANet.Options(channels=8, **options)).eval()


TALL = torch.randn(3, 3, 48, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_002_section_3_3_maps_do_not_read_what_softmax_never_teaches() -> None:
    """The mean of a classifier's rows has no gradient: a map must not change with it."""
    weight = torch.randn(3, 8)
    torch.testing.assert_close(contrasts(weight + 5), contrasts(weight), atol=1e-5, rtol=1e-5)
    for contrast in (True, False):
        network = attentive(contrast=contrast)
        before = network(TALL)
        for layer in network.answers:
            layer.weight += torch.linspace(-9, 9, 8)
        after = network(TALL)
        for one, other in zip(before.answers, after.answers, strict=True):  # the answers are the same
            torch.testing.assert_close(one.softmax(1), other.softmax(1), atol=1e-4, rtol=1e-4)
        same = torch.allclose(before.attention, after.attention, atol=1e-4)  # type: ignore[arg-type]
        assert same == contrast
    assert options_of(recipe("aanet")).contrast and options_of(recipe("aanet", "paper")).contrast


@torch.no_grad()
def test_002_section_3_3_maps_stay_where_their_classifier_reads() -> None:
    network = attentive(masked=True, regions="thirds")
    assert network.reads(24).float().sum(1).tolist() == [8, 8]
    attention = network(TALL).attention
    assert attention is not None and attention[:, :8].any() and attention[:, 16:].any()
    assert not attention[:, 8:16].any()  # nobody is asked in the middle
    assert attentive(masked=False, regions="thirds")(TALL).attention[:, 8:16].any()  # type: ignore[index]
    maps, inside = torch.tensor([[[9.0, 1.0], [3.0, 2.0]]]), torch.tensor([[[False], [True]]])
    assert normalise(maps, inside).tolist() == [[[0.0, 0.0], [1.0, 0.0]]]  # the highest place inside counts


def test_002_section_3_3_identity_need_not_change_the_attributes_through_the_map() -> None:
    for detach in (True, False):
        network = attentive(detach=detach)
        output = network(TALL)
        output.people["attention"][0].sum().backward()
        reached = [layer.weight.grad is not None and bool(layer.weight.grad.any()) for layer in network.answers]
        assert reached == [not detach] * 2


def test_002_section_3_3_lower_clothes_are_asked_where_shorts_are() -> None:
    rows = aanet.region_rows(24, "body")
    assert rows.sum(1).tolist() == [24, 12, 12, 16]
    bottom = rows[aanet.REGIONS.index("bottom")]
    assert not bottom[:8].any() and bottom[8:].all()  # the lower two thirds
    for regions in aanet.ROWS:
        for height in (6, 8, 9, 24):
            assert aanet.region_rows(height, regions).any(0).all()
    assert options_of(recipe("aanet")).regions == "body"


def test_002_equation_6_the_weights_of_the_tasks_have_a_rate_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "build", lambda *_: fakes.small_resnet(last_stride=1))
    own = recipe("aanet", "quick", channels=8, **{**SMALL, "width": 8})
    network = train.new_network(own, PEOPLE.targets)
    groups = train.new_optimizer(own, network).param_groups
    (alone,) = (group for group in groups if group["scale"] == options_of(own).uncertainty_rate)
    assert alone["params"] == [network.log_variance] and options_of(own).uncertainty_rate >= 10
    moved = {}
    for rate in (1.0, 10.0):
        plan = recipe("aanet", "quick", channels=8, epochs=10, uncertainty_rate=rate, **{**SMALL, "width": 8})
        last = fit(plan, PEOPLE, progress=False)[1].rows[-1]
        moved[rate] = abs(np.log(last["sigma_part"]))
    assert moved[10.0] > 3 * moved[1.0]


def test_002_tables_1_and_2_have_a_deeper_network() -> None:
    deeper = recipe("aanet", "paper", "deeper")
    assert (deeper.backbone, deeper.batch) == ("resnet152", 24)
    assert measured.variant_of(deeper) == "deeper" and measured.variant_of(recipe("aanet", "paper")) == "attention"
    assert COMPARISON_TABLES["aanet", "market1501"][1]["deeper"] == "AANet-152"
    shallow, deep = recipe("aanet", "quick"), recipe("aanet", "quick", "deeper")
    assert shallow.backbone != deep.backbone


def test_002_table_4_is_of_market_alone() -> None:
    scores = pd.DataFrame({"task": ["gender"], "accuracy": [50.0]}).set_index("task")
    assert list(measured.attributes_beside_published("aanet", "dukemtmc", scores)) == ["task", "accuracy"]
    assert list(measured.attributes_beside_published("aanet", "market1501", scores))[-1] == "AANet-152 on market1501"


def test_002_figure_8_shows_three_queries_and_asks_for_the_backpack() -> None:
    assert "backpack" in figures.FILTER and {"gender", "upcolor", "downcolor"} <= set(figures.FILTER)
    assert "Three queries" in (figures.filter_examples.__doc__ or "")


# --- 003, the part-based network --------------------------------------------------------------------------------------


def test_003_section_4_viper_is_asked_nineteen_attributes(shared: Path) -> None:
    images = read_images("viper", shared / "data" / "PETA" / "VIPeR", fold=0)
    plan = recipe("part_multitask", dataset="viper", height=32, width=16)
    loaded, _ = course.sets(plan, images)
    assert tuple(task.name for task in loaded.tasks) == VIPER19
    attributes, _ = course.attributes_of(images)
    assert [task.name for task in attributes.schema.tasks] == list(VIPER19)


def test_003_table_5_was_measured_with_nineteen_attributes() -> None:
    table = pd.read_csv(FIGURES / "ablations-part_multitask-viper.csv")
    assert set(table["fold"]) == set(range(10))
    assert table["commonest"].between(73, 78).all()  # of the nineteen; of all 94 it is 87.5


def test_003_equation_8_sums_over_the_anchors() -> None:
    draw = torch.Generator().manual_seed(0)
    features = {f"{name}_vm": torch.randn(24, 5, generator=draw) for name in ("global", "part")}
    output = part_multitask.Output(features, {}, {}, {}, torch.zeros(0, 2))
    only = {"identity": 0.0, "attributes": 0.0}
    summed = fakes.losses_of(PartMultitask)[0](output, BATCH, PartMultitask.Options(reduction="sum", **only))["triplet"]
    by_hand = sum(batch_hard_triplet(x, BATCH["label"], margin=1.2).sum() for x in features.values())
    torch.testing.assert_close(summed, by_hand)
    mean = fakes.losses_of(PartMultitask)[0](output, BATCH, PartMultitask.Options(**only))["triplet"]
    torch.testing.assert_close(summed, 24 * mean)
    assert options_of(recipe("part_multitask", "paper")).reduction == "sum"


def test_003_section_3b_what_is_ranked_is_a_choice() -> None:
    draw = torch.Generator().manual_seed(0)
    six = {
        name: (10.0 if name.endswith("_im") else 1.0) * torch.randn(4, 5, generator=draw) for name in part_multitask.SIX
    }
    assert torch.equal(part_multitask.joined(six, "six"), torch.cat(list(six.values()), 1))
    equal = part_multitask.joined(six, "normalised")
    torch.testing.assert_close(equal.unflatten(1, (6, 5)).norm(dim=2), torch.ones(4, 6))
    two = part_multitask.joined(six, "verification")
    assert torch.equal(two, torch.cat([six["global_vm"], six["part_vm"]], 1))
    with pytest.raises(InputError, match="reads the features of the triplets"):
        PartMultitask.Options(descriptor="verification", triplet=0.0)


def test_003_table_8_scored_again_with_other_descriptors() -> None:
    table = pd.read_csv(FIGURES / "descriptors-part_multitask.csv")
    rows = table.groupby("system")[["seed", "descriptor"]].nunique()
    assert set(rows.index) == set(PartMultitask.VARIANTS) and (rows["seed"] == 3).all()
    assert rows["descriptor"].to_dict() == {"ours": 3, "woAttr": 3, "woID": 3, "woIM": 3, "woVM": 2}
    assert {"mAP", "mAP_trapezoid", "reranked_mAP", "share_im"} <= set(table)


def test_003_tables_6_and_7_count_columns_on_the_gallery() -> None:
    """A colour that is answered with another is wrong in two columns of ten, not in one of one."""
    task = Task("colour", (*"abcdefghij", "multi"), tuple("abcdefghij"))
    columns = binary_columns((task,))
    labels = binary_labels(torch.tensor([[0], [1]]), columns).numpy()
    yes = np.zeros((2, 10), bool)
    yes[:, 1] = True
    table = column_scores(labels, yes, columns.numpy(), (task,))
    assert table.loc["colour", "accuracy"] == pytest.approx(100 * (8 + 10) / 20)


def test_003_lesson_06_says_what_its_curves_are() -> None:
    text = text_of("06")
    assert "where each curve *starts*" not in text and "loud gradient" not in text
    assert "the mean of an epoch" in text


# --- 004, the inherent code -------------------------------------------------------------------------------------------


def test_004_section_4_weight_decay() -> None:
    assert recipe("inherent_code", "paper").weight_decay > 0


def test_004_equations_2_and_3_a_sum_or_a_mean() -> None:
    draw = torch.Generator().manual_seed(0)
    code, centres, label = torch.randn(8, 5, generator=draw), torch.randn(3, 5, generator=draw), torch.arange(8) % 3
    output = inherent_code.Output(code, torch.randn(8, 3, generator=draw), centres)
    over: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"sum": torch.sum, "mean": torch.mean}
    for name, reduce in over.items():
        options = InherentCode.Options(reduction=name)
        losses = fakes.losses_of(InherentCode)[0](output, {"label": label}, options)
        torch.testing.assert_close(losses["compact"], 5e-5 * reduce(compact(code, label, centres)))
        torch.testing.assert_close(losses["scatter"], -1e-6 * reduce(scatter(code, label, centres)))


def test_004_table_1_was_measured_both_ways() -> None:
    table = pd.read_csv(FIGURES / "inherent_code-reduction.csv")
    cells = table.groupby(["weight_decay", "reduction", "system"])["fold"].nunique()
    assert (cells >= 3).all()
    for decay in (0.0, 5e-4):
        for reduction in ("sum", "mean"):
            assert {"set2", "set3"} <= set(cells.loc[decay, reduction].index)


# --- what the papers print --------------------------------------------------------------------------------------------


def test_published_where_a_number_is_not_believed_a_note_says_so() -> None:
    row = published("part_multitask", "Table 7", metric="accuracy/backpack").query("row == 'ARN'").iloc[0]
    assert row["percent"] == 77.5 and "71.5" in row["note"]


# --- one truth for each claim ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "system"), [("04", "inherent_code"), ("06", "part_multitask"), ("07", "aanet")])
def test_lessons_print_the_verdicts_of_lesson_10(number: str, system: str) -> None:
    text = text_of(number)
    assert re.search(rf'claims\.assess\(course\.home\(\) / "figures", "{system}"\)', text)
    assert not re.search(r"\b(reversed|held)\b\*?\.", text)  # no verdict of their own


def test_market_has_the_tasks_these_lines_are_about() -> None:
    assert {"backpack", "down", "clothes"} <= {task.name for task in MARKET.tasks}
