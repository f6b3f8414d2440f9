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

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..attributes import Task
from ..backbones import Backbone
from ..data import Batch, ImageSet, Targets
from ..errors import InputError

Recipes = Mapping[str, Mapping[str, Any]]  # by profile: values of fields of `Recipe` and of the system's own options
Variants = Mapping[str, Recipes]  # by row of a table: the same changes, by profile or for "all"


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
        del options
        return False

    @staticmethod
    def needs_parts(options: Any) -> bool:
        """Whether a training reads the part maps of its images."""
        del options
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
        del tasks, options, generator
        return batch

    # --- learning ---

    def objective(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Named losses, each one number; the loop minimises their sum.

        Args:
            output: what `forward` gave for the batch's images.
            batch: the images and their labels.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective")

    def watch(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """What to note beside the losses, each one number; not every batch must give all of it."""
        del output, batch
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
        del images
        return []

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits of the training people (B, C); C is 0 for a system that knows none."""
        return images.new_zeros(len(images), 0)

    # --- looking inside ---

    def classifiers(self) -> list[Tensor]:
        """Rows that read the attributes from the mean of a map, T of (classes, V); none where no map is read so."""
        return []

    def evidence(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The map (B, V, h, w) behind the attributes of images (B, 3, H, W), and its `classifiers`.

        Raises:
            InputError: a system without `classifiers`.
        """
        del images
        raise InputError(
            f"{self.name} has no linear classifier of attributes behind a mean of a map, so no class activation map: "
            "use a method such as 'gradcam'."
        )

    def reads(self, height: int) -> Tensor | None:
        """The rows of a map of this height that each task's map is drawn in, (T, height) bool; None: all of them."""
        del height
        return None

    def attention_map(self, images: Tensor) -> Tensor | None:
        """The system's own attention on images (B, 3, H, W), (B, h, w) from 0 to 1; None where it has none."""
        del images
        return None

    def last_layers(self, of: str) -> list[nn.Module]:
        """The layers whose maps decide; none for a system that has no maps.

        Args:
            of: "attributes" or "identity".
        """
        del of
        return list(self.backbone.stages.values())[-1:]
