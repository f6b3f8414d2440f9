"""Runs: finished trainings on disk, whole, resumed or absent."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .attributes import Task
from .backbones import bundled
from .data import ImageSet, Targets
from .devices import fabric_for
from .errors import InputError, nearest
from .files import write_whole
from .recipes import Recipe, system_of
from .source import environment, source_hash
from .systems import SYSTEMS, System
from .train import augmented, fit, new_network

EVERY = 5.0  # seconds between checkpoints; saving more often dominates short runs


@dataclass(frozen=True)
class Run:
    """A finished training on disk: `recipe.json model.safetensors history.csv environment.json` and what is added."""

    folder: Path
    recipe: Recipe
    network: System
    history: pd.DataFrame
    people: tuple[int, ...]  # the pid of each label
    how: str  # "trained", "resumed" or "loaded"
    images: str = ""  # fingerprint of recipe and training images
    tasks: tuple[Task, ...] = ()  # the attributes its network answers, if any


def load_or_fit(
    recipe: Recipe,
    train: ImageSet,
    validation: ImageSet | None = None,
    *,
    system: type[System] | None = None,
    runs: Path | str = "runs",
    folder: Path | str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Run:
    """The run of a recipe: loaded where it is finished, resumed where it was interrupted, else trained.

    A run is whole or absent: it grows in a hidden folder beside its own and is renamed when it is done. After an epoch
    all that is needed to go on is written there, unless that was done within the last EVERY seconds, so a killed
    training loses one epoch or those seconds, and on a CPU in fp32 it ends with the very bits of an undisturbed one.

    A run notes which code it learnt by (`code_of`). A finished run of other code is not loaded: the recipe is trained
    again, and when the new run is whole it takes the name. The old one is kept beside it as `.<name>.<its code>`, from
    where it is loaded as soon as the code is what it was. A run that noted no code cannot be judged, and is loaded.

    Args:
        recipe: all that decides the training.
        train: the training images.
        validation: images of people held out.
        system: the class, for a system of your own.
        runs: the folder of all runs; or give the run's own `folder`.
        folder: the run's own.
        progress: with a bar.
        say: called with one sentence saying which of the three it was.
    Raises:
        InputError: a folder that holds another run.
    """
    home = Path(folder).expanduser() if folder else run_folder(recipe, train, validation, runs)
    images, code = fingerprint(recipe, train, validation), code_of(recipe, system)
    about = noted(home)
    old = about.get("code", [])
    other = any(one != now for one, now in zip(old, code, strict=False))  # as far as both are known
    aside, kept = (home.with_name(f".{home.name}.{'-'.join(each)}") for each in (old, code))
    if other and about.get("fingerprint") != images:
        raise InputError(f"{home} holds a run of another recipe or of other images: choose another folder.")
    if other and kept.exists():
        home, other = kept, False
    if home.exists() and not other:
        run = load_run(home, system)
        if portable(run.recipe) != portable(recipe) or run.people != train.people or run.images != images:
            raise InputError(f"{home} holds a run of another recipe or of other images: choose another folder.")
        say(f"loaded the finished run {home}" + ("" if old else ", which did not note the code it learnt by"))
        return run
    partial = home.parent / f".{home.name}.partial"
    mark, checkpoint = partial / "begun.txt", partial / "checkpoint.pt"
    begun = mark.read_text().split() if mark.exists() else []
    if partial.exists() and begun not in ([images], [images, *code]):
        shutil.rmtree(partial)  # begun with another recipe, other images or other code
    for torn in partial.glob(".*"):  # what was being written when a training was killed
        torn.unlink()
    state = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else None
    start = f"resuming {home} after epoch {len(state['history'])} of {recipe.epochs}" if state else f"training {home}"
    say(start + (f"; the run there learnt by other code and will be kept as {aside.name}" if other else ""))
    fabric, saved = fabric_for(recipe), time.monotonic()

    def begin() -> None:  # not before there is something to keep: what fails at once leaves nothing behind
        partial.mkdir(parents=True, exist_ok=True)
        write_whole(mark, lambda path: path.write_text(" ".join([images, *code])))

    def keep(now: dict[str, Any]) -> None:
        nonlocal saved
        if fabric.is_global_zero and time.monotonic() - saved >= EVERY:
            begin()
            write_whole(checkpoint, lambda path: torch.save(now, path))
            saved = time.monotonic()

    network, history = fit(
        recipe, train, validation, system=system, fabric=fabric, progress=progress, state=state, after_epoch=keep
    )
    if fabric.is_global_zero:
        begin()
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        (partial / "recipe.json").write_text(recipe.to_json())
        save_file(weights, partial / "model.safetensors")
        history.table.to_csv(partial / "history.csv", index=False)
        described = environment() | {"people": list(train.people), "targets": train.targets.to_dict()}
        described |= {"device": str(fabric.device), "root": train.table.attrs.get("root", "")}
        described |= {"fingerprint": images, "code": code}
        (partial / "environment.json").write_text(json.dumps(described, indent=2))
        if other:
            home.rename(aside)
        partial.rename(home)
        for file in (mark, checkpoint):
            (home / file.name).unlink(missing_ok=True)  # last, so that no kill can cost the training
    fabric.barrier()
    how = "resumed" if state else "trained"
    return Run(home, recipe, network, history.table, train.people, how, images, train.tasks)


def load_run(folder: Path | str, system: type[System] | None = None) -> Run:
    """A finished run from its folder, network in evaluation mode on the best device.

    Args:
        folder: of the run.
        system: the class, for a system of your own.
    Raises:
        InputError: no such folder, or files missing or unreadable in it.
    """
    home = Path(folder).expanduser()
    if not home.is_dir():
        near = nearest(home.name, [path.name for path in home.parent.glob("*-*")])
        hint = f"; the nearest there is {near!r}" if near else ""
        raise InputError(f"there is no run in {home}{hint}: `reidkit train` makes one and prints its folder.")
    try:
        recipe = Recipe.from_json((home / "recipe.json").read_text())
        described = json.loads((home / "environment.json").read_text())
        people = tuple(described["people"])
        state = load_file(home / "model.safetensors") if (home / "model.safetensors").stat().st_size > 16 else {}
        rows = pd.read_csv(home / "history.csv") if (home / "history.csv").stat().st_size > 2 else pd.DataFrame()
        targets = Targets.from_dict(described["targets"])
        chosen = system or SYSTEMS.get(recipe.system)
        if chosen:
            network = new_network(replace(recipe, pretrained="none"), targets, chosen)
            network.load_state_dict(state)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{home} is no finished run ({reason}): train it again or give another folder.") from None
    if not chosen:
        raise InputError(f"{home} is a run of {recipe.system!r}, no system of reidkit: give its class, system=...")
    images = described.get("fingerprint", home.name.rpartition("-")[2])
    network = network.to(fabric_for(recipe).device).eval()
    return Run(home, recipe, network, rows, people, "loaded", images, targets.tasks)


def portable(recipe: Recipe) -> Recipe:
    """The recipe with the name of the run it starts from instead of that run's place on this machine."""
    return replace(recipe, pretrained=Path(recipe.pretrained).name)


def fingerprint(recipe: Recipe, train: ImageSet, validation: ImageSet | None = None) -> str:
    """Eight letters that change with the recipe or the images: their names, sizes, people and attributes."""
    rows = [portable(recipe).to_json()]
    for images in [given for given in (train, validation) if given is not None]:
        table = images.table
        for name, pid, camid in zip(table["path"], table["pid"], table["camid"], strict=True):
            path = Path(name)
            size = path.stat().st_size if path.exists() else 0  # an ImageSet may come from elsewhere than files
            rows.append(f"{path.name},{size},{pid},{camid}")
        if images.tasks:
            rows.append(repr(images.tasks) + hashlib.sha256(images.attributes.numpy().tobytes()).hexdigest())
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:8]


def run_folder(recipe: Recipe, train: ImageSet, validation: ImageSet | None = None, runs: Path | str = "runs") -> Path:
    """Where the run of this recipe on these images lives: `runs/<system>-<dataset>-<hash>`."""
    return Path(runs).expanduser() / f"{recipe.system}-{recipe.dataset}-{fingerprint(recipe, train, validation)}"


def code_of(recipe: Recipe, system: type[System] | None = None) -> list[str]:
    """Which code a training learns by: its system, losses and augmentation; then what it starts from.

    See `source.source_hash`. What it starts from is the code of a run, or the content of a file of weights, such as
    that of the bundled start; left out where there is neither, or that run noted none.
    """
    own = source_hash(system_of(system or recipe.system), augmented, known=(System,))
    comes_along = recipe.pretrained == "synthetic"
    start = bundled(recipe.backbone) / "model.safetensors" if comes_along else Path(recipe.pretrained).expanduser()
    if start.is_file():
        return [own, hashlib.sha256(start.read_bytes()).hexdigest()[:8]]
    return [own, *noted(start).get("code", [])]


def noted(folder: Path) -> dict[str, Any]:
    """What a run's environment.json says; nothing where there is none to read."""
    try:
        return dict(json.loads((folder / "environment.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}
