"""Attention: maps against closed forms and grad-cam, networks left untouched, scores on parts by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reidkit import attention
from reidkit.attention import (
    METHODS,
    PARTS,
    attribute_maps,
    centre_box,
    class_maps,
    cut,
    elsewhere,
    energy,
    faded,
    finer,
    identity_maps,
    localisation,
    merged_map,
    pair_maps,
    part_masks,
    pointing,
    seen_by,
    survival,
    untaught,
    without,
)  # fmt: skip
from reidkit.backbones import build
from reidkit.cam import merge, normalise
from reidkit.data import Targets, standardise
from reidkit.errors import InputError
from reidkit.systems import AANet, Baseline, InherentCode, PartMultitask, Sharenet, System, TwoStage

PEOPLE = fakes.dressed(6, 4)
IMAGES = standardise(PEOPLE.pixels[:5])


def network(
    system: Any = TwoStage, backbone: Any = fakes.tiny_backbone, targets: Targets = PEOPLE.targets, **options: Any
) -> Any:
    torch.manual_seed(0)
    own = system(backbone(), targets, system.Options(**options))
    with torch.no_grad():  # as after a training: nothing is at its starting point
        for p in own.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return own


def upright(**_: Any) -> Any:
    return fakes.small_resnet(last_stride=1)


CASES = [
    (TwoStage, fakes.tiny_backbone, {}),
    (Sharenet, fakes.tiny_backbone, {"share": "stem"}),
    (AANet, upright, {"channels": 8}),
    (PartMultitask, fakes.small_resnet, {"dimensions": 8}),
]


def as_gradcam(maps: Tensor, height: int, width: int) -> Tensor:
    """What grad-cam makes of a raw map: what speaks for it, from 0 to 1, enlarged, and once more from 0 to 1."""

    def stretched(x: Tensor) -> Tensor:
        x = x - x.amin((1, 2), keepdim=True)
        return x / (1e-7 + x.amax((1, 2), keepdim=True))

    large = nn.functional.interpolate(stretched(maps.relu())[:, None], (height, width), mode="bilinear")
    return stretched(large[:, 0])


@pytest.mark.parametrize("case", CASES[:2], ids=["two_stage", "sharenet"])
@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_gradcam_behind_a_mean_is_the_class_activation_map(case: Any, method: str) -> None:
    own = network(case[0], case[1], **case[2])
    expected = class_maps(own, IMAGES)
    for t, task in enumerate(own.tasks):
        ours = attribute_maps(own, IMAGES, task, method)
        torch.testing.assert_close(ours, as_gradcam(expected[:, t], 32, 16), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", CASES[:2], ids=["two_stage", "sharenet"])
def test_the_mean_of_a_class_map_is_its_logit(case: Any) -> None:
    own = network(case[0], case[1], **case[2]).eval()
    maps = class_maps(own, IMAGES)
    zeros = torch.zeros_like(IMAGES)
    for t, (logits, empty) in enumerate(zip(own.answer(IMAGES), own.answer(zeros), strict=True)):
        chosen = logits.argmax(1)
        classes = torch.zeros(len(IMAGES), len(own.tasks), dtype=torch.long)
        classes[:, t] = chosen
        other = class_maps(own, zeros, classes)[:, t].mean((1, 2))  # both less the bias
        centred = (logits - logits.mean(1, keepdim=True) - empty + empty.mean(1, keepdim=True)).gather(
            1, chosen[:, None]
        )
        torch.testing.assert_close(maps[:, t].mean((1, 2)) - other, centred[:, 0], rtol=1e-4, atol=1e-5)


def test_the_identity_map_of_the_baseline_by_hand() -> None:
    own = network(Baseline).eval()
    features = own.backbone(IMAGES)
    rows = own.classifier.weight * own.neck.weight / (own.neck.running_var + own.neck.eps).sqrt()  # (C, D)
    label = torch.tensor([3, 0, 5, 1, 1])
    by_hand = torch.zeros(5, *features.shape[2:])
    for d in range(features.shape[1]):
        by_hand += (rows - rows.mean(0))[label, d][:, None, None] * features[:, d]
    ours = identity_maps(own, IMAGES, label=label)
    torch.testing.assert_close(ours, as_gradcam(by_hand.detach(), 32, 16), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=["two_stage", "sharenet", "aanet", "part_multitask"])
@pytest.mark.parametrize("method", ["cam", *METHODS])
def test_every_method_on_every_system_leaves_no_trace(case: Any, method: str) -> None:
    """The order of layers and gradients too: HiResCAM multiplies them place by place; the branches differ in size."""
    own = network(case[0], case[1], **case[2]).train()
    own.backbone.stages["stem"].eval()
    kept = nn.Parameter(torch.zeros(2))
    own.register_parameter("kept", kept)
    kept.grad, kept.requires_grad = torch.ones(2), False
    state = {name: value.clone() for name, value in own.state_dict().items()}
    modes = [m.training for m in own.modules()]
    if method == "cam" and case[0] is PartMultitask:
        with pytest.raises(InputError, match="part_multitask has no linear classifier"):
            attribute_maps(own, IMAGES, "shirt", method)
    else:
        maps = attribute_maps(own, IMAGES[:2], "shirt", method)
        assert maps.shape == (2, 32, 16) and maps.dtype == torch.float32 and torch.isfinite(maps).all()
        assert maps.min() >= 0 and maps.max() <= 1.0001
    assert [m.training for m in own.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in own.state_dict().items())
    assert kept.grad is not None and not kept.requires_grad
    assert all(p.grad is None and p.requires_grad for name, p in own.named_parameters() if name != "kept")
    assert not any(m._forward_hooks for m in own.modules())


def test_a_failure_leaves_no_trace_either(monkeypatch: pytest.MonkeyPatch) -> None:
    own = network().train()

    def broken(_: Tensor) -> list[Tensor]:
        raise IndexError("list index out of range")

    chosen = own.answer
    calls = iter([chosen, broken])
    monkeypatch.setattr(own, "answer", lambda x: next(calls)(x))
    with pytest.raises(IndexError):  # grad-cam's own `with` would swallow it
        attribute_maps(own, IMAGES, "shirt")
    assert own.training and not any(m._forward_hooks for m in own.modules())
    assert all(p.requires_grad for p in own.parameters())


def test_a_map_follows_the_evidence() -> None:
    """Red in one quarter: the class that reads red is seen there, by the plain map and by GradCAM."""
    own = network()
    with torch.no_grad():
        stem = own.backbone.stages["stem"]
        stem[0].weight.zero_(), stem[0].bias.zero_()
        stem[0].weight[0, 0] = 1 / 16
        stem[1].running_mean.zero_(), stem[1].running_var.fill_(1), stem[1].weight.fill_(1), stem[1].bias.zero_()
        own.heads[0][1].weight.zero_()
        own.heads[0][1].weight[0, 0] = 1.0
    images = torch.zeros(2, 3, 32, 16)
    images[0, 0, :16, 8:] = 1.0
    images[1, 0, 16:, :8] = 1.0
    red = torch.zeros(2, dtype=torch.long)
    for method in ("cam", "gradcam"):
        maps = attribute_maps(own, images, "shirt", method, red)
        assert [divmod(int(m.argmax()), 16)[0] < 16 for m in maps] == [True, False]
        assert (pointing(maps, images[:, 0] > 0) == 1).all() and (energy(maps, images[:, 0] > 0) > 0.8).all()


def test_pairs() -> None:
    for system, backbone, options in [*CASES, (Baseline, fakes.tiny_backbone, {})]:
        own = network(system, backbone, **options)
        one, two = pair_maps(own, IMAGES[:2], IMAGES[2:4])
        other, again = pair_maps(own, IMAGES[2:4], IMAGES[:2])
        assert one.shape == (2, 32, 16)
        torch.testing.assert_close(one, again)
        torch.testing.assert_close(two, other)
        assert not any(m._forward_hooks for m in own.modules())


def test_the_merged_map_is_the_networks_own() -> None:
    own = network(AANet, upright, channels=8).eval()
    large = nn.functional.interpolate(own(IMAGES).attention.detach()[:, None], (32, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(merged_map(own, IMAGES), large)
    other = network()
    large = nn.functional.interpolate(merge(class_maps(other, IMAGES))[:, None], (32, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(merged_map(other, IMAGES), large)


def test_a_masked_network_has_no_map_where_its_classifiers_do_not_read() -> None:
    tasks = [replace(fakes.CLOTHES[0], name="upcolor"), replace(fakes.CLOTHES[1], name="shoes")]  # read top and bottom
    targets = replace(PEOPLE.targets, tasks=tuple(tasks))
    options = {"regions": "body", "attention": False, "channels": 8}
    own, free = (network(AANet, upright, targets, masked=masked, **options) for masked in (True, False))
    maps, whole = class_maps(own, IMAGES), class_maps(free, IMAGES)  # (B, T, 16, 8)
    read = torch.zeros(2, 16, 1, dtype=torch.bool)
    read[0, :8], read[1, 5:] = True, True  # to the 6th twelfth, and from the 4th, 5.33, on
    assert free.reads(16) is None and torch.equal(own.reads(16), read[..., 0])
    assert torch.equal(maps, whole * read) and (whole * ~read).any()
    for task, blank in {"upcolor": slice(18, 32), "shoes": slice(0, 9)}.items():  # bilinear: beside it, half a row more
        heat, everywhere = (attribute_maps(one, IMAGES, task, "cam") for one in (own, free))
        assert not heat[:, blank].any() and everywhere[:, blank].any() and heat.amax((1, 2)).min() > 0.5
    expected = merge(maps, read)[:, None]
    large = nn.functional.interpolate(expected, (32, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(merged_map(own, IMAGES), large)


def test_questions_without_an_answer_are_one_sentence() -> None:
    own = network()
    with pytest.raises(InputError, match="not asked about 'hat': it answers shirt, bright"):
        attribute_maps(own, IMAGES, "hat")
    with pytest.raises(InputError, match="did you mean 'gradcam'"):
        attribute_maps(own, IMAGES, "shirt", "gradcamm")
    with pytest.raises(InputError, match="does not classify people"):
        identity_maps(own, IMAGES)
    with pytest.raises(InputError, match="trained without identity"):
        identity_maps(network(PartMultitask, fakes.small_resnet, identity=0.0, dimensions=4), IMAGES)
    with pytest.raises(InputError, match="it answers none"):
        attribute_maps(network(Baseline), IMAGES, "shirt")
    assert identity_maps(network(InherentCode), IMAGES[:1]).shape == (1, 32, 16)
    with pytest.raises(InputError, match="none of these attributes has a part"):
        localisation(own, PEOPLE, torch.zeros(24, 32, 16, dtype=torch.uint8))
    with pytest.raises(InputError, match="give part_masks"):
        localisation(own, PEOPLE, torch.zeros(24, 8, 8, dtype=torch.uint8))


# --- scores ---


def test_pointing_and_energy_by_hand() -> None:
    maps = torch.tensor([[[0.0, 1.0], [3.0, 0.0]], [[2.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    inside = torch.tensor(
        [[[False, True], [True, False]], [[True, False], [False, True]], [[True, False], [False] * 2]]
    )
    assert pointing(maps, inside).tolist() == [1.0, 0.5, 0.25]
    assert energy(maps, inside).tolist() == [1.0, 0.5, 0.25]
    flat = torch.ones(3, 2, 2)
    share = inside.float().mean((1, 2))
    assert torch.equal(pointing(flat, inside), share) and torch.equal(energy(flat, inside), share)


def test_localisation_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = (replace(fakes.CLOTHES[0], name="upcolor"), replace(fakes.CLOTHES[1], name="hat"))
    own, people = network(), replace(PEOPLE, tasks=tasks)
    own.asked = tasks
    parts = torch.zeros(24, 32, 16, dtype=torch.uint8)
    parts[:, 8:24, 4:12] = PARTS["upper"]  # the centre box itself
    parts[20:, 0, 0] = PARTS["hat"]  # too small to be seen
    parts[:3, :4, :8] = PARTS["hat"]
    seen: list[int] = []

    def corner(network: Any, images: Tensor, task: str, method: str, classes: Tensor, layer: str) -> Tensor:
        assert (method, layer) == ("gradcam", "")
        own_choice = attention.chosen_classes(network, images)[:, network.tasks.index(task)]
        assert torch.equal(classes, own_choice)  # of these very images
        seen.append(len(images))
        maps = torch.zeros(len(images), 32, 16)
        maps[:, 0, 0], maps[:, 31, 15] = 3.0, 1.0
        return maps

    with torch.no_grad():
        heat = attribute_maps(own, standardise(people.pixels), "upcolor", "cam")  # one attribute by itself
    by_itself = 100 * float(pointing(heat, parts == PARTS["upper"]).mean())
    plain = localisation(own, people, parts, methods=("cam",), batch=10).set_index(["task", "method"])
    assert plain.loc[("upcolor", "cam"), "pointing"] == pytest.approx(by_itself)
    monkeypatch.setattr(attention, "attribute_maps", corner)
    table = localisation(own, people, parts, methods=("gradcam",), batch=10).set_index(["task", "method"])
    assert seen == [10, 10, 4, 3] and list(table.loc["hat", "images"]) == [3] * 3
    assert table.loc[("hat", "gradcam"), "left_out"] == 21 and table.loc[("upcolor", "gradcam"), "left_out"] == 0
    assert table.loc[("hat", "gradcam"), "pointing_low"] == pytest.approx(100 * 3 / (3 + 1.96**2))  # Wilson, 3 of 3
    no = torch.zeros(24, 2, dtype=torch.long).index_fill_(0, torch.tensor([0]), -1)
    fewer = localisation(own, people, parts, methods=(), tasks=["hat"], classes=no)
    assert fewer["images"].tolist() == [2, 2]  # whose class is -1 is left out
    scores = table[["pointing", "energy", "area"]]
    assert scores.loc[("hat", "gradcam")].tolist() == [100, 75, 6.25]
    assert scores.loc[("hat", "uniform")].tolist() == [6.25, 6.25, 6.25]
    assert scores.loc[("hat", "centre box")].tolist() == [0, 0, 6.25]
    assert scores.loc[("upcolor", "gradcam")].tolist() == [0, 0, 25]
    assert scores.loc[("upcolor", "centre box")].tolist() == [100, 100, 25]
    nobody = localisation(own, people, torch.zeros_like(parts), tasks=["hat"])
    assert nobody["images"].tolist() == [0] * 3 and nobody["pointing"].isna().all()
    assert centre_box(2, 32, 16)[0].mean() == 0.25


# --- finer maps, another layer, a random twin ---


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_finer_maps_hold_the_old_ones(backbone: str) -> None:
    torch.manual_seed(0)
    own = TwoStage(build(backbone, last_stride=1), PEOPLE.targets, TwoStage.Options()).eval()
    images, before = torch.randn(2, 3, 64, 48), {name: value.clone() for name, value in own.state_dict().items()}
    with torch.no_grad():
        old = own.attribute_map(images)
        for stages in (1, 2):
            new = finer(own, stages).attribute_map(images)
            step = 2**stages
            assert new.shape[2:] == (4 * step, 3 * step)
            torch.testing.assert_close(new[:, :, ::step, ::step], old, rtol=1e-3, atol=1e-4)
            assert not torch.allclose(new[:, :, 1::step, ::step], old, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(own.attribute_map(images), old)
    assert all(torch.equal(before[name], value) for name, value in finer(own).state_dict().items())
    with pytest.raises(InputError, match=f"4 stages of a {backbone} cannot be opened: 2 halve the map"):
        finer(own, 4)


def test_another_layer_is_that_of_the_network_behind_it() -> None:
    own = network(TwoStage, fakes.small_resnet).eval()
    early, rest = cut(own, "layer3")
    with torch.no_grad():
        maps = early(IMAGES)
        torch.testing.assert_close(rest.answer(maps), own.answer(IMAGES))
    for method in ("layercam", "hirescam"):
        whole = attribute_maps(own, IMAGES, "shirt", method, layer="layer3")
        small = attribute_maps(rest, maps, "shirt", method, layer="layer3")
        assert not torch.allclose(whole, attribute_maps(own, IMAGES, "shirt", method), atol=0.05)
        large = nn.functional.interpolate(small[:, None], (32, 16), mode="bilinear")[:, 0]
        torch.testing.assert_close(normalise(large), normalise(whole), rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="layer9"):
        attribute_maps(own, IMAGES, "shirt", layer="layer9")


def test_a_random_twin() -> None:
    own = network(TwoStage, fakes.small_resnet).eval()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    twin, again, other = (untaught(own, PEOPLE.pixels, seed) for seed in (0, 0, 1))
    state, same = twin.state_dict(), again.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in state.items())
    weights = [name for name, p in own.named_parameters() if p.ndim > 1]
    assert weights and not any(torch.equal(state[name], before[name]) for name in weights)
    assert not any(torch.equal(state[name], other.state_dict()[name]) for name in weights)
    assert all(torch.equal(before[name], value) for name, value in own.state_dict().items())
    with torch.no_grad():  # the statistics are those of the images
        stem = twin.backbone.stages["stem"]
        seen = stem[1](stem[0](standardise(PEOPLE.pixels)))
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(seen.shape[1]), atol=1e-4, rtol=0)


# --- tests of a map ---


def test_where_an_attribute_is_seen() -> None:
    parts = torch.full((1, 20, 2), PARTS["skin"], dtype=torch.uint8)
    parts[0, :, 1] = PARTS["upper"]
    assert torch.equal(seen_by(parts, "upcolor")[0], torch.tensor([[False, True]]).expand(20, 2))
    bare = seen_by(parts, "up")[0, :, 0]  # from 0.3 to 0.5 of the height
    assert bare.nonzero()[:, 0].tolist() == [6, 7, 8, 9]


def test_what_is_painted_over_is_like_what_surrounds_it() -> None:
    images = torch.zeros(2, 3, 32, 16, dtype=torch.uint8)
    images[:, 0], images[:, 1, :, 8:] = 90, 200
    where = torch.zeros(2, 32, 16, dtype=torch.bool)
    where[:, 10:16, 4:12] = True
    images[:, 2][where] = 250  # a thing of its own colour
    done = without(images, where)
    assert torch.equal(done[:, :, ~where[0]], images[:, :, ~where[0]]) and done.dtype == torch.uint8
    assert (done[:, 0] == 90).all() and (done[:, 2] == 0).all()  # nothing of the thing is left
    left, right = done[0, 1, 12, 4], done[0, 1, 12, 11]
    assert 0 < left < right < 200
    everything = torch.ones_like(where)
    assert (without(images, everything) == 0).all()


def test_elsewhere_is_as_large_and_beside_it() -> None:
    where = torch.zeros(3, 32, 16, dtype=torch.bool)
    where[0, 2:6, 3:5], where[1, :, :4], where[2, 30:, 14:] = True, True, True
    onto = torch.zeros_like(where)
    onto[0, 20:24, 10:12], onto[1, :, 8:13], onto[2, 0, 0] = True, True, True
    there = elsewhere(where, onto)
    assert torch.equal(there.sum((1, 2)), where.sum((1, 2))) and not (there & where).any()
    assert torch.equal(there[0], onto[0]) and (there[1] <= onto[1]).all() and there[2, 0, 0]


class Corner(System):
    """Says yes to a hat as sure as the upper left corner is red; no layer to look at."""

    name = "corner"

    def __init__(self) -> None:
        super().__init__(fakes.tiny_backbone(), PEOPLE.targets, System.Options())
        self.asked = (replace(fakes.CLOTHES[1], name="hat"),)

    def answer(self, images: Tensor) -> list[Tensor]:
        red = images[:, 0, :4, :4].mean((1, 2)) + 0 * next(self.parameters()).sum()
        return [torch.stack([0 * red, 5 * red], 1)]


def test_an_answer_outlives_what_it_does_not_come_from() -> None:
    pixels = torch.zeros(24, 3, 32, 16, dtype=torch.uint8)
    pixels[:12, 0, :4, :4] = 255
    people = replace(PEOPLE, pixels=pixels)
    parts = torch.zeros(24, 32, 16, dtype=torch.uint8)
    parts[:, :4, :4], parts[:, 20:, :] = PARTS["hat"], PARTS["lower"]
    only_yes = torch.where(torch.arange(24)[:, None] < 12, 1, -1)
    table = survival(Corner().eval(), people, parts, classes=only_yes, margin=1).set_index("removed")
    assert table["images"].tolist() == [12, 12] and table["survived"].to_dict() == {"part": 0, "elsewhere": 100}
    assert table.loc["part", "survived_low"] == pytest.approx(0, abs=1e-9) and table.loc["part", "survived_high"] < 30
    parts[:] = 0
    assert survival(Corner().eval(), people, parts).empty


def test_a_good_map_fades_the_answer_at_once() -> None:
    images, yes = torch.zeros(2, 3, 32, 16), torch.ones(2, dtype=torch.long)
    images[:, 0, :4, :4] = 2.0
    good, bad = torch.zeros(2, 32, 16), torch.zeros(2, 32, 16)
    good[:, :4, :4], bad[:, 16:] = 1.0, 1.0
    out = {
        name: faded(Corner().eval(), images, "hat", yes, maps, steps=8) for name, maps in (("good", good), ("bad", bad))
    }
    back = {
        name: faded(Corner().eval(), images, "hat", yes, maps, steps=8, insert=True)
        for name, maps in (("good", good), ("bad", bad))
    }
    assert out["good"].shape == (2, 9)
    sure = torch.tensor(10.0).sigmoid()
    torch.testing.assert_close(out["good"][0], torch.cat([sure[None], torch.full((8,), 0.5)]))
    torch.testing.assert_close(out["bad"][:, :5], sure.expand(2, 5))  # until all else is gone
    assert (back["good"][:, 1:] > 0.99).all() and (back["bad"][:, 1:4] < back["good"][:, 1:4]).all()
    torch.testing.assert_close(back["bad"][:, -1], sure.expand(2))


def test_part_masks_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "parts" / "query").mkdir(parents=True)
    numbers = np.repeat(np.repeat(np.array([[0, 4], [5, 10]], np.uint8), 4, 0), 3, 1)
    Image.fromarray(numbers).save(tmp_path / "parts" / "query" / "a.png")
    table = pd.DataFrame({"path": [str(tmp_path / "query" / "a.jpg")]})
    table.attrs["root"] = str(tmp_path)
    assert part_masks(table, 2, 2).tolist() == [[[0, 4], [5, 10]]]
    assert part_masks(table, 4, 2).tolist() == [[[0, 4], [0, 4], [5, 10], [5, 10]]]
    table.loc[0, "path"] = str(tmp_path / "query" / "b.jpg")
    with pytest.raises(InputError, match=r"no part map of .*b\.jpg: only the synthetic people"):
        part_masks(table, 2, 2)
