"""Can every attribute of the synthetic people be read from the pixels? A ResNet-18 against the commonest class.

    python benchmarks/learnable.py [--seed 0] [--profile quick] [--set loss=cross_entropy ...]

The first stage of `two_stage` (weighted cross-entropy) on all training people, 128 x 64, 15 epochs; measured on images
of the test people (junk and distractors left out): macro F1 of always answering with the class that is commonest among
the training images, of the network, and their difference. Writes figures/learnable.csv.
"""

from __future__ import annotations

import platform
from typing import Annotated, Any

import numpy as np
import torch
import typer

from reidkit import course
from reidkit.attributes import read_attributes
from reidkit.cli import setting
from reidkit.data import load
from reidkit.features import answer
from reidkit.images import is_person
from reidkit.metrics import attribute_scores
from reidkit.train import load_or_fit, recipe, write

LARGER: dict[str, Any] = {"height": 128, "width": 64, "last_stride": 1, "epochs": 15, "validation": 0, "patience": 0}


def main(
    profile: Annotated[str, typer.Option()] = "quick",
    seed: Annotated[int, typer.Option()] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    changes = {**LARGER, **dict(setting(text) for text in settings or [])}
    plan = recipe("two_stage", profile, "weighted", dataset="synthetic", seed=seed, **changes)
    images = course.prepare("synthetic", profile)
    attributes = read_attributes("synthetic", images.attrs["root"])
    train, _ = course.sets(plan, images, attributes)
    run = load_or_fit(plan, train, runs=course.runs_folder())
    people = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    test = load(people, plan.height, plan.width, attributes=attributes)
    labels, said = test.attributes.numpy(), answer(run, test).classes
    common = np.array([np.argmax(counts) for counts in train.targets.counts])
    table = attribute_scores(labels, said, run.tasks)[["accuracy", "macro_f1"]].rename(columns={"macro_f1": "network"})
    table["commonest"] = attribute_scores(labels, np.broadcast_to(common, labels.shape), run.tasks)["macro_f1"]
    table["gain"] = table["network"] - table["commonest"]
    table = table[["commonest", "network", "gain", "accuracy"]].round(1)
    write(course.home() / "figures" / "learnable.csv", lambda path: table.to_csv(path))
    print(f"synthetic, {profile}, seed {seed}, {platform.machine()}, {torch.get_num_threads()} threads; macro F1 in %")
    print("| task | commonest class | network | gain | accuracy |\n|---|---|---|---|---|")
    for name, row in table.iterrows():
        print(f"| {name} | {row['commonest']} | {row['network']} | {row['gain']} | {row['accuracy']} |")


if __name__ == "__main__":
    typer.run(main)
