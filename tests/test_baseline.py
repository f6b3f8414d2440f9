"""The baseline and its tricks: the rows of the ablation, and the centre loss against its definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch

from reidkit import course
from reidkit.data import Targets
from reidkit.errors import InputError
from reidkit.images import read_images
from reidkit.recipes import recipe
from reidkit.runs import load_or_fit
from reidkit.systems import baseline
from reidkit.systems.baseline import Baseline, Output

Options, VARIANTS = Baseline.Options, Baseline.VARIANTS
objective, _ = fakes.losses_of(Baseline)
LABEL = torch.tensor([0, 0, 2, -1])
CODE = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 4.0], [9.0, 9.0]])


def network(**options: Any) -> Baseline:
    targets = Targets(people=3, tasks=(), counts=())
    return Baseline(fakes.tiny_backbone("resnet18"), targets, Options(**options))


def test_each_row_has_one_trick_more() -> None:
    rows = [recipe("baseline", "quick", name) for name in VARIANTS]
    flat = [{**row.__dict__, **row.options} for row in rows]
    for above, own, name in zip(flat, flat[1:], list(VARIANTS)[1:], strict=False):
        changed = {key for key in own if key != "options" and own[key] != above.get(key)}
        assert changed == set(baseline.TRICKS[name])
    last = flat[-1]
    assert (last["warmup"], last["erase"], last["smoothing"], last["last_stride"]) == (1 / 12, 0.5, 0.1, 1)
    assert last["neck"] and last["centre"] == 5e-4 and last["metric"] == "cosine"
    paper, neck = recipe("baseline", "paper"), recipe("baseline", "paper", "neck")
    assert replace(neck, options={}) == paper  # the recipe without a variant has every trick but the centre loss


def test_the_centre_loss_is_half_the_squared_distance() -> None:
    centres = torch.tensor([[0.0, 0.0], [5.0, 5.0], [0.0, 1.0]])
    output = Output(CODE, CODE, torch.zeros(4, 3), centres)
    losses = objective(output, {"label": LABEL}, Options(identity=0, centre=2.0, triplet=1.0))
    by_hand = [(1 + 0) / 2, (9 + 4) / 2, 9 / 2, 0]  # nobody knows the last
    assert losses["centre"].item() == pytest.approx(2.0 * sum(by_hand) / 4)
    assert "centre" not in objective(Output(CODE, CODE, torch.zeros(4, 3)), {"label": LABEL}, Options())


def test_centres_move_as_written() -> None:
    own = network(centre=1.0, pull=0.5)
    assert own.centres is not None
    own.centres = torch.tensor([[1.0, 1.0], [5.0, 5.0], [0.0, 0.0]])
    before = own.centres
    own.after_step(Output(CODE, CODE, CODE), {"label": LABEL})
    assert before.tolist() == [[1, 1], [5, 5], [0, 0]]  # the loss of this step still needs them
    for person in range(3):
        codes = [code for code, label in zip(CODE, LABEL, strict=True) if label == person]
        move = sum((code - before[person] for code in codes), torch.zeros(2)) / (1 + len(codes))
        assert torch.allclose(own.centres[person], before[person] + 0.5 * move)


def test_without_the_centre_loss_a_network_is_as_before() -> None:
    own = network()
    assert own.centres is None and not any("centres" in name for name in own.state_dict())
    own.after_step(Output(CODE, CODE, CODE), {"label": LABEL})
    assert own.centres is None
    assert "centres" in network(centre=1.0).state_dict()  # a run that is resumed goes on with them


@pytest.mark.parametrize("wrong", [{"centre": -1.0}, {"pull": 0.0}, {"pull": 1.5}])
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="centre is"):
        Options(**wrong)


def test_all_tricks_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reidkit.train.build", fakes.tiny_backbone)
    images = read_images("synthetic", fakes.synthetic(tmp_path / "synthetic"))
    tiny: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true", "epochs": 2, "batch": 4, "instances": 2}
    plan = recipe("baseline", "smoke", "tricks", **tiny)
    run = load_or_fit(plan, *course.sets(plan, images), runs=tmp_path / "runs", progress=False, say=lambda _: None)
    assert {"identity", "triplet", "centre"} <= set(run.history) and (run.history["centre"] > 0).all()
    assert run.network.centres.abs().sum() > 0  # type: ignore[union-attr,operator]
    again = load_or_fit(plan, *course.sets(plan, images), runs=tmp_path / "runs", progress=False, say=lambda _: None)
    assert again.how == "loaded" and torch.equal(again.network.centres, run.network.centres)  # type: ignore[arg-type]
