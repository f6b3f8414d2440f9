"""Can every attribute of the synthetic people be read from the pixels? A ResNet-18 against the commonest class.

    python benchmarks/learnable.py [--seeds 3] [--profile quick] [--set mix=0 ...]

The first stage of `two_stage` on all training people, 96 x 48, one training for all tasks; measured on images of the
test people (junk and distractors left out): macro F1 of always answering with the class that is commonest among the
training images, of answering yes where the part map shows the thing (hats and bags), of the network, and its gain over
the first. Five people wear a hat and ten long sleeves, and a network from random weights knows them by heart instead
of what they wear. So it is trained on people there are not (lower parts of one below upper parts of another, bags and
hats of some on others, colours exchanged, rare ones more often), is asked at every place of its map which parts of
the body stand there, and pools the body in stripes. Without the part maps:

    python benchmarks/learnable.py --out learnable-pixels --set paste=0 --set parts=0 --set tau=1 --set epochs=14

Each seed has a data set of its own, other people in other clothes, and trains with that seed.
Writes figures/learnable.csv (or OUT.csv): means over the seeds and the gain of each.
"""

from __future__ import annotations

import platform
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from reidkit import course, synthetic
from reidkit.attention import VISIBLE
from reidkit.attributes import THINGS, read_attributes
from reidkit.cli import setting
from reidkit.data import load, part_masks
from reidkit.features import answer
from reidkit.files import write_whole
from reidkit.images import is_person, read_images
from reidkit.metrics import attribute_scores
from reidkit.recipes import needs_parts, recipe
from reidkit.runs import load_or_fit
from reidkit.samplers import oversample
from reidkit.synthetic import PARTS

OWN: dict[str, Any] = {
    "last_stride": 1, "epochs": 20, "batch": 48, "validation": 0, "patience": 0, "schedule": "cosine", "rotate": 0.0,
    "erase": 0.3, "loss": "adjusted", "tau": 0.5, "bands": 6, "jitter": 0.3, "recolour": 0.3, "mix": 0.35, "paste": 0.8,
    "parts": 4.0,
}  # fmt: skip


def measure(profile: str, seed: int, changes: dict[str, Any]) -> pd.DataFrame:
    """Macro F1 and accuracy in percent, a row a task and one for all."""
    plan = recipe("two_stage", profile, dataset="synthetic", seed=seed, **{**OWN, **changes})
    root = course.synthetic_root(profile)
    root = root.with_name(f"{root.name}-{seed}") if seed else root
    images = read_images("synthetic", synthetic.write(root, size=course.SYNTHETIC_SIZES[profile], seed=seed))
    attributes = read_attributes("synthetic", root)
    size = (plan.height, plan.width)
    rows = images[images["split"] == "train"]
    common = [np.argmax(counts) for counts in load(rows, *size, attributes=attributes).targets.counts]
    train = load(oversample(rows, attributes), *size, attributes=attributes, parts=needs_parts(plan))
    run = load_or_fit(plan, train, runs=course.runs_folder())
    people = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    test = load(people, *size, attributes=attributes)
    parts = part_masks(people, 128, 64)
    seen = torch.stack([(parts == PARTS.get(task.name, -1)).float().mean((1, 2)) >= VISIBLE for task in run.tasks], 1)
    answers = {
        "commonest": np.broadcast_to(common, seen.shape),
        "part map": seen.long().numpy(),
        "network": answer(run, test).classes,
    }
    scores = {name: attribute_scores(test.attributes.numpy(), said, run.tasks) for name, said in answers.items()}
    table = pd.DataFrame({name: score["macro_f1"] for name, score in scores.items()})
    table["part map"] = table["part map"].where(table.index.isin(THINGS))
    table["gain"] = table["network"] - table["commonest"]
    table["accuracy"] = scores["network"]["accuracy"]
    return table


def main(
    profile: Annotated[str, typer.Option()] = "quick",
    seeds: Annotated[int, typer.Option()] = 3,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    name_out: Annotated[str, typer.Option("--out")] = "learnable",
) -> None:
    changes = dict(setting(text) for text in settings or [])
    tables = [measure(profile, seed, changes) for seed in range(seeds)]
    table = sum(tables[1:], tables[0]) / seeds
    for seed, one in enumerate(tables):
        table[f"gain {seed}"] = one["gain"]
    table = table.round(1)
    write_whole(course.home() / "figures" / f"{name_out}.csv", lambda path: table.to_csv(path))
    print(f"synthetic, {profile}, {seeds} seeds, {platform.machine()}, {torch.get_num_threads()} threads; percent")
    print("| task | " + " | ".join(table.columns) + " |\n|---|" + "---|" * len(table.columns))
    for name, row in table.iterrows():
        print(f"| {name} | " + " | ".join("" if np.isnan(value) else str(value) for value in row) + " |")


if __name__ == "__main__":
    typer.run(main)
