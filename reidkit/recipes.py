"""The recipe: all that decides a training, by system, profile and variant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .distances import METRICS
from .errors import InputError, choose, nearest
from .systems import SYSTEMS, System
from .systems.base import require

PROFILES = ("smoke", "quick", "paper")
CHOICES = {  # fields of a recipe that take a name
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "linear", "step", "exponential", "constant"),
    "precision": ("auto", "32-true", "bf16-mixed"),
    "metric": METRICS,
    "negatives": ("batch", "random", "cluster", "similar"),
}


@dataclass(frozen=True)
class Recipe:
    """All that decides a training. Change it with `dataclasses.replace` or `recipe(..., epochs=5)`."""

    system: str = "baseline"
    dataset: str = "synthetic"
    fold: int = 0  # which of the random splits, for data sets that have them
    profile: str = "quick"
    seed: int = 0
    backbone: str = "resnet18"
    pretrained: str = "none"  # or "synthetic", "imagenet", "torchvision", "torchvision-v2", a file, a run's folder
    last_stride: int = 1  # of a ResNet or MobileNetV2 (Sun et al. 2018)
    height: int = 128  # pixels
    width: int = 64  # pixels
    epochs: int = 12
    batch: int = 64  # images
    instances: int = 4  # K images of each person in a batch; 0 draws images one by one
    negatives: str = "batch"  # or triplets drawn ahead: "random"; from the anchor's colour "cluster"; "similar" to it
    clusters: int = 20  # of look-alikes among the training images
    validation: float = 0.0  # share of the training people held out
    patience: int = 0  # epochs without a better validation loss before the training stops; 0 never stops it
    optimizer: str = "adam"  # or "sgd"
    lr: float = 1e-3  # of new layers
    backbone_lr: float = 1.0  # the backbone's rate as a share of lr; at 0 it stays as it is
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
        for name, names in CHOICES.items():
            choose(getattr(self, name), names, name)
        require(self, "a number above 0", "height", "width", "batch", "lr")
        require(self, "0 or more", "seed", "epochs", "instances", "backbone_lr", "weight_decay", "momentum", "warmup")
        require(self, "0 or more", "pad", "erase", "patience")
        require(self, "at least 1", "clusters")
        require(self, "a share from 0 to below 1", "validation")
        n, fewest = self.batch, 2 * self.instances
        if self.patience and not self.validation:
            raise InputError("patience needs people to validate on: give validation a share, such as 0.4.")
        if self.negatives != "batch" and n < 6:
            raise InputError(f"a batch of {n} images holds fewer than two triplets: give batch at least 6.")
        if n < 2:
            raise InputError(f"a batch of {n} image is too small: give batch at least 2.")
        if n < fewest:
            raise InputError(
                f"{n} images, {self.instances} of each, show fewer than two people: give batch at least {fewest}."
            )
        if self.backbone == "alexnet" and min(self.height, self.width) < 63:
            size = f"{self.height} x {self.width}"
            raise InputError(f"AlexNet sees nothing in {size} pixels: give height and width of at least 63.")

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
        return SYSTEMS[choose(system, SYSTEMS, "system")]
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
    choose(profile, PROFILES, "profile")
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
            near = nearest(name, [*own, *options])
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join([*own, *options])}."
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


def learns_attributes(recipe: Recipe, system: type[System] | None = None) -> bool:
    """Whether a training by this recipe needs the attributes of its people."""
    return system_of(system or recipe.system).learns_attributes(options_of(recipe, system))


def needs_parts(recipe: Recipe, system: type[System] | None = None) -> bool:
    """Whether a training by this recipe reads the part maps of its images."""
    return system_of(system or recipe.system).needs_parts(options_of(recipe, system))
