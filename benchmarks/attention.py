r"""How well a run's attention finds the part that an attribute is seen by, on synthetic people.

    reidkit train aanet --dataset synthetic --root datasets/synthetic-quick
    python benchmarks/attention.py runs/aanet-synthetic-XXXXXXXX --methods cam,gradcam,gradcam++,hirescam,eigencam

Query images of the data set the run was trained on; pointing-game accuracy and energy inside the part, percent, beside
a centre box and a uniform map. Writes figures/attention-SYSTEM.csv (or figures/OUT.csv), prints Markdown.
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
        lines.append(
            f"| {row['task']} | {row['part']} | {row['images']} | {row['left_out']} | {row['method']} | {scores} |"
        )
    return "\n".join(lines)


def main(
    folder: Path,
    root: Annotated[Path | None, typer.Option(help="The synthetic set, where it has moved.")] = None,
    methods: Annotated[str, typer.Option()] = "cam,gradcam,gradcam++,hirescam,layercam,eigencam",
    images: Annotated[int, typer.Option(help="How many, from the first query on.")] = 384,
    name_out: Annotated[str, typer.Option("--out")] = "",
) -> None:
    run = load_run(folder)
    place = root or Path(json.loads((folder / "environment.json").read_text())["root"])
    table = read_images("synthetic", place)
    rows = table[(table["split"] == "query") & is_person(table)].head(images)
    people = load(rows, run.recipe.height, run.recipe.width)
    parts = part_masks(people.table, run.recipe.height, run.recipe.width)
    scores = localisation(run.network, people, parts, methods=methods.split(","))
    out = course.home() / "figures" / f"{name_out or f'attention-{run.recipe.system}'}.csv"
    write(out, lambda path: scores.round(2).to_csv(path, index=False))
    print(f"{run.recipe.system}, {len(people)} images, maps enlarged to {run.recipe.height} x {run.recipe.width}")
    print(markdown(scores))


if __name__ == "__main__":
    typer.run(main)
