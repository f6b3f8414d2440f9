"""What makes a match hard: another view, another camera. Scores of a finished run by relation of query and match.

    python benchmarks/difficulty.py runs/baseline-synthetic-HASH

For each relation only the matches that stand in it count; the other images of the query's person are left out, and
everybody else stays. So all rows are ranked against the same strangers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import typer

from reidkit.distances import pairwise
from reidkit.features import Features
from reidkit.metrics import average_precision
from reidkit.runs import load_run
from reidkit.thresholds.verification import rank_of_matches

Relation = Callable[[pd.Series, pd.DataFrame], np.ndarray]


def turn(query: pd.Series, gallery: pd.DataFrame) -> np.ndarray:
    """Steps of 45 degrees between two views, 0 to 4."""
    steps = (gallery["orientation"].to_numpy() - query["orientation"]) % 8
    return np.minimum(steps, 8 - steps)


RELATIONS: dict[str, Relation] = {
    "same camera, another image": lambda q, g: (g["camid"] == q["camid"]).to_numpy(),
    "another camera (rule market1501)": lambda q, g: (g["camid"] != q["camid"]).to_numpy(),
    "another camera, view within 45 degrees": lambda q, g: (g["camid"] != q["camid"]).to_numpy() & (turn(q, g) <= 1),
    "another camera, view turned by 90 degrees": lambda q, g: (g["camid"] != q["camid"]).to_numpy() & (turn(q, g) == 2),
    "another camera, view turned by 135 or 180": lambda q, g: (g["camid"] != q["camid"]).to_numpy() & (turn(q, g) >= 3),
}


def main(run: Path) -> None:
    recipe = load_run(run).recipe
    query, gallery = (Features.load(run / f"features-{split}.safetensors") for split in ("query", "gallery"))
    distance = pairwise(query.descriptor, gallery.descriptor, recipe.metric).numpy()
    pids = gallery.table["pid"].to_numpy()
    print(f"{recipe.system} on {recipe.dataset}, {recipe.profile}, seed {recipe.seed}")
    print("| matches that count | queries | mAP | rank-1 |\n|---|---|---|---|")
    for name, relation in RELATIONS.items():
        places = []
        for i in range(len(query)):
            row = query.table.iloc[i]
            own = pids == row["pid"]
            keep = (pids >= 0) & (~own | relation(row, gallery.table))
            places.append(rank_of_matches(distance[i], keep, own))
        valid = [p for p in places if len(p)]
        mean = 100 * np.mean([average_precision(p) for p in valid])
        first = 100 * np.mean([p[0] == 1 for p in valid])
        print(f"| {name} | {len(valid)} | {mean:.1f} | {first:.1f} |")


if __name__ == "__main__":
    typer.run(main)
