r"""How well a run's attention finds the part that an attribute is seen by, on synthetic people.

    python benchmarks/ablations.py aanet synthetic --seeds 0,1,2 --rows attention
    python benchmarks/attention.py runs/aanet-synthetic-* --rows attention \
        --methods cam,gradcam,hirescam,layercam,eigencam

    python benchmarks/ablations.py aanet synthetic --seeds 0,1,2 --out ablations-maps-synthetic \
        --rows map-raw,map-contrast,map-masked,map-detach,map-all
    python benchmarks/attention.py runs/aanet-synthetic-* --methods cam --out attention-maps

One query image of every person of the data set a run was trained on; pointing-game accuracy and energy inside the part,
percent, beside a centre box and a uniform map; "merged" is the network's own attention map, scored against the person.
Runs without attention are passed over. A row a run, task and method goes to figures/attention-SYSTEM.csv (or
figures/OUT.csv), with the row of the paper's table that the run is; printed is the mean over the runs, as Markdown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from reidkit import course
from reidkit.attention import energy, localisation, merged_map, part_masks, pointing
from reidkit.course.measured import variant_of
from reidkit.data import ImageSet, load, standardise
from reidkit.files import write_whole
from reidkit.images import is_person, read_images
from reidkit.runs import Run, load_run
from reidkit.synthetic import PARTS


def markdown(table: pd.DataFrame) -> str:
    """A row a task and method, both scores in percent."""
    lines = ["| row | attribute | part | images | left out | method | pointing | energy | area |", "|---" * 9 + "|"]
    for row in table.to_dict("records"):
        scores = " | ".join(f"{row[name]:.1f}" for name in ("pointing", "energy", "area"))
        counts = f"{row['images']:.0f} | {row['left_out']:.0f}"
        lines.append(f"| {row['row']} | {row['task']} | {row['part']} | {counts} | {row['method']} | {scores} |")
    return "\n".join(lines)


def on_the_person(run: Run, people: ImageSet, parts: torch.Tensor) -> pd.DataFrame:
    """The merged map against the whole person, in the form of `localisation`."""
    device = next(run.network.parameters()).device
    batches = people.pixels.split(32)
    heat = torch.cat([merged_map(run.network, standardise(pixels.to(device))) for pixels in batches])
    inside = (parts != PARTS["background"]) & (parts != PARTS["occluder"])
    found = {"pointing": pointing(heat, inside), "energy": energy(heat, inside), "area": inside.float().mean((1, 2))}
    about = {"task": "merged", "part": "person", "method": "merged", "images": len(people), "left_out": 0}
    return pd.DataFrame([about | {name: 100 * float(values.mean()) for name, values in found.items()}])


def scores_of(folder: Path, methods: list[str], rows: list[str]) -> pd.DataFrame | None:
    """`localisation` of one run; None for one of another profile or row, or without attributes."""
    run = load_run(folder)
    row = variant_of(run.recipe)
    if rows and row not in rows:
        return None
    if run.recipe.profile == "smoke" or not run.network.tasks or not run.recipe.options.get("attention", True):
        return None
    place = Path(json.loads((folder / "environment.json").read_text())["root"])
    table = read_images("synthetic", place)
    rows = table[(table["split"] == "query") & is_person(table)].groupby("pid").head(1)
    rows.attrs = table.attrs
    people = load(rows, run.recipe.height, run.recipe.width)
    parts = part_masks(people.table, run.recipe.height, run.recipe.width)
    scores = localisation(run.network, people, parts, methods=methods)
    scores = pd.concat([scores, on_the_person(run, people, parts)])
    return scores.assign(system=run.recipe.system, row=row, seed=run.recipe.seed)


def main(
    folders: list[Path],
    methods: Annotated[str, typer.Option()] = "cam,gradcam,gradcam++,hirescam,layercam,eigencam",
    chosen: Annotated[str, typer.Option("--rows", help="Of the paper's table; all of them by default.")] = "",
    name_out: Annotated[str, typer.Option("--out")] = "",
) -> None:
    rows = [row for row in chosen.split(",") if row]
    every = [scores for folder in folders if (scores := scores_of(folder, methods.split(","), rows)) is not None]
    table = pd.concat(every, ignore_index=True)
    system = table["system"].iloc[0]
    out = course.home() / "figures" / f"{name_out or f'attention-{system}'}.csv"
    write_whole(out, lambda path: table.round(2).to_csv(path, index=False))
    print(f"{system}, {len(every)} runs, mean")
    mean = table.groupby(["row", "task", "part", "method"], sort=False)[
        ["images", "left_out", "pointing", "energy", "area"]
    ].mean()
    print(markdown(mean.reset_index()))


if __name__ == "__main__":
    typer.run(main)
