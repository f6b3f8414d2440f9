"""The part-based multi-task network: two branches, six features, groups of attributes, and the rows of Table 8."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import fakes
import numpy as np
import pytest
import torch

from reidkit import train
from reidkit.attributes import DUKE, MARKET, Schema
from reidkit.backbones import build
from reidkit.data import Targets, binary_labels
from reidkit.errors import InputError
from reidkit.features import answer, describe
from reidkit.losses import batch_hard_triplet, cross_entropy
from reidkit.recipes import learns_attributes, options_of, recipe
from reidkit.runs import Run, load_or_fit
from reidkit.systems.part_multitask import SIX, Output, PartMultitask, is_lower
from reidkit.train import fit

Options, VARIANTS = PartMultitask.Options, PartMultitask.VARIANTS
objective, watch = fakes.losses_of(PartMultitask)
SMALL: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "pad": 0, "batch": 12}
PEOPLE = replace(fakes.dressed(6, 4), tasks=(fakes.CLOTHES[0], replace(fakes.CLOTHES[1], name="down")))


def network(**options: Any) -> PartMultitask:
    torch.manual_seed(0)
    return PartMultitask(fakes.small_resnet(), PEOPLE.targets, Options(dimensions=8, **options))


@pytest.mark.slow
def test_the_paper_recipe_on_a_resnet50() -> None:
    """384 x 128: the global map is down-sampled to 12 x 4, the part branch's is not; one step moves every weight."""
    own = recipe("part_multitask", "paper")
    assert (own.backbone, own.height, own.width, own.batch, own.instances) == ("resnet50", 384, 128, 32, 4)
    assert (own.optimizer, own.lr, own.epochs, options_of(own).margin) == ("sgd", 2e-4, 320, 1.2)
    assert train.rate(own, 0.5) == 1 and train.rate(own, 0.75) == pytest.approx(0.001**0.5)
    targets = Targets(751, tasks=MARKET.tasks)
    torch.manual_seed(0)
    model = PartMultitask(build(own.backbone, last_stride=own.last_stride), targets, options_of(own))
    pixels = torch.randn(2, 3, 384, 128)
    whole, part = model.maps(pixels)
    assert whole.shape == (2, 2048, 12, 4) and part.shape == (2, 2048, 24, 8)
    output = model(pixels)
    assert tuple(output.features) == SIX and model.describe(pixels).shape == (2, 6 * 512)
    assert {name: tuple(x.shape) for name, x in output.people.items()} == dict.fromkeys(
        ("global", "part", "upper", "lower"), (2, 751)
    )
    # Table 1: of Market's 30 columns down, clothes and nine colours are of the lower half
    assert [output.answers[name].shape[1] for name in ("global", "upper", "lower")] == [30, 19, 11]
    label = torch.tensor([3, 5])
    attributes = torch.zeros(2, 12, dtype=torch.long)
    losses = objective(output, {"label": label, "attributes": attributes}, options_of(own))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    read_by_triplets = ("global_vm", "part_vm")  # two people with an image each: no triplet
    for name, p in model.named_parameters():
        assert p.grad is not None and (p.grad.any() or any(vm in name for vm in read_by_triplets)), name


def test_what_is_shared_ends_after_the_first_block_of_layer3() -> None:
    backbone = build("resnet18")
    model = PartMultitask(backbone, Targets(3), Options(attributes=0))
    late = [backbone.stages["layer3"][1], backbone.stages["layer4"]]
    count = sum(p.numel() for block in late for p in block.parameters())
    assert sum(p.numel() for p in model.part.parameters()) == count
    assert all(m.stride == (1, 1) for m in model.part.modules() if isinstance(m, torch.nn.Conv2d))
    names = {name for name, _ in model.named_parameters() if name.startswith("backbone.")}
    assert names == {
        f"backbone.{name}" for name, _ in backbone.named_parameters()
    }  # a run's backbone can be taken over


def test_with_equal_branches_the_parts_are_maxima_of_the_map() -> None:
    model = network().eval()
    model.part[-1][0][0].stride = (2, 2)
    images = torch.randn(3, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    whole, part = model.maps(images)
    torch.testing.assert_close(whole, part)  # a copy starts as its original, and learns at its rate
    new, slow = train.new_optimizer(recipe("part_multitask", backbone_lr=0.1), model).param_groups
    assert (new["scale"], slow["scale"]) == (1.0, 0.1)
    assert {id(p) for p in slow["params"]} == {id(p) for p in [*model.backbone.parameters(), *model.part.parameters()]}
    six = model.six(images)
    expected = model.features["upper_im"](torch.stack([m[:, :4].flatten(1).max(1)[0] for m in part]))
    torch.testing.assert_close(six["upper_im"], expected)
    lower = model.features["lower_im"](torch.stack([m[:, 4:].flatten(1).max(1)[0] for m in part]))
    torch.testing.assert_close(six["lower_im"], lower)
    torch.testing.assert_close(model.describe(images), torch.cat(list(six.values()), 1))


@pytest.mark.parametrize("schema", [MARKET, DUKE])
def test_halves_share_the_attributes_out(schema: Schema) -> None:
    low = [task.name for task in schema.tasks if is_lower(task.name)]
    assert low == (["down", "clothes", "downcolor"] if schema is MARKET else ["boots", "shoes", "downcolor"])
    assert is_lower("footwearSandals") and is_lower("lowerBodyJeans") and not is_lower("personalFemale")


@pytest.mark.parametrize(
    ("row", "features"),
    [
        ("ours", SIX),
        ("woID", ("global_im", "global_vm", "part_vm", "upper_im", "lower_im")),
        ("woAttr", SIX),
        ("woIM", ("global_vm", "part_vm")),
        ("woVM", ("global_im", "part_im", "upper_im", "lower_im")),
    ],
)
def test_a_feature_without_a_loss_is_left_out(row: str, features: tuple[str, ...]) -> None:
    options = {"dimensions": 8, **VARIANTS[row]["all"]}
    model = network(**{name: value for name, value in options.items() if name != "dimensions"})
    batch = PEOPLE.batch(np.arange(12))
    images = train.standardise(batch["image"])
    output = model(images)
    assert tuple(output.features) == features == tuple(model.features)
    assert model.describe(images).shape == (12, 8 * len(features))
    losses = objective(output, batch, Options(**options))
    named = {"ours": 3, "woID": 2, "woAttr": 2, "woIM": 1, "woVM": 2}
    assert len(losses) == named[row]
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in model.parameters())
    assert len(model.answer(images)) == (0 if row in ("woAttr", "woIM") else 2)
    assert model.identify(images).shape == (12, 0 if row in ("woID", "woIM") else 6)
    assert learns_attributes(recipe("part_multitask", variant=row)) == (row not in ("woAttr", "woIM"))


def test_the_objective_is_the_sum_of_the_paper_and_holes_cost_nothing() -> None:
    g = torch.Generator().manual_seed(0)
    model = network()
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    labels = torch.tensor([[0, 1], [1, 0], [2, -1], [-1, -1], [0, 0], [1, 1]])
    features = {name: torch.randn(6, 8, generator=g) for name in SIX}
    people = {name: torch.randn(6, 6, generator=g) for name in ("global", "part", "upper", "lower")}
    answers = {name: torch.randn(6, a, generator=g) for name, a in (("global", 4), ("upper", 3), ("lower", 1))}
    output = Output(features, people, answers, model.groups, model.columns)
    batch = {"label": label, "attributes": labels}
    losses = objective(output, batch, Options(identity=2.0, attributes=0.5, triplet=3.0, margin=0.7))
    identity = sum(cross_entropy(x, label).mean() for x in people.values())
    torch.testing.assert_close(losses["identity"], 2 * identity)
    triplet = sum(batch_hard_triplet(features[name], label, margin=0.7).mean() for name in ("global_vm", "part_vm"))
    torch.testing.assert_close(losses["triplet"], 3 * triplet)
    by_hand, target = 0.0, binary_labels(labels, model.columns)
    for i in range(6):
        for a in range(4):
            if target[i, a] >= 0:
                own = answers["upper"][i, a] if a < 3 else answers["lower"][i, 0]
                for logit in (answers["global"][i, a], own):
                    p = float(logit.double().sigmoid())
                    by_hand -= np.log(p if target[i, a] else 1 - p) / 6
    torch.testing.assert_close(losses["attributes"].item(), 0.5 * by_hand, rtol=1e-5, atol=0)
    nothing = {"label": label, "attributes": labels * 0 - 1}
    assert objective(output, nothing, Options())["attributes"] == 0
    assert set(watch(output, nothing)) == {"positive", "negative", "accuracy"}
    assert set(watch(output, batch)) == {"positive", "negative", "accuracy", "answers"}


def test_one_person_with_one_image() -> None:
    model = network().eval()
    batch = PEOPLE.batch(np.array([0]))
    output = model(train.standardise(batch["image"]))
    losses = objective(output, batch, Options())
    assert losses["triplet"] == 0 and torch.isfinite(torch.stack(list(losses.values()))).all()
    assert "positive" not in watch(output, batch)


def test_it_learns_people_and_attributes(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(train, "build", fakes.small_resnet)
    own = recipe("part_multitask", "smoke", epochs=60, lr=0.005, dimensions=8, **{**SMALL, "batch": 24})
    model, history = fit(own, PEOPLE, progress=False)
    assert history.rows[-1]["identity"] < 0.3 * history.rows[0]["identity"]
    codes = torch.nn.functional.normalize(describe(model, PEOPLE, own).descriptor)
    same, apart = PEOPLE.label[:, None] == PEOPLE.label[None], 1 - codes @ codes.T
    assert apart[~same].mean() > 3 * apart[same].mean()
    run = Run(tmp_path, own, model, history.table, PEOPLE.people, "trained", "", PEOPLE.tasks)
    assert (answer(run, PEOPLE).classes == PEOPLE.attributes.numpy()).mean() > 0.85


def test_an_interrupted_training_ends_as_an_undisturbed_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(train, "build", fakes.small_resnet)
    own = recipe("part_multitask", "smoke", epochs=3, dimensions=8, **SMALL)
    whole = load_or_fit(own, PEOPLE, runs=tmp_path / "a", progress=False, say=lambda _: None)
    kept: list[dict[str, Any]] = []
    fit(own, PEOPLE, progress=False, after_epoch=lambda now: kept.append(deepcopy(now)))
    again, _ = fit(own, PEOPLE, progress=False, state=kept[0])
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert load_or_fit(own, PEOPLE, runs=tmp_path / "a", progress=False, say=lambda _: None).how == "loaded"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"triplet": -1.0}, "triplet is -1.0"),
        ({"identity": 0.0, "attributes": 0.0, "triplet": 0.0}, "at least one loss"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"dimensions": 0}, "dimensions 0"),
    ],
)
def test_bad_options_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)


def test_a_backbone_without_layer3_is_named() -> None:
    with pytest.raises(InputError, match=r"alexnet has no layer3 .* choose a ResNet or mobilenet_v2"):
        PartMultitask(build("alexnet"), PEOPLE.targets, Options())


@torch.inference_mode()
def test_mobilenet_parts_where_a_resnet_does() -> None:
    model = PartMultitask(build("mobilenet_v2"), PEOPLE.targets, Options()).eval()
    images = torch.randn(2, 3, 128, 64)
    whole, part = model.maps(images)
    assert (whole.shape, part.shape) == ((2, 1280, 4, 2), (2, 1280, 8, 4))
    assert torch.equal(whole, model.backbone(images))
