"""Recipes, schedules, a training that learns, and runs that survive being killed."""

from __future__ import annotations

import io
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from reidkit import cli, devices, files, runs, train
from reidkit.attributes import Task
from reidkit.data import ImageSet, Targets, unstandardise
from reidkit.errors import InputError
from reidkit.features import describe
from reidkit.ranking import evaluate
from reidkit.recipes import PROFILES, Recipe, options_of, recipe
from reidkit.runs import fingerprint, load_or_fit, load_run
from reidkit.synthetic import PARTS
from reidkit.systems import SYSTEMS, System
from reidkit.train import epoch_batches, fit, rate

SMALL: dict[str, Any] = {"height": 32, "width": 16, "batch": 16, "instances": 4, "precision": "32-true"}


def coloured_people(people: int = 8, shots: int = 8, seed: int = 0) -> ImageSet:
    """People with a shirt and trousers of their own colours, in changing light before changing backgrounds."""
    rng = np.random.default_rng(seed)
    shirts = [[60 + 120 * (pid >> k & 1) for k in range(3)] for pid in range(people)]  # the corners of a colour cube
    clothes = np.stack([shirts, shirts[3:] + shirts[:3]], axis=1)  # (people, 2, 3)
    pixels = np.empty((people * shots, 3, 32, 16), np.uint8)
    for i in range(len(pixels)):
        scene = np.ones((32, 16, 3)) * rng.integers(0, 256, 3)
        left = rng.integers(2, 7)
        scene[4:18, left : left + 8], scene[18:30, left + 1 : left + 7] = clothes[i // shots]
        scene = scene * rng.uniform(0.5, 1.3) + rng.normal(0, 20, scene.shape)
        pixels[i] = scene.clip(0, 255).transpose(2, 0, 1)
    pid = np.repeat(np.arange(1, people + 1), shots)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(len(pid))], "pid": pid, "camid": 1, "split": "train"})
    label = torch.from_numpy(pid - 1)
    return ImageSet(
        table, torch.from_numpy(pixels), label, torch.empty(len(pid), 0).long(), tuple(range(1, people + 1))
    )


# --- recipes ---


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_recipe_goes_through_json(system: str, profile: str) -> None:
    own = recipe(system, profile, seed=3)
    again = Recipe.from_json(own.to_json())
    assert again == own and (own.system, own.profile, own.seed) == (system, profile, 3)
    for name, value in SYSTEMS[system].RECIPES[profile].items():
        assert (own.options[name] if name in own.options else getattr(own, name)) == value
    assert options_of(own) == SYSTEMS[system].Options(**own.options)


def test_changes_may_be_texts_and_reach_fields_and_options() -> None:
    own = recipe("baseline", epochs="5", lr="2e-4", flip="false", milestones="0.2,0.4", margin="0.5", neck="no")
    assert (own.epochs, own.lr, own.flip, own.milestones) == (5, 2e-4, False, (0.2, 0.4))
    assert own.options == {"margin": 0.5, "neck": False}
    assert (options_of(own).margin, options_of(own).neck, options_of(own).triplet) == (0.5, False, 1.0)
    assert recipe("baseline", epochs=5.0) == recipe("baseline", epochs="5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "no setting 'epoch': did you mean 'epochs'"),
        ({"margn": 3}, "did you mean 'margin'"),
        ({"zzz": 3}, "known are system, dataset"),
        ({"epochs": "many"}, "epochs='many' is no int"),
        ({"epochs": "2.5"}, "is no int"),
        ({"epochs": "inf"}, "is no int"),
        ({"lr": "fast"}, "is no float, such as 0.001"),
        ({"flip": "maybe"}, "neither true nor false"),
        ({"milestones": "half"}, "is no tuple"),
        ({"lr": 0}, "lr is 0"),
        ({"lr": "nan"}, "lr is nan"),
        ({"weight_decay": "nan"}, "weight_decay is nan"),
        ({"momentum": -1}, "momentum is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"batch": 6}, "fewer than two people: give batch at least 8"),
        ({"batch": 1, "instances": 0}, "batch at least 2"),
        ({"optimizer": "adamw"}, "choose one of adam, sgd"),
        ({"schedule": "poly"}, "choose one of cosine"),
        ({"precision": "16"}, "choose one of auto"),
        ({"metric": "manhattan"}, "choose one of euclidean"),
        ({"backbone": "alexnet", "width": 32}, "at least 63"),
        ({"patience": 2}, "patience needs people to validate on"),
        ({"patience": -1, "validation": 0.4}, "patience is -1"),
        ({"validation": 1}, "validation is 1.0: give a share from 0 to below 1"),
        ({"validation": "-0.1"}, "validation is -0.1"),
        ({"validation": "nan"}, "validation is nan"),
        ({"negatives": "hardest"}, "choose one of batch, random, cluster, similar"),
        ({"negatives": "random", "batch": 5, "instances": 0}, "fewer than two triplets: give batch at least 6"),
        ({"clusters": 0}, "clusters is 0"),
    ],
    ids=str,
)
def test_bad_changes_are_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        recipe("baseline", **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("system", "changes", "message"),
    [
        ("baseline", {"smoothing": 1.5}, "smoothing is 1.5"),
        ("baseline", {"identity": 0, "triplet": 0}, "at least one loss"),
        ("histogram", {"hues": 0}, "hues is 0"),
    ],
)
def test_bad_options(system: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        options_of(recipe(system, **changes))


def test_unknown_system_and_profile() -> None:
    with pytest.raises(InputError, match="did you mean 'baseline'"):
        recipe("baselin")
    with pytest.raises(InputError, match="choose one of smoke, quick, paper"):
        recipe("baseline", "quik")


def test_variants_are_rows_of_a_table_by_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, paper = (recipe("two_stage", profile, "identity") for profile in ("quick", "paper"))
    rows = SYSTEMS["two_stage"].VARIANTS["identity"]
    assert rows["quick"]["lr"] != rows["paper"]["lr"]
    for own in (quick, paper):
        assert own.options["stage"] == "identity" and own.negatives == "cluster"
        assert (own.lr, own.batch) == tuple(rows[own.profile][name] for name in ("lr", "batch"))
        assert own.validation == SYSTEMS["two_stage"].RECIPES[own.profile]["validation"]  # what it leaves alone
    changed = recipe("two_stage", "paper", "identity", lr="0.5", negatives="random", margin=2)
    assert (changed.lr, changed.negatives, changed.epochs) == (0.5, "random", paper.epochs)
    assert changed.options == {"stage": "identity", "margin": 2.0, "balance": False}
    row = {"all": {"lr": 0.1, "epochs": 99}, "quick": {"lr": 0.2}}
    monkeypatch.setitem(SYSTEMS["two_stage"].VARIANTS, "own", row)
    found = [recipe("two_stage", profile, "own") for profile in ("quick", "paper")]
    assert [(own.lr, own.epochs) for own in found] == [(0.2, 99), (0.1, 99)]  # the profile has the last word
    assert recipe("two_stage", variant="focal").options == {"stage": "attributes", "loss": "focal"}


@pytest.mark.parametrize("system", [name for name, own in SYSTEMS.items() if own.VARIANTS])
def test_every_variant_is_a_recipe(system: str) -> None:
    for variant in SYSTEMS[system].VARIANTS:
        for profile in PROFILES:
            own = recipe(system, profile, variant)
            assert options_of(own) == SYSTEMS[system].Options(**own.options)
            assert Recipe.from_json(own.to_json()) == own


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("two_stage", "two_stage has no variant 'focl': choose one of cross_entropy, weighted, focal, alpha_focal, ad"),
        ("histogram", "histogram has no variant 'focl': it has none"),
    ],
)
def test_unknown_variants(system: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(system, variant="focl")


# --- schedules and plans ---


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [
        ("cosine", 0.5, 0.0),
        ("linear", 0.5, 0.0),
        ("step", 0.1, 0.01),
        ("constant", 1.0, 1.0),
        ("exponential", 0.001**0.1, 0.001),
    ],
)
def test_rates(schedule: str, half: float, end: float) -> None:
    own = replace(Recipe(), schedule=schedule, warmup=0.1, milestones=(0.5, 0.9))
    assert 0 < rate(own, 0) < 0.01 and rate(own, 0.05) == pytest.approx(0.5)
    assert rate(own, 0.1) == pytest.approx(1.0)
    assert rate(own, 0.55) == pytest.approx(half) and rate(own, 1.0) == pytest.approx(end, abs=1e-9)
    after = [rate(own, p) for p in np.linspace(0.1, 1, 50)]
    assert (np.diff(after) <= 1e-12).all()
    assert rate(replace(own, warmup=0.0), 0) == pytest.approx(1.0)


@pytest.mark.parametrize("instances", [0, 4])
def test_a_plan_depends_on_seed_and_epoch_alone(instances: int) -> None:
    own, label = Recipe(batch=8, instances=instances), np.repeat([-1, 0, 1, 2], 6)
    one = epoch_batches(own, label, 3)
    assert len(one) and all((label[part] >= 0).all() for part in one)
    np.random.default_rng(0).random(5)
    assert np.concatenate(one).tolist() == np.concatenate(epoch_batches(own, label, 3)).tolist()
    for other in (epoch_batches(own, label, 4), epoch_batches(replace(own, seed=1), label, 3)):
        assert np.concatenate(one).tolist() != np.concatenate(other).tolist()


def test_a_plan_needs_images() -> None:
    with pytest.raises(InputError, match="at least two images"):
        epoch_batches(Recipe(instances=0), np.array([0, -1]), 0)


def test_a_plan_may_be_of_triplets() -> None:
    own, label = Recipe(batch=16, instances=0, negatives="cluster"), np.repeat([-1, 0, 1, 2], 6)
    group = np.arange(len(label)) % 2
    batches = epoch_batches(own, label, 3, group)
    assert [len(b) for b in batches] == [15, 15, 15, 9]  # 16 images hold five triplets; 18 anchors
    assert np.concatenate(batches).tolist() == np.concatenate(epoch_batches(own, label, 3, group)).tolist()
    assert np.concatenate(batches).tolist() != np.concatenate(epoch_batches(own, label, 4, group)).tolist()
    for batch in batches:
        anchor, _, negative = group[batch].reshape(3, -1)
        assert (anchor == negative).all()


@pytest.mark.parametrize("negatives", ["cluster", "similar"])
def test_look_alikes_have_one_colour_and_are_always_the_same(negatives: str) -> None:
    images, own = fakes.dressed(), Recipe(negatives=negatives, clusters=3, precision="32-true")
    network = train.new_network(own, images.targets)
    dye = np.arange(len(images)) % 3
    pixels = torch.tensor([[200, 30, 30], [30, 200, 30], [30, 30, 200]], dtype=torch.uint8)[dye, :, None, None]
    images = replace(images, pixels=(images.pixels // 10 + pixels))
    one, two = (train.look_alikes(own, network, images) for _ in range(2))
    assert one is not None and two is not None
    assert one.shape == (len(images),) and one.tolist() == two.tolist() and set(one) == {0, 1, 2}
    assert len({*zip(dye.tolist(), one.tolist(), strict=True)}) == 3  # one group a colour
    for other in ("batch", "random"):
        assert train.look_alikes(replace(own, negatives=other), network, images) is None
    few = replace(images, pixels=images.pixels[:4])
    assert len(train.look_alikes(replace(own, clusters=20), network, few)) == 4  # type: ignore[arg-type]


def test_the_backbone_may_learn_at_a_share_of_the_rate() -> None:
    own = recipe("baseline", backbone_lr=0.1, optimizer="sgd", momentum=0, **SMALL)
    network = train.new_network(own, Targets(3))
    new, body = train.new_optimizer(own, network).param_groups
    assert (new["scale"], body["scale"]) == (1.0, 0.1)
    backbone = list(network.backbone.parameters())
    assert [id(p) for p in body["params"]] == [id(p) for p in backbone]
    frozen = sum(not p.requires_grad for p in network.parameters())
    assert len(new["params"]) + len(backbone) + frozen == len(list(network.parameters()))


@pytest.mark.parametrize("system", ["two_stage", "sharenet"])
def test_a_backbone_without_a_rate_stays_as_it_is(system: str) -> None:
    """Its copies too, to the last statistic of a batch norm; everything else learns."""
    few = fakes.dressed(4, 4)
    own = recipe(system, "smoke", epochs=1, height=32, width=16, backbone_lr=0, validation=0, patience=0, warmup=0)
    before, network = train.new_network(own, few.targets).state_dict(), fit(own, few, progress=False)[0]
    still = ("backbone.", *network.COPIED)
    for name, value in network.state_dict().items():
        if name.startswith(still):
            assert torch.equal(value.cpu(), before[name]), name
    learnt = [name for name, _ in network.named_parameters() if not name.startswith(still)]
    assert learnt and any(not torch.equal(network.state_dict()[name].cpu(), before[name]) for name in learnt)


@pytest.mark.parametrize("changes", [{"rotate": 10.0, "erase": 1.0}, {"flip": False, "pad": 0}], ids=str)
def test_augment_is_deterministic_and_can_be_none(changes: dict[str, Any]) -> None:
    batch, own = coloured_people(2, 2).batch(np.arange(4)), replace(Recipe(), **changes)
    one, two = (train.augmented(batch, own, torch.Generator().manual_seed(1))["image"] for _ in range(2))
    assert torch.equal(one, two) and torch.isfinite(one).all()
    assert torch.equal(one, train.standardise(batch["image"])) == (not own.flip)


def test_part_maps_move_with_their_images() -> None:
    own = replace(Recipe(), rotate=10.0, flip=True, pad=3, erase=0.5)
    parts = torch.zeros(40, 32, 16, dtype=torch.uint8)
    parts[:, 8:20, 4:9] = 7
    image = (parts == 7)[:, None].expand(-1, 3, -1, -1) * torch.tensor(
        255, dtype=torch.uint8
    )  # white where the part is
    moved = train.augmented({"image": image, "parts": parts}, own, torch.Generator().manual_seed(0))
    assert set(moved["parts"].unique().tolist()) == {0, 7}  # no numbers between them
    white = (unstandardise(moved["image"]) > 0.6).all(1)  # the erased places are as grey as the mean, 0.4 to 0.49
    assert ((moved["parts"] == 7) == white).float().mean() > 0.98 and white.any()
    alone = train.augmented({"image": image}, own, torch.Generator().manual_seed(0))
    assert torch.equal(alone["image"], moved["image"]) and "parts" not in alone


# --- learning ---


def test_a_network_learns_to_tell_coloured_people_apart() -> None:
    people, others = coloured_people(seed=0), coloured_people(seed=1)
    own = recipe("baseline", epochs=8, pad=2, **SMALL)
    trained, history = fit(own, people, progress=False)

    def m_ap(network: System) -> float:
        pids, x = others.table["pid"], describe(network, others, own).descriptor
        return evaluate(x, x, pids, pids, metric=own.metric, rule="same_image").mAP

    untrained = train.new_network(own, Targets(8))
    assert m_ap(trained) > m_ap(untrained) + 15
    table = history.table
    assert table["epoch"].tolist() == list(range(1, 9)) and not trained.training
    for loss in ("identity", "triplet"):
        assert table[loss].iloc[-1] < 0.9 * table[loss].iloc[0]
    assert table["accuracy"].iloc[-1] > table["accuracy"].iloc[0]
    assert (table[["seconds", "images_per_second"]] > 0).all(axis=None)
    assert table["lr"].iloc[-1] < table["lr"].max() <= own.lr


@pytest.mark.parametrize("options", [{"triplet": 0.0, "instances": 0}, {"identity": 0.0, "neck": False}], ids=str)
def test_a_diverged_training_names_loss_epoch_and_step(options: dict[str, Any]) -> None:
    own = recipe("baseline", **SMALL | {"epochs": 3, "lr": 1e30, "warmup": 0} | options)
    name = "identity" if options.get("triplet") == 0 else "triplet"
    with pytest.raises(InputError, match=rf"loss '{name}' became (nan|inf|-inf) in epoch \d, step \d: .*lower lr"):
        fit(own, coloured_people(4, 8), progress=False)


# --- validation ---

TRAINING, HELD_OUT = fakes.dressed(9, 4), fakes.dressed(6, 3, seed=1, first=21)
DRESSED = recipe(
    "two_stage", epochs=6, height=32, width=16, batch=12, lr=0.01, precision="32-true", pad=0, patience=0, dropout=0.2,
    pretrained="none", backbone_lr=1.0,
)  # fmt: skip
TIMES = ["seconds", "images_per_second"]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones of one convolution."""
    monkeypatch.setattr(train, "build", fakes.tiny_backbone)


def scripted(losses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation losses as given, one an epoch."""
    left = iter(losses)
    monkeypatch.setattr(train, "validate", lambda *_: {"val_loss": next(left)})


def fitted(own: Recipe) -> tuple[System, pd.DataFrame, list[dict[str, torch.Tensor]]]:
    """Network, history, and the weights after every epoch."""
    states: list[dict[str, torch.Tensor]] = []

    def keep(now: dict[str, Any]) -> None:
        states.append({name: value.clone() for name, value in now["network"].items()})

    network, history = fit(own, TRAINING, HELD_OUT, progress=False, after_epoch=keep)
    return network, history.table, states


def same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("tiny")
def test_which_parts_stand_where_is_learnt_from_part_maps() -> None:
    """White above black: where a place of the map looks at white it is to say hair, else shoes."""
    people = fakes.dressed()
    pixels, parts = torch.zeros_like(people.pixels), torch.full((len(people), 32, 16), PARTS["shoes"])
    for n, row in enumerate(np.random.default_rng(0).integers(8, 24, len(people))):
        pixels[n, :, :row], parts[n, :row] = 255, PARTS["hair"]
    known = replace(people, pixels=pixels, parts=parts.byte())
    changes = {"height": 32, "width": 16, "precision": "32-true", "batch": 12, "lr": 0.01, "half": 0, "most": 0}
    own = recipe("start", epochs=20, parts=2.0, light=0.0, erase=0.0, **changes)
    network, history = fit(own, known, progress=False)
    assert history.table["parts"].iloc[-1] < 0.5 * history.table["parts"].iloc[0]
    image = torch.zeros(1, 3, 32, 16, dtype=torch.uint8)
    image[:, :, :16] = 255
    with torch.no_grad():
        places = network(train.standardise(image).to(next(network.parameters()).device)).places[0].float().cpu()
    upper, lower = places[:, : places.shape[1] // 2].mean((1, 2)), places[:, -(places.shape[1] // 2) :].mean((1, 2))
    assert upper[PARTS["hair"]] > lower[PARTS["hair"]] and upper[PARTS["shoes"]] < lower[PARTS["shoes"]]
    with pytest.raises(InputError, match="these images have no part maps: set parts=0"):
        fit(own, people, progress=False)
    fit(replace(own, epochs=1, options={**own.options, "parts": 0.0}), people, progress=False)


@pytest.mark.parametrize("variant", ["cross_entropy", "identity"])
@pytest.mark.usefixtures("tiny")
def test_the_history_tells_the_losses_on_the_people_held_out(variant: str) -> None:
    stage = {"negatives": "cluster", "clusters": 2, "options": {"stage": "identity"}} if variant == "identity" else {}
    network, table, _ = fitted(replace(DRESSED, epochs=2, **stage))
    losses = ["triplet"] if variant == "identity" else ["shirt", "bright"]
    watched = ["positive", "negative", "wrong"] if variant == "identity" else ["accuracy"]
    expected = ["epoch", "lr", *TIMES, *losses, *watched, "val_loss", *(f"val_{name}" for name in losses + watched)]
    assert list(table) == expected and len(table) == 2 and not network.training
    assert np.isfinite(table).all(axis=None)
    np.testing.assert_allclose(table["val_loss"], table[[f"val_{name}" for name in losses]].sum(axis=1), rtol=1e-6)


@pytest.mark.usefixtures("tiny")
def test_validation_is_that_of_the_whole_set_at_rest() -> None:
    """Without augmentation or dropout, and a smaller last batch (18 = 12 + 6) counts for less."""
    own = replace(DRESSED, epochs=2, batch=12, rotate=10.0)
    fabric = devices.fabric_for(own)
    network, _, _ = fitted(own)
    found = train.validate(own, network, HELD_OUT, fabric)
    assert found == train.validate(own, network, HELD_OUT, fabric)  # the same batches every time
    device = next(network.parameters()).device
    with torch.inference_mode():
        output = network(train.standardise(HELD_OUT.pixels.to(device)))
    batch = {"attributes": HELD_OUT.attributes.to(device)}
    whole = network.objective(output, batch)
    for name, loss in whole.items():
        assert found[f"val_{name}"] == pytest.approx(float(loss), rel=1e-4)
    assert found["val_loss"] == pytest.approx(float(sum(whole.values())), rel=1e-4)
    right = [(x.argmax(1) == y).cpu() for x, y in zip(output.logits.values(), batch["attributes"].T, strict=True)]
    assert found["val_accuracy"] == pytest.approx(float(torch.cat(right).float().mean()), rel=1e-5)


def test_means_weigh_batches_and_leave_out_what_was_not_watched() -> None:
    sums = train.Sums()
    sums.add({"a": torch.tensor(1.0), "b": torch.tensor(4.0)}, {"seen": torch.tensor(0.5)}, 3)
    sums.add({"a": torch.tensor(5.0), "b": torch.tensor(0.0)}, {}, 1)
    sums.add({"a": torch.tensor(1.0), "b": torch.tensor(0.0)}, {"seen": torch.tensor(1.0)}, 1)
    assert sums.means(DRESSED, 0) == pytest.approx({"a": 1.8, "b": 2.4, "seen": 0.625})
    sums.add({"a": torch.tensor(torch.nan), "b": torch.tensor(0.0)}, {})
    with pytest.raises(InputError, match="loss 'a' became nan on the validation images: the training diverged"):
        sums.means(DRESSED, train.VALIDATION)


@pytest.mark.parametrize(
    ("losses", "best"), [([3, 1, 2, 4], 2), ([4, 3, 2, 1], 4), ([1, 2, 3, 4], 1), ([2, 1, 1, 1], 2)], ids=str
)
@pytest.mark.usefixtures("tiny")
def test_the_weights_of_the_best_epoch_are_kept(
    losses: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(losses, monkeypatch)
    network, table, states = fitted(replace(DRESSED, epochs=4))
    assert table["val_loss"].tolist() == losses and len(states) == 4
    kept = {name: value.cpu() for name, value in network.state_dict().items()}
    same = [same_state(kept, {name: value.cpu() for name, value in state.items()}) for state in states]
    assert same == [epoch == best for epoch in range(1, 5)] and not network.training


@pytest.mark.usefixtures("tiny")
def test_a_training_that_gets_worse_keeps_its_best() -> None:
    """With the real losses: people held out whose answers contradict what is learnt."""
    liars = replace(HELD_OUT, attributes=torch.stack([2 - HELD_OUT.attributes[:, 0], 1 - HELD_OUT.attributes[:, 1]], 1))
    network, history = fit(DRESSED, TRAINING, liars, progress=False)
    losses = history.table["val_loss"]
    assert losses.iloc[-1] > 1.2 * losses.min()
    found = train.validate(DRESSED, network, liars, devices.fabric_for(DRESSED))
    assert found["val_loss"] == pytest.approx(losses.min(), rel=1e-5)


@pytest.mark.parametrize(("patience", "epochs"), [(0, 7), (1, 3), (2, 4), (3, 7), (9, 7)])
@pytest.mark.usefixtures("tiny")
def test_patience_ends_the_training(patience: int, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted([3, 1, 2, 2, 0.5, 4, 4], monkeypatch)
    _, table, _ = fitted(replace(DRESSED, epochs=7, patience=patience, validation=0.4))
    assert table["epoch"].tolist() == list(range(1, epochs + 1))


@pytest.mark.usefixtures("tiny")
def test_without_validation_the_last_epoch_is_kept() -> None:
    states: list[dict[str, torch.Tensor]] = []
    own = replace(DRESSED, epochs=2, validation=0.0)
    network, history = fit(own, TRAINING, progress=False, after_epoch=lambda now: states.append(now["network"]))
    assert same_state(network.state_dict(), states[-1]) and not any(name.startswith("val") for name in history.table)


@pytest.mark.parametrize("after", [1, 2, 3, 5])
@pytest.mark.parametrize("stage", ["attributes", "identity"])
@pytest.mark.usefixtures("tiny")
def test_a_resumed_run_with_validation_ends_with_the_very_bits(
    stage: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best epoch is the second and the fifth ends the training; 5: killed when that was already clear."""
    own = replace(DRESSED, epochs=8, patience=3, options={"stage": stage})
    if stage == "identity":
        own = replace(own, negatives="similar", clusters=2)  # sorted before the first step, also when it goes on
    told, real, written = [3.0, 1.0, 2.0, 2.0, 1.5], files.write_whole, []
    scripted(told, monkeypatch)
    plain = load_or_fit(own, TRAINING, HELD_OUT, folder=tmp_path / "plain", progress=False, say=lambda _: None)
    assert plain.how == "trained" and len(plain.history) == 5

    def stop(path: Path, how: Callable[[Path], Any]) -> None:
        real(path, how)
        written.append(path.name)
        if written.count("checkpoint.pt") == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_whole", stop)
    monkeypatch.setattr(runs, "EVERY", 0)
    scripted(told, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        load_or_fit(own, TRAINING, HELD_OUT, folder=tmp_path / "killed", progress=False, say=lambda _: None)
    monkeypatch.setattr(runs, "write_whole", real)
    scripted(told[after:], monkeypatch)
    run = load_or_fit(own, TRAINING, HELD_OUT, folder=tmp_path / "killed", progress=False, say=lambda _: None)
    assert run.how == "resumed" and equal_weights(run.folder, plain.folder)
    pd.testing.assert_frame_equal(run.history.drop(columns=TIMES), plain.history.drop(columns=TIMES))
    assert same_state(run.network.state_dict(), plain.network.state_dict())
    again = load_or_fit(own, TRAINING, HELD_OUT, folder=run.folder, say=lambda _: None)
    assert again.how == "loaded" and same_state(again.network.state_dict(), plain.network.state_dict())


@pytest.mark.usefixtures("tiny")
def test_resuming_draws_the_same_validation_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, real = replace(DRESSED, epochs=4), files.write_whole
    plain = load_or_fit(own, TRAINING, HELD_OUT, folder=tmp_path / "plain", progress=False, say=lambda _: None)

    def stop(path: Path, how: Callable[[Path], Any]) -> None:
        real(path, how)
        if path.name == "checkpoint.pt":
            raise KeyboardInterrupt

    for write, expected in ((stop, KeyboardInterrupt), (stop, KeyboardInterrupt), (real, None)):
        monkeypatch.setattr(runs, "write_whole", write)
        monkeypatch.setattr(runs, "EVERY", 0)
        with pytest.raises(expected) if expected else nullcontext():
            run = load_or_fit(own, TRAINING, HELD_OUT, folder=tmp_path / "own", progress=False, say=lambda _: None)
    assert equal_weights(run.folder, plain.folder)
    pd.testing.assert_frame_equal(run.history.drop(columns=TIMES), plain.history.drop(columns=TIMES))


@pytest.mark.usefixtures("tiny")
def test_a_run_knows_its_tasks_and_its_validation_images(tmp_path: Path) -> None:
    own = replace(DRESSED, epochs=1, validation=0.4)
    run = load_or_fit(own, TRAINING, HELD_OUT, runs=tmp_path, progress=False, say=lambda _: None)
    assert run.folder == runs.run_folder(own, TRAINING, HELD_OUT, tmp_path)
    assert run.folder != runs.run_folder(own, TRAINING, runs=tmp_path)
    again = load_run(run.folder)
    assert again.tasks == run.tasks == fakes.CLOTHES and again.people == TRAINING.people and again.images == run.images
    described = json.loads((run.folder / "environment.json").read_text())
    assert Targets.from_dict(described["targets"]) == TRAINING.targets
    assert list(again.history) == list(run.history) and "val_accuracy" in again.history
    with pytest.raises(InputError, match="of other images"):
        load_or_fit(own, TRAINING, fakes.dressed(6, 3, seed=1, first=31), folder=run.folder)


@pytest.mark.parametrize(
    ("own", "people", "held_out", "message"),
    [
        (recipe("baseline", **SMALL), TRAINING, HELD_OUT, "baseline tells the training people apart, .*validation=0"),
        (recipe("baseline", validation=0.4, **SMALL), TRAINING, None, "validation is 0.4 and no validation images"),
        (replace(DRESSED, validation=0.4), TRAINING, None, "no validation images were given: see course.sets"),
        (DRESSED, coloured_people(2, 2), HELD_OUT, "two_stage learns attributes and these images have none"),
        (DRESSED, TRAINING, coloured_people(2, 2), "validation images have other attributes"),
        (DRESSED, TRAINING, replace(HELD_OUT, tasks=fakes.CLOTHES[::-1]), "validation images have other attributes"),
    ],
)
def test_what_the_images_lack_is_one_sentence(
    own: Recipe, people: ImageSet, held_out: ImageSet | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_or_fit(own, people, held_out, folder=tmp_path / "run", progress=False, say=lambda _: None)
    assert "\n" not in str(caught.value) and not any(tmp_path.iterdir())


# --- runs ---

SHORT = recipe("baseline", epochs=3, **SMALL | {"batch": 8, "instances": 2, "height": 16, "width": 8})


def on_disk(own: ImageSet, folder: Path) -> ImageSet:
    """The same images with files behind them: a run knows its images by name and size."""
    paths = [folder / name for name in own.table["path"]]
    for path, pixels in zip(paths, own.pixels, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return replace(own, table=own.table.assign(path=list(map(str, paths))))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    own = coloured_people(4, 4)
    small = replace(own, pixels=own.pixels[:, :, ::2, ::2].contiguous())
    return on_disk(small, tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def undisturbed(people: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return load_or_fit(SHORT, people, runs=tmp_path_factory.mktemp("runs"), progress=False, say=lambda _: None)


def equal_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_is_kept_whole_and_loaded_again(undisturbed: runs.Run, people: ImageSet) -> None:
    home = undisturbed.folder
    names = {"recipe.json", "model.safetensors", "history.csv", "environment.json"}
    assert undisturbed.how == "trained" and {p.name for p in home.parent.rglob("*") if p.is_file()} == names
    assert home.name == f"baseline-synthetic-{fingerprint(SHORT, people)}"
    said: list[str] = []
    again = load_or_fit(SHORT, people, runs=home.parent, say=said.append)
    assert again.how == "loaded" and said == [f"loaded the finished run {home}"]
    assert again.recipe == SHORT and again.people == (1, 2, 3, 4) and not again.network.training
    for (name, one), other in zip(
        undisturbed.network.state_dict().items(), again.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    pd.testing.assert_frame_equal(again.history, undisturbed.history, check_dtype=False)
    environment = json.loads((home / "environment.json").read_text())
    assert torch.__version__.startswith(environment["torch"]) and environment["people"] == [1, 2, 3, 4]


def test_bf16_is_not_chosen_where_the_last_map_is_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is NaN at random on a CPU, see `one_column`; whoever names a precision gets it."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    narrow = recipe("two_stage", "smoke")
    assert (narrow.width, narrow.last_stride) == (32, 2) and devices.precision_of(narrow) == "32-true"
    for other in (
        replace(narrow, last_stride=1),
        replace(narrow, width=33),
        replace(narrow, backbone="alexnet", height=64, width=64),
    ):
        assert devices.precision_of(other) == "bf16-mixed"
    assert devices.precision_of(replace(narrow, precision="bf16-mixed")) == "bf16-mixed"


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_resumed_run_ends_with_the_very_bits(
    after: int, undisturbed: runs.Run, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = files.write_whole, []

    def stop(path: Path, how: Callable[[Path], Any]) -> None:
        real(path, how)
        written.append(path.name)
        if written.count("checkpoint.pt") == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_whole", stop)
    monkeypatch.setattr(runs, "EVERY", 0)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        load_or_fit(SHORT, people, folder=tmp_path / "run", progress=False, say=said.append)
    assert [p.name for p in tmp_path.iterdir()] == [".run.partial"]
    monkeypatch.setattr(runs, "write_whole", real)
    run = load_or_fit(SHORT, people, folder=tmp_path / "run", progress=False, say=said.append)
    assert run.how == "resumed" and said == [
        f"training {tmp_path / 'run'}",
        f"resuming {tmp_path / 'run'} after epoch {after} of 3",
    ]
    assert equal_weights(run.folder, undisturbed.folder)
    timeless = ["epoch", "lr", "identity", "triplet", "accuracy"]
    pd.testing.assert_frame_equal(run.history[timeless], undisturbed.history[timeless])
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and not (run.folder / "checkpoint.pt").exists()


def test_epochs_of_no_time_leave_no_notes(
    undisturbed: runs.Run, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = files.write_whole, []
    monkeypatch.setattr(runs, "write_whole", lambda path, how: (written.append(path.name), real(path, how)))
    for every, notes in ((1e9, 0), (0, SHORT.epochs)):
        monkeypatch.setattr(runs, "EVERY", every)
        run = load_or_fit(SHORT, people, folder=tmp_path / str(notes), progress=False, say=lambda _: None)
        assert written.count("checkpoint.pt") == notes and equal_weights(run.folder, undisturbed.folder)


def test_another_recipe_is_refused_and_what_it_began_is_dropped(
    undisturbed: runs.Run, people: ImageSet, tmp_path: Path
) -> None:
    other = replace(SHORT, seed=1)
    with pytest.raises(InputError, match="holds a run of another recipe or of other images"):
        load_or_fit(other, people, folder=undisturbed.folder)
    fewer = replace(people, table=people.table.iloc[:-1])
    for others in (replace(people, people=(1, 2, 3, 9)), fewer):
        with pytest.raises(InputError, match="other images"):
            load_or_fit(SHORT, others, folder=undisturbed.folder)
    partial = tmp_path / ".run.partial"
    partial.mkdir()
    (partial / "begun.txt").write_text(fingerprint(other, people))
    (partial / "checkpoint.pt").write_bytes(b"of another recipe")
    run = load_or_fit(SHORT, people, folder=tmp_path / "run", progress=False, say=lambda _: None)
    assert run.how == "trained" and equal_weights(run.folder, undisturbed.folder)


@pytest.mark.parametrize("pids", [[1, 1], [1, 2]])
def test_what_cannot_be_trained_writes_nothing(pids: list[int], people: ImageSet, tmp_path: Path) -> None:
    alone = replace(people, label=torch.zeros_like(people.label), people=(1,))
    bad = replace(SHORT, pretrained=str(tmp_path / "gone.pth")) if pids == [1, 2] else SHORT
    with pytest.raises(InputError, match=r"at least two people|are not there"):
        load_or_fit(bad, alone, folder=tmp_path / "deep" / "run", progress=False, say=lambda _: None)
    assert not any(tmp_path.iterdir())


def test_fingerprints_see_recipe_and_images_but_not_the_place(people: ImageSet, tmp_path: Path) -> None:
    table = people.table
    own = fingerprint(SHORT, people)
    moved = on_disk(replace(people, table=table.assign(path=[Path(p).name for p in table["path"]])), tmp_path)
    assert own == fingerprint(Recipe.from_json(SHORT.to_json()), moved)
    tables = [table.iloc[1:], table.assign(pid=table["pid"][::-1].to_numpy()), table.assign(camid=2)]
    labels = torch.zeros(len(people), 1, dtype=torch.int64)
    hat = Task("hat", ("no", "yes"), ("hat",))
    sets = [replace(people, table=other) for other in tables]
    sets += [replace(people, tasks=(hat,), attributes=labels), replace(people, tasks=(hat,), attributes=labels + 1)]
    others = [fingerprint(SHORT, images) for images in sets]
    others += [fingerprint(replace(SHORT, lr=0.5), people), fingerprint(SHORT, people, people)]
    run = [fingerprint(replace(SHORT, pretrained=place), people) for place in ("here/run-1", "/there/run-1", "run-2")]
    assert run[0] == run[1] != run[2]
    Path(moved.table["path"][0]).write_bytes(b"another picture")
    others.append(fingerprint(SHORT, moved))
    assert len({own, *others}) == 9 and all(len(name) == 8 for name in others)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("recipe.json", b"{"), ("recipe.json", b"[]"), ("recipe.json", b'{"milestones": [], "colour": 1}'),
        ("environment.json", b"{}"), ("model.safetensors", b"x" * 100), ("model.safetensors", b""),
        ("recipe.json", None), ("environment.json", b'{"people": [1, 2]}'),
    ],
    ids=str,
)  # fmt: skip
def test_damaged_runs_are_one_sentence(file: str, content: bytes | None, undisturbed: runs.Run, tmp_path: Path) -> None:
    for path in undisturbed.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(content) if content is not None else (tmp_path / file).unlink()
    with pytest.raises(InputError, match="is no finished run") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_absent_run_names_the_nearest(undisturbed: runs.Run) -> None:
    home = undisturbed.folder
    with pytest.raises(InputError, match=f"nearest there is '{home.name}'"):
        load_run(home.with_name(home.name[:-1]))


def test_write_is_whole_or_absent(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    files.write_whole(tmp_path / "a", lambda path: path.write_text("first"))
    with pytest.raises(OSError, match="disk full"):
        files.write_whole(tmp_path / "a", half)
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_two_processes_write_one_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that ends last has its say; neither takes the other's half for its own."""
    target = tmp_path / "a"

    def meanwhile(path: Path) -> None:
        path.write_text("fir")
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 1)
            files.write_whole(target, lambda path: path.write_text("second"))
        assert target.read_text() == "second"
        path.write_text("first")

    files.write_whole(target, meanwhile)
    assert target.read_text() == "first" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_kill_tore_is_not_in_the_finished_run(people: ImageSet, tmp_path: Path) -> None:
    home = tmp_path / "run"
    partial = home.with_name(".run.partial")
    partial.mkdir()
    words = [runs.fingerprint(SHORT, people), *runs.code_of(SHORT)]
    (partial / "begun.txt").write_text(" ".join(words))
    (partial / ".checkpoint.pt.7.tmp").write_bytes(b"half")
    load_or_fit(SHORT, people, folder=home, progress=False, say=lambda _: None)
    assert not list(home.glob(".*"))


def test_a_killed_command_started_again_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    """SIGKILL at random moments, in processes of their own; the final folder is whole whenever it is seen."""
    root, killed, plain = fakes.market(tmp_path / "market"), tmp_path / "killed", tmp_path / "plain"
    words = ["train", "baseline", "--dataset", "market1501", "--root", str(root), "--json"]
    for setting in ("precision=32-true", "epochs=8", "batch=8", "instances=2", "height=16", "width=8"):
        words += ["--set", setting]
    whole = {"recipe.json", "model.safetensors", "history.csv", "environment.json"}
    moments = random.Random(0)
    kills = 0
    for _ in range(3):
        command = [sys.executable, "-m", "reidkit.cli", *words, "--out", str(killed)]
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert first.startswith(("training", "resuming", "loaded")), first + process.stderr.read()
            end = time.monotonic() + moments.uniform(0.0, 1.2)
            while time.monotonic() < end and process.poll() is None:
                assert not killed.exists() or whole <= {p.name for p in killed.iterdir()}
                time.sleep(0.005)
            kills += process.poll() is None
            process.kill()
        if killed.exists():
            break
    assert kills
    results = []
    for folder in (killed, plain):
        told = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(told), redirect_stderr(io.StringIO()):
            patch.setattr(sys, "argv", ["reidkit", *words, "--out", str(folder)])
            _exits(cli.main)
        results.append(json.loads(told.getvalue()))
        assert whole | {"metrics.json"} <= {p.name for p in folder.iterdir()}
        assert not (tmp_path / f".{folder.name}.partial").exists()
    assert equal_weights(killed, plain)
    same = [{k: v for k, v in result.items() if k not in ("run", "training_minutes")} for result in results]
    assert same[0] == same[1] and math.isfinite(same[0]["mAP"])


def _exits(main: Callable[[], None]) -> None:
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code


def test_recipe_fields_are_all_written() -> None:
    assert set(json.loads(Recipe().to_json())) == {f.name for f in fields(Recipe)}
