"""Attributes under imbalance, then re-identification (paper 001): two stages that share a backbone.

Stage "attributes": the pooled feature, and for every task Dropout and a linear classifier; one of four losses, summed
over the tasks. Stage "identity": the backbone, mostly that of a finished first stage (`pretrained=<run folder>`),
then ReLU and a linear layer to an embedding, trained with triplets that were drawn ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones import Backbone
from ..data import Batch, Targets
from ..errors import InputError, choose
from ..losses import KINDS, adjust, class_weights, task_losses, triplet
from .base import Recipes, System, Variants, require, right

STAGES = ("attributes", "identity")
LOSSES = (*KINDS, "adjusted")  # the paper's four, and cross-entropy on logits adjusted by the classes' frequency
IDENTITY: dict[str, dict[str, Any]] = {  # the second stage
    "all": {"stage": "identity", "negatives": "cluster"},
    "smoke": {"batch": 24},
    # small images leave an order that can be mended; the embedding alone learns
    "quick": {"height": 64, "width": 32, "last_stride": 1, "batch": 24, "lr": 3e-4},
    "paper": {"batch": 96, "lr": 2e-5, "epochs": 10},
}


@dataclass
class Output:
    """What a forward pass gives; the first stage has logits, the second an embedding only."""

    embedding: Tensor  # (B, D) what is ranked: the pooled feature, or the second stage's embedding
    logits: dict[str, Tensor] = field(default_factory=dict)  # (B, classes) by the name of the task
    weights: list[Tensor] = field(default_factory=list)  # (classes,) a task: inverse frequency in the training fold


class TwoStage(System):
    """Backbone and global average pooling, then a classifier a task, or a siamese embedding."""

    name = "two_stage"
    VALIDATES = True

    @dataclass(frozen=True)
    class Options:
        """The two-stage system's own knobs."""

        stage: str = "attributes"  # or "identity"
        loss: str = "cross_entropy"  # of the first stage: one of LOSSES
        gamma: float = 2.0  # of the focal losses
        tau: float = 1.0  # strength of the adjusted loss
        # class weights over the number of classes that occur; else inverse frequencies, as the paper
        balance: bool = True
        dropout: float = 0.5  # before each task's classifier
        dimensions: int = 128  # of the second stage's embedding
        margin: float = 1.0  # of the triplet loss, a squared distance

        def __post_init__(self) -> None:
            choose(self.stage, STAGES, "stage")
            choose(self.loss, LOSSES, "loss")
            require(self, "a share from 0 to below 1", "dropout")
            if self.dimensions < 1 or not self.margin > 0 or not self.gamma >= 0 or not self.tau >= 0:
                raise InputError("dimensions must be at least 1, margin above 0, gamma and tau not negative.")

    options: Options

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        z = backbone.channels
        if options.stage == "identity":
            self.embed = nn.Linear(z, options.dimensions)
            return
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(options.dropout), nn.Linear(z, len(task.classes))) for task in self.asked
        )
        # a class that nobody of the fold has is never a label there, so its weight is never used: 0 says so
        for i, weights in enumerate(class_weights(targets.counts, targets.tasks, absent=0.0)):
            # over the number of classes that occur a weighted task speaks as loud as a plain one on average; else ten
            # colours speak five times as loud as two sleeves
            occur = max(int((weights > 0).sum()), 1) if options.balance else 1
            self.register_buffer(f"weights{i}", weights / occur)

    def forward(self, images: Tensor) -> Output:
        feature = self.backbone(images).mean((2, 3))
        if self.options.stage == "identity":
            return Output(self.embed(F.relu(feature)))
        weights = [self.get_buffer(f"weights{i}") for i in range(len(self.heads))]
        logits = {name: head(feature) for name, head in zip(self.tasks, self.heads, strict=True)}
        return Output(feature, logits, weights)

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to descriptors (B, D)."""
        return self(images).embedding

    def answer(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the logits (B, classes) of every task; none in the second stage."""
        return list(self(images).logits.values())

    def classifiers(self) -> list[Tensor]:
        """Rows of each task's classifier, T of (classes, Z); none in the second stage."""
        return [head.get_parameter("1.weight") for head in self.heads] if self.tasks else []

    def attribute_map(self, images: Tensor) -> Tensor:
        """The map (B, Z, H, W) behind the attributes."""
        return self.backbone(images)

    @staticmethod
    def learns_attributes(options: Options) -> bool:
        """The first stage does."""
        return options.stage == "attributes"

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """One loss a task, by its name; or the triplet loss of anchor, positive, negative."""
        options = self.options
        if options.stage == "identity":
            anchor, positive, negative = output.embedding.chunk(3)
            return {"triplet": triplet(anchor, positive, negative, margin=options.margin).mean()}
        logits, kind = list(output.logits.values()), options.loss
        if kind == "adjusted":
            logits = [adjust(x, w, options.tau) for x, w in zip(logits, output.weights, strict=True)]
            kind = "cross_entropy"
        losses = task_losses(logits, batch["attributes"], kind=kind, weights=output.weights, gamma=options.gamma)
        return dict(zip(output.logits, losses, strict=True))

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Accuracy over all labels of the batch; or the two distances and the share of triplets that still push."""
        if not output.logits:
            anchor, positive, negative = output.embedding.float().chunk(3)
            near, far = ((anchor - other).square().sum(1) for other in (positive, negative))
            return {"positive": near.mean(), "negative": far.mean(), "wrong": (near > far).float().mean()}
        answers = torch.stack([logits.argmax(1) for logits in output.logits.values()], 1)  # (B, T)
        return right("accuracy", answers, batch["attributes"])

    RECIPES: ClassVar[Recipes] = {
        "smoke": {
            "epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 0, "last_stride": 2, "schedule": "linear",
            "rotate": 10.0, "validation": 0.4, "patience": 4,
        },
        # 120 people would overwrite what a crowd has taught: the backbone stays as it is, and the heads read from it.
        # A hat is too small for 96 x 48. One epoch of small batches has steps enough for linear heads
        "quick": {
            "epochs": 1, "height": 128, "width": 64, "batch": 16, "instances": 0, "last_stride": 2,
            "schedule": "linear", "lr": 2e-2, "backbone_lr": 0.0, "pretrained": "synthetic", "rotate": 10.0, "pad": 4,
            "validation": 0.4, "patience": 3,
        },
        # paper 001: lr 3e-4, linear with a warm-up over a tenth of the steps, 15 epochs, early stopping,
        # 60/40 by identity
        "paper": {
            "epochs": 15, "height": 256, "width": 128, "batch": 64, "instances": 0, "last_stride": 2, "lr": 3e-4,
            "weight_decay": 0.0, "schedule": "linear", "pretrained": "torchvision", "rotate": 10.0, "pad": 0,
            "validation": 0.4, "patience": 4, "balance": False,
        },
    }  # fmt: skip
    VARIANTS: ClassVar[Variants] = {
        **{kind: {"all": {"stage": "attributes", "loss": kind}} for kind in LOSSES},
        "identity": IDENTITY,
        # the row without the first stage: it starts where the first one did, in "quick" from random weights, since
        # there the bundled start is all the backbone that the first stage hands on
        "alone": {**IDENTITY, "quick": {**IDENTITY["quick"], "pretrained": "none", "backbone_lr": 1.0}},
    }
    CLAIMS = (
        "weighted > cross_entropy in global macro F1",
        "alpha_focal < cross_entropy in global accuracy",
        "cross_entropy | weighted > focal | alpha_focal in global macro F1 and global accuracy",
        "second stage with the first, cluster negatives > second stage without the first, cluster negatives in mAP",
    )
