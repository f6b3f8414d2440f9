"""Sharenet: what is shared and what is there twice, the binary view of the labels, and rows that learn."""

from __future__ import annotations

from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from reidkit import train
from reidkit.attributes import DUKE, MARKET, Attributes, Schema
from reidkit.backbones import Backbone, build
from reidkit.data import Targets, binary_columns, binary_labels, class_logits
from reidkit.errors import InputError
from reidkit.features import answer, describe
from reidkit.losses import batch_triplets, sigmoid_cross_entropy
from reidkit.recipes import learns_attributes, options_of, recipe
from reidkit.runs import Run
from reidkit.systems.sharenet import Output, Sharenet
from reidkit.train import fit

Options = Sharenet.Options
objective, watch = fakes.losses_of(Sharenet)
SMALL: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "pad": 0, "batch": 12}
PEOPLE = fakes.dressed(6, 4)


def two_layers(name: str = "resnet18", pretrained: str = "none", last_stride: int = 2) -> Backbone:
    """Two convolutions, so that there is something to share and something to copy."""
    own = fakes.tiny_backbone(name, pretrained, last_stride)
    own.stages["layer4"] = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    return own


@pytest.mark.parametrize("schema", [MARKET, DUKE])
def test_the_binary_view_is_that_of_the_table(schema: Schema) -> None:
    rng = np.random.default_rng(0)
    columns = {}
    for task in schema.tasks:
        if len(task.columns) == 1:
            columns[task.name] = rng.integers(-1, len(task.classes), 40)
        else:  # one colour, or none
            one = rng.integers(0, len(task.classes), 40)
            columns |= {name: (one == k).astype(int) for k, name in enumerate(task.columns)}
    own = Attributes(schema, pd.DataFrame(columns).astype("int64"), pd.Series(["train"] * 40))
    labels = torch.tensor(own.of(range(40)))
    view = binary_labels(labels, binary_columns(schema.tasks))
    assert view.tolist() == own.of(range(40), binary=True).tolist()
    sure = torch.where(view == 1, 5.0, -5.0)
    for task, logits, label in zip(schema.tasks, class_logits(sure, schema.tasks), labels.T, strict=True):
        assert logits.shape == (40, len(task.classes))
        known = label >= 0
        assert torch.equal(logits.argmax(1)[known], label[known])


def test_two_answers_are_a_sigmoid() -> None:
    x = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    gender = class_logits(x, MARKET.tasks)[1]
    torch.testing.assert_close(gender.softmax(1)[:, 1], x[:, 4].sigmoid())  # behind the four columns of age
    assert class_logits(torch.zeros(3, 0), ()) == []
    assert binary_labels(torch.zeros(3, 0, dtype=torch.long), binary_columns(())).shape == (3, 0)


@pytest.mark.parametrize(("share", "twice"), [("conv5", ("fc6", "fc7")), ("fc6", ("fc7",)), ("fc7", ())])
def test_sharenet_i_shares_the_first_i_layers(share: str, twice: tuple[str, ...]) -> None:
    network = Sharenet(build("alexnet"), PEOPLE.targets, Options(share=share)).eval()
    assert tuple(network.branch) == twice
    count = sum(p.numel() for name in twice for p in network.top[name].parameters())
    assert sum(p.numel() for p in network.branch.parameters()) == count
    output = network(torch.randn(2, 3, 128, 64))
    assert output.embedding.shape == (2, 128) and output.logits.shape == (2, 4)  # three shirts and one yes or no
    names = [name for name, _ in network.named_parameters()]
    assert len(names) == len(set(names)) and sum(n.startswith("backbone.") for n in names) == 10


def test_a_copied_branch_starts_as_its_original_and_learns_at_its_rate() -> None:
    network = Sharenet(two_layers(), PEOPLE.targets, Options(share="stem"))
    for copy, original in zip(network.branch.parameters(), network.layers(network.apart)[0].parameters(), strict=True):
        assert copy is not original and torch.equal(copy, original)
    new, slow = train.new_optimizer(recipe("sharenet", backbone_lr=0.1), network).param_groups
    assert (new["scale"], slow["scale"]) == (1.0, 0.1)
    taken_over = [*network.backbone.parameters(), *network.branch.parameters()]
    assert {id(p) for p in slow["params"]} == {id(p) for p in taken_over}


def test_a_gradient_reaches_its_own_branch_and_the_shared_layers() -> None:
    torch.manual_seed(0)
    network = Sharenet(two_layers(), PEOPLE.targets, Options(share="stem"))
    batch = PEOPLE.batch(np.arange(24))
    for name, reached, left in (
        ("attributes", network.branch, network.backbone.stages["layer4"]),
        ("triplet", network.backbone.stages["layer4"], network.branch),
    ):
        network.zero_grad()
        output = network(train.standardise(batch["image"]))
        objective(output, batch, Options(share="stem"))[name].backward()
        assert all(p.grad is not None and p.grad.any() for p in network.backbone.stages["stem"][0].parameters())
        assert any(p.grad is not None and p.grad.any() for p in reached.parameters())
        assert all(p.grad is None or not p.grad.any() for p in left.parameters())


def test_the_objective_is_the_sum_of_the_paper_and_holes_cost_nothing() -> None:
    g = torch.Generator().manual_seed(0)
    columns = binary_columns(fakes.CLOTHES)
    output = Output(torch.randn(8, 5, generator=g), torch.randn(8, 4, generator=g), columns)
    label = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    labels = torch.tensor([[0, 1], [1, 0], [2, -1], [-1, -1], [0, 0], [1, 1], [2, 1], [0, 0]])
    losses = objective(output, {"label": label, "attributes": labels}, Options(alpha=0.3, mining="all"))
    expected = sigmoid_cross_entropy(output.logits, binary_labels(labels, columns))
    assert expected[3] == 0
    torch.testing.assert_close(losses["attributes"], 0.3 * expected.mean())
    triplets = batch_triplets(output.embedding, label, margin=0.5, mining="all")
    torch.testing.assert_close(losses["triplet"], triplets.mean())
    nothing = objective(output, {"label": label, "attributes": labels * 0 - 1}, Options())
    assert nothing["attributes"] == 0
    assert "accuracy" not in watch(output, {"label": label, "attributes": labels * 0 - 1})


def test_the_baseline_has_no_attributes() -> None:
    network = Sharenet(two_layers(), PEOPLE.targets, Options(alpha=0)).eval()
    output = network(torch.randn(3, 3, 32, 16))
    assert output.logits.shape == (3, 0) and network.answer(torch.randn(3, 3, 32, 16)) == [] and not network.tasks
    assert not any("branch" in name or "attributes" in name for name, _ in network.named_parameters())
    assert not learns_attributes(recipe("sharenet", variant="triplet"))
    assert learns_attributes(recipe("sharenet"))
    Sharenet(two_layers(), Targets(3), Options(alpha=0))  # nobody asks for tasks


@pytest.mark.parametrize("share", ["stem", "layer4"])
def test_rows_learn_people_and_attributes(share: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(train, "build", two_layers)
    own = recipe("sharenet", "smoke", share=share, epochs=25, lr=0.02, alpha=0.2, dimensions=8, **SMALL)
    network, history = fit(own, PEOPLE, progress=False)
    assert history.rows[-1]["triplet"] < 0.5 * history.rows[0]["triplet"]
    assert history.rows[-1]["accuracy"] > 0.85
    codes = nn.functional.normalize(describe(network, PEOPLE, own).descriptor)
    same = PEOPLE.label[:, None] == PEOPLE.label[None]
    apart = 1 - codes @ codes.T
    assert apart[~same].mean() > 3 * apart[same].mean()
    run = Run(tmp_path, own, network, history.table, PEOPLE.people, "trained", "", PEOPLE.tasks)
    right = answer(run, PEOPLE).classes == PEOPLE.attributes.numpy()
    assert right.mean() > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"alpha": -1.0}, "alpha is -1.0"), ({"margin": 0.0}, "margin 0.0"), ({"mining": "soft"}, "'soft' is not known"),
     ({"hidden": -1}, "hidden is -1")],
)  # fmt: skip
def test_bad_options_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="tiny has no layer 'fc7' to share: choose one of stem"):
        Sharenet(fakes.tiny_backbone(), PEOPLE.targets, Options(share="fc7"))


def test_the_paper_recipes() -> None:
    own = recipe("sharenet", "paper")
    assert (own.backbone, own.batch, own.lr, own.options["hidden"]) == ("resnet50", 32, 1e-4, 1024)
    assert options_of(own).alpha == 0.05
    seven = recipe("sharenet", "paper", "sharenet-7")
    assert (seven.backbone, seven.batch, seven.lr, seven.optimizer) == ("alexnet", 100, 1e-3, "sgd")
    assert options_of(seven).alpha == 0.01 and options_of(seven).share == "fc7"
    head = Sharenet(build("resnet18"), Targets(7, tasks=fakes.CLOTHES), Options(hidden=32, dimensions=0)).embed
    assert [type(layer).__name__ for layer in head][1:] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert head[-1].out_features == 7  # as many as people
