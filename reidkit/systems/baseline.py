"""Identity and batch-hard triplet on one global feature: the system every other one is measured against.

The head is that of Luo et al. 2019: the triplet loss reads the pooled feature, a batch norm without bias ("neck")
stands between it and the classifier, and the descriptor is the feature behind the neck. `VARIANTS` are the rows of
that paper's ablation, each with one trick more than the one before; "tricks" has all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import or_
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..data import Batch, Targets
from ..errors import InputError
from ..losses import batch_hard_triplet, compact, cross_entropy, hardest_pairs
from .base import Recipes, System, Variants, require


@dataclass
class Output:
    """What a forward pass gives."""

    embedding: Tensor  # (B, D) pooled feature, what the triplet loss reads
    descriptor: Tensor  # (B, D) behind the neck, what is ranked
    logits: Tensor  # (B, C)
    centres: Tensor | None = None  # (C, D) of the embeddings of each training person, for the centre loss


# Luo et al. 2019, Table 1: what stands in a row stays in all rows below it
TRICKS: dict[str, dict[str, Any]] = {
    "standard": {
        "warmup": 0.0, "erase": 0.0, "smoothing": 0.0, "last_stride": 2, "neck": False, "metric": "euclidean",
    },
    "warmup": {"warmup": 1 / 12},
    "erasing": {"erase": 0.5},
    "smoothing": {"smoothing": 0.1},
    "stride": {"last_stride": 1},
    "neck": {"neck": True, "metric": "cosine"},
    "tricks": {"centre": 5e-4},
}  # fmt: skip


class Baseline(System):
    """Backbone, global average pooling, neck, linear classifier over the training people."""

    name = "baseline"

    @dataclass(frozen=True)
    class Options:
        """The baseline's own knobs."""

        identity: float = 1.0  # weight of the identity loss
        triplet: float = 1.0  # weight of the triplet loss
        margin: float = 0.3  # of the triplet loss, in units of the distance
        smoothing: float = 0.1  # of the identity labels
        neck: bool = True  # batch norm between the feature of the triplet loss and that of the identity loss
        centre: float = 0.0  # weight of the centre loss (Wen et al. 2016), on the feature of the triplet loss
        pull: float = 0.5  # how far a centre moves towards the codes of its person in a step

        def __post_init__(self) -> None:
            require(self, "a share from 0 to below 1", "smoothing")
            if not self.centre >= 0 or not 0 < self.pull <= 1:
                raise InputError(f"centre is {self.centre} and pull {self.pull}: give 0 or more, and above 0 up to 1.")
            if not (self.identity or self.triplet):
                raise InputError("identity and triplet are both 0: give at least one loss a weight.")

    options: Options

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        self.neck = nn.BatchNorm1d(backbone.channels) if options.neck else nn.Identity()
        if options.neck:
            self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(backbone.channels, targets.people, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.centres: Tensor | None
        self.register_buffer("centres", torch.zeros(targets.people, backbone.channels) if options.centre else None)

    def forward(self, images: Tensor) -> Output:
        embedding = self.backbone(images).mean((2, 3))  # (B, D)
        descriptor = self.neck(embedding)
        return Output(embedding, descriptor, self.classifier(descriptor), self.centres)

    @torch.no_grad()
    def after_step(self, output: Output, batch: dict[str, Tensor]) -> None:
        """Every centre moves by `pull` * sum (code - centre) / (1 + n) over its n codes (Wen et al. 2016, eq. 4)."""
        if self.centres is None:
            return
        known = batch["label"] >= 0
        label, code = batch["label"][known], output.embedding.detach().float()[known]
        moves = torch.zeros_like(self.centres).index_add_(0, label, code - self.centres[label])
        n = torch.bincount(label, minlength=len(self.centres))
        # a new tensor, because the loss has read the old one
        self.centres = self.centres + self.options.pull * moves / (1 + n)[:, None]

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to descriptors (B, D)."""
        return self.neck(self.backbone(images).mean((2, 3)))

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits of the training people (B, C)."""
        return self(images).logits

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Named losses, weighted; a weight of 0 leaves the loss out."""
        options = self.options
        losses = {}
        if options.identity:
            entropy = cross_entropy(output.logits, batch["label"], smoothing=options.smoothing)
            losses["identity"] = options.identity * entropy.mean()
        if options.triplet:
            triplet = batch_hard_triplet(output.embedding, batch["label"], margin=options.margin)
            losses["triplet"] = options.triplet * triplet.mean()
        if output.centres is not None:  # the compact loss with balls of radius 0 is the centre loss
            point = output.centres.new_zeros(len(output.centres))
            losses["centre"] = options.centre * compact(output.embedding, batch["label"], output.centres, point).mean()
        return losses

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Hardest distances, how many anchors still have work, and the identity accuracy of the batch."""
        positive, negative = hardest_pairs(output.embedding, batch["label"])
        both = torch.isfinite(positive - negative)
        if not both.any():
            return {}
        return {
            "positive": positive[both].mean(),
            "negative": negative[both].mean(),
            "active": (positive[both] > negative[both]).float().mean(),
            "accuracy": (output.logits.argmax(1) == batch["label"]).float().mean(),
        }

    RECIPES: ClassVar[Recipes] = {
        "smoke": {"epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 4, "metric": "cosine"},
        "quick": {
            "epochs": 10, "height": 128, "width": 64, "batch": 64, "instances": 4, "lr": 1e-3, "metric": "cosine",
            "pretrained": "synthetic",
        },
        # Luo et al. 2019, section 2.1 and 3.1: warm-up over 10 epochs of 120, x 0.1 after 40 and 70
        "paper": {
            "backbone": "resnet50", "pretrained": "torchvision", "height": 256, "width": 128, "epochs": 120,
            "batch": 64, "instances": 4, "lr": 3.5e-4, "weight_decay": 5e-4, "schedule": "step",
            "milestones": (1 / 3, 7 / 12), "warmup": 1 / 12, "erase": 0.5, "pad": 10, "metric": "cosine",
        },
    }  # fmt: skip
    # each row of TRICKS with all that stands above it
    VARIANTS: ClassVar[Variants] = {
        name: {"all": row} for name, row in zip(TRICKS, accumulate(TRICKS.values(), or_), strict=True)
    }
