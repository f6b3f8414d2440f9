"""Three tasks on a whole body and on its halves (paper 003): identity, attributes and verification, two branches.

    L = L_id + lambda1 L_attr + lambda2 L_trip

A ResNet is shared up to the first block of `layer3` (the paper's conv4_1); what follows is there twice. The global
branch goes on as it was, the part branch keeps its resolution in `layer4`. Global max pooling over the two maps and
over the halves of the second; from these, six features: identification (IM: identity and attributes) of the global
map, the part map and its halves, and verification (VM: triplets) of the two maps. The descriptor is all six.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones import Backbone, open_last_stage, through
from ..data import Batch, Targets, binary_columns, binary_labels, class_logits
from ..errors import InputError, choose
from ..losses import REDUCTIONS, batch_hard_triplet, cross_entropy, hardest_pairs, sigmoid_cross_entropy
from .base import Recipes, System, Variants, require, right

LOWER = ("down", "clothes", "downcolor", "shoes", "boots")  # Table 1; everything else is of the upper half
LOWER_PETA = ("lowerBody", "footwear", "leg")  # how PETA's names of the same begin
DESCRIPTORS = ("six", "normalised", "verification")
SIX = ("global_im", "global_vm", "part_im", "part_vm", "upper_im", "lower_im")


def is_lower(task: str) -> bool:
    """Whether an attribute is one of the lower half of the body; all others are of the upper half."""
    return task in LOWER or task.startswith(LOWER_PETA)


@dataclass
class Output:
    """What a forward pass gives."""

    features: dict[str, Tensor]  # (B, D) by the names of SIX, those that some loss reads
    people: dict[str, Tensor]  # (B, C) logits of the identification features
    answers: dict[str, Tensor]  # (B, A') logits of the binary view: "global" of all columns, "upper" and "lower" of own
    groups: dict[str, Tensor]  # (A',) which columns these are
    columns: Tensor  # (A, 2), task and class of each column


class PartMultitask(System):
    """Shared layers and global branch in `backbone`, the other branch in `part`; six features and their classifiers."""

    name = "part_multitask"
    COPIED = ("part.",)

    @dataclass(frozen=True)
    class Options:
        """The part-based network's own knobs; a weight of 0 leaves out a loss and the features it alone reads."""

        identity: float = 1.0  # weight of the identity loss, a sum over the four identification features
        attributes: float = 1.0  # lambda1, of the attributes: a sum over global, upper and lower
        triplet: float = 1.0  # lambda2, of the triplets: a sum over the two verification features
        margin: float = 1.2  # of the triplet loss, in units of the distance
        dimensions: int = 512  # of each of the six features; the paper does not say
        reduction: str = "mean"  # of the triplet loss over the anchors: "mean", or "sum", as equation 8
        # what is ranked: "six" features as they are, as in the paper; "normalised", each of length 1; or the two of
        # "verification" alone, which are the only ones that a distance was trained on
        descriptor: str = "six"

        def __post_init__(self) -> None:
            require(self, "0 or more", "identity", "attributes", "triplet")
            if not (self.identity or self.attributes or self.triplet):
                raise InputError("identity, attributes and triplet are all 0: give at least one loss a weight.")
            choose(self.reduction, REDUCTIONS, "reduction")
            choose(self.descriptor, DESCRIPTORS, "descriptor")
            if self.descriptor == "verification" and not self.triplet:
                raise InputError("descriptor 'verification' reads the features of the triplets: give triplet a weight.")
            if not self.margin > 0 or self.dimensions < 1:
                raise InputError(f"margin is {self.margin}, dimensions {self.dimensions}: give numbers above 0.")

    options: Options

    columns: Tensor

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        if "layer3" not in backbone.stages:
            raise InputError(f"{backbone.name} has no layer3 to part its branches in: choose a ResNet or mobilenet_v2.")
        self.part = deepcopy(nn.Sequential(*self.late))
        open_last_stage(self.part[-1])
        self.register_buffer("columns", binary_columns(self.asked), persistent=False)
        lower = torch.tensor([is_lower(self.tasks[t]) for t in self.columns[:, 0].tolist()], dtype=torch.bool)
        for place, inside in {"global": torch.ones_like(lower), "upper": ~lower, "lower": lower}.items():
            self.register_buffer(f"{place}_columns", inside.nonzero()[:, 0], persistent=False)
        people, d = targets.people if options.identity else 0, options.dimensions
        places = [name.removesuffix("_im") for name in SIX if name.endswith("_im")]
        self.people = nn.ModuleDict({place: nn.Linear(d, people) for place in places if people})
        sizes = {place: len(columns) for place, columns in self.groups.items()}
        self.answers = nn.ModuleDict({place: nn.Linear(d, a) for place, a in sizes.items() if a})
        read = {f"{place}_im" for place in [*self.people, *self.answers]}
        if options.triplet:
            read |= {"global_vm", "part_vm"}
        self.features = nn.ModuleDict({name: nn.Linear(backbone.channels, d) for name in SIX if name in read})

    @property
    def late(self) -> list[nn.Module]:
        """What the global branch does with the shared map: the rest of layer3, then layer4."""
        return [*list(self.backbone.stages["layer3"].children())[1:], self.backbone.stages["layer4"]]

    @property
    def groups(self) -> dict[str, Tensor]:
        """Columns of the binary view that each place answers."""
        return {name: self.get_buffer(f"{name}_columns") for name in ("global", "upper", "lower")}

    def last_layers(self, of: str) -> list[nn.Module]:
        """The layers whose maps decide, of identity as of attributes."""
        del of
        return [self.backbone.stages["layer4"], self.part[-1]]

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) to the maps (B, Z, h, w) of both branches, the second not down-sampled."""
        *early, layer3, _ = self.backbone.stages.values()
        x = through([*early, next(layer3.children())], images)
        return through(self.late, x), self.part(x)

    def six(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to the features (B, D) by name."""
        whole, part = self.maps(images)
        upper, lower = F.adaptive_max_pool2d(part, (2, 1))[..., 0].unbind(2)  # of odd rows the middle one is in both
        pooled = {"global": whole.amax((2, 3)), "part": part.amax((2, 3)), "upper": upper, "lower": lower}
        return {name: layer(pooled[name.partition("_")[0]]) for name, layer in self.features.items()}

    def forward(self, images: Tensor) -> Output:
        features = self.six(images)
        people = {place: layer(features[f"{place}_im"]) for place, layer in self.people.items()}
        answers = {place: layer(features[f"{place}_im"]) for place, layer in self.answers.items()}
        return Output(features, people, answers, self.groups, self.columns)

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to descriptors (B, 6 D), fewer where a loss or a feature is left out."""
        return joined(self.six(images), self.options.descriptor)

    def yes(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the logits (B, A) of the binary view: mean of the global answer and of its half's."""
        answers = self(images).answers
        if not answers:
            return images.new_zeros(len(images), 0)
        halves = torch.zeros_like(answers["global"])
        for name in ("upper", "lower"):
            if name in answers:
                halves[:, self.groups[name]] = answers[name]
        return (answers["global"] + halves) / 2

    def answer(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the logits (B, classes) of every task; none without attributes."""
        return class_logits(self.yes(images), self.asked)

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits of the training people (B, C), a mean over the four; none without identity."""
        people = list(self(images).people.values())
        return torch.stack(people).mean(0) if people else images.new_zeros(len(images), 0)

    @staticmethod
    def learns_attributes(options: Options) -> bool:
        """With a weight they do."""
        return options.attributes > 0

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Named losses, weighted: sums over the features that share a task, means over images, of triplets as asked."""
        options, label = self.options, batch["label"]
        over = Tensor.sum if options.reduction == "sum" else Tensor.mean
        columns = {place: output.columns[chosen] for place, chosen in output.groups.items()}
        vm = [feature for name, feature in output.features.items() if name.endswith("_vm")]
        losses = {
            "identity": [cross_entropy(logits, label).mean() for logits in output.people.values()],
            "attributes": [
                sigmoid_cross_entropy(logits, binary_labels(batch["attributes"], columns[place])).mean()
                for place, logits in output.answers.items()
            ],
            "triplet": [over(batch_hard_triplet(feature, label, margin=options.margin)) for feature in vm],
        }
        weights = {"identity": options.identity, "attributes": options.attributes, "triplet": options.triplet}
        return {name: weights[name] * torch.stack(each).sum() for name, each in losses.items() if weights[name]}

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Hardest distances of the global verification feature; global accuracy of people and of attribute columns."""
        values: dict[str, Tensor] = {}
        if "global_vm" in output.features:
            positive, negative = hardest_pairs(output.features["global_vm"], batch["label"])
            both = torch.isfinite(positive - negative)
            if both.any():
                values |= {"positive": positive[both].mean(), "negative": negative[both].mean()}
        if output.people:
            values["accuracy"] = (output.people["global"].argmax(1) == batch["label"]).float().mean()
        if output.answers:
            values |= right("answers", output.answers["global"] > 0, binary_labels(batch["attributes"], output.columns))
        return values

    RECIPES: ClassVar[Recipes] = {
        "smoke": {"epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 4, "last_stride": 2},
        "quick": {
            "epochs": 2, "height": 64, "width": 32, "batch": 32, "instances": 4, "last_stride": 2, "lr": 1e-3,
            "backbone_lr": 0.3, "pretrained": "synthetic",
        },
        # paper 003, section IV-B: 384 x 128, P = 8, K = 4, SGD, lr 2e-4, 320 epochs, exponential decay from epoch 160
        "paper": {
            "backbone": "resnet50", "pretrained": "torchvision", "epochs": 320, "height": 384, "width": 128,
            "batch": 32, "instances": 4, "last_stride": 2, "optimizer": "sgd", "lr": 2e-4, "warmup": 0.0,
            "schedule": "exponential", "milestones": (0.5,), "pad": 0, "reduction": "sum",
        },
    }  # fmt: skip
    VARIANTS: ClassVar[Variants] = {  # the rows of Table 8
        "ours": {"all": {}},
        "woID": {"all": {"identity": 0.0}},
        "woAttr": {"all": {"attributes": 0.0}},
        "woIM": {"all": {"identity": 0.0, "attributes": 0.0}},
        "woVM": {"all": {"triplet": 0.0}},
    }
    CLAIMS = (
        "ours > woAttr > woVM > woID > woIM in rank-1 and mAP",
        "ours > woID | woVM | woIM in rank-1 and mAP",
        "ours re-ranked > ours in rank-1 and mAP",
    )


def joined(features: dict[str, Tensor], descriptor: str) -> Tensor:
    """What is ranked of the features (B, D) by name: one of DESCRIPTORS, (B, n D).

    Raw, the features count by their size: the four of identity and attributes make nine tenths of a squared distance.
    """
    kept = [x for name, x in features.items() if descriptor != "verification" or name.endswith("_vm")]
    return torch.cat([F.normalize(x) if descriptor == "normalised" else x for x in kept], 1)
