"""What attributes bring to re-identification, over seeds (Table 1 of paper 001), and what look-alike negatives bring.

    python benchmarks/transfer.py synthetic --seeds 0,1,2

The second stage of `two_stage` with and without the weights of a first stage (cross-entropy), with negatives from the
anchor's colour cluster and from everybody; and the first stage alone. Writes figures/transfer-<data set>.csv, a row a
training, prints Markdown.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from scores import images_of, numbers, summary

from reidkit import course
from reidkit.cli import setting
from reidkit.features import features_of
from reidkit.metrics import score
from reidkit.train import Run, load_or_fit, recipe, write


def measure(run: Run, images: pd.DataFrame) -> dict[str, float]:
    """Scores of a run on query and gallery."""
    scores = score(*(features_of(run, images, split) for split in ("query", "gallery")), run.recipe.metric)
    minutes = run.history["seconds"].sum() / 60
    return {"mAP": scores.mAP, "rank1": scores.rank1, "rank10": scores.at(10), "minutes": minutes}


def main(
    dataset: str,
    root: Annotated[Path | None, typer.Option()] = None,
    profile: Annotated[str, typer.Option()] = "quick",
    folds: Annotated[str, typer.Option()] = "0",
    seeds: Annotated[str, typer.Option()] = "0",
    settings: Annotated[list[str] | None, typer.Option("--set", help="For the second stage.")] = None,
) -> None:
    changes = dict(setting(text) for text in settings or [])
    rows: list[dict[str, Any]] = []
    out = course.home() / "figures" / f"transfer-{dataset}.csv"
    for fold in numbers(folds):
        for seed in numbers(seeds):
            images = images_of(dataset, root, profile, fold, seed)
            known = {"dataset": dataset, "profile": profile, "fold": fold, "seed": seed}
            plan = recipe("two_stage", variant="cross_entropy", epochs=5, **known)
            first = load_or_fit(plan, *course.sets(plan, images), runs=course.runs_folder())
            rows.append({"system": "first stage alone", **known, **measure(first, images)})
            for start, weights in (("without", "none"), ("with", str(first.folder))):
                for negatives in ("random", "cluster"):
                    own = {"pretrained": weights, "negatives": negatives, **known, **changes}
                    plan = recipe("two_stage", variant="identity", **own)
                    run = load_or_fit(plan, *course.sets(plan, images), runs=course.runs_folder())
                    name = f"second stage {start} the first, {negatives} negatives"
                    rows.append({"system": name, **known, **measure(run, images)})
                    table = pd.DataFrame(rows).round(3)
                    write(out, lambda path, table=table: table.to_csv(path, index=False))  # type: ignore[misc]
                    print(f"{name}, fold {fold}, seed {seed}: mAP {rows[-1]['mAP']:.1f}", flush=True)
    print(f"\n{dataset}, {profile}, {platform.machine()}, {torch.get_num_threads()} threads; mean ± deviation over n")
    print(summary(pd.DataFrame(rows)))


if __name__ == "__main__":
    typer.run(main)
