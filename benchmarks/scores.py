r"""Measured scores of the systems on one data set, over splits and seeds: what figures/RESULTS.md prints.

    python benchmarks/scores.py synthetic --seeds 0,1,2 --systems histogram,random,identity,both
    python benchmarks/scores.py synthetic --seeds 0,1,2 --add --systems start,lesson
    python benchmarks/scores.py pku --root DIR --folds 0,1,2 --systems histogram,both --set epochs=30
    python benchmarks/scores.py viper --root DIR --folds 0,1,2,3,4,5,6,7,8,9 --systems histogram,both \
        --set epochs=15 --set instances=2
    python benchmarks/scores.py viper --root DIR --folds 0,1,2,3,4,5,6,7,8,9 --add \
        --systems start,both-synthetic,both-imagenet,both-imagenet-256 --set epochs=15 --set instances=2
    python benchmarks/scores.py pku --root DIR --folds 0,1,2 --add \
        --systems start,both-synthetic,both-synthetic-gentle,both-imagenet,both-imagenet-256 --set epochs=30

Table 1 of paper 004, and its losses as sums and as means, with weight decay and without:

    python benchmarks/scores.py pku --root DIR --folds 0,1,2 --systems set1,set2,set3,triplet18,triplet50 \
        --profile paper --set pretrained=none --set epochs=60 --set weight_decay=0 --out inherent_code-pku-60
    python benchmarks/scores.py pku --root DIR --folds 0,1,2 --systems set1,set2,set3 --profile paper \
        --set pretrained=none --set epochs=8 --out inherent_code-pku
    python benchmarks/scores.py pku --root DIR --folds 0,1,2 --systems set1,set2,set3 --profile paper \
        --set pretrained=none --set epochs=8 --grid weight_decay=0,5e-4 --grid reduction=sum \
        --out inherent_code-reduction
    python benchmarks/scores.py pku --root DIR --folds 0,1,2 --systems set2,set3 --profile paper \
        --set pretrained=none --set epochs=8 --grid weight_decay=0,5e-4 --grid reduction=mean \
        --out inherent_code-reduction --add

Figure 3 of paper 000 with losses as means and every stranger of a batch; and as the paper has them, as sums, with the
negatives of its reference (which draws them at random for ten epochs) and four weights of the attributes:

    python benchmarks/scores.py towncentre --root DIR --folds 0,1 --set epochs=15 --out sharenet-towncentre \
        --systems histogram,triplet-alexnet,sharenet-5,sharenet-6,sharenet-7
    python benchmarks/scores.py towncentre --root DIR --folds 0,1,2,3,4 --set epochs=3 --set reduction=sum \
        --set mining=curriculum --out sharenet-alpha --systems sharenet-7 --grid alpha=0.001,0.003,0.01,0.05

Every row goes to figures/scores-DATASET.csv (or figures/OUT.csv) as soon as it is measured; finished runs are not
trained again. For `synthetic` the seed is that of the people as well as of the training: other people, other weights.
Settings are for what is trained, and a row's own come before them. Every combination of the grids is measured, its
values in columns of their own. With --add the rows that the file has already stay.
"""

from __future__ import annotations

import json
import platform
import time
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from reidkit import course, synthetic
from reidkit.cli import setting
from reidkit.course.measured import measured_row
from reidkit.features import Features, features_of
from reidkit.files import write_whole
from reidkit.images import read_images
from reidkit.ranking import Comparison
from reidkit.recipes import recipe
from reidkit.runs import load_or_fit
from reidkit.systems import SYSTEMS

VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "histogram": ("colour histogram, nothing learnt", "histogram", {}),
    "random": ("ResNet-18, random weights", "baseline", {"epochs": 0, "pretrained": "none"}),
    "identity": ("ResNet-18, identity", "baseline", {"triplet": 0, "pretrained": "none"}),
    "both": ("ResNet-18, identity + triplet", "baseline", {"pretrained": "none"}),
    "start": ("ResNet-18, synthetic start, untouched", "baseline", {"epochs": 0, "pretrained": "synthetic"}),
    "both-synthetic": ("ResNet-18, synthetic start, identity + triplet", "baseline", {"pretrained": "synthetic"}),
    "lesson": (
        "ResNet-18, synthetic start, as in lesson 00: 64 x 32, 3 epochs",
        "baseline",
        {name: getattr(course.baseline_recipe(), name) for name in ("height", "width", "epochs", "lr", "backbone_lr")},
    ),
    "both-synthetic-gentle": (
        "ResNet-18, synthetic start, identity + triplet, 10 epochs at 3e-4",
        "baseline",
        {"pretrained": "synthetic", "epochs": 10, "lr": 3e-4},
    ),
    "both-imagenet": (
        "MobileNetV2, ImageNet start, identity + triplet",
        "baseline",
        {"backbone": "mobilenet_v2", "pretrained": "imagenet"},
    ),
    "both-imagenet-256": (
        "MobileNetV2, ImageNet start, 256 x 128, identity + triplet",
        "baseline",
        {"backbone": "mobilenet_v2", "pretrained": "imagenet", "height": 256, "width": 128},
    ),
}
DEFAULT = ("histogram", "random", "identity", "both", "start", "both-synthetic")
for system in ("inherent_code", "sharenet"):
    VARIANTS |= {row: (row, system, {"variant": row}) for row in SYSTEMS[system].VARIANTS}


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def images_of(dataset: str, root: Path | None, profile: str, fold: int, seed: int) -> pd.DataFrame:
    """The table of images; the synthetic people of this seed are written where they are absent."""
    if dataset == "synthetic" and root is None:
        size = course.SYNTHETIC_SIZES[profile]
        root = course.synthetic_root(profile) if seed == 0 else course.home() / "datasets" / f"synthetic-{size}-{seed}"
        synthetic.write(root, size=size, seed=seed)
    return read_images(dataset, root, fold=fold)


def measure(images: pd.DataFrame, system: str, changes: dict[str, Any], **known: Any) -> dict[str, Any]:
    """Train (or load), describe and score one recipe; the minutes are those of the training."""
    plan = recipe(system, **{**known, **changes})
    train, _ = course.sets(plan, images)
    started = time.perf_counter()
    run = load_or_fit(plan, train, runs=course.runs_folder())
    minutes = run.history["seconds"].sum() / 60 if len(run.history) else (time.perf_counter() - started) / 60
    query, gallery = (features_of(run, images, split) for split in ("query", "gallery"))
    found: dict[str, Any] = measured_row(query, gallery, plan.metric)
    if plan.dataset == "towncentre":
        found["rank1_far"] = Comparison.of(query, far_from(query, gallery), plan.metric).score().rank1
    answers = course.attribute_table(run, images)
    if answers is not None:
        found |= {name: answers.loc["global", name] for name in ("accuracy", "commonest", "macro_f1")}
    return {**found, "minutes": minutes}


def far_from(query: Features, gallery: Features) -> Features:
    """One gallery image a person: of people who are asked for, the frame farthest from the one that asks.

    TownCentre is one camera that follows people: the frames beside the query are almost the query itself, and whoever
    finds them has recognised nobody.
    """
    asked = dict(zip(query.table["pid"], query.table["frame"], strict=True))
    table = gallery.table
    away = (table["frame"] - table["pid"].map(asked).fillna(0)).abs()
    rows = np.sort(away.sort_values(kind="stable").groupby(table["pid"]).tail(1).index)
    kept = table.loc[rows].reset_index(drop=True)
    kept.attrs = table.attrs
    return Features(gallery.descriptor[torch.from_numpy(rows)], kept)


def main(
    dataset: str,
    root: Annotated[Path | None, typer.Option()] = None,
    profile: Annotated[str, typer.Option()] = "quick",
    folds: Annotated[str, typer.Option()] = "0",
    seeds: Annotated[str, typer.Option()] = "0",
    systems: Annotated[str, typer.Option()] = ",".join(DEFAULT),
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    grids: Annotated[list[str] | None, typer.Option("--grid", help="A setting and its values: gamma=0,1e-7")] = None,
    name_out: Annotated[str, typer.Option("--out")] = "",
    add: Annotated[bool, typer.Option("--add")] = False,
) -> None:
    changes = dict(setting(text) for text in settings or [])
    axes = {name: values.split(",") for name, values in map(setting, grids or [])}
    cells = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    out = course.home() / "figures" / f"{name_out or f'scores-{dataset}'}.csv"
    before = pd.read_csv(out) if add and out.exists() else pd.DataFrame()
    rows = []
    for fold in numbers(folds):
        for seed in numbers(seeds):
            images = images_of(dataset, root, profile, fold, seed)
            for cell, (name, system, own) in product(cells, [VARIANTS[key] for key in systems.split(",")]):
                given = {**changes, **cell} if system != "histogram" else {}
                known = {"dataset": dataset, "profile": profile, "fold": fold, "seed": seed}
                got = measure(images, system, {**given, **own}, **known)
                rows.append({"system": name, **cell, **known, "settings": json.dumps(changes), **got})
                table = pd.concat([before, pd.DataFrame(rows).round(3)])
                write_whole(out, lambda path, table=table: table.to_csv(path, index=False))  # type: ignore[misc]
                print(f"{name}, fold {fold}, seed {seed}: mAP {got['mAP']:.1f}, rank-1 {got['rank1']:.1f}", flush=True)
    table = pd.DataFrame(rows)
    print(f"\n{dataset}, {profile}, {platform.machine()}, {torch.get_num_threads()} threads; mean ± deviation over n")
    print(summary(table))


def summary(table: pd.DataFrame) -> str:
    """A Markdown table, a row a system: mean and sample standard deviation over folds and seeds."""
    shown = [c for c in ("mAP", "rank1", "rank10", "rank1_far", "reranked_mAP", "accuracy", "macro_f1") if c in table]
    lines = [f"| system | n | {' | '.join(shown)} | minutes |", "|---" * (3 + len(shown)) + "|"]
    for name, part in table.groupby("system", sort=False):
        means, spread = part.mean(numeric_only=True), part.std(numeric_only=True).fillna(0)  # of n - 1
        cells = [f"{means[c]:.1f} ± {spread[c]:.1f}" if part[c].notna().any() else "" for c in shown]
        lines.append(f"| {name} | {len(part)} | {' | '.join(cells)} | {part['minutes'].mean():.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
