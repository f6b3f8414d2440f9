r"""The rows of an ablation over seeds: Table 3 of paper 002 (aanet), Table 8 of paper 003 (part_multitask).

    python benchmarks/ablations.py aanet synthetic --seeds 0,1,2 --rows global,parts,attributes,uncertainty,attention
    python benchmarks/ablations.py part_multitask synthetic --seeds 0,1,2 --rows ours,woAttr
    python benchmarks/ablations.py part_multitask synthetic --seeds 0,1,2 --rows ours,woID --set reduction=sum \
        --out ablations-sums-synthetic
    python benchmarks/ablations.py part_multitask viper --root DIR --folds 0,1,2,3,4,5,6,7,8,9 --rows ours \
        --set epochs=15 --set instances=2

For `synthetic` the seed is that of the people as well as of the training. Every row goes to
figures/ablations-SYSTEM-DATASET.csv (or figures/OUT.csv) as soon as it is measured; what is trained stays trained.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from scores import images_of, measure, numbers, summary

from reidkit import course
from reidkit.cli import setting
from reidkit.files import write_whole
from reidkit.systems import SYSTEMS


def main(
    system: str,
    dataset: str,
    root: Annotated[Path | None, typer.Option()] = None,
    profile: Annotated[str, typer.Option()] = "quick",
    folds: Annotated[str, typer.Option()] = "0",
    seeds: Annotated[str, typer.Option()] = "0",
    chosen: Annotated[str, typer.Option("--rows", help="Of the table; all of them by default.")] = "",
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    name_out: Annotated[str, typer.Option("--out")] = "",
) -> None:
    changes = dict(setting(text) for text in settings or [])
    variants = chosen.split(",") if chosen else list(SYSTEMS[system].VARIANTS)
    rows: list[dict[str, Any]] = []
    out = course.home() / "figures" / f"{name_out or f'ablations-{system}-{dataset}'}.csv"
    for fold in numbers(folds):
        for seed in numbers(seeds):
            images = images_of(dataset, root, profile, fold, seed)
            for variant in variants:
                known = {"dataset": dataset, "profile": profile, "fold": fold, "seed": seed}
                got = measure(images, system, {**changes, "variant": variant}, **known)
                rows.append({"system": variant, **known, "settings": json.dumps(changes), **got})
                table = pd.DataFrame(rows).round(3)
                write_whole(out, lambda path, table=table: table.to_csv(path, index=False))  # type: ignore[misc]
                print(
                    f"{variant}, fold {fold}, seed {seed}: mAP {got['mAP']:.1f}, rank-1 {got['rank1']:.1f}", flush=True
                )
    print(f"\n{system}, {dataset}, {profile}, {platform.machine()}, {torch.get_num_threads()} threads")
    print(summary(pd.DataFrame(rows)))


if __name__ == "__main__":
    typer.run(main)
