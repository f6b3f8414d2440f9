"""Where trainings of paper 004's recipes ended: losses and codes in the last epoch of each run.

    python benchmarks/ends.py runs/inherent_code-pku-* --epochs 8

The runs are those of the lines in `benchmarks/scores.py` that write inherent_code-reduction. Writes
figures/inherent_code-ends.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from reidkit import course
from reidkit.course.measured import variant_of
from reidkit.files import write_whole
from reidkit.recipes import Recipe, options_of

WATCHED = ["identity", "compact", "scatter", "length", "to_centre"]


def main(
    runs: Annotated[list[Path], typer.Argument()],
    epochs: Annotated[int, typer.Option()],
    variants: Annotated[str, typer.Option()] = "set1,set2,set3",
) -> None:
    rows = []
    for folder in runs:
        plan = Recipe.from_json((folder / "recipe.json").read_text())
        variant = variant_of(plan)
        if plan.epochs == epochs and variant in variants.split(","):
            last = pd.read_csv(folder / "history.csv").iloc[-1]
            about = {"system": variant, "weight_decay": plan.weight_decay, "reduction": options_of(plan).reduction}
            rows.append({**about, "fold": plan.fold, "seed": plan.seed, **last, "epoch": int(last["epoch"])})
    columns = ["system", "weight_decay", "reduction", "fold", "seed", "epoch", *WATCHED]
    table = pd.DataFrame(rows).reindex(columns=columns).sort_values(columns[:5], ignore_index=True).round(4)
    write_whole(course.home() / "figures" / "inherent_code-ends.csv", lambda path: table.to_csv(path, index=False))
    print(table.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
