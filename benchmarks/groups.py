"""Whom a run fails: mAP and rank-1 by gender and age of the people asked for, with 95 % intervals over people.

    python benchmarks/groups.py runs/baseline-synthetic-HASH --out figures/groups-synthetic.csv

The example of ETHICS.md is the run of lesson 00 with profile `quick` and seed 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from reidkit import read_attributes
from reidkit.features import features_of, images_of
from reidkit.groups import by_group
from reidkit.ranking import Comparison
from reidkit.runs import load_run


def main(
    folder: Path,
    tasks: Annotated[str, typer.Option(help="Attributes, with commas between.")] = "gender,age",
    out: Annotated[Path | None, typer.Option(help="A CSV file.")] = None,
) -> None:
    run = load_run(folder)
    images = images_of(run)
    query, gallery = (features_of(run, images, split) for split in ("query", "gallery"))
    scores, pids = Comparison.of(query, gallery, run.recipe.metric).score(), query.table["pid"]
    attributes = read_attributes(run.recipe.dataset, images.attrs["root"], fold=run.recipe.fold).only(tasks.split(","))
    parts = {"all": by_group(scores, pids, ["everybody"] * len(pids))}
    for task, codes in zip(attributes.schema.tasks, attributes.of(pids).T, strict=True):
        parts[task.name] = by_group(scores, pids, pd.Categorical.from_codes(codes, task.classes))
    table = pd.concat(parts, names=["task"]).round(1).reset_index()
    print(table.to_string(index=False))
    if out:
        table.to_csv(out, index=False)


if __name__ == "__main__":
    typer.run(main)
