"""The inherent code of a person (paper 004): codes are drawn to their person's centre and pushed from all others.

    L = L_SR + beta L_CL - gamma L_SL

Nothing in L bounds the last term (see `losses.scatter`); the optimiser does. Adam moves a weight by about lr a step at
most, however steep the loss, so codes grow along a line and not like a power, and weight decay draws them back.

Softmax classification, a compact loss that draws codes into a ball around their centre, and a scatter loss that is
subtracted. The code is the pooled feature itself. A centre is the mean of the latest codes of all training images of a
person; the store of these codes is filled anew before every epoch and brought up to date with the codes of every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..data import Batch, ImageSet, Targets, standardise
from ..errors import InputError, choose
from ..losses import REDUCTIONS, at_least_float32, batch_hard_triplet, compact, cross_entropy, scatter
from .base import Recipes, System, Variants, require


@dataclass
class Output:
    """What a forward pass gives."""

    embedding: Tensor  # (B, D) the code, which is also what is ranked
    logits: Tensor  # (B, C)
    centres: Tensor  # (C, D) of the store, without a gradient


TRIPLET = {"identity": 0.0, "beta": 0.0, "gamma": 0.0, "triplet": 1.0, "instances": 4}  # the paper's baselines


class InherentCode(System):
    """Backbone, global average pooling, linear classifier; and the store of codes, which no file keeps."""

    name = "inherent_code"

    @dataclass(frozen=True)
    class Options:
        """The inherent code's own knobs; a weight of 0 leaves a loss out."""

        identity: float = 1.0  # weight of the softmax classification
        beta: float = 5e-5  # weight of the compact loss
        gamma: float = 1e-6  # weight of the scatter loss, which is subtracted
        triplet: float = 0.0  # weight of a batch-hard triplet loss: the paper's baselines
        margin: float = 0.3  # of the triplet loss, in units of the distance
        # of the compact and the scatter loss over the batch: "sum", as equations 2 and 3, or "mean"
        reduction: str = "sum"
        exact: bool = False  # centres from scratch before every step, as the paper has it, instead of the running store

        def __post_init__(self) -> None:
            require(self, "0 or more", "identity", "beta", "gamma", "triplet")
            choose(self.reduction, REDUCTIONS, "reduction")
            if not (self.identity or self.beta or self.triplet):
                raise InputError("identity, beta and triplet are all 0: give at least one loss a weight.")

    options: Options

    codes: Tensor
    owner: Tensor

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        self.people = targets.people
        self.classifier = nn.Linear(backbone.channels, targets.people, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.register_buffer("codes", torch.zeros(0, backbone.channels), persistent=False)  # (N, D)
        self.register_buffer("owner", torch.zeros(0, dtype=torch.long), persistent=False)  # (N,) label, -1 for nobody

    @property
    def centres(self) -> Tensor:
        """Mean code of each person, (C, D); zeros for people without a stored code."""
        known = self.owner >= 0
        sums = self.codes.new_zeros(self.people, self.codes.shape[1])
        sums.index_add_(0, self.owner[known], self.codes[known])
        count = torch.bincount(self.owner[known], minlength=self.people)
        return sums / count.clamp(min=1)[:, None]

    @torch.no_grad()
    def refresh(self, images: ImageSet, batch: int = 256) -> None:
        """Fill the store with the codes of all training images by the weights as they are, in evaluation mode."""
        training = self.training
        self.eval()
        device = self.classifier.weight.device
        parts = [self.describe(standardise(part.to(device))).float() for part in images.pixels.split(batch)]
        self.codes, self.owner = torch.cat(parts), images.label.to(device)
        self.train(training)

    def before_epoch(self, images: ImageSet) -> None:
        """The store is exact at the start of every epoch."""
        if self.needs_centres:
            self.refresh(images)

    def before_step(self, images: ImageSet) -> None:
        """With `exact`, the store is exact at every step: an epoch then costs a forward pass of everything a step."""
        if self.needs_centres and self.options.exact:
            self.refresh(images)

    @property
    def needs_centres(self) -> bool:
        """Whether any loss reads them."""
        return bool(self.options.beta or self.options.gamma)

    @torch.no_grad()
    def after_step(self, output: Output, batch: dict[str, Tensor]) -> None:
        """The codes of this step replace the stored ones of the same images."""
        if self.needs_centres:
            self.codes[batch["index"]] = output.embedding.detach().float()

    def forward(self, images: Tensor) -> Output:
        code = self.describe(images)
        return Output(code, self.classifier(code), self.centres)

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to codes (B, D)."""
        return self.backbone(images).mean((2, 3))

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits of the training people (B, C)."""
        return self.classifier(self.describe(images))

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Named losses, weighted; compact and scatter are sums over the batch, as the paper writes them, or means."""
        options = self.options
        losses = {}
        over = Tensor.sum if options.reduction == "sum" else Tensor.mean
        if options.identity:
            losses["identity"] = options.identity * cross_entropy(output.logits, batch["label"]).mean()
        if options.beta:
            losses["compact"] = options.beta * over(compact(output.embedding, batch["label"], output.centres))
        if options.gamma:
            losses["scatter"] = -options.gamma * over(scatter(output.embedding, batch["label"], output.centres))
        if options.triplet:
            triplet = batch_hard_triplet(output.embedding, batch["label"], margin=options.margin)
            losses["triplet"] = options.triplet * triplet.mean()
        return losses

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Length of the codes (the scatter loss has no other bound), identity accuracy, distance to the own centre."""
        code = at_least_float32(output.embedding)
        values = {
            "length": code.norm(dim=1).mean(),
            "accuracy": (output.logits.argmax(1) == batch["label"]).float().mean(),
        }
        if output.centres.any():
            values["to_centre"] = (code - output.centres[batch["label"].clamp(min=0)]).norm(dim=1).mean()
        return values

    RECIPES: ClassVar[Recipes] = {
        "smoke": {"epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 0, "last_stride": 2},
        # smaller images than the start knows, and the paper's stride: untouched it leaves room to learn; ten times the
        # paper's beta, so that one sees what it does in so short a time
        "quick": {
            "epochs": 2, "height": 64, "width": 32, "batch": 64, "instances": 0, "last_stride": 2, "lr": 1e-3,
            "backbone_lr": 0.3, "weight_decay": 5e-4, "pretrained": "synthetic", "beta": 5e-4,
        },
        # paper 004: Adam, lr 2e-4, batch 32, 300 epochs, 128 x 48, flip and crop; the size of its "L2 weight decay" it
        # keeps back
        "paper": {
            "epochs": 300, "height": 128, "width": 48, "batch": 32, "instances": 0, "last_stride": 2, "lr": 2e-4,
            "weight_decay": 5e-4, "warmup": 0.0, "schedule": "constant", "pretrained": "torchvision",
        },
    }  # fmt: skip
    VARIANTS: ClassVar[Variants] = {  # the rows of Table 1
        "set1": {"all": {"beta": 0.0, "gamma": 0.0}},
        "set2": {"all": {"gamma": 0.0}},
        "set3": {"all": {}},
        "triplet18": {"all": TRIPLET},
        "triplet50": {"all": {**TRIPLET, "backbone": "resnet50"}, "quick": {"pretrained": "none"}},
    }
    CLAIMS = (
        "set1 < set2 < set3 in rank-1 and mAP",
        "set3 > set1 in rank-1 and mAP",
        "set3 > triplet18 > triplet50 in rank-1 and mAP",
    )
