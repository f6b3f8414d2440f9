r"""Does a threshold keep its promise? Chosen for a rate on half of the test people, measured on the other half.

    python benchmarks/honesty.py runs/baseline-synthetic-* runs/baseline-viper-*

One row a run and half, for runs of the baseline with all its losses; figures/honesty.csv. The synthetic people of
another seed are looked for where `benchmarks/scores.py` puts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from reidkit import course
from reidkit.features import Features
from reidkit.files import write_whole
from reidkit.ranking import Comparison
from reidkit.recipes import Recipe
from reidkit.thresholds import verification


def half(features: Features, people: np.ndarray) -> Features:
    """The images of some people; nobody else."""
    rows = np.flatnonzero(features.table["pid"].isin(people))
    kept = features.table.iloc[rows].reset_index(drop=True)
    kept.attrs = features.table.attrs
    return Features(features.descriptor[torch.from_numpy(rows)], kept)


def main(folders: list[Path], far: Annotated[float, typer.Option(help="The rate wished for.")] = 0.01) -> None:
    rows = []
    for folder in folders:
        plan = Recipe.from_json((folder / "recipe.json").read_text())
        if plan.options or plan.profile == "smoke" or not plan.epochs:
            continue
        query, gallery = (Features.load(folder / f"features-{split}.safetensors") for split in ("query", "gallery"))
        people = np.random.default_rng(0).permutation(query.table["pid"].unique())
        pairs = [
            verification.pairs(Comparison.of(half(query, own), half(gallery, own), plan.metric))
            for own in (people[::2], people[1::2])
        ]
        for k in (0, 1):
            chosen = verification.threshold_at(pairs[k], far)
            found = verification.measure(pairs[1 - k], chosen.value)
            rates = [chosen.frr, found.frr, found.far, found.far_low, found.far_high]
            inside = found.far_low <= far <= found.far_high
            about = [folder.name, plan.dataset, plan.epochs, plan.fold, plan.seed, k, len(people) // 2]
            rows.append([*about, round(chosen.value, 4), *(round(100 * rate, 3) for rate in rates), inside])
    columns = [
        "run",
        "dataset",
        "epochs",
        "fold",
        "seed",
        "half",
        "people",
        "threshold",
        "frr_promised",
        "frr",
        "far",
        "far_low",
        "far_high",
        "inside",
    ]
    table = pd.DataFrame(rows, columns=columns)
    write_whole(course.home() / "figures" / "honesty.csv", lambda path: table.to_csv(path, index=False))
    shown = table.groupby(["dataset", "epochs"])[
        ["people", "far", "far_low", "far_high", "frr_promised", "frr", "inside"]
    ]
    print(f"wished for: {100 * far:g} %; means over runs and halves, percent\n{shown.mean().round(2)}")


if __name__ == "__main__":
    typer.run(main)
