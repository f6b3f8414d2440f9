"""Training: one visible loop, and what is noted of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from .augment import erase, flip, layered, parted, rotate, shift
from .backbones import build
from .data import Batch, ImageSet, Targets, standardise
from .devices import fabric_for
from .errors import InputError
from .recipes import Recipe, learns_attributes, needs_parts, options_of, system_of
from .samplers import pk_batches, shuffled_batches, triplet_batches
from .systems import System, histogram

VALIDATION = 10**9  # in the place of an epoch's number: the validation batches are always the same


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
        batch = augmented(batch, recipe, generator)
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
    network = new_network(recipe, train.targets, system).to(fabric.device)
    if not any(p.requires_grad for p in network.parameters()):
        return network.eval(), History()
    optimizer = new_optimizer(recipe, network)
    history, best = History(), None
    label, groups = train.label.numpy(), look_alikes(recipe, network, train)
    held_groups = look_alikes(recipe, network, validation) if validation is not None else None
    if state:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        history, best = History(list(state["history"])), state["best"]
    model, optimizer = fabric.setup(network, optimizer)
    epochs = tqdm(range(len(history.rows), recipe.epochs), "training", disable=not progress, leave=False)
    for epoch in epochs:
        if recipe.patience and stale(history) >= recipe.patience:
            break
        batches = epoch_batches(recipe, label, epoch, groups)
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


@torch.no_grad()
def validate(
    recipe: Recipe, model: nn.Module, images: ImageSet, fabric: Fabric, groups: np.ndarray | None = None
) -> dict[str, float]:
    """Losses on people who are not trained on, `val_<name>`, and their sum, `val_loss`; the same batches every time."""
    network, sums = system_in(model), Sums()
    model.eval()
    for index in epoch_batches(recipe, images.label.numpy(), VALIDATION, groups):
        batch: Batch = fabric.to_device(images.batch(index))
        batch["image"] = standardise(batch["image"])
        output = model(batch["image"])
        losses = network.objective(output, batch)
        sums.add(losses, network.watch(output, batch), len(index))
    means = sums.means(recipe, VALIDATION)
    return {"val_loss": sum(means[name] for name in losses), **{f"val_{name}": v for name, v in means.items()}}


def new_network(recipe: Recipe, targets: Targets, system: type[System] | None = None) -> System:
    """The system's network with random (seeded) or pretrained weights, channels last.

    Args:
        recipe: with the seed and the backbone, which has no gradients where its rate is 0.
        targets: what the training images ask of it.
        system: the class, for a system of your own.
    """
    torch.manual_seed(recipe.seed)
    backbone = build(recipe.backbone, recipe.pretrained, recipe.last_stride).requires_grad_(recipe.backbone_lr > 0)
    network = system_of(system or recipe.system)(backbone, targets, options_of(recipe, system))
    return cast(System, network.to(memory_format=torch.channels_last))


def new_optimizer(recipe: Recipe, network: System) -> torch.optim.Optimizer:
    """Adam or SGD; the backbone, its copies and what is named in `rates` learn at a multiple of lr, their `scale`."""
    rates = network.rates()
    scales: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            inside = name.startswith(("backbone.", *network.COPIED))
            scale = recipe.backbone_lr if inside else rates.get(name, 1.0)
            scales.setdefault((inside, scale), []).append(parameter)
    groups = [{"params": scales[key], "scale": key[1]} for key in sorted(scales)]
    given: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.momentum > 0, **given)
    return torch.optim.Adam(groups, fused=True, **given)


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


def epoch_batches(recipe: Recipe, label: np.ndarray, epoch: int, group: np.ndarray | None = None) -> list[np.ndarray]:
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


@torch.no_grad()
def look_alikes(recipe: Recipe, network: System, images: ImageSet) -> np.ndarray | None:
    """Cluster of each image (k-means), (N,), where the recipe draws negatives from it.

    "cluster" sorts images by their colour histograms (paper 001), "similar" by what the backbone makes of them.

    Args:
        recipe: with `negatives` and `clusters`.
        network: as it is before it learns.
        images: N of them.
    """
    if recipe.negatives == "cluster":
        seen = histogram.colours(images.pixels)
    elif recipe.negatives == "similar":
        fabric, pixels = fabric_for(recipe), images.pixels.split(256)
        backbone = network.to(fabric.device).eval().backbone
        with fabric.autocast():
            maps = [backbone(standardise(part.to(fabric.device))).float() for part in pixels]
        seen = torch.cat([F.normalize(part.mean((2, 3))) for part in maps]).cpu()
    else:
        return None
    k = min(recipe.clusters, len(seen))
    return KMeans(k, n_init=1, random_state=recipe.seed).fit_predict(seen.numpy())


def augmented(batch: Batch, recipe: Recipe, generator: torch.Generator) -> Batch:
    """A batch as the recipe augments it: images uint8 in and standardised floats out, part maps moved along."""
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
        raise InputError(f"{recipe.system} learns body parts and these images have no part maps: set parts=0.")
    if recipe.validation and validation is None:
        raise InputError(f"validation is {recipe.validation} and no validation images were given: see course.sets.")
    if validation is not None and not chosen.VALIDATES:
        raise InputError(
            f"{recipe.system} tells the training people apart, so its losses mean nothing on others: set validation=0."
        )
    if validation is not None and validation.tasks != train.tasks:
        raise InputError("training and validation images have other attributes: give `load` the same for both.")


@dataclass
class History:
    """What happened, a row an epoch: epoch, lr, seconds, images_per_second, every loss and what was watched."""

    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


def stale(history: History) -> int:
    """Epochs since the best validation loss; 0 when the last one is the best, or when there is none."""
    losses = [row["val_loss"] for row in history.rows if "val_loss" in row]
    return len(losses) - 1 - int(np.argmin(losses)) if losses else 0


class Sums:
    """Running means of losses and of what is watched, kept on the device: no waiting for a GPU at every step."""

    def __init__(self) -> None:
        self.names: list[str] = []  # of the losses
        self.values: dict[str, list[Tensor]] = {}  # a number a step
        self.weights: dict[str, list[float]] = {}

    def add(self, losses: dict[str, Tensor], watched: dict[str, Tensor], weight: float = 1.0) -> None:
        """The losses of a batch; `weight` is its share of the mean, such as its images where batches differ."""
        self.names = list(losses)
        if both := losses.keys() & watched.keys():
            raise InputError(f"{', '.join(both)} is a loss and is watched too: watch it under another name.")
        for name, value in (losses | watched).items():  # not every batch has all that is watched
            self.values.setdefault(name, []).append(value.detach())
            self.weights.setdefault(name, []).append(weight)

    def means(self, recipe: Recipe, epoch: int) -> dict[str, float]:
        """Means over the epoch; InputError that names the first loss and step that is not finite."""
        values = {name: torch.stack(seen).float().cpu() for name, seen in self.values.items()}  # (steps,) each
        bad = (~torch.stack([values[name] for name in self.names], 1).isfinite()).nonzero().tolist()
        if bad:
            step, name = bad[0][0], self.names[bad[0][1]]
            when = "on the validation images" if epoch == VALIDATION else f"in epoch {epoch + 1}, step {step + 1}"
            raise InputError(
                f"loss {name!r} became {float(values[name][step])} {when}: the training diverged, lower lr (it is "
                f"{recipe.lr:g}) or lengthen warmup (it is {recipe.warmup:g})."
            )
        return {name: float(np.average(seen, weights=self.weights[name])) for name, seen in values.items()}

    def in_short(self, means: dict[str, float]) -> dict[str, float]:
        """The means for one line: of more than four losses, which would fill it, their sum."""
        if len(self.names) <= 4:
            return means
        total = sum(means[name] for name in self.names)
        return {"loss": total} | {name: value for name, value in means.items() if name not in self.names}


def system_in(model: nn.Module) -> System:
    """The network in what `fabric.setup` wraps around it."""
    return model if isinstance(model, System) else cast(System, model.module)
