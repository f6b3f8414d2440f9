"""The attribute attention network (paper 002): a whole body, six parts that follow the evidence, attributes, their map.

    L = sum_i L_i / sigma_i^2 + log sigma_i,   i of {global, part, attribute, attention}

Every identity head is global average pooling, Z to V channels, batch norm, ReLU, linear. The part network cuts the
map X into six bands where its channels have their peaks; the attribute network reads a V-channel map as a whole and in
three regions from top to bottom; its class activation maps, merged into one, multiply X for a last identity head. The
descriptor is every V-vector: 1 + 6 + 4 + 1 of them.

The text leaves open which rows the regions have, which weights a map is drawn with, where it is drawn, and whether
identity may change the attributes through it. Each is an option; `VARIANTS` has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones import Backbone
from ..cam import class_map, contrasts, merge
from ..data import Batch, Targets
from ..errors import InputError, choose
from ..losses import cross_entropy, task_losses, uncertain
from .base import Recipes, System, Variants, require, right

N_PARTS = 6
REGIONS = ("global", "top", "middle", "bottom")
# From where to where each of them reads, in twelfths of the map's height. "thirds" cuts the map evenly, and lower
# clothes are asked where shorts are not; "body" is where the part maps of the synthetic people have what is asked.
ROWS = {
    "thirds": ((0, 12), (0, 4), (4, 8), (8, 12)),
    "body": ((0, 12), (0, 6), (3, 9), (4, 12)),
}
REGION = {
    **dict.fromkeys(("age", "gender"), "global"),
    **dict.fromkeys(("hat", "hair", "up", "top", "upcolor"), "top"),
    **dict.fromkeys(("backpack", "bag", "handbag"), "middle"),
    **dict.fromkeys(("down", "clothes", "boots", "shoes", "downcolor"), "bottom"),
}
REGION_PETA = {  # how PETA's names begin
    **dict.fromkeys(("accessory", "hair", "upperBody"), "top"),
    "carrying": "middle",
    **dict.fromkeys(("lowerBody", "footwear", "leg"), "bottom"),
}
# whose maps are merged, each with its stand-in in DukeMTMC's annotation
ATTENDED = (
    ("gender",), ("hair", "hat"), ("upcolor",), ("downcolor",), ("clothes", "boots"), ("down", "shoes"),
)  # fmt: skip
TASKS = ("global", "part", "attribute", "attention")


def region_of(task: str) -> str:
    """Where on the body an attribute is looked for; what is in neither benchmark nor PETA, everywhere."""
    beginnings = (region for start, region in REGION_PETA.items() if task.startswith(start))
    return REGION.get(task) or next(beginnings, "global")


def region_rows(height: int, regions: str) -> Tensor:
    """Which rows of a map each of REGIONS reads, (4, height) bool; a row that a border cuts is in both.

    Args:
        height: rows of the map.
        regions: a key of ROWS.
    """
    row = torch.arange(height)
    return torch.stack([(row >= a * height // 12) & (row < -(-b * height // 12)) for a, b in ROWS[regions]])


def attended(tasks: list[str]) -> list[int]:
    """Which tasks have their maps merged: the six of the paper or what stands in for them; all, where none is there."""
    there = [next((name for name in names if name in tasks), None) for names in ATTENDED]
    return [tasks.index(name) for name in there if name is not None] or list(range(len(tasks)))


def peak_regions(x: Tensor, parts: int = N_PARTS, steps: int = 20) -> Tensor:
    """The region of each row of a map, by where the channels have their peaks; no gradient.

    The rows of the peaks {h_z} are clustered in one dimension (k-means from their quantiles; a centre without a peak
    stays); the borders lie midway between neighbouring centres, moved where a region would have no row at all.
    Channels that are the same everywhere, above all dead ones, have no peak; without any, the bands are even.

    Args:
        x: (B, Z, H, W) with H of at least `parts`.
        parts: number of regions.
        steps: of k-means.
    Returns:
        (B, H) int64, 0 to parts - 1 from the top.
    """
    b, _, h, w = x.shape
    flat = x.detach().flatten(2)  # (B, Z, H W)
    high, place = flat.max(2)
    row = torch.arange(h, device=x.device, dtype=torch.float32)
    peaks = row.new_zeros(b, h).scatter_add_(1, place // w, (high > flat.amin(2)).float())  # (B, H) channels a row
    peaks = torch.where(peaks.any(1, keepdim=True), peaks, 1)
    total = peaks.cumsum(1)[..., None]  # (B, H, 1), whole numbers
    share = row.new_tensor(range(1, 2 * parts, 2))  # the (2 p + 1) / (2 P) quantiles, without a division
    centres = (2 * parts * total < share * total[:, -1:]).sum(1).float()
    for _ in range(steps):
        nearest = (row[:, None] - centres[:, None]).abs().argmin(2)  # (B, H)
        member = F.one_hot(nearest, parts) * peaks[..., None]  # (B, H, P)
        count = member.sum(1)
        centres = torch.where(count > 0, (member * row[:, None]).sum(1) / count.clamp(min=1), centres)
    middle = (centres[:, 1:] + centres[:, :-1]) / 2
    k = torch.arange(1, parts, device=x.device)
    first = middle.floor().long() + 1 - k  # first row of region k, less what the regions above take at least
    first = first.cummax(1).values.clamp(0, h - parts) + k
    return (torch.arange(h, device=x.device)[:, None] >= first[:, None]).sum(2)


def pool_regions(x: Tensor, region: Tensor, parts: int = N_PARTS) -> Tensor:
    """Mean of a map (B, Z, H, W) over the rows of each region (B, H): (B, parts, Z)."""
    member = F.one_hot(region, parts).to(x.dtype)  # (B, H, P)
    return torch.einsum("bzh,bhp->bpz", x.mean(3), member / member.sum(1, keepdim=True))


class Head(nn.Module):
    """A pooled vector (B, Z) to its V-vector and the logits of the people; a 1x1 convolution of one place is linear."""

    def __init__(self, z: int, v: int, people: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Linear(z, v, bias=False), nn.BatchNorm1d(v), nn.ReLU())
        self.classify = nn.Linear(v, people)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        vector = self.reduce(pooled)
        return vector, self.classify(vector)


@dataclass
class Output:
    """What a forward pass gives; what is switched off is empty, and `attention` None."""

    vectors: list[Tensor]  # of (B, V): global, six parts, four regions of the attributes, attention
    people: dict[str, list[Tensor]]  # logits (B, C): "global" 1, "part" 6, "attention" 1
    answers: list[Tensor]  # T of (B, classes)
    attention: Tensor | None  # (B, H, W) the merged map
    log_variance: Tensor | None  # (n,) s of each task, in the order of TASKS


MAP: dict[str, Any] = {"regions": "body", "contrast": True, "masked": True, "detach": True}


def _map(*switched: str) -> dict[str, dict[str, Any]]:
    return {"all": {name: name in switched for name in ("contrast", "masked", "detach")}}


class AANet(System):
    """Global, part and attribute network on one map, and the head that reads the map through its attention."""

    name = "aanet"

    @dataclass(frozen=True)
    class Options:
        """The attribute attention network's own knobs: the columns of Table 3."""

        part: bool = True  # the six parts
        attribute: bool = True  # the attributes
        attention: bool = True  # the merged map and its identity head
        uncertainty: bool = True  # weights of the tasks learnt; else all 1
        uncertainty_rate: float = 1.0  # learning rate of these weights, as a multiple of lr
        regions: str = "thirds"  # a key of ROWS: the rows that top, middle and bottom read
        contrast: bool = False  # maps of a class's row less the mean of its task's rows; else of the raw row
        masked: bool = False  # each map only in the region that its classifier reads; else everywhere
        detach: bool = False  # identity does not change the attributes through the map
        channels: int = 256  # V

        def __post_init__(self) -> None:
            choose(self.regions, ROWS, "regions")
            require(self, "a number above 0", "uncertainty_rate")
            require(self, "at least 1", "channels")
            if self.attention and not self.attribute:
                raise InputError("attention reads the maps of the attributes: give attribute=true or attention=false.")

    options: Options

    def __init__(self, backbone: Backbone, targets: Targets, options: Options) -> None:
        super().__init__(backbone, targets, options)
        z, v, people = backbone.channels, options.channels, targets.people
        self.whole = Head(z, v, people)
        self.parts = nn.ModuleList(Head(z, v, people) for _ in range(N_PARTS if options.part else 0))
        if self.asked:
            self.reduce = nn.Sequential(nn.Conv2d(z, v, 1, bias=False), nn.BatchNorm2d(v), nn.ReLU())
            self.answers = nn.ModuleList(nn.Linear(v, len(task.classes)) for task in self.asked)
            self.regions = [REGIONS.index(region_of(name)) for name in self.tasks]
        self.attention = Head(z, v, people) if options.attention and self.asked else None
        used = 1 + options.part + bool(self.asked) + (self.attention is not None)
        self.log_variance = nn.Parameter(torch.zeros(used)) if options.uncertainty else None

    def rates(self) -> dict[str, float]:
        """Parameters that learn at a multiple of lr, by name."""
        return {"log_variance": self.options.uncertainty_rate}

    def reads(self, height: int) -> Tensor | None:
        """The rows that each task's classifier reads, where `masked` draws its map there only."""
        return region_rows(height, self.options.regions)[self.regions] if self.options.masked and self.tasks else None

    def classifiers(self) -> list[Tensor]:
        """Weight of each task's classifier, T of (classes, V)."""
        return [layer.get_parameter("weight") for layer in self.answers] if self.tasks else []

    def attribute_map(self, images: Tensor) -> Tensor:
        """The map (B, V, H, W) behind the attributes."""
        return self.reduce(self.backbone(images))

    def forward(self, images: Tensor) -> Output:
        x = self.backbone(images)  # (B, Z, H, W)
        if len(self.parts) > x.shape[2]:
            raise InputError(
                f"the map has {x.shape[2]} rows, fewer than the {N_PARTS} parts: give height at least "
                f"{N_PARTS * self.backbone.stride}, or last_stride=1."
            )
        heads = {"global": [self.whole(x.mean((2, 3)))]}  # vector and logits of each identity head
        if len(self.parts):
            pooled = pool_regions(x, peak_regions(x)).unbind(1)
            heads["part"] = [head(part) for head, part in zip(self.parts, pooled, strict=True)]
        vectors = [vector for each in heads.values() for vector, _ in each]
        answers: list[Tensor] = []
        attention = None
        if self.tasks:
            features = self.reduce(x)  # (B, V, H, W)
            rows = region_rows(features.shape[2], self.options.regions).to(features.device)
            regions = [features[:, :, inside].mean((2, 3)) for inside in rows]
            vectors += regions
            answers = [layer(regions[r]) for layer, r in zip(self.answers, self.regions, strict=True)]
        if self.attention is not None:
            attention = self.merged(features, answers)
            heads["attention"] = [self.attention((x * attention[:, None].to(x.dtype)).mean((2, 3)))]
            vectors.append(heads["attention"][0][0])
        people = {name: [logits for _, logits in each] for name, each in heads.items()}
        return Output(vectors, people, answers, attention, self.log_variance)

    def merged(self, features: Tensor, answers: list[Tensor]) -> Tensor:
        """The attribute attention map (B, H, W) of the classes that are chosen, in the graph unless `detach`."""
        options, tasks, weights = self.options, attended(self.tasks), self.classifiers()
        rows = [contrasts(weight) for weight in weights] if options.contrast else weights
        chosen = torch.stack([rows[t][answers[t].argmax(1)] for t in tasks], 1)  # (B, T, V)
        inside = self.reads(features.shape[2])
        if inside is not None:
            inside = inside[tasks][..., None].to(features.device)  # (T, H, 1)
        merged = merge(class_map(features, chosen), inside)
        return merged.detach() if options.detach else merged

    def attention_map(self, images: Tensor) -> Tensor | None:
        """Images (B, 3, H, W) to the merged map (B, h, w); None where it is switched off."""
        return self(images).attention

    def describe(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to descriptors (B, 12 V), fewer where something is switched off."""
        return torch.cat(self(images).vectors, 1)

    def answer(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the logits (B, classes) of every task; none without attributes."""
        return self(images).answers

    def identify(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the global head's logits of the training people (B, C)."""
        return self.whole(self.backbone(images).mean((2, 3)))[1]

    @staticmethod
    def learns_attributes(options: Options) -> bool:
        """Where they are not switched off."""
        return options.attribute

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """A loss each for the global head, the parts (a mean), the attributes (a mean over tasks) and the attention."""
        losses = {
            name: torch.stack([cross_entropy(logits, batch["label"]).mean() for logits in heads]).mean()
            for name, heads in output.people.items()
        }
        if output.answers:
            losses["attribute"] = task_losses(output.answers, batch["attributes"]).mean()
        losses = {name: losses[name] for name in TASKS if name in losses}
        if self.options.uncertainty and output.log_variance is not None:
            weighted = uncertain(torch.stack(list(losses.values())), output.log_variance)
            losses = dict(zip(losses, weighted.unbind(), strict=True))
            if "attribute" in losses:  # a batch without a single label says nothing of sigma, which it would draw to 0
                losses["attribute"] = losses["attribute"] * (batch["attributes"] >= 0).any()
        return losses

    @torch.no_grad()
    def watch(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Identity accuracy of the global head, accuracy of the attributes, and sigma of each task."""
        values = {"accuracy": (output.people["global"][0].argmax(1) == batch["label"]).float().mean()}
        if output.answers:
            answers = torch.stack([logits.argmax(1) for logits in output.answers], 1)  # (B, T)
            values |= right("answers", answers, batch["attributes"])
        if output.log_variance is not None:
            used = [name for name in TASKS if name in output.people or (name == "attribute" and output.answers)]
            sigma = torch.exp(output.log_variance / 2)
            values |= {f"sigma_{name}": value for name, value in zip(used, sigma.unbind(), strict=True)}
        return values

    RECIPES: ClassVar[Recipes] = {
        "smoke": {
            "epochs": 2, "height": 96, "width": 32, "batch": 32, "instances": 0, "optimizer": "sgd", "lr": 0.05,
            "pad": 0, **MAP,
        },
        # Adam moves a number by about lr a step, which is too little for the weights of the tasks in so few steps
        "quick": {
            "pretrained": "synthetic", "epochs": 1, "height": 128, "width": 48, "batch": 32, "instances": 0, "lr": 3e-3,
            "backbone_lr": 0.1, "uncertainty_rate": 10.0, **MAP,
        },
        # paper 002, section 3.5: SGD, 40 epochs, lr 0.1 for new layers and 0.01 for the backbone, x 0.1 at epoch 20
        "paper": {
            "backbone": "resnet50", "pretrained": "torchvision", "epochs": 40, "height": 384, "width": 128, "batch": 32,
            "instances": 0, "last_stride": 1, "optimizer": "sgd", "lr": 0.1, "backbone_lr": 0.1, "warmup": 0.0,
            "schedule": "step", "milestones": (0.5,), "pad": 0, **MAP,
        },
    }  # fmt: skip

    VARIANTS: ClassVar[Variants] = {  # the rows of Table 3, each named after what it adds
        "global": {"all": {"part": False, "attribute": False, "attention": False, "uncertainty": False}},
        "parts": {"all": {"attribute": False, "attention": False, "uncertainty": False}},
        "attributes": {"all": {"attention": False, "uncertainty": False}},
        "uncertainty": {"all": {"attention": False}},
        "attention": {"all": {}},
        # Tables 1 and 2: AANet-152, in batches of 24; on small images the next deeper network
        "deeper": {
            "smoke": {"backbone": "resnet34"},
            "quick": {"backbone": "resnet34", "pretrained": "none", "backbone_lr": 1.0},
            "paper": {"backbone": "resnet152", "batch": 24},
        },
        # what the text leaves open about the map
        "map-raw": _map(),
        "map-contrast": _map("contrast"),
        "map-masked": _map("masked"),
        "map-detach": _map("detach"),
        "map-all": _map("contrast", "masked", "detach"),
    }
    CLAIMS = (
        "attention > uncertainty > attributes > parts > global in mAP and rank-1",
        "attention > attributes | parts | global in mAP and rank-1",
        "attention re-ranked > attention in mAP and rank-1",
        "deeper > attention in mAP and rank-1",
    )
