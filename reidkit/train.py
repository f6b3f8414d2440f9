"""Training: the recipe, one visible loop, its history, and runs that are whole, resumed or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from .backbones import build
from .data import Batch, ImageSet, erase, flip, pk_batches, rotate, shift, shuffled_batches, standardise
from .images import InputError
from .systems import SYSTEMS

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it repeats the precision at every use

PROFILES = ("smoke", "quick", "paper")


@dataclass(frozen=True)
class Recipe:
    """All that decides a training. Change it with `dataclasses.replace` or `recipe(..., epochs=5)`."""

    system: str = "baseline"
    dataset: str = "synthetic"
    fold: int = 0  # which of the random splits, for data sets that have them
    profile: str = "quick"
    seed: int = 0
    backbone: str = "resnet18"
    pretrained: str = "none"  # "none", "torchvision" or the path of a file
    last_stride: int = 1  # of a ResNet (Sun et al. 2018)
    height: int = 128  # pixels
    width: int = 64  # pixels
    epochs: int = 12
    batch: int = 64  # images
    instances: int = 4  # K images of each person in a batch; 0 draws images one by one
    optimizer: str = "adam"  # or "sgd"
    lr: float = 1e-3  # of new layers
    backbone_lr: float = 1.0  # the backbone's rate as a share of lr
    weight_decay: float = 5e-4
    momentum: float = 0.9  # sgd only
    warmup: float = 0.1  # share of all steps
    schedule: str = "cosine"  # after the warm-up: "cosine", "linear", "step" or "constant"
    milestones: tuple[float, ...] = (0.5,)  # "step": x 0.1 at these shares of all steps
    flip: bool = True
    pad: int = 4  # pixels of random shift
    rotate: float = 0.0  # degrees either way
    erase: float = 0.0  # probability of random erasing
    metric: str = "euclidean"  # how descriptors are compared
    precision: str = "auto"  # "auto", "32-true", "bf16-mixed"
    options: Mapping[str, Any] = field(default_factory=dict)  # the system's own knobs

    def __post_init__(self) -> None:
        positive = {name: getattr(self, name) for name in ("height", "width", "batch", "lr")}
        for name, value in positive.items():
            if not value > 0:
                raise InputError(f"{name} is {value}: give a number above 0.")
        natural = ("seed", "epochs", "instances", "backbone_lr", "weight_decay", "momentum", "warmup", "pad", "erase")
        for name in natural:
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}: give 0 or more.")
        for name, known in {
            "optimizer": ("adam", "sgd"),
            "schedule": ("cosine", "linear", "step", "constant"),
            "precision": ("auto", "32-true", "bf16-mixed"),
            "metric": ("euclidean", "sqeuclidean", "cosine"),
        }.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is not known: choose one of {', '.join(known)}.")
        if self.batch < 2:
            raise InputError(f"a batch of {self.batch} image is too small: give batch at least 2.")
        if self.instances and self.batch < 2 * self.instances:
            raise InputError(
                f"a batch of {self.batch} images with {self.instances} of each person holds fewer than two people: "
                f"give batch at least {2 * self.instances}."
            )
        if self.backbone == "alexnet" and min(self.height, self.width) < 63:
            raise InputError(
                f"AlexNet sees nothing in images of {self.height} x {self.width} pixels: give height and width of at "
                "least 63."
            )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        values = json.loads(text)
        return cls(**{**values, "milestones": tuple(values["milestones"])})


def system_of(name: str) -> ModuleType:
    """The module of a system; InputError with the names there are."""
    if name not in SYSTEMS:
        near = get_close_matches(name, SYSTEMS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"system {name!r} is not known: choose one of {', '.join(SYSTEMS)}.{hint}")
    return SYSTEMS[name]


def recipe(system: str, profile: str = "quick", **changes: Any) -> Recipe:
    """The recipe of a system in a profile, with changes to its fields or to the system's own options.

    Raises:
        InputError: an unknown system, profile, or name; a value of the wrong type.
    """
    module = system_of(system)
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} is not known: choose one of {', '.join(PROFILES)}.")
    own = {f.name: f.default for f in fields(Recipe) if f.name != "options"}
    options = {f.name: f.default for f in fields(module.Options)}
    values: dict[str, Any] = {"system": system, "profile": profile, "options": {}}
    for name, value in {**module.RECIPES[profile], **changes}.items():
        if name in own:
            values[name] = typed(name, value, own[name])
        elif name in options:
            values["options"][name] = typed(name, value, options[name])
        else:
            near = get_close_matches(name, [*own, *options], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join([*own, *options])}."
            raise InputError(f"{system} has no setting {name!r}: {hint}")
    return Recipe(**values)


def typed(name: str, value: Any, default: Any) -> Any:
    """`value`, perhaps the text of a command line, as the type of `default`; InputError where it is none."""
    kind = type(default)
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise InputError(f"{name}={value!r} is neither true nor false.")
    try:
        if kind is tuple:
            return tuple(float(v) for v in (value.split(",") if isinstance(value, str) else value))
        if kind is int and float(value) != int(float(value)):
            raise ValueError
        return int(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}={value!r} is no {kind.__name__}, such as {default!r}.") from None


def options_of(recipe: Recipe) -> Any:
    """The system's Options with the recipe's changes."""
    return system_of(recipe.system).Options(**recipe.options)


# --- device and precision ------------------------------------------------------------------------------------


def fabric_for(recipe: Recipe) -> Fabric:
    """Device, precision and launch in one object: CUDA, then MPS, then CPU; several GPUs under `torchrun`."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", 1)) // here
    fabric = Fabric(accelerator="auto", devices=here, num_nodes=nodes, precision=precision_of(recipe))
    fabric.launch()
    return fabric


def precision_of(recipe: Recipe) -> Any:
    """ "auto" means bf16 where the hardware multiplies it: recent GPUs and CPUs (about twice as fast), else fp32."""
    if recipe.precision != "auto":
        return recipe.precision
    on_gpu = torch.cuda.is_available()
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    return "bf16-mixed" if fast else "32-true"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16 or AMX), as Linux lists it."""
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))


# --- the loop ------------------------------------------------------------------------------------------------


def new_network(recipe: Recipe, n_people: int) -> nn.Module:
    """The system's network with random (seeded) or pretrained weights, channels last."""
    torch.manual_seed(recipe.seed)
    backbone = build(recipe.backbone, recipe.pretrained, recipe.last_stride)
    network = system_of(recipe.system).Network(backbone, n_people, options_of(recipe))
    return network.to(memory_format=torch.channels_last)


def new_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Adam or SGD; the backbone may learn at a share of the rate, and knows it as `scale`."""
    backbone = {id(p) for name, p in network.named_parameters() if name.startswith("backbone.")}
    groups = [
        {
            "params": [p for p in network.parameters() if p.requires_grad and id(p) not in backbone],
            "scale": 1.0,
        },
        {
            "params": [p for p in network.parameters() if p.requires_grad and id(p) in backbone],
            "scale": recipe.backbone_lr,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        momentum = recipe.momentum
        return torch.optim.SGD(
            groups, lr=recipe.lr, momentum=momentum, weight_decay=recipe.weight_decay, nesterov=momentum > 0
        )
    return torch.optim.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def rate(recipe: Recipe, progress: float) -> float:
    """Learning rate as a share of `lr` when `progress` (0 to 1) of all steps are done."""
    if progress < recipe.warmup:
        return max(progress / recipe.warmup, 1e-3)
    after = (progress - recipe.warmup) / max(1 - recipe.warmup, 1e-9)
    if recipe.schedule == "cosine":
        return (1 + math.cos(math.pi * after)) / 2
    if recipe.schedule == "linear":
        return 1 - after
    if recipe.schedule == "step":
        return 0.1 ** sum(progress >= share for share in recipe.milestones)
    return 1.0


def plan(recipe: Recipe, label: np.ndarray, epoch: int) -> list[np.ndarray]:
    """The batches of one epoch; they depend on the seed and the epoch only, so a resumed run draws the same."""
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.instances:
        return pk_batches(label, recipe.batch // recipe.instances, recipe.instances, rng)
    known = np.flatnonzero(label >= 0)
    if len(known) < 2:
        raise InputError(f"{len(known)} training image has a person: a training needs at least two images.")
    return [known[part] for part in shuffled_batches(len(known), recipe.batch, rng)]


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """A batch as the recipe distorts it, uint8 (B, 3, H, W) in and standardised floats out."""
    if recipe.rotate:
        images = rotate(images, recipe.rotate, generator)
    if recipe.flip:
        images = flip(images, generator)
    if recipe.pad:
        images = shift(images, recipe.pad, generator)
    if recipe.erase:
        images = erase(images, recipe.erase, generator)
    return standardise(images)


@dataclass
class History:
    """What happened, a row an epoch: epoch, lr, seconds, images_per_second, every loss and what was watched."""

    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


def fit(
    recipe: Recipe,
    train: ImageSet,
    *,
    fabric: Fabric | None = None,
    progress: bool = True,
    state: dict[str, Any] | None = None,
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[nn.Module, History]:
    """Train a system on images in memory.

    Args:
        train: the training images; label -1 is left out.
        state: where an interrupted training stood (what `after_epoch` was given).
        after_epoch: called after every epoch with all that is needed to go on from there.
    Returns:
        the network in evaluation mode on its device, and the history.
    Raises:
        InputError: a loss that is not finite, with its name, epoch and step.
    """
    system, options = system_of(recipe.system), options_of(recipe)
    fabric = fabric or fabric_for(recipe)
    network = new_network(recipe, len(train.people))
    if not any(p.requires_grad for p in network.parameters()):
        return network.to(fabric.device).eval(), History()
    optimizer = new_optimizer(recipe, network)
    history = History()
    if state:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        history = History(list(state["history"]))
    model, optimizer = fabric.setup(network, optimizer)
    label = train.label.numpy()
    epochs = tqdm(range(len(history.rows), recipe.epochs), "training", disable=not progress, leave=False)
    for epoch in epochs:
        torch.manual_seed(recipe.seed * 100_003 + epoch)  # dropout and the like
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch + 7919 * fabric.global_rank)
        batches = plan(recipe, label, epoch)
        steps = len(batches) // fabric.world_size  # on each device, the same number or they wait for ever
        started, images, sums = time.perf_counter(), 0, Sums()
        model.train()
        for step, index in enumerate(batches[fabric.global_rank :: fabric.world_size][:steps]):
            share = rate(recipe, (epoch + step / steps) / recipe.epochs)
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * share * group["scale"]
            batch: Batch = fabric.to_device(train.batch(index))
            batch["image"] = augment(batch["image"], recipe, generator)
            output = model(batch["image"])
            losses = system.objective(output, batch, options)
            optimizer.zero_grad()
            fabric.backward(sum(losses.values()))
            optimizer.step()
            sums.add(losses, system.watch(output, batch))
            images += len(index)
        seconds = time.perf_counter() - started
        means = sums.means(recipe, epoch)
        speed = images * fabric.world_size / seconds
        row = {"epoch": epoch + 1, "lr": recipe.lr * share, "seconds": seconds, "images_per_second": speed}
        history.rows.append({**row, **means})
        epochs.set_postfix({name: f"{value:.3g}" for name, value in means.items()})
        if after_epoch:
            now = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": history.rows}
            after_epoch(now)
    return network.eval(), history


class Sums:
    """Running means of losses and of what is watched, kept on the device: no waiting for a GPU at every step."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.names: list[str] = []
        self.watched: dict[str, list[Tensor]] = {}

    def add(self, losses: dict[str, Tensor], watched: dict[str, Tensor]) -> None:
        self.names = list(losses)
        self.losses.append(torch.stack([loss.detach() for loss in losses.values()]))
        for name, value in watched.items():
            self.watched.setdefault(name, []).append(value)

    def means(self, recipe: Recipe, epoch: int) -> dict[str, float]:
        """Means over the epoch; InputError that names the first loss and step that is not finite."""
        table = torch.stack(self.losses).float().cpu()  # (steps, losses)
        bad = (~torch.isfinite(table)).nonzero()
        if len(bad):
            step, which = (int(i) for i in bad[0])
            raise InputError(
                f"loss {self.names[which]!r} became {float(table[step, which])} in epoch {epoch + 1}, step {step + 1}: "
                f"the training diverged, lower lr (it is {recipe.lr:g}) or lengthen warmup (it is {recipe.warmup:g})."
            )
        means = dict(zip(self.names, table.mean(0).tolist(), strict=True))
        return {**means, **{name: float(torch.stack(v).float().mean()) for name, v in self.watched.items()}}


# --- runs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A finished training on disk: `recipe.json model.safetensors history.csv environment.json` and what is added."""

    folder: Path
    recipe: Recipe
    network: nn.Module
    history: pd.DataFrame
    people: tuple[int, ...]  # the pid of each label
    how: str  # "trained", "resumed" or "loaded"
    images: str = ""  # fingerprint of recipe and training images


def fingerprint(recipe: Recipe, table: pd.DataFrame) -> str:
    """Eight letters that change with the recipe or with the training images: their names, sizes and people."""
    rows = [recipe.to_json()]
    for name, pid, camid in zip(table["path"], table["pid"], table["camid"], strict=True):
        path = Path(name)
        size = path.stat().st_size if path.exists() else 0  # an ImageSet may come from elsewhere than files
        rows.append(f"{path.name},{size},{pid},{camid}")
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:8]


def run_folder(recipe: Recipe, table: pd.DataFrame, runs: Path | str = "runs") -> Path:
    """Where the run of this recipe on these images lives: `runs/<system>-<dataset>-<hash>`."""
    return Path(runs).expanduser() / f"{recipe.system}-{recipe.dataset}-{fingerprint(recipe, table)}"


def load_or_fit(
    recipe: Recipe,
    train: ImageSet,
    *,
    runs: Path | str = "runs",
    folder: Path | str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Run:
    """The run of a recipe: loaded where it is finished, resumed where it was interrupted, else trained.

    A run is whole or absent: it grows in a hidden folder beside its own and is renamed when it is done. After every
    epoch all that is needed to go on is written there, so a killed training loses less than one epoch, and on a CPU
    in fp32 it ends with the very bits of an undisturbed one.

    Args:
        runs: the folder of all runs; or give the run's own `folder`.
        say: called with one sentence saying which of the three it was.
    Raises:
        InputError: a folder that holds another run.
    """
    home = Path(folder).expanduser() if folder else run_folder(recipe, train.table, runs)
    images = fingerprint(recipe, train.table)
    if home.exists():
        run = load_run(home)
        if run.recipe != recipe or run.people != train.people or run.images != images:
            raise InputError(f"{home} holds a run of another recipe or of other images: choose another folder.")
        say(f"loaded the finished run {home}")
        return run
    partial = home.parent / f".{home.name}.partial"
    mark, checkpoint = partial / "begun.txt", partial / "checkpoint.pt"
    if partial.exists() and not (mark.exists() and mark.read_text() == images):
        shutil.rmtree(partial)  # a folder given by hand, begun with another recipe or other images
    state = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else None
    say(f"resuming {home} after epoch {len(state['history'])} of {recipe.epochs}" if state else f"training {home}")
    fabric = fabric_for(recipe)

    def begin() -> None:  # not before there is something to keep: what fails at once leaves nothing behind
        partial.mkdir(parents=True, exist_ok=True)
        write(mark, lambda path: path.write_text(images))

    def keep(now: dict[str, Any]) -> None:
        if fabric.is_global_zero:
            begin()
            write(checkpoint, lambda path: torch.save(now, path))

    network, history = fit(recipe, train, fabric=fabric, progress=progress, state=state, after_epoch=keep)
    if fabric.is_global_zero:
        begin()
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        (partial / "recipe.json").write_text(recipe.to_json())
        save_file(weights, partial / "model.safetensors")
        history.table.to_csv(partial / "history.csv", index=False)
        root = train.table.attrs.get("root", "")
        described = {
            **environment(),
            "people": list(train.people),
            "device": str(fabric.device),
            "root": root,
            "fingerprint": images,
        }
        (partial / "environment.json").write_text(json.dumps(described, indent=2))
        partial.rename(home)
        for file in (mark, checkpoint):
            (home / file.name).unlink(missing_ok=True)  # last, so that no kill can cost the training
    fabric.barrier()
    return Run(home, recipe, network, history.table, train.people, "resumed" if state else "trained", images)


def load_run(folder: Path | str) -> Run:
    """A finished run from its folder, network in evaluation mode on the best device.

    Raises:
        InputError: no such folder, or files missing or unreadable in it.
    """
    home = Path(folder).expanduser()
    if not home.is_dir():
        near = get_close_matches(
            home.name, [p.name for p in home.parent.glob("*-*")] if home.parent.is_dir() else [], 1
        )
        hint = f"; the nearest there is {near[0]!r}" if near else ""
        raise InputError(f"there is no run in {home}{hint}: `reidkit train` makes one and prints its folder.")
    try:
        recipe = Recipe.from_json((home / "recipe.json").read_text())
        described = json.loads((home / "environment.json").read_text())
        people = tuple(described["people"])
        state = load_file(home / "model.safetensors") if (home / "model.safetensors").stat().st_size > 16 else {}
        rows = pd.read_csv(home / "history.csv") if (home / "history.csv").stat().st_size > 2 else pd.DataFrame()
        network = new_network(replace(recipe, pretrained="none"), len(people))
        network.load_state_dict(state)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{home} is no finished run ({reason}): train it again or give another folder.") from None
    images = described.get("fingerprint", home.name.rpartition("-")[2])
    return Run(home, recipe, network.to(fabric_for(recipe).device).eval(), rows, people, "loaded", images)


def write(path: Path, how: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name and rename it, so that it is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    how(temporary)
    temporary.replace(path)


def environment() -> dict[str, str]:
    """What a reader needs to repeat a run: versions, machine, state of the code."""
    names = ("reidkit", "torch", "torchvision", "numpy", "pandas")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "git": git_state(),
    }


def git_state() -> str:
    """Commit of the code and whether it was changed since; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
