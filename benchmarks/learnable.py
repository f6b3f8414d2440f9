"""Can every attribute of the synthetic people be read from the pixels? A ResNet-18 against the commonest class.

    python benchmarks/learnable.py --seed 0 [--plain]

One linear head a task on the pooled feature, cross-entropy weighted by the inverse share of each class (--plain: not
weighted), trained on the training people and measured on images of the test people (junk and distractors left out):
macro F1 of always answering with the commonest class, of the network, and their difference. Writes
figures/learnable.csv.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from sklearn.metrics import f1_score
from torch import Tensor, nn

from reidkit import course
from reidkit.attributes import MARKET, read_attributes
from reidkit.backbones import Backbone
from reidkit.data import load, standardise
from reidkit.losses import cross_entropy
from reidkit.systems import SYSTEMS
from reidkit.train import fabric_for, load_or_fit, recipe, write


@dataclass(frozen=True)
class Options:
    dropout: float = 0.3
    weighted: bool = False  # the loss of a sample is multiplied by the inverse share of its class


@dataclass
class Output:
    logits: list[Tensor]  # (B, classes) a task


class Network(nn.Module):
    """Backbone, pooling, Dropout and Linear a task."""

    def __init__(self, backbone: Backbone, n_people: int, options: Options) -> None:
        super().__init__()
        del n_people
        self.backbone = backbone
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(options.dropout), nn.Linear(backbone.channels, len(task.classes)))
            for task in MARKET.tasks
        )

    def forward(self, images: Tensor) -> Output:
        feature = self.backbone(images).mean((2, 3))  # (B, D)
        return Output([head(feature) for head in self.heads])


def objective(output: Output, batch: dict[str, Tensor], options: Options) -> dict[str, Tensor]:
    """Softmax cross-entropy of every task; missing labels cost nothing."""
    losses = {}
    for task, logits, label in zip(MARKET.tasks, output.logits, batch["attributes"].unbind(1), strict=True):
        loss = cross_entropy(logits, label)
        if options.weighted:
            weight = WEIGHTS[task.name].to(loss.device)[label.clamp(min=0)]
            loss = loss * weight / weight.mean()
        losses[task.name] = loss.mean()
    return losses


WEIGHTS: dict[str, Tensor] = {}  # (classes,) a task, from the training images; set by main


def weights_of(labels: Tensor) -> dict[str, Tensor]:
    """Inverse share of every class among the training images (N, T), 0 for a class that never occurs."""
    weights = {}
    for task, column in zip(MARKET.tasks, labels.unbind(1), strict=True):
        count = torch.bincount(column[column >= 0], minlength=len(task.classes)).float()
        weights[task.name] = torch.where(count > 0, count.sum() / count.clamp(min=1), 0.0)
    return weights


def watch(output: Output, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Nothing beyond the losses."""
    del output, batch
    return {}


RECIPES: dict[str, dict[str, Any]] = {
    profile: {"epochs": epochs, "instances": 0, "batch": 64, "lr": 1e-3, "height": 128, "width": 64}
    for profile, epochs in (("smoke", 1), ("quick", 15), ("paper", 30))
}


def macro(label: np.ndarray, answer: np.ndarray) -> float:
    """Macro F1 in percent over the classes that occur."""
    known = label >= 0
    return 100 * float(
        f1_score(label[known], answer[known], labels=np.unique(label[known]), average="macro", zero_division=0)
    )


def main(
    profile: Annotated[str, typer.Option()] = "quick",
    seed: Annotated[int, typer.Option()] = 0,
    weighted: Annotated[bool, typer.Option("--weighted/--plain", help="Weight the classes, or not.")] = True,
) -> None:
    SYSTEMS["learnable"] = sys.modules[__name__]
    images = course.prepare("synthetic", profile)
    attributes = read_attributes("synthetic", images.attrs["root"])
    plan = recipe("learnable", profile, dataset="synthetic", seed=seed, weighted=weighted)
    train = load(images[images["split"] == "train"], plan.height, plan.width, attributes=attributes)
    WEIGHTS.update(weights_of(train.attributes))
    run = load_or_fit(plan, train, runs=course.runs_folder())
    seen = images["split"].isin(["query", "gallery"]) & images["pid"].isin(attributes.table.index)
    test = load(images[seen], plan.height, plan.width, attributes=attributes)
    fabric = fabric_for(plan)
    answers = []
    with torch.inference_mode(), fabric.autocast():
        for part in test.pixels.split(256):
            logits = run.network(standardise(part.to(fabric.device))).logits
            answers.append(torch.stack([x.argmax(1) for x in logits], 1).cpu())
    answer, label = torch.cat(answers).numpy(), test.attributes.numpy()  # (N, T)
    common = [np.bincount(column[column >= 0]).argmax() for column in train.attributes.numpy().T]
    rows = [
        {"task": task.name, "commonest": macro(label[:, t], np.full(len(label), common[t])),
         "network": macro(label[:, t], answer[:, t]),
         "accuracy": 100 * float((label[:, t] == answer[:, t]).mean())}
        for t, task in enumerate(MARKET.tasks)
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(gain=lambda t: t["network"] - t["commonest"]).round(1)
    write(course.home() / "figures" / "learnable.csv", lambda path: table.to_csv(path, index=False))
    print(f"synthetic, {profile}, seed {seed}, {platform.machine()}, {torch.get_num_threads()} threads; macro F1 in %")
    print("| task | commonest class | network | gain | accuracy |\n|---|---|---|---|---|")
    for row in table.itertuples():
        print(f"| {row.task} | {row.commonest} | {row.network} | {row.gain} | {row.accuracy} |")


if __name__ == "__main__":
    typer.run(main)
