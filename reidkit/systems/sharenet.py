"""How much should two tasks share? (paper 000): an embedding and attributes, one trunk, and the layer where they part.

    L = L_triplet + alpha L_attributes

Triplets by cosine distance, negatives mined in the batch; attributes as sigmoid cross-entropy over the binary view.
The paper sums both over the batch, which has many more triplets than images: `reduction`. `share` names the last layer
that both tasks use; what comes after it is there twice, once a task. Sharenet-5, -6 and -7 share an AlexNet up to
conv5, fc6 and fc7.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..backbones import Backbone, through
from ..data import Batch, ImageSet, Targets, binary_columns, binary_labels, class_logits
from ..errors import InputError, choose
from ..losses import MINING, REDUCTIONS, batch_triplets, count_triplets, pairwise_distance, sigmoid_cross_entropy
from .base import Recipes, System, Variants, require, right


@dataclass
class Output:
    """What a forward pass gives."""

    embedding: Tensor  # (B, D), what the triplets read and what is ranked
    logits: Tensor  # (B, A), one for each column of the binary view; A is 0 without attributes
    columns: Tensor  # (A, 2), task and class of each of them
    mining: str = ""  # how this batch's negatives are mined: one of losses.MINING; "": as the options say


class Flat(nn.Module):
    """Feature map (B, Z, H, W) to (B, Z) by global average pooling; vectors stay as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.ndim == 4 else x


ALEXNET_PAPER: dict[str, Any] = {  # and on an AlexNet: batch 100, lr 1e-3 divided by 10 in steps, alpha 0.01
    "height": 224, "width": 224, "batch": 100, "optimizer": "sgd", "lr": 1e-3, "hidden": 0, "dimensions": 1024,
}  # fmt: skip
SMALL_ALEXNET: dict[str, Any] = {  # no start is bundled for it
    "height": 128, "width": 64, "batch": 100, "lr": 3e-4, "backbone_lr": 1.0, "mining": "all", "pretrained": "none",
}  # fmt: skip


def _alexnet(**row: Any) -> dict[str, dict[str, Any]]:
    small = dict.fromkeys(("smoke", "quick"), SMALL_ALEXNET)
    return {"all": {"backbone": "alexnet", "alpha": 0.01, **row}, **small, "paper": ALEXNET_PAPER}


class Sharenet(System):
    """The shared layers; the rest once for the embedding (in `backbone` and `top`), once for attributes (`branch`)."""

    name = "sharenet"
    COPIED = ("branch.",)

    @dataclass(frozen=True)
    class Options:
        """Sharenet's own knobs."""

        share: str = "layer4"  # the last shared layer: layer1 ... layer4; conv1 ... fc7 of AlexNet
        alpha: float = 0.05  # weight of the attributes; 0 leaves their branch out: the paper's triplet baseline
        # negatives of a positive pair: one of losses.MINING; or "curriculum", as the paper's reference mines: "random4"
        # for `random_epochs`, "hard4" from then on (Wang and Gupta 2015)
        mining: str = "hard"
        random_epochs: int = 10  # of "curriculum"
        # over triplets and over images: each its mean, or "sum", in whose ratio the paper has them
        reduction: str = "mean"
        margin: float = 0.5  # of the triplet loss, a cosine distance
        hidden: int = 0  # width of a layer with batch norm before the embedding, 0 for none (paper: 1024 on a ResNet)
        dimensions: int = 128  # of the embedding; 0: as many as training people

        def __post_init__(self) -> None:
            choose(self.mining, (*MINING, "curriculum"), "mining")
            choose(self.reduction, REDUCTIONS, "reduction")
            require(self, "0 or more", "random_epochs", "hidden", "dimensions")
            if not self.alpha >= 0 or not self.margin > 0:
                raise InputError(f"alpha is {self.alpha}, margin {self.margin}: give alpha 0 or more, margin above 0.")

    options: Options

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        self.top = nn.ModuleDict(backbone.top)  # AlexNet's fc6 and fc7
        layers = list(backbone.stages) + list(self.top)
        if options.share not in layers:
            names = ", ".join(layers)
            raise InputError(f"{backbone.name} has no layer {options.share!r} to share: choose one of {names}.")
        cut = layers.index(options.share) + 1
        self.shared, self.apart = layers[:cut], layers[cut:]
        width = 4096 if self.top else backbone.channels
        hidden = [nn.Linear(width, options.hidden), nn.BatchNorm1d(options.hidden), nn.ReLU()] if options.hidden else []
        self.embed = nn.Sequential(
            Flat(), *hidden, nn.Linear(options.hidden or width, options.dimensions or targets.people)
        )
        self.columns: Tensor
        self.register_buffer("columns", binary_columns(self.asked), persistent=False)
        a = len(self.columns)
        branch = dict(zip(self.apart, deepcopy(self.layers(self.apart)), strict=True)) if a else {}
        self.branch = nn.ModuleDict(branch)
        self.attributes = nn.Sequential(Flat(), nn.Linear(width, a)) if a else None
        self.epoch: Tensor | None  # the one that runs, from 1; kept with the weights, so that a resumed training knows
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long) if options.mining == "curriculum" else None)

    def before_epoch(self, images: ImageSet) -> None:
        """Count the epochs, by which the negatives are mined."""
        del images
        if self.epoch is not None:
            self.epoch += 1

    @property
    def mining(self) -> str:
        """How negatives are mined now: one of losses.MINING."""
        if self.epoch is None:
            return self.options.mining
        return "random4" if int(self.epoch) <= self.options.random_epochs else "hard4"

    def layers(self, names: list[str]) -> list[nn.Module]:
        """Layers of the trunk or of the embedding's branch."""
        return [self.top[name] if name in self.top else self.backbone.stages[name] for name in names]

    def trunk(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to what both tasks read."""
        return through(self.layers(self.shared), images)

    def embedding(self, x: Tensor) -> Tensor:
        """From the trunk to the embedding, (B, D)."""
        return self.embed(through(self.layers(self.apart), x))

    def yes(self, x: Tensor) -> Tensor:
        """From the trunk to the logits of the binary view, (B, A)."""
        if self.attributes is None:
            return x.new_zeros(len(x), 0)
        return self.attributes(through(self.branch.values(), x))

    def forward(self, images: Tensor) -> Output:
        x = self.trunk(images)
        return Output(self.embedding(x), self.yes(x), self.columns, self.mining)

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to embeddings (B, D)."""
        return self.embedding(self.trunk(images))

    def answer(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the logits (B, classes) of every task; none without attributes."""
        return class_logits(self.yes(self.trunk(images)), self.asked)

    def classifiers(self) -> list[Tensor]:
        """Rows of each task's classifier, T of (classes, Z); none where an AlexNet's attributes read a vector."""
        if self.attributes is None or self.top:
            return []
        return [rows.T for rows in class_logits(self.attributes.get_parameter("1.weight").T, self.asked)]

    def attribute_map(self, images: Tensor) -> Tensor:
        """The map (B, Z, H, W) behind the attributes."""
        return through(self.branch.values(), self.trunk(images))

    def last_layers(self, of: str) -> list[nn.Module]:
        """The layer whose map decides, the attributes' own where there is one."""
        name = list(self.backbone.stages)[-1]
        return [self.branch[name] if of == "attributes" and name in self.branch else self.backbone.stages[name]]

    @staticmethod
    def learns_attributes(options: Options) -> bool:
        """With a weight they do."""
        return options.alpha > 0

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Triplets and attributes, the latter a sum over their columns.

        With `reduction` "mean" each is a mean, over anchors and over images. With "sum" both are the paper's sums,
        divided by the number of triplets: that leaves their ratio, and a rate means the same whatever the mining.
        """
        options, label = self.options, batch["label"]
        mining = output.mining or options.mining
        apart = batch_triplets(
            output.embedding, label, margin=options.margin, mining=mining, reduction=options.reduction
        )
        if options.reduction == "mean":
            over, n = Tensor.mean, torch.ones((), device=label.device)
        else:
            over, n = Tensor.sum, count_triplets(label, mining).clamp(min=1)
        losses = {"triplet": over(apart) / n}
        if options.alpha:
            answered = sigmoid_cross_entropy(output.logits, binary_labels(batch["attributes"], output.columns))
            losses["attributes"] = options.alpha * over(answered) / n
        return losses

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Mean cosine distance of the batch's pairs (0: everybody has become one point), accuracy of the columns."""
        values = {"distance": pairwise_distance(output.embedding, distance="cosine").mean()}
        if len(output.columns):
            values |= right("accuracy", output.logits > 0, binary_labels(batch["attributes"], output.columns))
        return values

    # From random weights the nearest strangers draw everybody into one point within an epoch (the mean distance falls
    # to 0, the loss to the margin); all strangers of the batch do not. From the bundled start the nearest ones teach.
    RECIPES: ClassVar[Recipes] = {
        "smoke": {
            "epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 4, "last_stride": 2, "metric": "cosine",
            "mining": "all",
        },
        "quick": {
            "epochs": 1, "height": 64, "width": 32, "batch": 64, "instances": 4, "last_stride": 2, "metric": "cosine",
            "lr": 3e-3, "backbone_lr": 0.1, "pretrained": "synthetic",
        },
        # paper 000 on a ResNet-50: batch 32, lr 1e-4 divided by 10 in steps, alpha 0.05, FC 1024, batch norm, ReLU,
        # FC C
        "paper": {
            "backbone": "resnet50", "pretrained": "torchvision", "epochs": 60, "height": 256, "width": 128, "batch": 32,
            "instances": 4, "last_stride": 2, "lr": 1e-4, "weight_decay": 5e-4, "warmup": 0.0, "schedule": "step",
            "milestones": (1 / 3, 2 / 3), "metric": "cosine", "hidden": 1024, "dimensions": 0, "mining": "curriculum",
            "reduction": "sum",
        },
    }  # fmt: skip
    VARIANTS: ClassVar[Variants] = {
        "triplet": {"all": {"alpha": 0.0}},
        **{f"share-{layer}": {"all": {"share": layer}} for layer in ("layer2", "layer3", "layer4")},
        "triplet-alexnet": _alexnet(alpha=0.0, share="fc7"),
        "sharenet-5": _alexnet(share="conv5"),
        "sharenet-6": _alexnet(share="fc6"),
        "sharenet-7": _alexnet(share="fc7"),
    }
    CLAIMS = (
        "sharenet-7 > sharenet-6 > sharenet-5 > triplet-alexnet in rank-1",
        "sharenet-7 > triplet-alexnet in rank-1",
        "share-layer4 > share-layer3 > share-layer2 > triplet in rank-1",
    )
