"""What to rank by in the part-based network (paper 003): six features as they are, each of length 1, or only two.

    python benchmarks/ablations.py part_multitask synthetic --seeds 0,1,2
    python benchmarks/descriptors.py runs/part_multitask-synthetic-*

Finished runs are scored again from the descriptors they kept; nothing is trained. Beside the scores stands the share of
the squared distance, over all pairs of query and gallery, that the features of identity and attributes make. A row a
run and descriptor goes to figures/descriptors-part_multitask.csv (or figures/OUT.csv); printed are means, as Markdown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from reidkit import course
from reidkit.course.measured import measured_row, variant_of
from reidkit.features import Features, features_of, images_of
from reidkit.files import write_whole
from reidkit.runs import load_run
from reidkit.systems.part_multitask import DESCRIPTORS, joined


def share_of_identification(blocks: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Share of the mean squared distance between query and gallery that the `_im` features make, in percent."""
    apart = {name: torch.cdist(query, gallery).square().mean() for name, (query, gallery) in blocks.items()}
    return 100 * float(sum(value for name, value in apart.items() if name.endswith("_im")) / sum(apart.values()))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """A row a descriptor; none for a run of another profile or system."""
    run = load_run(folder)
    plan = run.recipe
    if plan.system != "part_multitask" or plan.profile == "smoke":
        return []
    images = images_of(run)
    sides = [features_of(run, images, split) for split in ("query", "gallery")]
    names = list(run.network.get_submodule("features")._modules)
    width = sides[0].descriptor.shape[1] // len(names)
    blocks = [dict(zip(names, side.descriptor.split(width, 1), strict=True)) for side in sides]
    share = share_of_identification({name: (blocks[0][name], blocks[1][name]) for name in names})
    found = []
    for descriptor in DESCRIPTORS:
        if descriptor == "verification" and not any(name.endswith("_vm") for name in names):
            continue
        kept = [Features(joined(own, descriptor), side.table) for own, side in zip(blocks, sides, strict=True)]
        about = {"system": variant_of(plan), "dataset": plan.dataset, "fold": plan.fold, "seed": plan.seed}
        scores = measured_row(*kept, plan.metric)
        found.append({**about, "descriptor": descriptor, "features": len(names), "share_im": share, **scores})
    return found


def main(folders: list[Path], name_out: Annotated[str, typer.Option("--out")] = "descriptors-part_multitask") -> None:
    table = pd.DataFrame([row for folder in folders for row in rows_of(folder)]).round(3)
    table = table.sort_values(["system", "seed", "fold"], kind="stable")
    write_whole(course.home() / "figures" / f"{name_out}.csv", lambda path: table.to_csv(path, index=False))
    means = table.pivot_table("mAP", "system", "descriptor", aggfunc="mean", sort=False)
    print(f"mAP, means over {table.groupby('system')['seed'].nunique().max()} seeds")
    print("| row | " + " | ".join(means.columns) + " |\n|---|" + "---|" * len(means.columns))
    for row, values in means.iterrows():
        print(f"| {row} | " + " | ".join("" if value != value else f"{value:.1f}" for value in values) + " |")


if __name__ == "__main__":
    typer.run(main)
