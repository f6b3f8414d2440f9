"""The inherent code: a store of codes whose centres are exact where the network stands still, and five rows."""

from __future__ import annotations

from typing import Any

import fakes
import numpy as np
import pytest
import torch

from reidkit import train
from reidkit.errors import InputError
from reidkit.features import describe
from reidkit.losses import batch_hard_triplet, compact, cross_entropy, scatter
from reidkit.recipes import options_of, recipe
from reidkit.systems.inherent_code import InherentCode, Output
from reidkit.train import fit, new_network

Options = InherentCode.Options
objective, watch = fakes.losses_of(InherentCode)
SMALL: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "pad": 0, "batch": 12}
PEOPLE = fakes.dressed(6, 4)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones of one convolution."""
    monkeypatch.setattr(train, "build", fakes.tiny_backbone)


def network(**options: Any) -> InherentCode:
    torch.manual_seed(0)
    return InherentCode(fakes.tiny_backbone(), PEOPLE.targets, Options(**options))


def exact_centres(own: InherentCode) -> np.ndarray:
    """By hand: describe everything, then the mean of each person."""
    codes = describe(own, PEOPLE, recipe("inherent_code", **SMALL)).descriptor.numpy()
    return np.stack([codes[PEOPLE.label.numpy() == p].mean(0) for p in range(len(PEOPLE.people))])


def test_centres_are_the_mean_codes_of_each_person() -> None:
    own = network()
    assert not own.centres.any() and own.centres.shape == (6, own.backbone.channels)
    own.train().before_epoch(PEOPLE)
    assert own.training
    np.testing.assert_allclose(own.centres, exact_centres(own), rtol=1e-5, atol=1e-6)


def test_running_and_exact_centres_agree_while_the_network_stands_still() -> None:
    """Without augmentation and in evaluation mode a step stores the very code that was there."""
    own = network().eval()
    own.before_epoch(PEOPLE)
    before = own.centres.clone()
    for index in train.epoch_batches(recipe("inherent_code", **SMALL), PEOPLE.label.numpy(), 0):
        batch = PEOPLE.batch(index)
        own.after_step(own(train.standardise(batch["image"])), batch)
    torch.testing.assert_close(own.centres, before, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        for parameter in own.backbone.parameters():
            parameter.add_(0.1)
    batch = PEOPLE.batch(np.arange(4))
    own.after_step(own(train.standardise(batch["image"])), batch)
    changed = (own.centres - before).abs().sum(1) > 1e-6
    assert changed.tolist() == [p in set(batch["label"].tolist()) for p in range(6)]  # only who was in the batch
    own.refresh(PEOPLE)
    np.testing.assert_allclose(own.centres, exact_centres(own), rtol=1e-5, atol=1e-6)


def test_images_of_nobody_have_no_part_in_any_centre() -> None:
    own = network()
    own.refresh(PEOPLE)
    own.owner = own.owner.clone()
    own.owner[own.owner == 2] = -1
    assert not own.centres[2].any() and own.centres[1].any()


@pytest.mark.parametrize("weights", [{}, {"beta": 0.0}, {"gamma": 0.0}, {"identity": 0.0, "triplet": 1.0}])
def test_the_objective_is_the_sum_of_the_paper(weights: dict[str, float]) -> None:
    options = Options(**weights)  # type: ignore[arg-type]
    g = torch.Generator().manual_seed(0)
    code, centres = torch.randn(8, 5, generator=g, requires_grad=True), torch.randn(3, 5, generator=g)
    logits, label = torch.randn(8, 3, generator=g), torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    losses = objective(Output(code, logits, centres), {"label": label}, options)
    expected = options.identity * cross_entropy(logits, label).mean()
    expected = expected + options.beta * compact(code, label, centres).sum()
    expected = expected - options.gamma * scatter(code, label, centres).sum()
    expected = expected + options.triplet * batch_hard_triplet(code, label, margin=0.3).mean()
    torch.testing.assert_close(sum(losses.values()), expected)
    assert set(losses) == {
        name for name, w in {"identity": options.identity, "compact": options.beta, "scatter": options.gamma,
                             "triplet": options.triplet}.items() if w
    }  # fmt: skip
    seen = watch(Output(code, logits, centres), {"label": label})
    assert float(seen["length"]) == pytest.approx(float(code.detach().norm(dim=1).mean()))
    assert float(seen["to_centre"]) == pytest.approx(float((code.detach() - centres[label]).norm(dim=1).mean()))


@pytest.mark.parametrize("variant", ["set1", "set2", "set3", "triplet18"])
def test_every_row_learns(variant: str) -> None:
    own = recipe("inherent_code", "smoke", variant, epochs=15, lr=0.02, **{**SMALL, "batch": 12})
    trained, history = fit(own, PEOPLE, progress=False)
    name = "triplet" if variant == "triplet18" else "identity"
    assert history.rows[-1][name] < 0.8 * history.rows[0][name]
    untrained = new_network(own, PEOPLE.targets)

    def apart(network: Any) -> float:
        codes = torch.nn.functional.normalize(describe(network, PEOPLE, own).descriptor - 0)
        same = PEOPLE.label[:, None] == PEOPLE.label[None]
        distance = torch.cdist(codes, codes)
        return float(distance[~same].mean() / distance[same].mean())

    assert apart(trained) > apart(untrained)


def test_exact_centres_train_as_well() -> None:
    own = recipe("inherent_code", "smoke", epochs=2, exact=True, **SMALL)
    history = fit(own, PEOPLE, progress=False)[1]
    assert all(np.isfinite(history.rows[-1][name]) for name in ("identity", "compact", "scatter", "length"))


def test_the_store_is_not_part_of_the_weights() -> None:
    own = network()
    own.refresh(PEOPLE)
    assert not {name for name in own.state_dict() if "codes" in name or "owner" in name}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"beta": -1.0}, "beta is -1.0"), ({"identity": 0.0, "beta": 0.0}, "all 0"), ({"triplet": float("nan")}, "nan")],
)
def test_bad_options_are_one_sentence(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)  # type: ignore[arg-type]


def test_the_paper_recipe_and_its_rows() -> None:
    own = recipe("inherent_code", "paper", "set3")
    assert (own.optimizer, own.lr, own.batch, own.epochs, own.height, own.width) == ("adam", 2e-4, 32, 300, 128, 48)
    assert options_of(own).beta == 5e-5 and options_of(own).gamma == 1e-6
    assert recipe("inherent_code", "paper", "triplet50").backbone == "resnet50"


def lengths(gamma: float, lr: float = 1e-3, **changes: Any) -> list[float]:
    """Mean length of the codes, epoch by epoch, over 500 steps of two batches an epoch."""
    own = recipe(
        "inherent_code", "paper", "set3", pretrained="none", epochs=250, gamma=gamma, lr=lr, **SMALL, **changes
    )
    return [row["length"] for row in fit(own, PEOPLE, progress=False)[1].rows]


def test_the_scatter_term_does_not_run_away_over_500_steps() -> None:
    """With Adam a scatter loss a million times as strong lengthens the codes a little, and along a line."""
    without, paper, strong = lengths(0.0), lengths(1e-6), lengths(1.0)
    assert paper[-1] == pytest.approx(without[-1], rel=0.05)
    assert strong[-1] < 1.5 * paper[-1]
    steps = np.diff(strong)
    assert steps[-125:].mean() < 2 * steps[:125].mean()
    assert lengths(1.0, optimizer="sgd")[-1] > 1e6 * strong[-1]  # plain gradients multiply: this is what Adam prevents
