r"""How well a run's attention finds the part that an attribute is seen by, on synthetic people.

    python benchmarks/ablations.py aanet synthetic --seeds 0,1,2 --rows attention
    python benchmarks/attention.py runs/aanet-synthetic-*  --methods cam,gradcam,hirescam,layercam,eigencam

One query image of every person of the data set a run was trained on; pointing-game accuracy and energy inside the part,
percent, beside a centre box and a uniform map. Runs without attention are passed over. A row a run, task and method
goes to figures/attention-SYSTEM.csv (or figures/OUT.csv); printed is the mean over the runs, as Markdown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from reidkit import course
from reidkit.attention import localisation, part_masks
from reidkit.data import load
from reidkit.images import is_person, read_images
from reidkit.train import load_run, write


def markdown(table: pd.DataFrame) -> str:
    """A row a task and method, both scores in percent."""
    lines = ["| attribute | part | images | left out | method | pointing | energy | area |", "|---" * 8 + "|"]
    for row in table.to_dict("records"):
        scores = " | ".join(f"{row[name]:.1f}" for name in ("pointing", "energy", "area"))
        counts = f"{row['images']:.0f} | {row['left_out']:.0f}"
        lines.append(f"| {row['task']} | {row['part']} | {counts} | {row['method']} | {scores} |")
    return "\n".join(lines)


def scores_of(folder: Path, methods: list[str]) -> pd.DataFrame | None:
    """`localisation` of one run; None for one of another profile or without attributes."""
    run = load_run(folder)
    if run.recipe.profile == "smoke" or not run.network.tasks or not run.recipe.options.get("attention", True):
        return None
    place = Path(json.loads((folder / "environment.json").read_text())["root"])
    table = read_images("synthetic", place)
    rows = table[(table["split"] == "query") & is_person(table)].groupby("pid").head(1)
    rows.attrs = table.attrs
    people = load(rows, run.recipe.height, run.recipe.width)
    parts = part_masks(people.table, run.recipe.height, run.recipe.width)
    scores = localisation(run.network, people, parts, methods=methods)
    return scores.assign(system=run.recipe.system, seed=run.recipe.seed)


def main(
    folders: list[Path],
    methods: Annotated[str, typer.Option()] = "cam,gradcam,gradcam++,hirescam,layercam,eigencam",
    name_out: Annotated[str, typer.Option("--out")] = "",
) -> None:
    every = [scores for folder in folders if (scores := scores_of(folder, methods.split(","))) is not None]
    table = pd.concat(every, ignore_index=True)
    system = table["system"].iloc[0]
    out = course.home() / "figures" / f"{name_out or f'attention-{system}'}.csv"
    write(out, lambda path: table.round(2).to_csv(path, index=False))
    print(f"{system}, {len(every)} runs, mean")
    mean = table.groupby(["task", "part", "method"], sort=False)[
        ["images", "left_out", "pointing", "energy", "area"]
    ].mean()
    print(markdown(mean.reset_index()))


if __name__ == "__main__":
    typer.run(main)
