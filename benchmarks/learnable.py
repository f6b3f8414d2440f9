"""Can every attribute of the synthetic people be read from the pixels? The bundled start, untouched, on strangers.

    python benchmarks/learnable.py [--seeds 3] [--profile quick]

Each seed has people of its own, and neither they nor their cameras and places were in the crowd the start has learnt.
On images of the test people (junk and distractors left out): macro F1 of always answering with the class that is
commonest among the training people, of answering yes where the part map shows the thing (hats and bags), and of the
start, with the sample deviation over the seeds; and how many images and people have the rarest answer of the task.
The last rows are mAP and rank-1 of its descriptors. Writes figures/learnable.csv.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from reidkit import course, synthetic
from reidkit.attention import VISIBLE
from reidkit.attributes import read_attributes
from reidkit.backbones import bundled
from reidkit.data import load, part_masks
from reidkit.features import answer, describe
from reidkit.files import write_whole
from reidkit.images import is_person, read_images
from reidkit.metrics import attribute_scores
from reidkit.ranking import Comparison
from reidkit.runs import load_run
from reidkit.synthetic import PARTS

THINGS = ("hat", "backpack", "bag", "handbag")


def measure(profile: str, seed: int) -> pd.DataFrame:
    """Macro F1 in percent and counts, a row a task; then the scores of its descriptors."""
    start = load_run(bundled("resnet18"))
    root = course.synthetic_root(profile)
    root = root.with_name(f"{root.name}-{seed}") if seed else root
    images = read_images("synthetic", synthetic.write(root, size=course.SYNTHETIC_SIZES[profile], seed=seed))
    attributes, size = read_attributes("synthetic", root), (start.recipe.height, start.recipe.width)
    known = attributes.of(images.loc[images["split"] == "train", "pid"].to_numpy())
    common = [int(np.bincount(answers[answers >= 0]).argmax()) for answers in known.T]
    people = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    test = load(people, *size, attributes=attributes)
    parts = part_masks(people, *size)
    seen = torch.stack([(parts == PARTS.get(task.name, -1)).float().mean((1, 2)) >= VISIBLE for task in test.tasks], 1)
    truth, said = test.attributes.numpy(), answer(start, test).classes
    answers = {"commonest": np.broadcast_to(common, seen.shape), "part map": seen.long().numpy(), "start": said}
    f1 = {name: attribute_scores(truth, each, test.tasks)["macro_f1"] for name, each in answers.items()}
    table = pd.DataFrame(f1)
    table["part map"] = table["part map"].where(table.index.isin(THINGS))
    pids = test.table["pid"].to_numpy()
    for t, task in enumerate(test.tasks):
        counts = np.bincount(truth[truth[:, t] >= 0, t], minlength=len(task.classes))
        rarest = np.where(counts > 0, counts, counts.max() + 1).argmin()
        table.loc[task.name, ["images", "people"]] = counts[rarest], len(np.unique(pids[truth[:, t] == rarest]))
    query, gallery = (
        describe(start.network, load(images[images["split"] == split], *size), start.recipe)
        for split in ("query", "gallery")
    )
    scores = Comparison.of(query, gallery, start.recipe.metric).score()
    table.loc["mAP", "start"], table.loc["rank-1", "start"] = scores.mAP, scores.rank1
    return table


def main(
    profile: Annotated[str, typer.Option()] = "quick",
    seeds: Annotated[int, typer.Option()] = 3,
) -> None:
    every = pd.concat({seed: measure(profile, seed) for seed in range(seeds)}, names=["seed", "task"])
    by_task = every.groupby("task", sort=False)
    table = by_task.mean().assign(deviation=by_task["start"].std()).round(1)
    write_whole(course.home() / "figures" / "learnable.csv", lambda path: table.to_csv(path))
    print(table.to_string())


if __name__ == "__main__":
    typer.run(main)
