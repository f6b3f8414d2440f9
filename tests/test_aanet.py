"""The attribute attention network: regions by peaks, maps by hand, learnt weights of its tasks, rows of Table 3."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import fakes
import numpy as np
import pytest
import torch

from reidkit import train
from reidkit.attributes import DUKE, MARKET, VIPER19
from reidkit.backbones import build
from reidkit.cam import class_map, merge, normalise
from reidkit.data import Targets
from reidkit.errors import InputError
from reidkit.features import answer, describe
from reidkit.losses import cross_entropy, task_losses, uncertain
from reidkit.recipes import learns_attributes, options_of, recipe
from reidkit.runs import Run, load_or_fit
from reidkit.systems.aanet import AANet, attended, peak_regions, pool_regions, region_of
from reidkit.train import fit

Options, VARIANTS = AANet.Options, AANet.VARIANTS
objective, watch = fakes.losses_of(AANet)
SMALL: dict[str, Any] = {"height": 32, "width": 8, "precision": "32-true", "pad": 0, "batch": 12}
PEOPLE = fakes.dressed(6, 4)
TALL = replace(PEOPLE, pixels=PEOPLE.pixels[..., ::2])


def network(**options: Any) -> AANet:
    torch.manual_seed(0)
    return AANet(fakes.small_resnet(last_stride=1), PEOPLE.targets, Options(channels=8, **options))


# --- maps ---


def test_a_class_map_is_the_loop_over_channels(generator: torch.Generator) -> None:
    features, weight = torch.randn(2, 5, 4, 3, generator=generator), torch.randn(2, 3, 5, generator=generator)
    maps = class_map(features, weight)
    for b in range(2):
        for t in range(3):
            by_hand = torch.zeros(4, 3)
            for v in range(5):
                by_hand += weight[b, t, v] * features[b, v]
            torch.testing.assert_close(maps[b, t], by_hand)
    logit = (features.mean((2, 3))[:, None] * weight).sum(2)
    torch.testing.assert_close(maps.mean((2, 3)), logit)  # what the map means


def test_the_merged_map_by_hand() -> None:
    maps = torch.tensor([[[[0.0, 4.0], [2.0, 1.0]], [[-1.0, -1.0], [-3.0, -2.0]]]])
    # normalised: 0 1 .5 .25 and 1 1 0 .5; the highest: 1 1 .5 .5, mean .75
    assert merge(maps).tolist() == [[[1.0, 1.0], [0.0, 0.0]]]
    constant = torch.full((1, 2, 3, 3), 7.0, requires_grad=True)
    merge(constant).sum().backward()
    assert not merge(constant).any() and constant.grad is not None and torch.isfinite(constant.grad).all()
    assert normalise(torch.tensor([[-2.0, 0.0], [2.0, 6.0]])).tolist() == [[0.0, 0.25], [0.5, 1.0]]


# --- regions ---


def slow_regions(x: np.ndarray, parts: int) -> list[int]:
    """Region of each row of one map (Z, H, W), with lists and loops, until k-means stands still."""
    h, w = x.shape[1:]
    rows = sorted(int(z.argmax()) // w for z in x if z.max() > z.min()) or list(range(h))
    one = np.float32(1)  # ties between two centres are decided by rounding, so it rounds alike
    centres, before = [rows[-(-len(rows) * (2 * p + 1) // (2 * parts)) - 1] * one for p in range(parts)], []
    while centres != before:
        before = list(centres)
        for p in range(parts):
            own = [r for r in rows if min(range(parts), key=lambda q: abs(r - before[q])) == p]
            centres[p] = sum(own) * one / len(own) if own else before[p]
    first = [0]
    for p in range(1, parts):
        border = (centres[p - 1] + centres[p]) / 2
        above = sum(r <= border for r in range(h))
        first.append(min(max(above, first[-1] + 1), h - (parts - p)))
    return [max(p for p in range(parts) if first[p] <= r) for r in range(h)]


@pytest.mark.parametrize("shape", [(40, 24, 8), (12, 8, 3), (6, 6, 2), (9, 7, 1)])
def test_regions_are_those_of_a_slow_loop(shape: tuple[int, int, int], generator: torch.Generator) -> None:
    x = torch.rand(16, *shape, generator=generator)
    x[:4, :, : shape[1] // 2] += 1  # all peaks in the upper half: borders crowd there
    x[4, :, 0] += 9  # all in one row
    x[5] = 1.0  # no peak at all
    x[6, :, -1] += 9
    region = peak_regions(x)
    for own, image in zip(region.tolist(), x.double().numpy(), strict=True):
        assert own == slow_regions(image, 6)
        assert sorted(set(own)) == list(range(6)) and own == sorted(own)  # bands, top to bottom, none without a row
    pooled = pool_regions(x, region)
    for b in (0, 4, 9):
        for p in range(6):
            torch.testing.assert_close(pooled[b, p], x[b][:, region[b] == p].mean((1, 2)))


def test_channels_that_never_fire_have_no_peak() -> None:
    x = torch.zeros(1, 50, 24, 2)
    for z in range(6):
        x[0, z, 10 + 2 * z, 1] = 1.0  # two rows each, from row 10 on; the other 44 channels are dead
    region = peak_regions(x)[0]
    assert region.bincount().tolist() == [12, 2, 2, 2, 2, 4]
    assert not peak_regions(x.requires_grad_()).requires_grad


def test_a_map_with_fewer_rows_than_parts_is_refused() -> None:
    with pytest.raises(InputError, match="the map has 5 rows, fewer than the 6 parts: give height at least 12"):
        network()(torch.randn(2, 3, 10, 8))


# --- tasks ---


def test_market_and_duke_as_decided() -> None:
    where = {task.name: region_of(task.name) for task in MARKET.tasks}
    assert [name for name, region in where.items() if region == "top"] == ["hair", "up", "hat", "upcolor"]
    assert [name for name, region in where.items() if region == "middle"] == ["backpack", "bag", "handbag"]
    assert [name for name, region in where.items() if region == "bottom"] == ["down", "clothes", "downcolor"]
    duke = [region_of(task.name) for task in DUKE.tasks]
    assert duke == ["global", "top", "bottom", "top", *["middle"] * 3, "bottom", "top", "bottom"]
    market = [task.name for task in MARKET.tasks]
    assert [market[t] for t in attended(market)] == ["gender", "hair", "upcolor", "downcolor", "clothes", "down"]
    names = [task.name for task in DUKE.tasks]
    assert [names[t] for t in attended(names)] == ["gender", "hat", "upcolor", "downcolor", "boots", "shoes"]
    assert [region_of(name) for name in VIPER19[:5]] == ["top", "top", "middle", "middle", "bottom"]
    assert region_of("personalFemale") == "global" and attended(["shirt", "bright"]) == [0, 1]


@pytest.mark.slow
def test_the_paper_recipe_on_a_resnet50() -> None:
    """Z 2048, a map of 24 x 8, V 256, a descriptor of 12 x 256; one step moves every weight."""
    own = recipe("aanet", "paper")
    assert (own.backbone, own.height, own.width, own.batch, own.instances) == ("resnet50", 384, 128, 32, 0)
    assert (own.optimizer, own.lr, own.lr * own.backbone_lr, own.epochs) == ("sgd", 0.1, pytest.approx(0.01), 40)
    assert [train.rate(own, p) for p in (0, 0.49, 0.5, 1)] == pytest.approx([1, 1, 0.1, 0.1])
    assert own.flip and not (own.pad or own.rotate or own.erase)
    torch.manual_seed(0)
    model = AANet(build("resnet50", last_stride=own.last_stride), Targets(751, tasks=MARKET.tasks), options_of(own))
    output = model(torch.randn(2, 3, 384, 128))
    assert model.backbone.channels == 2048 and output.attention is not None
    assert output.attention.shape == (2, 24, 8) and torch.cat(output.vectors, 1).shape == (2, 3072)
    assert {name: len(logits) for name, logits in output.people.items()} == {"global": 1, "part": 6, "attention": 1}
    assert all(x.shape == (2, 256) for x in output.vectors)
    assert all(x.shape == (2, 751) for logits in output.people.values() for x in logits)
    assert [x.shape[1] for x in output.answers] == [len(task.classes) for task in MARKET.tasks]
    batch = {"label": torch.tensor([3, 5]), "attributes": torch.zeros(2, 12, dtype=torch.long)}
    sum(objective(output, batch, options_of(own)).values()).backward()  # type: ignore[union-attr]
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.any(), name
    scales = [group["scale"] for group in train.new_optimizer(own, model).param_groups]
    assert scales == [1.0, 0.1]


@pytest.mark.parametrize(
    ("row", "vectors", "losses"),
    [
        ("global", 1, ["global"]),
        ("parts", 7, ["global", "part"]),
        ("attributes", 11, ["global", "part", "attribute"]),
        ("uncertainty", 11, ["global", "part", "attribute"]),
        ("attention", 12, ["global", "part", "attribute", "attention"]),
    ],
)
def test_the_rows_of_table_3(row: str, vectors: int, losses: list[str]) -> None:
    options = VARIANTS[row]["all"]
    model = network(**options)
    batch = TALL.batch(np.arange(12))
    images = train.standardise(batch["image"])
    output = model(images)
    assert model.describe(images).shape == (12, 8 * vectors)
    found = objective(output, batch, Options(**options))
    assert list(found) == losses
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in model.parameters())
    assert (model.log_variance is not None) == (row in ("uncertainty", "attention"))
    assert learns_attributes(recipe("aanet", variant=row)) == (row not in ("global", "parts"))
    assert len(model.answer(images)) == (0 if row in ("global", "parts") else 2)
    assert sum(name.startswith("sigma") for name in watch(output, batch)) == (
        len(losses) if model.log_variance is not None else 0
    )


def test_the_forward_pass_by_hand() -> None:
    model = network().eval()
    images = torch.randn(3, 3, 48, 16, generator=torch.Generator().manual_seed(0))
    output, x = model(images), model.backbone(images)
    torch.testing.assert_close(model.identify(images), output.people["global"][0])
    features, weights = model.evidence(images)
    assert features.shape == (3, 8, 24, 8)
    answers = [layer(features.mean((2, 3))) for layer in model.answers]  # both tasks of the fakes are global
    for ours, expected in zip(output.answers, answers, strict=True):
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(output.vectors[8], features[:, :, :8].mean((2, 3)))  # top, behind 1 + 6 + global
    maps = []
    for t in range(2):
        chosen = weights[t][answers[t].argmax(1)]  # (B, V)
        maps.append((chosen[:, :, None, None] * features).sum(1))
    attention = merge(torch.stack(maps, 1))
    torch.testing.assert_close(output.attention, attention)
    seen = model.attention((x * attention[:, None]).mean((2, 3)))[0]
    torch.testing.assert_close(output.vectors[-1], seen)


def test_gradients_reach_the_attribute_classifiers_through_the_map() -> None:
    model = network()
    batch = TALL.batch(np.arange(12))
    losses = objective(model(train.standardise(batch["image"])), batch, Options())
    losses["attention"].backward()
    assert all(layer.weight.grad is not None and layer.weight.grad.any() for layer in model.answers)


# --- losses ---


def test_uncertainty_by_hand() -> None:
    loss, sigma = torch.tensor([2.0, 0.5, 3.0]), torch.tensor([1.0, 2.0, 0.5])
    s = (2 * sigma.log()).requires_grad_()
    weighted = uncertain(loss, s)
    torch.testing.assert_close(weighted, loss / sigma**2 + sigma.log())
    weighted.sum().backward()
    torch.testing.assert_close(s.grad, -loss / sigma**2 + 0.5)
    best = (2 * loss).log().requires_grad_()
    uncertain(loss, best).sum().backward()
    torch.testing.assert_close(best.grad, torch.zeros(3), atol=1e-6, rtol=0)
    assert (uncertain(loss, best) <= weighted).all()


def test_equal_losses_have_equal_sigmas_of_their_size() -> None:
    s = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.SGD([s], lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        uncertain(torch.full((4,), 1.5), s).sum().backward()
        optimizer.step()
    torch.testing.assert_close(torch.exp(s.detach()), torch.full((4,), 3.0))  # sigma^2 = 2 L


def test_the_objective_is_the_weighted_sum_and_holes_cost_nothing() -> None:
    model = network()
    with torch.no_grad():
        model.log_variance.copy_(torch.tensor([0.1, -0.4, 0.7, 1.2]))
    batch = TALL.batch(np.arange(12))
    batch["attributes"][:5, 1] = -1
    output = model(train.standardise(batch["image"]))
    plain = objective(output, batch, Options(uncertainty=False))
    parts = [cross_entropy(x, batch["label"]).mean() for x in output.people["part"]]
    torch.testing.assert_close(plain["part"], sum(parts) / 6)
    torch.testing.assert_close(plain["attribute"], task_losses(output.answers, batch["attributes"]).mean())
    weighted = objective(output, batch, Options())
    for (name, loss), s in zip(plain.items(), model.log_variance, strict=True):
        torch.testing.assert_close(weighted[name], torch.exp(-s) * loss + s / 2)
    batch["attributes"] = batch["attributes"] * 0 - 1
    nothing = objective(output, batch, Options())
    assert nothing["attribute"] == 0 and "answers" not in watch(output, batch)
    nothing["attribute"].backward()
    assert model.log_variance.grad.tolist() == [0, 0, 0, 0]


def test_one_person_with_one_image() -> None:
    batch = TALL.batch(np.array([0]))
    output = network().eval()(train.standardise(batch["image"]))
    assert all(torch.isfinite(loss) for loss in objective(output, batch, Options()).values())


# --- training ---


def test_it_learns_people_and_attributes(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(train, "build", lambda *_: fakes.small_resnet(last_stride=1))
    own = recipe("aanet", "smoke", epochs=80, channels=16, **{**SMALL, "batch": 24})
    model, history = fit(own, TALL, progress=False)
    last = history.rows[-1]
    assert last["accuracy"] > 0.9 and last["answers"] > 0.9
    assert last["sigma_attribute"] < last["sigma_part"]  # what is left unexplained
    codes = torch.nn.functional.normalize(describe(model, TALL, own).descriptor)
    same, apart = TALL.label[:, None] == TALL.label[None], 1 - codes @ codes.T
    assert apart[~same].mean() > 3 * apart[same].mean()
    run = Run(tmp_path, own, model, history.table, TALL.people, "trained", "", TALL.tasks)
    assert (answer(run, TALL).classes == TALL.attributes.numpy()).mean() > 0.85


def test_an_interrupted_training_ends_as_an_undisturbed_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(train, "build", lambda *_: fakes.small_resnet(last_stride=1))
    own = recipe("aanet", "smoke", epochs=3, channels=8, **SMALL)
    whole = load_or_fit(own, TALL, runs=tmp_path, progress=False, say=lambda _: None)
    kept: list[dict[str, Any]] = []
    fit(own, TALL, progress=False, after_epoch=lambda now: kept.append(deepcopy(now)))
    again, _ = fit(own, TALL, progress=False, state=kept[0])
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert load_or_fit(own, TALL, runs=tmp_path, progress=False, say=lambda _: None).how == "loaded"


@pytest.mark.parametrize(
    ("options", "message"), [({"attribute": False}, "attention reads the maps"), ({"channels": 0}, "channels is 0")]
)
def test_bad_options_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)
