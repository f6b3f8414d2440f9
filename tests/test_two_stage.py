"""Attributes under imbalance, then identity: four losses that learn, triplets in their order, a backbone handed on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from reidkit import train
from reidkit.attributes import Task
from reidkit.data import Targets, class_counts
from reidkit.errors import InputError
from reidkit.features import answer, describe
from reidkit.losses import KINDS, task_losses
from reidkit.metrics import attribute_scores
from reidkit.recipes import learns_attributes, options_of, recipe
from reidkit.runs import Run, load_or_fit, load_run
from reidkit.samplers import triplet_batches
from reidkit.systems.two_stage import Output, TwoStage
from reidkit.train import fit, new_network

Options = TwoStage.Options
objective, watch = fakes.losses_of(TwoStage)
SMALL: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "pad": 0}
SMALL |= {"pretrained": "none", "backbone_lr": 1.0, "last_stride": 2}
PEOPLE = fakes.dressed()
HELD_OUT = fakes.dressed(5, 2, seed=1, first=21)
COLOURS = Task("colour", ("red", "green", "blue", "multi"), ("red", "green", "blue"))
TARGETS = Targets(4, 8, (*fakes.CLOTHES, COLOURS), ((4, 3, 1), (7, 1), (6, 0, 2, 0)))


def network(options: Options | None = None, targets: Targets = TARGETS) -> TwoStage:
    torch.manual_seed(0)
    return TwoStage(fakes.tiny_backbone(), targets, options or Options())


def images(b: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(b, 3, 32, 16, generator=torch.Generator().manual_seed(seed))


def labels(b: int = 6, seed: int = 0, holes: bool = True) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(-1 if holes else 0, len(task.classes), b) for task in TARGETS.tasks]
    return torch.from_numpy(np.stack(columns, 1))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones of one convolution."""
    monkeypatch.setattr(train, "build", fakes.tiny_backbone)


# --- stage "attributes" ---


def test_every_task_has_its_classifier_on_the_pooled_feature() -> None:
    own = network().eval()
    output = own(images())
    assert {name: tuple(x.shape) for name, x in output.logits.items()} == {
        "shirt": (6, 3), "bright": (6, 2), "colour": (6, 4)
    }  # fmt: skip
    assert torch.equal(output.embedding, own.backbone(images()).mean((2, 3))) and output.embedding.shape == (6, 16)
    assert torch.equal(own.describe(images()), output.embedding)
    answers = own.answer(images())
    assert len(answers) == 3 and all(torch.equal(a, b) for a, b in zip(answers, output.logits.values(), strict=True))
    by_hand = F.linear(output.embedding, own.heads[1][1].weight, own.heads[1][1].bias)
    torch.testing.assert_close(output.logits["bright"], by_hand)


def test_the_adjusted_loss_is_cross_entropy_on_adjusted_logits() -> None:
    own, y = network().eval(), labels()
    output = own(images())
    losses = objective(output, {"attributes": y}, Options(loss="adjusted"))
    for t, (name, logits) in enumerate(output.logits.items()):
        prior = torch.tensor(TARGETS.counts[t]).float()
        prior = torch.where(prior > 0, prior, prior.max())
        known = y[:, t] >= 0
        expected = F.cross_entropy(logits[known] + prior.log(), y[known, t])
        torch.testing.assert_close(losses[name], expected)


def test_dropout_only_in_training() -> None:
    own = network(Options(dropout=0.5)).train()
    one, two = own(images()), own(images())
    assert torch.equal(one.embedding, two.embedding)
    assert not any(torch.equal(a, b) for a, b in zip(one.logits.values(), two.logits.values(), strict=True))
    own.eval()
    assert torch.equal(own(images()).logits["shirt"], own(images()).logits["shirt"])
    without = network(Options(dropout=0.0)).train()
    assert torch.equal(without(images()).logits["shirt"], without(images()).logits["shirt"])


@pytest.mark.usefixtures("tiny")
def test_weights_are_inverse_frequencies_and_stay_with_the_network(tmp_path: Path) -> None:
    weights = [own.tolist() for own in network()(images()).weights]
    for weight, counts in zip(weights, TARGETS.counts, strict=True):
        y = np.repeat(np.arange(len(counts)), counts)
        balanced = dict(zip(np.unique(y), compute_class_weight("balanced", classes=np.unique(y), y=y), strict=True))
        assert weight == pytest.approx([balanced.get(c, 0) for c in range(len(counts))])  # 0 for what never occurs
        assert np.mean([weight[c] for c in y]) == pytest.approx(1)  # as loud as a plain loss
    own = recipe("two_stage", variant="weighted", epochs=1, batch=12, **SMALL)
    run = load_or_fit(own, PEOPLE, HELD_OUT, folder=tmp_path / "run", progress=False, say=lambda _: None)
    again = load_run(run.folder).network
    assert again.get_buffer("weights0").tolist() == pytest.approx([9 / 5 / 3, 9 / 3 / 3, 9 / 3])  # of the training fold
    for i in range(2):
        assert torch.equal(again.get_buffer(f"weights{i}"), run.network.get_buffer(f"weights{i}"))
    nobody = network(targets=replace(TARGETS, counts=((0, 0, 0), (7, 1), (6, 0, 2, 0))))
    assert nobody.get_buffer("weights0").tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_is_the_loss_of_every_task(kind: str) -> None:
    own, options = network(), Options(loss=kind, gamma=1.5)
    output, y = own.eval()(images()), labels()
    losses = objective(output, {"attributes": y}, options)
    logits = list(output.logits.values())
    expected = task_losses(logits, y, kind=kind, weights=output.weights, gamma=1.5)
    assert list(losses) == ["shirt", "bright", "colour"]
    assert torch.equal(torch.stack(list(losses.values())), expected)
    torch.testing.assert_close(sum(losses.values()), expected.sum())
    if kind == "cross_entropy":
        for x, column, loss in zip(logits, y.unbind(1), losses.values(), strict=True):
            torch.testing.assert_close(loss, F.cross_entropy(x, column, ignore_index=-1))


@pytest.mark.parametrize("kind", KINDS)
def test_missing_labels_cost_nothing(kind: str) -> None:
    own, options, y = network().eval(), Options(loss=kind), labels()
    assert (y < 0).any() and (y >= 0).any()
    output = own(images())
    leaves = {name: x.detach().requires_grad_() for name, x in output.logits.items()}
    losses = objective(replace(output, logits=leaves), {"attributes": y}, options)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for x, column, loss in zip(leaves.values(), y.unbind(1), losses.values(), strict=True):
        assert x.grad is not None and (x.grad[column < 0] == 0).all() and (x.grad[column >= 0] != 0).any()
        known = column >= 0
        part = Output(output.embedding, {"own": x[known]}, [output.weights[list(losses.values()).index(loss)]])
        (alone,) = objective(part, {"attributes": column[known, None]}, options).values()
        torch.testing.assert_close(loss, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_knows_nothing_changes_nothing(kind: str) -> None:
    own = network().train()
    output, batch = own(images()), {"attributes": torch.full((6, 3), -1)}
    losses = objective(output, batch, Options(loss=kind))
    assert [loss.item() for loss in losses.values()] == [0, 0, 0]
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for parameter in own.parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all()
    assert watch(output, batch) == {}  # and no NaN in the history


def test_watch_is_the_accuracy_of_what_is_known() -> None:
    own = network().eval()
    output, y = own(images(40)), labels(40)
    right = [
        int(x[i].argmax() == y[i, t]) for t, x in enumerate(output.logits.values()) for i in range(40) if y[i, t] >= 0
    ]
    found = watch(output, {"attributes": y})
    assert list(found) == ["accuracy"] and float(found["accuracy"]) == pytest.approx(np.mean(right))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("tiny")
def test_every_loss_learns_what_clothes_show(kind: str) -> None:
    own = recipe("two_stage", variant=kind, epochs=30, batch=12, lr=0.03, validation=0, patience=0, **SMALL)
    trained, history = fit(own, PEOPLE, progress=False)
    for name in ("shirt", "bright"):
        assert history.table[name].iloc[-1] < 0.6 * history.table[name].iloc[0]
    run = Run(Path("run"), own, trained, history.table, PEOPLE.people, "trained", "", PEOPLE.tasks)
    scores = attribute_scores(PEOPLE.attributes.numpy(), answer(run, PEOPLE).classes, PEOPLE.tasks)
    assert (scores["accuracy"] > scores["commonest"] + 5).all() and scores.loc["global", "macro_f1"] > 85


@pytest.mark.usefixtures("tiny")
def test_holes_do_not_keep_it_from_learning() -> None:
    y = PEOPLE.attributes.clone()
    y[::3, 0], y[1::3, 1] = -1, -1
    own = recipe("two_stage", variant="weighted", epochs=30, batch=12, lr=0.03, validation=0, patience=0, **SMALL)
    trained, _ = fit(own, replace(PEOPLE, attributes=y), progress=False)
    run = Run(Path("run"), own, trained, pd.DataFrame(), PEOPLE.people, "trained", "", PEOPLE.tasks)
    found = answer(run, PEOPLE).classes
    hidden = (y < 0).numpy()
    assert (found == PEOPLE.attributes.numpy())[hidden].mean() > 0.85
    assert class_counts(y, PEOPLE.tasks)[0] != PEOPLE.targets.counts[0]


# --- stage "identity" ---


def slow_triplet(embedding: torch.Tensor, margin: float) -> float:
    n = len(embedding) // 3
    rows = embedding.tolist()

    def squared(one: list[float], other: list[float]) -> float:
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))

    gaps = [squared(rows[i], rows[n + i]) - squared(rows[i], rows[2 * n + i]) for i in range(n)]
    return sum(max(0.0, margin + gap) for gap in gaps) / n


def test_the_embedding_is_linear_on_what_is_left_of_the_pooled_feature() -> None:
    own = network(Options(stage="identity", dimensions=5)).eval()
    own.backbone.stages["stem"][2] = torch.nn.Identity()  # so that something is negative
    output = own(images())
    pooled = own.backbone(images()).mean((2, 3))
    assert pooled.min() < 0
    torch.testing.assert_close(output.embedding, F.linear(pooled.relu(), own.embed.weight, own.embed.bias))
    assert output.embedding.shape == (6, 5) and output.logits == {} and own.answer(images()) == []
    assert torch.equal(own.describe(images()), output.embedding)
    assert not any(name.startswith(("heads", "weights")) for name in own.state_dict())


@pytest.mark.parametrize("margin", [0.3, 1.0, 20.0])
def test_the_objective_reads_anchors_positives_negatives(margin: float) -> None:
    options = Options(stage="identity", margin=margin)
    embedding = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    (loss,) = objective(Output(embedding), {}, options).values()
    assert float(loss) == pytest.approx(slow_triplet(embedding, margin), rel=1e-5)
    found = watch(Output(embedding.bfloat16().float()), {})
    assert list(found) == ["positive", "negative", "wrong"] and all(v.ndim == 0 for v in found.values())


def test_the_order_is_that_of_the_sampler() -> None:
    """Everyone at a place of their own: nothing to push if anchors stand beside positives, much if not."""
    label = np.repeat(np.arange(5), 4)
    places = torch.eye(5)[torch.from_numpy(label)] * 3  # squared distance of two people: 18
    for index in triplet_batches(label, 6, np.random.default_rng(0)):
        output, options = Output(places[index]), Options(stage="identity", margin=4.0)
        assert float(objective(output, {}, options)["triplet"]) == 0
        found = {name: float(value) for name, value in watch(output, {}).items()}
        assert found == {"positive": 0, "negative": 18, "wrong": 0}
        swapped = Output(torch.cat([places[index][[*range(len(index) // 3)]], *places[index].chunk(3)[:0:-1]]))
        assert float(objective(swapped, {}, options)["triplet"]) == 22
        assert float(watch(swapped, {})["wrong"]) == 1


@pytest.mark.usefixtures("tiny")
def test_the_loop_feeds_triplets_in_that_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, ...]] = []
    real = TwoStage.objective

    def spy(self: TwoStage, output: Output, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert len(output.embedding) == len(batch["pid"])
        seen.append(batch["pid"].chunk(3))
        return real(self, output, batch)

    monkeypatch.setattr(TwoStage, "objective", spy)
    own = recipe("two_stage", variant="identity", epochs=1, batch=24, clusters=2, **SMALL)
    fit(own, PEOPLE, HELD_OUT, progress=False)
    assert len(seen) == 5 + 2  # of 36 and 10 anchors, eight a batch
    for anchor, positive, negative in seen:
        assert torch.equal(anchor, positive) and (anchor != negative).all()


def test_a_first_stage_is_handed_on(tmp_path: Path) -> None:
    """With the real backbone: the second stage starts from what the first has learnt."""
    begun = recipe("two_stage", "smoke", epochs=1, batch=18, **SMALL)
    first = load_or_fit(begun, PEOPLE, HELD_OUT, folder=tmp_path / "first", progress=False, say=lambda _: None)
    own = recipe("two_stage", "smoke", "identity", **SMALL | {"epochs": 0, "pretrained": str(first.folder)})
    given, scratch = (new_network(r, PEOPLE.targets) for r in (own, replace(own, pretrained="none")))
    backbone = {k: v.cpu() for k, v in first.network.state_dict().items() if k.startswith("backbone.")}
    for name, value in backbone.items():
        assert torch.equal(given.state_dict()[name], value)
    assert torch.equal(given.embed.weight, scratch.embed.weight)  # type: ignore[union-attr]
    before, without = (describe(n, PEOPLE, own).descriptor for n in (given, scratch))
    assert not torch.allclose(before, without, atol=1e-3)
    second = replace(own, epochs=1)
    run = load_or_fit(second, PEOPLE, HELD_OUT, folder=tmp_path / "second", progress=False, say=lambda _: None)
    after = describe(run.network, PEOPLE, second).descriptor
    assert after.shape == (36, 128) and not torch.allclose(after, before.to(after), atol=1e-4)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "first").rename(moved / "first")  # a finished run needs its first stage no longer
    torch.testing.assert_close(describe(load_run(run.folder).network, PEOPLE, second).descriptor, after)
    known = load_or_fit(
        replace(second, pretrained=str(moved / "first")), PEOPLE, HELD_OUT, folder=run.folder, say=lambda _: None
    )
    assert known.how == "loaded"


@pytest.mark.usefixtures("tiny")
def test_triplets_bring_people_together() -> None:
    own = recipe("two_stage", variant="identity", epochs=15, batch=24, lr=0.01, validation=0, patience=0, **SMALL)
    _, history = fit(replace(own, negatives="random"), PEOPLE, progress=False)
    table = history.table
    assert table["triplet"].iloc[-1] < 0.7 * table["triplet"].iloc[0]
    assert table["wrong"].iloc[-1] < table["wrong"].iloc[0]
    assert table["negative"].iloc[-1] > 1.5 * table["positive"].iloc[-1]


@pytest.mark.usefixtures("tiny")
def test_the_second_stage_needs_no_attributes() -> None:
    """PKU-ReID has none, and triplets ask for none; the first stage does."""
    plain = replace(PEOPLE, tasks=(), attributes=torch.empty(len(PEOPLE), 0, dtype=torch.int64))
    own = recipe("two_stage", variant="identity", epochs=1, batch=24, validation=0, patience=0, clusters=2, **SMALL)
    assert not learns_attributes(own) and learns_attributes(recipe("two_stage"))
    network, history = fit(own, plain, progress=False)
    assert describe(network, plain, own).descriptor.shape == (36, 128) and np.isfinite(history.rows[0]["triplet"])


@pytest.mark.usefixtures("tiny")
def test_the_second_stage_answers_no_attributes(tmp_path: Path) -> None:
    own = recipe("two_stage", variant="identity", epochs=1, batch=24, clusters=2, **SMALL)
    run = load_or_fit(own, PEOPLE, HELD_OUT, folder=tmp_path / "run", progress=False, say=lambda _: None)
    for one in (run, load_run(run.folder)):
        with pytest.raises(
            InputError, match="run answers no attributes: give a run of a system, or stage, that learns"
        ):
            answer(one, PEOPLE)


# --- options and recipes ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": "both"}, "stage 'both' is not known: choose one of attributes, identity"),
        ({"loss": "hinge"}, "loss 'hinge' is not known: choose one of cross_entropy, weighted, focal, alpha_focal"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"tau": -1.0}, "gamma and tau not negative"),
        ({"dimensions": 0}, "dimensions must be at least 1"),
        ({"margin": 0.0}, "margin above 0"),
        ({"margin": float("nan")}, "margin above 0"),
        ({"gamma": -1.0}, "gamma and tau not negative"),
        ({"gamma": float("nan")}, "gamma and tau not negative"),
    ],
    ids=str,
)
def test_bad_options_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Options(**options)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        options_of(recipe("two_stage", **options))


def test_the_paper_recipe_is_the_papers() -> None:
    first, second = recipe("two_stage", "paper"), recipe("two_stage", "paper", "identity")
    for own in (first, second):
        assert (own.height, own.width, own.backbone, own.pretrained) == (256, 128, "resnet18", "torchvision")
        assert (own.validation, own.schedule, own.warmup, own.optimizer) == (0.4, "linear", 0.1, "adam")
        assert own.patience > 0 and (own.flip, own.rotate, own.pad, own.erase) == (True, 10.0, 0, 0.0)
    assert (first.lr, first.epochs, first.negatives) == (3e-4, 15, "batch")
    assert (second.lr, second.epochs, second.negatives) == (2e-5, 10, "cluster")
    assert options_of(first) == Options(balance=False) == Options(stage="attributes", gamma=2.0, balance=False)
    assert options_of(second).stage == "identity"
    for kind in KINDS:
        row = recipe("two_stage", "paper", kind)
        assert replace(row, options={}) == replace(first, options={}) and options_of(row).loss == kind


@pytest.mark.parametrize("variant", ["alpha_focal", "identity"])
def test_a_step_of_the_paper_recipe(variant: str) -> None:
    """The real network of the `paper` profile on tiny images, from random weights."""
    changes: dict[str, Any] = {"height": 32, "width": 16, "pretrained": "none", "epochs": 1, "precision": "32-true"}
    changes |= {"warmup": 0.0}  # whose first step is too small to be seen
    own = recipe("two_stage", "paper", variant, **changes)
    few = fakes.dressed(4, 3)
    before = new_network(own, few.targets).state_dict()
    network, history = fit(own, few, fakes.dressed(2, 2, first=9), progress=False)
    assert len(history.table) == 1 and np.isfinite(history.table).all(axis=None)
    after = {name: value.cpu() for name, value in network.state_dict().items()}
    trained = [name for name, _ in network.named_parameters()]
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not any(torch.equal(after[name], before[name]) for name in trained)  # all layers train
