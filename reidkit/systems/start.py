"""A start for others: identity, attributes and body parts on one map, learnt from a crowd of synthetic people.

The pooled feature answers who it is and every attribute, each place of the map which parts of the body stand there.
What it has learnt is bundled with the package: `pretrained="synthetic"` takes its backbone over. A training begins
with small images and ends with large ones, so that most of its steps are cheap (progressive resizing).
"""

# ruff: noqa: ARG002, ARG004  # the contract gives more than is read here
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..attributes import Task
from ..augment import jitter
from ..backbones import Backbone
from ..data import Batch, ImageSet, Targets
from ..losses import batch_hard_triplet, cross_entropy, part_presence, task_losses
from ..synthetic import PARTS
from .base import Recipes, System, require, right


@dataclass
class Output:
    """What a forward pass gives."""

    embedding: Tensor  # (B, D) pooled feature
    people: Tensor  # (B, C) logits
    answers: list[Tensor]  # (B, classes) a task
    places: Tensor  # (B, PARTS, h, w) logits of each part at each place


class Start(System):
    """Backbone, global average pooling, neck; linear classifiers of people, of every attribute and of each place."""

    name = "start"

    @dataclass(frozen=True)
    class Options:
        """The start's own knobs."""

        attributes: float = 3.0  # weight of the mean over the attributes
        parts: float = 0.3  # weight of the parts, which need part maps
        light: float = 0.25  # how much each channel's light varies, as a share
        half: int = 0  # epochs with images of half the recipe's size, the first ones
        most: int = 0  # epochs with three quarters of it, the next ones

        def __post_init__(self) -> None:
            require(self, "0 or more", "attributes", "parts", "half", "most")
            require(self, "a number from 0 to 1", "light")

    options: Options

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        self.neck = nn.BatchNorm1d(backbone.channels)
        self.neck.bias.requires_grad_(False)
        self.people = targets.people  # 0 in the bundled start, which has forgotten them
        self.classifier = nn.Linear(backbone.channels, self.people or 1, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.heads = nn.ModuleList(nn.Linear(backbone.channels, len(task.classes)) for task in self.asked)
        self.places = nn.Conv2d(backbone.channels, len(PARTS), 1)
        self.epochs: Tensor  # begun
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    @staticmethod
    def learns_attributes(options: Options) -> bool:
        """It does, unless their weight is 0."""
        return options.attributes > 0

    @staticmethod
    def needs_parts(options: Options) -> bool:
        """Unless their weight is 0."""
        return options.parts > 0

    @staticmethod
    def invent(batch: Batch, tasks: Sequence[Task], options: Options, generator: torch.Generator) -> Batch:
        """The images in other light."""
        return {**batch, "image": jitter(batch["image"], options.light, generator)}

    def before_epoch(self, images: ImageSet) -> None:
        """Counts the epochs, for the size of the images."""
        self.epochs += 1

    def sized(self, images: Tensor) -> Tensor:
        """A training batch (B, 3, H, W) at the size of this epoch."""
        begun, options = int(self.epochs), self.options
        share = 0.5 if begun <= options.half else 0.75 if begun <= options.half + options.most else 1.0
        if share == 1:
            return images
        size = [round(share * side) for side in images.shape[2:]]
        small = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        return small.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Output:
        features = self.backbone(self.sized(images) if self.training else images)
        embedding = features.mean((2, 3))  # (B, D)
        people = self.classifier(self.neck(embedding))
        return Output(embedding, people, [head(embedding) for head in self.heads], self.places(features))

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to descriptors (B, D), behind the neck."""
        return self.neck(self.backbone(images).mean((2, 3)))

    def answer(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the logits (B, classes) of every task."""
        return self(images).answers

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits of the training people (B, C)."""
        return self(images).people[:, : self.people]

    def classifiers(self) -> list[Tensor]:
        """Rows of each task's classifier, T of (classes, D)."""
        return [head.get_parameter("weight") for head in self.heads]

    def attribute_map(self, images: Tensor) -> Tensor:
        """The map (B, D, h, w) behind the attributes."""
        return self.backbone(images)

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Identity with smoothed labels and batch-hard triplets; the mean of all attributes; the parts."""
        losses = {
            "identity": cross_entropy(output.people, batch["label"], smoothing=0.1).mean(),
            "triplet": batch_hard_triplet(output.embedding, batch["label"], margin=0.3).mean(),
        }
        if self.heads:
            losses["attributes"] = self.options.attributes * task_losses(output.answers, batch["attributes"]).mean()
        if "parts" in batch:
            losses["parts"] = self.options.parts * part_presence(output.places, batch["parts"]).mean()
        return losses

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Share of the batch's people and of its attributes that are told right."""
        known = {"accuracy": (output.people.argmax(1) == batch["label"]).float().mean()}
        if not self.heads:
            return known
        answers = torch.stack([logits.argmax(1) for logits in output.answers], 1)  # (B, T)
        return known | right("right", answers, batch["attributes"])

    RECIPES: ClassVar[Recipes] = {
        "smoke": {"epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 2, "metric": "cosine", "half": 1},
        "quick": {
            "epochs": 24, "height": 128, "width": 64, "batch": 96, "instances": 2, "lr": 1e-3, "warmup": 0.05, "pad": 8,
            "erase": 0.3, "metric": "cosine", "half": 6, "most": 10,
        },
        "paper": {
            "epochs": 60, "height": 256, "width": 128, "batch": 128, "instances": 2, "lr": 1e-3, "warmup": 0.05,
            "pad": 16, "erase": 0.3, "metric": "cosine", "half": 20, "most": 20,
        },
    }  # fmt: skip
