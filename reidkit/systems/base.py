"""The contract of a system: a network, what it learns by, and the recipes, rows and claims of its paper.

A system is a subclass of `System`, in this folder or in a file of your own. It must have a `name`, and write
`forward`, `describe` and `objective`. Everything else has a default that does nothing:

    class Mine(System):
        name = "mine"

        def forward(self, images):                       # (B, 3, H, W) to whatever `objective` reads
            return self.describe(images)

        def describe(self, images):                      # (B, 3, H, W) to (B, D)
            return self.backbone(images).mean((2, 3))

        def objective(self, output, batch):              # named losses; the loop adds them up
            return {"triplet": batch_hard_triplet(output, batch["label"], margin=0.3).mean()}

    run = load_or_fit(recipe(Mine, "quick", epochs=5), images, system=Mine)
"""

# ruff: noqa: ARG002, ARG004  # the defaults do nothing, so they read none of their arguments
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..attributes import Task
from ..backbones import Backbone
from ..data import Batch, ImageSet, Targets
from ..errors import InputError

Recipes = Mapping[str, Mapping[str, Any]]  # by profile: values of fields of `Recipe` and of the system's own options
Variants = Mapping[str, Recipes]  # by row of a table: the same changes, by profile or for "all"

RANGES: dict[str, Callable[[float], bool]] = {
    "0 or more": lambda value: value >= 0,
    "a number above 0": lambda value: value > 0,
    "at least 1": lambda value: value >= 1,
    "a number from 0 to 1": lambda value: 0 <= value <= 1,
    "a share from 0 to below 1": lambda value: 0 <= value < 1,
}


def require(options: Any, rule: str, *names: str) -> None:
    """Refuse options outside their range: `require(self, "0 or more", "alpha", "hidden")`.

    Args:
        options: an `Options`.
        rule: one of RANGES, which is also what the message asks for.
        names: of the options it holds for.
    Raises:
        InputError: a value that breaks the rule, or is not a number.
    """
    for name in names:
        value = getattr(options, name)
        if not RANGES[rule](value):
            raise InputError(f"{name} is {value}: give {rule}.")


def right(name: str, answers: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Share of the known labels that are answered right, under a name, to note; nothing where none is known.

    Args:
        name: what it is called in the history.
        answers: (B, T) classes, or yes and no.
        labels: (B, T), -1 for missing.
    """
    known = labels >= 0
    return {name: (answers == labels)[known].float().mean()} if known.any() else {}


@dataclass(frozen=True)
class NoOptions:
    """The options of a system that has none."""


class System(nn.Module):
    """A network with all that the loop, the maps and the reports ask of it.

    Its batches are dicts: `image` (B, 3, H, W), standardised; `pid`, `label`, `camid` and `index` (B,);
    `attributes` (B, T) with -1 for a missing label; `parts` (B, H, W) where the training has part maps.
    """

    name: ClassVar[str] = ""  # in recipes and in the names of run folders
    Options: ClassVar[type[Any]] = NoOptions  # a frozen dataclass: the system's own knobs
    RECIPES: ClassVar[Recipes] = {}  # "smoke", "quick", "paper": what differs from the defaults of `Recipe`
    VARIANTS: ClassVar[Variants] = {}  # the rows of its paper's tables: what differs from the recipe
    CLAIMS: ClassVar[tuple[str, ...]] = ()  # what its paper claims, as `claims` reads it
    VALIDATES: ClassVar[bool] = False  # whether its losses mean something on people it was not trained on
    COPIED: ClassVar[tuple[str, ...]] = ()  # how the names of copies of backbone layers begin: they learn at its rate

    options: Any  # an `Options`
    asked: tuple[Task, ...]  # the attributes it answers

    def __init__(self, backbone: Backbone, targets: Targets, options: Any) -> None:
        """Keep what every system has; the subclass adds its layers.

        Args:
            backbone: images to a feature map.
            targets: how many people and images there are, and which attributes.
            options: an `Options`.
        """
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.asked = targets.tasks if self.learns_attributes(options) else ()

    @property
    def tasks(self) -> list[str]:
        """Names of the attributes it answers; empty where it answers none."""
        return [task.name for task in self.asked]

    # --- before there is a network ---

    @staticmethod
    def learns_attributes(options: Any) -> bool:
        """Whether a training needs the attributes of its people; the network then has an `answer`."""
        return False

    @staticmethod
    def needs_parts(options: Any) -> bool:
        """Whether a training reads the part maps of its images."""
        return False

    @staticmethod
    def invent(batch: Batch, tasks: Sequence[Task], options: Any, generator: torch.Generator) -> Batch:
        """What becomes of a training batch before it is augmented: nothing.

        Args:
            batch: with `image` as uint8.
            tasks: the T columns of its attributes.
            options: an `Options`.
            generator: the source of every random number.
        """
        return batch

    # --- learning ---

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for parts of which no parameter learns: they keep the statistics of a batch norm too."""
        super().train(mode)
        for part in self.modules():
            if (learns := [parameter.requires_grad for parameter in part.parameters()]) and not any(learns):
                nn.Module.train(part, False)
        return self

    def objective(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Named losses, each one number; the loop minimises their sum.

        Args:
            output: what `forward` gave for the batch's images.
            batch: the images and their labels.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective")

    def watch(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """What to note beside the losses, each one number; not every batch must give all of it."""
        return {}

    def rates(self) -> dict[str, float]:
        """Parameters that learn at a multiple of the rate, by name."""
        return {}

    def before_epoch(self, images: ImageSet) -> None:
        """Called before every epoch with all training images."""

    def before_step(self, images: ImageSet) -> None:
        """Called before every step with all training images."""

    def after_step(self, output: Any, batch: Batch) -> None:
        """Called after every step with its output and batch."""

    # --- using ---

    def forward(self, images: Tensor) -> Any:
        """Images (B, 3, H, W) to what `objective` and `watch` read."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to descriptors (B, D)."""
        raise NotImplementedError(f"{type(self).__name__} does not describe images")

    def answer(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the logits (B, classes) of every task; none for a system without attributes."""
        return []

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits of the training people (B, C); C is 0 for a system that knows none."""
        return images.new_zeros(len(images), 0)

    # --- looking inside ---

    def classifiers(self) -> list[Tensor]:
        """Rows that read the attributes from the mean of a map, T of (classes, V); none where no map is read so."""
        return []

    def attribute_map(self, images: Tensor) -> Tensor:
        """The map (B, V, h, w) whose mean `classifiers` read, of images (B, 3, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} has classifiers and no attribute_map")

    def evidence(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The `attribute_map` (B, V, h, w) of images (B, 3, H, W), and its `classifiers`.

        Raises:
            InputError: a system without `classifiers`.
        """
        rows = self.classifiers()
        if not rows:
            raise InputError(
                f"{self.name} has no linear classifier of attributes behind a mean of a map, so no class activation "
                "map: use a method such as 'gradcam'."
            )
        return self.attribute_map(images), rows

    def reads(self, height: int) -> Tensor | None:
        """The rows of a map of this height that each task's map is drawn in, (T, height) bool; None: all of them."""
        return None

    def attention_map(self, images: Tensor) -> Tensor | None:
        """The system's own attention on images (B, 3, H, W), (B, h, w) from 0 to 1; None where it has none."""
        return None

    def last_layers(self, of: str) -> list[nn.Module]:
        """The layers whose maps decide; none for a system that has no maps.

        Args:
            of: "attributes" or "identity".
        """
        return list(self.backbone.stages.values())[-1:]
