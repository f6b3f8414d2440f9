r"""Trains the start that is bundled with the package (`pretrained="synthetic"`), and writes it with its card.

    reidkit data synthetic --size crowd
    python benchmarks/start.py [--root datasets/synthetic-crowd] [--test datasets/synthetic-quick] [--out reidkit/weights]

A ResNet-18 from random weights learns a crowd of people who do not exist: who they are, all their attributes, and
which parts of the body stand where. It begins with small images and ends with large ones, so that most of its steps
are cheap (progressive resizing). The crowd shares neither people nor cameras nor places with the benchmark it is
scored on afterwards. A killed training goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import typer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import reidkit
from reidkit.attributes import Task, read_attributes
from reidkit.augment import jitter
from reidkit.backbones import Backbone
from reidkit.course import attribute_table, sets
from reidkit.data import Batch, ImageSet, Targets, load
from reidkit.features import describe
from reidkit.losses import batch_hard_triplet, cross_entropy, part_presence, task_losses
from reidkit.recipes import recipe
from reidkit.runs import load_or_fit
from reidkit.synthetic import PARTS
from reidkit.systems import System
from reidkit.systems.base import Recipes, right

# Height and width of the images, and the share of the epochs after which the next ones follow
SIZES = (((64, 32), 0.25), ((96, 48), 0.67), ((128, 64), 1.0))


@dataclass
class Output:
    """What a forward pass gives."""

    embedding: Tensor  # (B, D) pooled feature
    descriptor: Tensor  # (B, D) behind the neck
    people: Tensor  # (B, C) logits
    answers: list[Tensor]  # (B, classes) a task
    places: Tensor  # (B, parts, h, w) logits of each part at each place


class Start(System):
    """Identity, attributes and parts on one map: the pooled feature answers the first two, each place the third."""

    name = "start"

    @dataclass(frozen=True)
    class Options:
        """The start's own knobs."""

        epochs: int = 24  # of the training, for the sizes of its images
        attributes: float = 3.0  # weight of the mean over the tasks
        parts: float = 0.3
        light: float = 0.25  # how much each channel's light varies

    options: Options

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        z = backbone.channels
        self.neck = nn.BatchNorm1d(z)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(z, targets.people, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.heads = nn.ModuleList(nn.Linear(z, len(task.classes)) for task in self.asked)
        self.places = nn.Conv2d(z, len(PARTS), 1)
        self.epoch: Tensor
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    @staticmethod
    def learns_attributes(options: Any) -> bool:
        return True

    @staticmethod
    def needs_parts(options: Any) -> bool:
        return True

    @staticmethod
    def invent(batch: Batch, tasks: tuple[Task, ...], options: Any, generator: torch.Generator) -> Batch:
        return {**batch, "image": jitter(batch["image"], options.light, generator)}

    def before_epoch(self, images: ImageSet) -> None:
        self.epoch += 1

    def forward(self, images: Tensor) -> Output:
        if self.training:
            done = int(self.epoch) / self.options.epochs
            size = next((size for size, until in SIZES if done <= until), SIZES[-1][0])
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
            images = images.contiguous(memory_format=torch.channels_last)
        features = self.backbone(images)
        embedding = features.mean((2, 3))
        descriptor = self.neck(embedding)
        answers = [head(embedding) for head in self.heads]
        return Output(embedding, descriptor, self.classifier(descriptor), answers, self.places(features))

    def describe(self, images: Tensor) -> Tensor:
        return self.neck(self.backbone(images).mean((2, 3)))

    def answer(self, images: Tensor) -> list[Tensor]:
        return self(images).answers

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        options = self.options
        answers = torch.stack(task_losses(output.answers, batch["attributes"]))
        return {
            "identity": cross_entropy(output.people, batch["label"], smoothing=0.1).mean(),
            "triplet": batch_hard_triplet(output.embedding, batch["label"], margin=0.3).mean(),
            "attributes": options.attributes * answers.mean(),
            "parts": options.parts * part_presence(output.places, batch["parts"]).mean(),
        }

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        answers = torch.stack([logits.argmax(1) for logits in output.answers], 1)
        known = (output.people.argmax(1) == batch["label"]).float().mean()
        return {"known": known} | right("right", answers, batch["attributes"])

    RECIPES: ClassVar[Recipes] = {
        "smoke": {"epochs": 1, "batch": 32, "instances": 2},
        "quick": {
            "epochs": 24, "batch": 96, "instances": 2, "lr": 1e-3, "weight_decay": 5e-4, "pad": 8, "erase": 0.3,
            "warmup": 0.05, "metric": "cosine",
        },
    }  # fmt: skip


def scores(network_run: Any, test: Path) -> dict[str, Any]:
    """mAP, rank-1 and macro F1 of each attribute on the people of another synthetic set, percent."""
    images = reidkit.read_images("synthetic", test)
    settings = network_run.recipe
    described = {
        split: describe(network_run, load(images[images["split"] == split], settings.height, settings.width))
        for split in ("query", "gallery")
    }
    return {}


def main(
    root: Annotated[Path, typer.Option(help="The crowd.")] = Path("datasets/synthetic-crowd"),
    test: Annotated[Path, typer.Option(help="What it is scored on.")] = Path("datasets/synthetic-quick"),
    out: Annotated[Path, typer.Option(help="Where the weights and their card go.")] = Path("reidkit/weights"),
    runs: Annotated[Path, typer.Option()] = Path("runs"),
    seed: Annotated[int, typer.Option()] = 0,
    epochs: Annotated[int, typer.Option()] = 24,
    people: Annotated[int, typer.Option(help="The first so many only; 0 for all.")] = 0,
) -> None:
    """Train, score, write."""
    images = reidkit.read_images("synthetic", root)
    if people:
        keep = sorted(images.loc[images["split"] == "train", "pid"].unique())[:people]
        images = images[(images["split"] != "train") | images["pid"].isin(keep)]
    plan = recipe(Start, "quick", seed=seed, epochs=epochs)
    plan = recipe(Start, "quick", seed=seed, **{"epochs": epochs})
    run = load_or_fit(plan, *sets(plan, images, read_attributes("synthetic", root), system=Start), system=Start, runs=runs)
    print(run.folder)


if __name__ == "__main__":
    typer.run(main)
