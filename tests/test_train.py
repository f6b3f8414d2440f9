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
from contextlib import redirect_stderr, redirect_stdout
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

from reidkit import cli, train
from reidkit.data import ImageSet
from reidkit.features import describe
from reidkit.images import InputError
from reidkit.metrics import evaluate
from reidkit.systems import SYSTEMS
from reidkit.train import PROFILES, Recipe, fingerprint, fit, load_or_fit, load_run, options_of, plan, rate, recipe

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
        assert getattr(own, name) == value
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
    with pytest.raises(InputError, match="Did you mean 'baseline'"):
        recipe("baselin")
    with pytest.raises(InputError, match="choose one of smoke, quick, paper"):
        recipe("baseline", "quik")


# --- schedules and plans ---


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("step", 0.1, 0.01), ("constant", 1.0, 1.0)],
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
    one = plan(own, label, 3)
    assert len(one) and all((label[part] >= 0).all() for part in one)
    np.random.default_rng(0).random(5)
    assert np.concatenate(one).tolist() == np.concatenate(plan(own, label, 3)).tolist()
    for other in (plan(own, label, 4), plan(replace(own, seed=1), label, 3)):
        assert np.concatenate(one).tolist() != np.concatenate(other).tolist()


def test_a_plan_needs_images() -> None:
    with pytest.raises(InputError, match="at least two images"):
        plan(Recipe(instances=0), np.array([0, -1]), 0)


def test_the_backbone_may_learn_at_a_share_of_the_rate() -> None:
    own = recipe("baseline", backbone_lr=0.1, optimizer="sgd", momentum=0, **SMALL)
    network = train.new_network(own, 3)
    new, body = train.new_optimizer(own, network).param_groups
    assert (new["scale"], body["scale"]) == (1.0, 0.1)
    backbone = list(network.backbone.parameters())
    assert [id(p) for p in body["params"]] == [id(p) for p in backbone]
    frozen = sum(not p.requires_grad for p in network.parameters())
    assert len(new["params"]) + len(backbone) + frozen == len(list(network.parameters()))


@pytest.mark.parametrize("changes", [{"rotate": 10.0, "erase": 1.0}, {"flip": False, "pad": 0}], ids=str)
def test_augment_is_deterministic_and_can_be_none(changes: dict[str, Any]) -> None:
    images, own = coloured_people(2, 2).pixels, replace(Recipe(), **changes)
    one, two = (train.augment(images, own, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two) and torch.isfinite(one).all()
    assert torch.equal(one, train.standardise(images)) == (not own.flip)


# --- learning ---


def test_a_network_learns_to_tell_coloured_people_apart() -> None:
    people, others = coloured_people(seed=0), coloured_people(seed=1)
    own = recipe("baseline", epochs=8, pad=2, **SMALL)
    trained, history = fit(own, people, progress=False)

    def m_ap(network: torch.nn.Module) -> float:
        pids, x = others.table["pid"], describe(network, others, own).descriptor
        return evaluate(x, x, pids, pids, metric=own.metric, rule="same_image").mAP

    untrained = train.new_network(own, 8)
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
def undisturbed(people: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> train.Run:
    return load_or_fit(SHORT, people, runs=tmp_path_factory.mktemp("runs"), progress=False, say=lambda _: None)


def equal_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_is_kept_whole_and_loaded_again(undisturbed: train.Run, people: ImageSet) -> None:
    home = undisturbed.folder
    names = {"recipe.json", "model.safetensors", "history.csv", "environment.json"}
    assert undisturbed.how == "trained" and {p.name for p in home.parent.rglob("*") if p.is_file()} == names
    assert home.name == f"baseline-synthetic-{fingerprint(SHORT, people.table)}"
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


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_resumed_run_ends_with_the_very_bits(
    after: int, undisturbed: train.Run, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = train.write, []

    def stop(path: Path, how: Callable[[Path], Any]) -> None:
        real(path, how)
        written.append(path.name)
        if written.count("checkpoint.pt") == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "write", stop)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        load_or_fit(SHORT, people, folder=tmp_path / "run", progress=False, say=said.append)
    assert [p.name for p in tmp_path.iterdir()] == [".run.partial"]
    monkeypatch.setattr(train, "write", real)
    run = load_or_fit(SHORT, people, folder=tmp_path / "run", progress=False, say=said.append)
    assert run.how == "resumed" and said == [
        f"training {tmp_path / 'run'}",
        f"resuming {tmp_path / 'run'} after epoch {after} of 3",
    ]
    assert equal_weights(run.folder, undisturbed.folder)
    timeless = ["epoch", "lr", "identity", "triplet", "accuracy"]
    pd.testing.assert_frame_equal(run.history[timeless], undisturbed.history[timeless])
    assert [p.name for p in tmp_path.iterdir()] == ["run"] and not (run.folder / "checkpoint.pt").exists()


def test_another_recipe_is_refused_and_what_it_began_is_dropped(
    undisturbed: train.Run, people: ImageSet, tmp_path: Path
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
    (partial / "begun.txt").write_text(fingerprint(other, people.table))
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
    own = fingerprint(SHORT, table)
    moved = on_disk(replace(people, table=table.assign(path=[Path(p).name for p in table["path"]])), tmp_path).table
    assert own == fingerprint(Recipe.from_json(SHORT.to_json()), moved)
    others = [fingerprint(replace(SHORT, lr=0.5), table), fingerprint(SHORT, table.iloc[1:])]
    others += [
        fingerprint(SHORT, table.assign(pid=table["pid"][::-1].to_numpy())),
        fingerprint(SHORT, table.assign(camid=2)),
    ]
    Path(moved["path"][0]).write_bytes(b"another picture")
    others.append(fingerprint(SHORT, moved))
    assert len({own, *others}) == 6 and all(len(name) == 8 for name in others)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("recipe.json", b"{"), ("recipe.json", b"[]"), ("recipe.json", b'{"milestones": [], "colour": 1}'),
        ("environment.json", b"{}"), ("model.safetensors", b"x" * 100), ("model.safetensors", b""),
        ("recipe.json", None), ("environment.json", b'{"people": [1, 2]}'),
    ],
    ids=str,
)  # fmt: skip
def test_damaged_runs_are_one_sentence(
    file: str, content: bytes | None, undisturbed: train.Run, tmp_path: Path
) -> None:
    for path in undisturbed.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(content) if content is not None else (tmp_path / file).unlink()
    with pytest.raises(InputError, match="is no finished run") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_absent_run_names_the_nearest(undisturbed: train.Run) -> None:
    home = undisturbed.folder
    with pytest.raises(InputError, match=f"nearest there is '{home.name}'"):
        load_run(home.with_name(home.name[:-1]))


def test_write_is_whole_or_absent(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    train.write(tmp_path / "a", lambda path: path.write_text("first"))
    with pytest.raises(OSError, match="disk full"):
        train.write(tmp_path / "a", half)
    assert (tmp_path / "a").read_text() == "first"


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
