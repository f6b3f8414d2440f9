"""A system from outside the package: what it must write, and that everything works with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import reidkit
from reidkit import attention, backbones, files, plots, runs, train
from reidkit.data import Batch, Targets, standardise
from reidkit.errors import InputError
from reidkit.features import describe
from reidkit.losses import batch_hard_triplet, cross_entropy
from reidkit.recipes import PROFILES, Recipe, recipe
from reidkit.runs import load_or_fit, load_run
from reidkit.search.gallery import Gallery
from reidkit.systems import SYSTEMS, System
from reidkit.train import fit


def closeness(code: Tensor, label: Tensor) -> Tensor:
    """A loss that is a function of its own, beside the class."""
    return batch_hard_triplet(code, label, margin=0.3).mean()


class Mine(System):
    """People by a linear code of the pooled map: a system in 30 lines."""

    name = "mine"

    @dataclass(frozen=True)
    class Options:
        dimensions: int = 8

    def __init__(self, backbone: Any, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        self.code = nn.Linear(backbone.channels, options.dimensions)
        self.people = nn.Linear(options.dimensions, targets.people)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        code = self.describe(images)
        return code, self.people(code)

    def describe(self, images: Tensor) -> Tensor:
        return self.code(self.backbone(images).mean((2, 3)))

    def objective(self, output: tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
        code, people = output
        identity = cross_entropy(people, batch["label"]).mean()
        return {"identity": identity, "closeness": closeness(code, batch["label"])}


PEOPLE, OTHERS = fakes.dressed(), fakes.dressed(6, 4, seed=1, first=21)
SMALL: dict[str, Any] = {"height": 32, "width": 16, "batch": 12, "precision": "32-true", "pad": 0}
OWN = recipe(Mine, "smoke", epochs=25, lr=0.03, metric="cosine", dimensions=6, **SMALL)


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    """Backbones of one convolution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build", fakes.tiny_backbone)
        yield


def run_of(folder: Path, said: list[str] | None = None, own: Recipe = OWN) -> runs.Run:
    say = said.append if said is not None else lambda _: None
    return load_or_fit(own, PEOPLE, system=Mine, runs=folder, progress=False, say=say)


# --- a system of one's own ---


def test_it_trains_is_kept_and_loaded(tmp_path: Path) -> None:
    assert OWN.system == "mine" and OWN.options == {"dimensions": 6}
    said: list[str] = []
    run = run_of(tmp_path, said)
    assert run.how == "trained" and run.folder.name.startswith("mine-synthetic-") and isinstance(run.network, Mine)
    assert run.history["identity"].iloc[-1] < 0.8 * run.history["identity"].iloc[0]
    again = run_of(tmp_path, said)
    assert again.how == "loaded" and said == [f"training {run.folder}", f"loaded the finished run {run.folder}"]
    for one in (again, load_run(run.folder, Mine)):
        assert one.recipe == OWN
        state = one.network.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in run.network.state_dict().items())


def test_it_is_described_scored_searched_and_drawn(tmp_path: Path) -> None:
    network = run_of(tmp_path).network
    codes, pids = describe(network, OTHERS, OWN).descriptor.numpy(), OTHERS.table["pid"].to_numpy()
    untrained = describe(train.new_network(OWN, PEOPLE.targets, Mine), OTHERS, OWN).descriptor
    scores = [reidkit.evaluate(x, x, pids, pids, metric="cosine", rule="same_image").mAP for x in (codes, untrained)]
    assert codes.shape == (24, 6) and scores[0] > 50 and np.isfinite(scores[1])
    _, found = Gallery.create(tmp_path / "gallery", codes, OTHERS.table).search(codes, k=2, metric="cosine")
    assert found[:, 0].tolist() == list(range(24)) and (pids[found[:, 1]] == pids).mean() > 0.5
    images = standardise(OTHERS.pixels[:2])
    first, second = attention.pair_maps(network, images[:1], images[1:])
    assert first.shape == second.shape == (1, 32, 16) and first.max() > 0.9
    pictures = [image.permute(1, 2, 0).numpy() for image in OTHERS.pixels[:2]]
    assert len(plots.heats(pictures, {"alike": torch.cat([first, second]).numpy()}).axes) == 4
    # what it did not write
    assert network.tasks == [] and network.answer(images) == [] and network.identify(images).shape == (2, 0)
    assert network.classifiers() == [] and network.reads(8) is None and network.attention_map(images) is None
    for ask in (attention.identity_maps, attention.class_maps):
        with pytest.raises(InputError, match=r"does not classify people|mine has no linear classifier"):
            ask(network, images)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (type("Nameless", (Mine,), {"name": ""}), "Nameless needs a name of its own, such as name = 'mine': it has ''"),
        (type("Taken", (Mine,), {"name": "baseline"}), "Taken needs a name of its own"),
        (SYSTEMS["baseline"], "the recipe is of mine, the system is baseline"),
        (None, "system 'mine' is not known: choose one of baseline, histogram"),
    ],
)
def test_what_is_wrong_is_one_sentence(system: type[System] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(OWN, PEOPLE, system=system, progress=False)


def test_a_run_of_it_asks_for_its_class(tmp_path: Path) -> None:
    run = run_of(tmp_path, own=replace(OWN, epochs=1))
    with pytest.raises(InputError, match=r"is a run of 'mine', no system of reidkit: give its class, system="):
        load_run(run.folder)


# --- the code a run learnt by ---


def louder(code: Tensor, label: Tensor) -> Tensor:
    return 2 * batch_hard_triplet(code, label, margin=0.5).mean()


def test_another_loss_trains_again_and_keeps_the_old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, said = replace(OWN, epochs=1), []
    old = run_of(tmp_path, own=own)
    weights = (old.folder / "model.safetensors").read_bytes()
    code = json.loads((old.folder / "environment.json").read_text())["code"]
    monkeypatch.setitem(globals(), "closeness", louder)
    run = run_of(tmp_path, said, own)
    kept = old.folder.with_name(f".{old.folder.name}.{code[0]}")
    assert run.how == "trained" and run.folder == old.folder and f"will be kept as {kept.name}" in said[0]
    assert (kept / "model.safetensors").read_bytes() == weights != (run.folder / "model.safetensors").read_bytes()
    assert run_of(tmp_path, own=own).how == "loaded" and load_run(kept, Mine).recipe == own
    assert sorted(p.name for p in tmp_path.iterdir()) == [kept.name, run.folder.name]
    monkeypatch.undo()  # back to the first code
    assert run_of(tmp_path, own=own).folder == kept and len(list(tmp_path.iterdir())) == 2


def test_other_code_does_not_resume_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, real = replace(OWN, epochs=2), files.write_whole

    def stop(path: Path, how: Any) -> None:
        real(path, how)
        if path.name == "checkpoint.pt":
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "EVERY", 0)
    for closer, how in ((closeness, "resumed"), (louder, "trained")):
        folder = tmp_path / how
        monkeypatch.setattr(runs, "write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            run_of(folder, own=own)
        monkeypatch.setattr(runs, "write_whole", real)
        with monkeypatch.context() as patch:
            patch.setitem(globals(), "closeness", closer)
            assert run_of(folder, own=own).how == how


def test_a_run_without_its_code_is_loaded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, said = replace(OWN, epochs=1), []
    run = run_of(tmp_path, own=own)
    about = json.loads((run.folder / "environment.json").read_text())
    del about["code"]
    (run.folder / "environment.json").write_text(json.dumps(about))
    monkeypatch.setitem(globals(), "closeness", louder)
    assert run_of(tmp_path, said, own).how == "loaded"
    assert said == [f"loaded the finished run {run.folder}, which did not note the code it learnt by"]


def test_a_folder_given_by_hand_with_another_recipe_is_refused_whatever_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, own=replace(OWN, epochs=1))
    monkeypatch.setitem(globals(), "closeness", louder)
    with pytest.raises(InputError, match="holds a run of another recipe"):
        load_or_fit(replace(OWN, epochs=2), PEOPLE, system=Mine, folder=run.folder, say=lambda _: None)


def test_a_second_stage_knows_the_code_of_the_first(tmp_path: Path) -> None:
    first = run_of(tmp_path, own=replace(OWN, epochs=1))
    second = replace(OWN, epochs=1, pretrained=str(first.folder))
    assert run_of(tmp_path, own=second).how == "trained" and run_of(tmp_path, own=second).how == "loaded"
    own, theirs = runs.code_of(second, Mine)
    assert [own] == runs.code_of(OWN, Mine) and theirs == own
    about = json.loads((first.folder / "environment.json").read_text())
    (first.folder / "environment.json").write_text(json.dumps(about | {"code": ["another0"]}))
    assert run_of(tmp_path, own=second).how == "trained"
    (first.folder / "environment.json").unlink()  # a finished run needs its first stage no longer
    assert run_of(tmp_path, own=second).how == "loaded"


def test_a_training_knows_the_weights_it_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a file, and those that come with reidkit: other bytes under the same name are another start."""
    monkeypatch.setattr(backbones, "BUNDLED", tmp_path)
    file = tmp_path / "resnet18" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"first")
    starts = [replace(OWN, pretrained="synthetic"), replace(OWN, pretrained=str(file))]
    (own, first), (_, same) = [runs.code_of(start, Mine) for start in starts]
    assert [own] == runs.code_of(OWN, Mine) and first == same != own
    file.write_bytes(b"second")
    (_, second), (_, same) = [runs.code_of(start, Mine) for start in starts]
    assert first != second == same and len(second) == 8


# --- the contract ---


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_every_system_keeps_the_contract(system: type[System]) -> None:
    assert issubclass(system, System) and SYSTEMS[system.name] is system and set(system.RECIPES) == set(PROFILES)
    options = system.Options()
    assert isinstance(system.learns_attributes(options), bool) and isinstance(system.needs_parts(options), bool)
    defined = {name for name, value in vars(system).items() if callable(value) and name in vars(System)}
    assert {"forward", "describe", "objective"} <= defined


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_starts_from_a_bundled_network_finds_one(system: str) -> None:
    """Whatever the row of a paper's table: rows with another backbone start elsewhere."""
    for profile, row in product(PROFILES, ("", *SYSTEMS[system].VARIANTS)):
        plan = recipe(system, profile, row)
        there = (backbones.BUNDLED / plan.backbone / "model.safetensors").exists()
        assert plan.pretrained != "synthetic" or there, (profile, row)


def test_fewer_batches_than_devices_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.Fabric, "world_size", property(lambda _: 16))
    with pytest.raises(InputError, match=r"\d batches of 12 images are too few for 16 devices: give a smaller batch"):
        fit(OWN, PEOPLE, system=Mine, progress=False)
