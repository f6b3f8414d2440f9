"""What attributes bring to re-identification, over seeds (Table 1 of paper 001), and what look-alike negatives bring.

    python benchmarks/transfer.py synthetic --seeds 0,1,2

The second stage of `two_stage` with and without the weights of a first stage (cross-entropy), with negatives from the
anchor's colour cluster and from everybody; and the first stage alone. Without a first stage it starts where the first
stage of the profile does: from ImageNet in "paper". In "quick" the first stage hands on the bundled start, and without
it the second begins at random (the variant "alone"). The table that is kept was measured before, when both stages of
"quick" began at random. Scored are whole lists and those that the mean distance, and with it at most three wrong
attributes, leave. Writes figures/transfer-<data set>.csv, a row a training, prints Markdown.
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
from reidkit.course.measured import measured_row
from reidkit.features import answers_of, features_of
from reidkit.files import write_whole
from reidkit.ranking import Comparison
from reidkit.recipes import recipe
from reidkit.runs import Run, load_or_fit
from reidkit.thresholds import filters

DIFFER = 3  # tasks of twelve that a returned image may answer otherwise than the query


def measure(run: Run, images: pd.DataFrame, reader: Run) -> dict[str, float]:
    """Scores of a run on query and gallery, whole lists and those that the paper's filters leave.

    The filters (section 4.2.1) stand under the mAP of the text, which does not say what it divides by: `_strict` by
    all matches, `_returned` by those still there. AP is the area under the precision-recall curve, as the text has it.

    Args:
        reader: the run that answers the attributes.
    """
    query, gallery = (features_of(run, images, split) for split in ("query", "gallery"))
    row = measured_row(query, gallery, run.recipe.metric)
    compared = Comparison.of(query, gallery, run.recipe.metric)
    said = tuple(answers_of(reader, part.table, keep=True).classes for part in (query, gallery))
    mean = filters.mean_threshold(compared)
    for name, given in (("threshold", {}), ("filter", {"answers": said, "h": DIFFER})):
        left = filters.filtered(compared, mean, ap="trapezoid", **given)
        row |= {f"mAP_{name}_strict": left.mAP, f"mAP_{name}_returned": left.mAP_returned_only}
    return {**row, "minutes": run.history["seconds"].sum() / 60}


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
            known: dict[str, Any] = {"dataset": dataset, "profile": profile, "fold": fold, "seed": seed}
            plan = recipe("two_stage", variant="cross_entropy", **known)
            first = load_or_fit(plan, *course.sets(plan, images), runs=course.runs_folder())
            rows.append({"system": "first stage alone", **known, **measure(first, images, first)})
            starts: dict[str, dict[str, Any]] = {
                "without": {"variant": "alone"},
                "with": {"variant": "identity", "pretrained": str(first.folder)},
            }
            for start, begun in starts.items():
                for negatives in ("random", "cluster"):
                    own: dict[str, Any] = {**begun, "negatives": negatives, **known, **changes}
                    plan = recipe("two_stage", **own)
                    run = load_or_fit(plan, *course.sets(plan, images), runs=course.runs_folder())
                    name = f"second stage {start} the first, {negatives} negatives"
                    rows.append({"system": name, **known, **measure(run, images, first)})
                    table = pd.DataFrame(rows).round(3)
                    write_whole(out, lambda path, table=table: table.to_csv(path, index=False))  # type: ignore[misc]
                    print(f"{name}, fold {fold}, seed {seed}: mAP {rows[-1]['mAP']:.1f}", flush=True)
    print(f"\n{dataset}, {profile}, {platform.machine()}, {torch.get_num_threads()} threads; mean ± deviation over n")
    print(summary(pd.DataFrame(rows)))


if __name__ == "__main__":
    typer.run(main)
