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
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.cluster import KMeans
from torch import Tensor, nn
from tqdm.auto import tqdm

from .attributes import Task
from .augment import erase, flip, layered, parted, rotate, shift
from .backbones import build
from .data import Batch, ImageSet, Targets, standardise
from .errors import InputError
from .files import write
from .samplers import pk_batches, shuffled_batches, triplet_batches
from .source import source_hash
from .systems import SYSTEMS, System, histogram

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it repeats the precision at every use

PROFILES = ("smoke", "quick", "paper")
EVERY = 5.0  # seconds between two notes of how far a training is: in one of seconds they take as long as the learning
VALIDATION = 10**9  # in the place of an epoch's number: the validation batches are always the same


@dataclass(frozen=True)
class Recipe:
    """All that decides a training. Change it with `dataclasses.replace` or `recipe(..., epochs=5)`."""

    system: str = "baseline"
    dataset: str = "synthetic"
    fold: int = 0  # which of the random splits, for data sets that have them
    profile: str = "quick"
    seed: int = 0
    backbone: str = "resnet18"
    pretrained: str = "none"  # "none", "torchvision" (the papers' ImageNet weights), "torchvision-v2", a file or a run
    last_stride: int = 1  # of a ResNet (Sun et al. 2018)
    height: int = 128  # pixels
    width: int = 64  # pixels
    epochs: int = 12
    batch: int = 64  # images
    instances: int = 4  # K images of each person in a batch; 0 draws images one by one
    negatives: str = "batch"  # or triplets drawn ahead: "random", or "cluster" (from the anchor's colour cluster)
    clusters: int = 20  # colour clusters of the training images
    validation: float = 0.0  # share of the training people held out
    patience: int = 0  # epochs without a better validation loss before the training stops; 0 never stops it
    optimizer: str = "adam"  # or "sgd"
    lr: float = 1e-3  # of new layers
    backbone_lr: float = 1.0  # the backbone's rate as a share of lr
    weight_decay: float = 5e-4
    momentum: float = 0.9  # sgd only
    warmup: float = 0.1  # share of all steps
    schedule: str = "cosine"  # after the warm-up: "cosine", "linear", "step", "exponential" or "constant"
    milestones: tuple[float, ...] = (0.5,)  # "step": x 0.1 at these shares of all steps; "exponential": from the first
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
        natural = (
            "seed",
            "epochs",
            "instances",
            "backbone_lr",
            "weight_decay",
            "momentum",
            "warmup",
            "pad",
            "erase",
            "patience",
        )
        for name in natural:
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}: give 0 or more.")
        for name, known in {
            "optimizer": ("adam", "sgd"),
            "schedule": ("cosine", "linear", "step", "exponential", "constant"),
            "precision": ("auto", "32-true", "bf16-mixed"),
            "metric": ("euclidean", "sqeuclidean", "cosine"),
            "negatives": ("batch", "random", "cluster"),
        }.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is not known: choose one of {', '.join(known)}.")
        if not 0 <= self.validation < 1:
            raise InputError(f"validation is {self.validation}: give a share of the people from 0 to below 1.")
        if self.patience and not self.validation:
            raise InputError("patience needs people to validate on: give validation a share, such as 0.4.")
        if self.clusters < 1:
            raise InputError(f"clusters is {self.clusters}: give at least 1.")
        if self.negatives != "batch" and self.batch < 6:
            raise InputError(f"a batch of {self.batch} images holds fewer than two triplets: give batch at least 6.")
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


def system_of(system: str | type[System]) -> type[System]:
    """The class of a system by its name; a class of your own as it is.

    Raises:
        InputError: a name there is not; a class without a name of its own.
    """
    if isinstance(system, str):
        if system not in SYSTEMS:
            near = get_close_matches(system, SYSTEMS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"system {system!r} is not known: choose one of {', '.join(SYSTEMS)}.{hint}")
        return SYSTEMS[system]
    if not system.name.isidentifier() or SYSTEMS.get(system.name, system) is not system:
        raise InputError(f"{system.__name__} needs a name of its own, such as name = 'mine': it has {system.name!r}.")
    return system


def recipe(system: str | type[System], profile: str = "quick", variant: str = "", **changes: Any) -> Recipe:
    """The recipe of a system in a profile, with changes to its fields or to the system's own options.

    Args:
        system: by name, or a class of your own; the recipe has its name.
        profile: "smoke", "quick" or "paper".
        variant: one of the system's VARIANTS, a row of its paper's table: changes for all profiles, or by profile.
        changes: by the name of a field or of an option; their values may be texts.
    Raises:
        InputError: an unknown system, profile, variant or name; a value of the wrong type.
    """
    chosen = system_of(system)
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} is not known: choose one of {', '.join(PROFILES)}.")
    if variant and variant not in chosen.VARIANTS:
        known = f"choose one of {', '.join(chosen.VARIANTS)}." if chosen.VARIANTS else "it has none."
        raise InputError(f"{chosen.name} has no variant {variant!r}: {known}")
    row = chosen.VARIANTS.get(variant, {})
    own = {f.name: f.default for f in fields(Recipe) if f.name != "options"}
    options = {f.name: f.default for f in fields(chosen.Options)}
    values: dict[str, Any] = {"system": chosen.name, "profile": profile, "options": {}}
    given = {**chosen.RECIPES.get(profile, {}), **row.get("all", {}), **row.get(profile, {}), **changes}
    for name, value in given.items():
        if name in own:
            values[name] = typed(name, value, own[name])
        elif name in options:
            values["options"][name] = typed(name, value, options[name])
        else:
            near = get_close_matches(name, [*own, *options], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join([*own, *options])}."
            raise InputError(f"{chosen.name} has no setting {name!r}: {hint}")
    chosen.Options(**values["options"])  # a wrong value is refused here, before any image is read
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


def options_of(recipe: Recipe, system: type[System] | None = None) -> Any:
    """The system's Options with the recipe's changes; `system` is the class of one of your own."""
    return system_of(system or recipe.system).Options(**recipe.options)


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
    if not on_gpu and one_column(recipe):
        fast = False
    return "bf16-mixed" if fast else "32-true"


def one_column(recipe: Recipe) -> bool:
    """Whether a ResNet's last map is one column wide, where bf16 convolutions on a CPU cannot be trusted.

    With torch 2.15's oneDNN on AMX, 64 x 32 images and a last stride of 2 gave NaN in 47 of 80 trainings of one epoch,
    at random for one seed; none of 60 with two columns or more, none of 12 in fp32.
    """
    return recipe.backbone != "alexnet" and recipe.width <= 16 * recipe.last_stride


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16 or AMX), as Linux lists it."""
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))


# --- the loop ------------------------------------------------------------------------------------------------


def new_network(recipe: Recipe, targets: Targets, system: type[System] | None = None) -> System:
    """The system's network with random (seeded) or pretrained weights, channels last.

    Args:
        recipe: with the seed and the backbone.
        targets: what the training images ask of it.
        system: the class, for a system of your own.
    """
    torch.manual_seed(recipe.seed)
    backbone = build(recipe.backbone, recipe.pretrained, recipe.last_stride)
    network = system_of(system or recipe.system)(backbone, targets, options_of(recipe, system))
    return cast(System, network.to(memory_format=torch.channels_last))


def new_optimizer(recipe: Recipe, network: System) -> torch.optim.Optimizer:
    """Adam or SGD; the backbone, and what the network names in `rates`, learns at a multiple of lr, its `scale`."""
    rates = network.rates()
    scales: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            inside = name.startswith("backbone.")
            scale = recipe.backbone_lr if inside else rates.get(name, 1.0)
            scales.setdefault((inside, scale), []).append(parameter)
    groups = [{"params": scales[key], "scale": key[1]} for key in sorted(scales)]
    if recipe.optimizer == "sgd":
        momentum = recipe.momentum
        return torch.optim.SGD(
            groups, lr=recipe.lr, momentum=momentum, weight_decay=recipe.weight_decay, nesterov=momentum > 0
        )
    return torch.optim.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


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
    if recipe.schedule == "exponential":  # down to a thousandth at the end (Hermans et al. 2017)
        start = min(recipe.milestones, default=1.0)
        return 0.001 ** (max(progress - start, 0) / max(1 - start, 1e-9))
    return 1.0


def plan(recipe: Recipe, label: np.ndarray, epoch: int, group: np.ndarray | None = None) -> list[np.ndarray]:
    """The batches of one epoch; they depend on the seed and the epoch only, so a resumed run draws the same."""
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.negatives != "batch":
        return triplet_batches(label, recipe.batch // 3, rng, group)
    if recipe.instances:
        return pk_batches(label, recipe.batch // recipe.instances, recipe.instances, rng)
    known = np.flatnonzero(label >= 0)
    if len(known) < 2:
        raise InputError(f"{len(known)} training image has a person: a training needs at least two images.")
    return [known[part] for part in shuffled_batches(len(known), recipe.batch, rng)]


def colour_groups(recipe: Recipe, images: ImageSet) -> np.ndarray | None:
    """Cluster of each image by its colour histogram (k-means), (N,), where the recipe draws negatives from it."""
    if recipe.negatives != "cluster":
        return None
    colours = histogram.colours(images.pixels)
    k = min(recipe.clusters, len(colours))
    return KMeans(k, n_init=1, random_state=recipe.seed).fit_predict(colours.numpy())


def augment(batch: Batch, recipe: Recipe, generator: torch.Generator) -> Batch:
    """A batch as the recipe distorts it: images uint8 in and standardised floats out, part maps moved along."""
    layers = layered(batch)
    if recipe.rotate:
        layers = rotate(layers, recipe.rotate, generator)
    if recipe.flip:
        layers = flip(layers, generator)
    if recipe.pad:
        layers = shift(layers, recipe.pad, generator)
    if recipe.erase:
        layers = erase(layers, recipe.erase, generator)
    batch = parted(batch, layers)
    return {**batch, "image": standardise(batch["image"])}


@dataclass
class History:
    """What happened, a row an epoch: epoch, lr, seconds, images_per_second, every loss and what was watched."""

    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


def train_epoch(
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: ImageSet,
    batches: list[np.ndarray],
    epoch: int,
    fabric: Fabric,
) -> Sums:
    """One epoch, a step a batch.

    Args:
        recipe: of the training.
        model: the network as `fabric.setup` gives it.
        optimizer: of its weights; every group has a `scale`.
        images: the training images.
        batches: rows of `images`, those of this device.
        epoch: from 0.
        fabric: device and precision.
    Returns:
        the losses and what was watched.
    """
    network, sums = system_in(model), Sums()
    model.train()
    torch.manual_seed(recipe.seed * 100_003 + epoch)  # dropout and the like
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch + 7919 * fabric.global_rank)
    with fabric.autocast():
        network.before_epoch(images)
    for step, index in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * rate(recipe, (epoch + step / len(batches)) / recipe.epochs) * group["scale"]
        batch: Batch = fabric.to_device(images.batch(index))
        batch = network.invent(batch, images.tasks, network.options, generator)
        batch = augment(batch, recipe, generator)
        with fabric.autocast():
            network.before_step(images)
        output = model(batch["image"])
        losses = network.objective(output, batch)
        optimizer.zero_grad()
        fabric.backward(cast(Tensor, sum(losses.values())))
        optimizer.step()
        with fabric.autocast():
            network.after_step(output, batch)
        sums.add(losses, network.watch(output, batch))
    return sums


def system_in(model: nn.Module) -> System:
    """The network in what `fabric.setup` wraps around it."""
    return model if isinstance(model, System) else cast(System, model.module)


def fit(
    recipe: Recipe,
    train: ImageSet,
    validation: ImageSet | None = None,
    *,
    system: type[System] | None = None,
    fabric: Fabric | None = None,
    progress: bool = True,
    state: dict[str, Any] | None = None,
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[System, History]:
    """Train a system on images in memory.

    Args:
        recipe: all that decides the training.
        train: the training images; label -1 is left out.
        validation: images of other people. After every epoch the losses on them are noted as `val_...`, the weights
            of the best epoch are the ones kept, and `patience` epochs without a better one end the training.
        system: the class, for a system of your own.
        fabric: device and precision; by default those of `fabric_for`.
        progress: with a bar.
        state: where an interrupted training stood (what `after_epoch` was given).
        after_epoch: called after every epoch with all that is needed to go on from there.
    Returns:
        the network in evaluation mode on its device, and the history.
    Raises:
        InputError: a loss that is not finite, with its name, epoch and step; attributes or validation images that
            the recipe needs and that are not given; fewer batches than devices.
    """
    ready(recipe, train, validation, system)
    fabric = fabric or fabric_for(recipe)
    network = new_network(recipe, train.targets, system)
    if not any(p.requires_grad for p in network.parameters()):
        return network.to(fabric.device).eval(), History()
    optimizer = new_optimizer(recipe, network)
    history, best = History(), None
    if state:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        history, best = History(list(state["history"])), state["best"]
    model, optimizer = fabric.setup(network, optimizer)
    label, groups = train.label.numpy(), colour_groups(recipe, train)
    held_groups = colour_groups(recipe, validation) if validation is not None else None
    epochs = tqdm(range(len(history.rows), recipe.epochs), "training", disable=not progress, leave=False)
    for epoch in epochs:
        if recipe.patience and stale(history) >= recipe.patience:
            break
        batches = plan(recipe, label, epoch, groups)
        steps = len(batches) // fabric.world_size  # on each device, the same number or they wait for ever
        if not steps:
            raise InputError(
                f"{len(batches)} batches of {recipe.batch} images are too few for {fabric.world_size} devices: give a "
                "smaller batch or fewer devices."
            )
        batches = batches[fabric.global_rank :: fabric.world_size][:steps]
        started = time.perf_counter()
        sums = train_epoch(recipe, model, optimizer, train, batches, epoch, fabric)
        seconds = time.perf_counter() - started
        speed = sum(map(len, batches)) * fabric.world_size / seconds
        lr = recipe.lr * rate(recipe, (epoch + (steps - 1) / steps) / recipe.epochs)
        means = sums.means(recipe, epoch)
        history.rows.append({"epoch": epoch + 1, "lr": lr, "seconds": seconds, "images_per_second": speed, **means})
        if validation is not None:
            history.rows[-1] |= validate(recipe, model, validation, fabric, held_groups)
            if stale(history) == 0:
                best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        epochs.set_postfix({name: f"{value:.3g}" for name, value in sums.in_short(means).items()})
        if after_epoch:
            now = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": history.rows}
            after_epoch({**now, "best": best})
    if best:
        network.load_state_dict(best)
    return network.eval(), history


def learns_attributes(recipe: Recipe, system: type[System] | None = None) -> bool:
    """Whether a training by this recipe needs the attributes of its people."""
    return system_of(system or recipe.system).learns_attributes(options_of(recipe, system))


def needs_parts(recipe: Recipe, system: type[System] | None = None) -> bool:
    """Whether a training by this recipe reads the part maps of its images."""
    return system_of(system or recipe.system).needs_parts(options_of(recipe, system))


def ready(recipe: Recipe, train: ImageSet, validation: ImageSet | None, system: type[System] | None = None) -> None:
    """InputError unless the system is the recipe's and the images carry what it learns from."""
    chosen = system_of(system or recipe.system)
    if chosen.name != recipe.system:
        raise InputError(f"the recipe is of {recipe.system}, the system is {chosen.name}: give the recipe of that one.")
    if learns_attributes(recipe, system) and not train.tasks:
        raise InputError(
            f"{recipe.system} learns attributes and these images have none: give `load` the attributes of the people."
        )
    if needs_parts(recipe, system) and train.parts is None:
        raise InputError(
            "paste and parts need part maps and these images have none: set both to 0, or see course.sets."
        )
    if recipe.validation and validation is None:
        raise InputError(f"validation is {recipe.validation} and no validation images were given: see course.sets.")
    if validation is not None and not chosen.VALIDATES:
        raise InputError(
            f"{recipe.system} tells the training people apart, so its losses mean nothing on others: set validation=0."
        )
    if validation is not None and validation.tasks != train.tasks:
        raise InputError("training and validation images have other attributes: give `load` the same for both.")


@torch.no_grad()
def validate(
    recipe: Recipe, model: nn.Module, images: ImageSet, fabric: Fabric, groups: np.ndarray | None = None
) -> dict[str, float]:
    """Losses on people who are not trained on, `val_<name>`, and their sum, `val_loss`; the same batches every time."""
    network, sums = system_in(model), Sums()
    model.eval()
    for index in plan(recipe, images.label.numpy(), VALIDATION, groups):
        batch: Batch = fabric.to_device(images.batch(index))
        batch["image"] = standardise(batch["image"])
        output = model(batch["image"])
        losses = network.objective(output, batch)
        sums.add(losses, network.watch(output, batch), len(index))
    means = sums.means(recipe, VALIDATION)
    return {"val_loss": sum(means[name] for name in losses), **{f"val_{name}": v for name, v in means.items()}}


def stale(history: History) -> int:
    """Epochs since the best validation loss; 0 when the last one is the best, or when there is none."""
    losses = [row["val_loss"] for row in history.rows if "val_loss" in row]
    return len(losses) - 1 - int(np.argmin(losses)) if losses else 0


class Sums:
    """Running means of losses and of what is watched, kept on the device: no waiting for a GPU at every step."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.names: list[str] = []
        self.watched: dict[str, list[tuple[Tensor, float]]] = {}
        self.weights: list[float] = []

    def add(self, losses: dict[str, Tensor], watched: dict[str, Tensor], weight: float = 1.0) -> None:
        """The losses of a batch; `weight` is its share of the mean, such as its images where batches differ."""
        self.names = list(losses)
        self.losses.append(torch.stack([loss.detach() for loss in losses.values()]))
        self.weights.append(weight)
        for name, value in watched.items():
            self.watched.setdefault(name, []).append((value, weight))

    def means(self, recipe: Recipe, epoch: int) -> dict[str, float]:
        """Means over the epoch; InputError that names the first loss and step that is not finite."""
        table = torch.stack(self.losses).float().cpu()  # (steps, losses)
        bad = (~torch.isfinite(table)).nonzero()
        if len(bad):
            step, which = (int(i) for i in bad[0])
            when = "on the validation images" if epoch == VALIDATION else f"in epoch {epoch + 1}, step {step + 1}"
            raise InputError(
                f"loss {self.names[which]!r} became {float(table[step, which])} {when}: "
                f"the training diverged, lower lr (it is {recipe.lr:g}) or lengthen warmup (it is {recipe.warmup:g})."
            )
        weight = torch.tensor(self.weights)[:, None] / sum(self.weights)
        means = dict(zip(self.names, (weight * table).sum(0).tolist(), strict=True))
        for name, seen in self.watched.items():  # not every batch has all of it
            values = torch.stack([value for value, _ in seen]).float().cpu()
            shares = torch.tensor([share for _, share in seen])
            means[name] = float((values * shares).sum() / shares.sum())
        return means

    def in_short(self, means: dict[str, float]) -> dict[str, float]:
        """The means for one line: of more than four losses, which would fill it, their sum."""
        if len(self.names) <= 4:
            return means
        total = sum(means[name] for name in self.names)
        return {"loss": total} | {name: value for name, value in means.items() if name not in self.names}


# --- runs ----------------------------------------------------------------------------------------------------


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


def portable(recipe: Recipe) -> Recipe:
    """The recipe with the name of the run it starts from instead of that run's place on this machine."""
    return replace(recipe, pretrained=Path(recipe.pretrained).name)


def fingerprint(recipe: Recipe, train: ImageSet, validation: ImageSet | None = None) -> str:
    """Eight letters that change with the recipe or the images: their names, sizes, people and attributes."""
    rows = [portable(recipe).to_json()]
    for images in (train, validation):
        if images is None:
            continue
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
    """Which code a training learns by: its system, losses and augmentation; then that of the run it starts from.

    See `source.source_hash`. The second is left out where the training starts from no run, or that run noted none.
    """
    own = source_hash(system_of(system or recipe.system), augment, known=(System,))
    return [own, *noted(Path(recipe.pretrained).expanduser()).get("code", [])]


def noted(folder: Path) -> dict[str, Any]:
    """What a run's environment.json says; nothing where there is none to read."""
    try:
        return dict(json.loads((folder / "environment.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


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
    state = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else None
    start = f"resuming {home} after epoch {len(state['history'])} of {recipe.epochs}" if state else f"training {home}"
    say(start + (f"; the run there learnt by other code and will be kept as {aside.name}" if other else ""))
    fabric, saved = fabric_for(recipe), time.monotonic()

    def begin() -> None:  # not before there is something to keep: what fails at once leaves nothing behind
        partial.mkdir(parents=True, exist_ok=True)
        write(mark, lambda path: path.write_text(" ".join([images, *code])))

    def keep(now: dict[str, Any]) -> None:
        nonlocal saved
        if fabric.is_global_zero and time.monotonic() - saved >= EVERY:
            begin()
            write(checkpoint, lambda path: torch.save(now, path))
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
        root = train.table.attrs.get("root", "")
        described = {
            **environment(),
            "people": list(train.people),
            "targets": train.targets.to_dict(),
            "device": str(fabric.device),
            "root": root,
            "fingerprint": images,
            "code": code,
        }
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
