r"""Four losses for attributes, over splits and seeds (Tables 2 and 3 of paper 001).

    python benchmarks/attributes.py synthetic --seeds 0,1,2 --set epochs=5
    python benchmarks/attributes.py viper --root DIR --folds 0,1,2 --set height=128 --set width=48 --set epochs=16 \
        --set batch=32 --set patience=6

The first stage of `two_stage` with each loss on 60 % of the training people; accuracy, macro F1 and mean accuracy on
the other 40 % (as in the paper, which also stops and chooses there) and on the test people (who decide nothing). On
VIPeR with the nineteen attributes of `reidkit.attributes.VIPER19`. Writes figures/attributes-<data set>.csv, a row a
task, split and training, prints Markdown.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from scores import images_of, numbers

from reidkit import course
from reidkit.cli import setting
from reidkit.data import load
from reidkit.features import answer
from reidkit.files import write_whole
from reidkit.images import is_person
from reidkit.losses import KINDS
from reidkit.metrics import attribute_scores, class_scores
from reidkit.recipes import recipe
from reidkit.runs import load_or_fit
from reidkit.thresholds.calibration import expected_calibration_error


def measure(images: pd.DataFrame, kind: str, changes: dict[str, str], **known: object) -> pd.DataFrame:
    """Train (or load) one loss; a row a split and task."""
    plan = recipe("two_stage", variant=kind, **{**known, **changes})  # type: ignore[arg-type]
    attributes = course.asked_attributes(images)
    train, validation = course.sets(plan, images, attributes)
    run = load_or_fit(plan, train, validation, runs=course.runs_folder())
    people = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    test = load(people, plan.height, plan.width, attributes=attributes)
    tables = []
    for name, part in (("validation", validation), ("test", test)):
        said, truth = answer(run, part), part.attributes.numpy()
        table = attribute_scores(truth, said.classes, run.tasks).reset_index()
        by_class = class_scores(truth, said.classes, run.tasks)
        share = by_class["count"] / by_class.groupby("task")["count"].transform("sum")
        rare = by_class[(share < 0.1) & (by_class["count"] > 0)]
        table["rare_recall"], table["rare_f1"] = rare["recall"].mean(), rare["f1"].mean()
        errors = [
            expected_calibration_error(p.numpy(), y).error for p, y in zip(said.probability, truth.T, strict=True)
        ]
        table["ece"] = [*errors, sum(errors) / len(errors)]
        minutes = run.history["seconds"].sum() / 60
        tables.append(table.assign(loss=kind, on=name, epochs=len(run.history), minutes=minutes))
    return pd.concat(tables)


def main(
    dataset: str,
    root: Annotated[Path | None, typer.Option()] = None,
    profile: Annotated[str, typer.Option()] = "quick",
    folds: Annotated[str, typer.Option()] = "0",
    seeds: Annotated[str, typer.Option()] = "0",
    kinds: Annotated[str, typer.Option(help="Losses, with commas between.")] = ",".join(KINDS),
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    changes = dict(setting(text) for text in settings or [])
    parts = []
    out = course.home() / "figures" / f"attributes-{dataset}.csv"
    for fold in numbers(folds):
        for seed in numbers(seeds):
            images = images_of(dataset, root, profile, fold, seed)
            for kind in kinds.split(","):
                known = {"dataset": dataset, "profile": profile, "fold": fold, "seed": seed}
                parts.append(measure(images, kind, changes, **known).assign(fold=fold, seed=seed))
                write_whole(out, lambda path: pd.concat(parts).round(4).to_csv(path, index=False))
                last = parts[-1][parts[-1]["task"] == "global"].set_index("on")["macro_f1"]
                print(f"{kind}, fold {fold}, seed {seed}: macro F1 {last.round(1).to_dict()}", flush=True)
    print(f"\n{dataset}, {profile}, {platform.machine()}, {torch.get_num_threads()} threads; mean ± deviation over n")
    print(summary(pd.concat(parts)))


def summary(table: pd.DataFrame) -> str:
    """Markdown: the global row of every loss, mean and sample deviation over folds and seeds."""
    shown = ("accuracy", "macro_f1", "mean_accuracy", "rare_recall", "rare_f1", "ece", "minutes")
    lines = [f"| people | loss | n | {' | '.join(shown)} |", "|---" * (len(shown) + 3) + "|"]
    overall = table[table["task"] == "global"].assign(ece=lambda t: 100 * t["ece"])
    for (on, kind), part in overall.groupby(["on", "loss"], sort=False):
        cells = [f"{part[c].mean():.1f} ± {part[c].std():.1f}" for c in shown]
        lines.append(f"| {on} | {kind} | {len(part)} | {' | '.join(cells)} |")
    return "\n".join(lines[:2] + sorted(lines[2:], reverse=True))


if __name__ == "__main__":
    typer.run(main)
