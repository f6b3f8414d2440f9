r"""Makes the start that is bundled with the package, `pretrained="synthetic"`, and its card.

    reidkit data synthetic --size crowd
    python benchmarks/start.py

A ResNet-18 from random weights learns the crowd, 9,600 people in 96 places, by the quick recipe of the system `start`
(about two hours of one core; a killed training goes on where it was). What is kept: its weights in half precision,
without the classifier of the crowd's people. The card says how it was made and what it scores, untouched, on the
synthetic benchmark of another seed's people, other cameras and other places: `quick` for people to read, `smoke` for a
test to repeat.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import save_file

import reidkit
from reidkit import course, synthetic
from reidkit.backbones import BUNDLED
from reidkit.course.measured import measured_row
from reidkit.data import load
from reidkit.features import describe
from reidkit.files import new_folder
from reidkit.recipes import recipe
from reidkit.runs import Run, load_or_fit, load_run


def scores(start: Run, root: Path) -> dict[str, Any]:
    """What a start scores, untouched, on a synthetic set: mAP, CMC and the macro F1 of every attribute, percent."""
    images, plan = reidkit.read_images("synthetic", root), start.recipe
    splits = (images[images["split"] == split] for split in ("query", "gallery"))
    query, gallery = (describe(start.network, load(rows, plan.height, plan.width), plan) for rows in splits)
    found = measured_row(query, gallery, plan.metric)
    attributes = course.attribute_table(start, images)
    assert attributes is not None
    f1 = attributes["macro_f1"].round(2).to_dict()
    return {name: round(found[name], 2) for name in ("mAP", "rank1", "rank5")} | {"macro_f1": f1}


def card(start: Run, crowd: Path, tests: dict[str, Path]) -> dict[str, Any]:
    """How a start was made and what it scores."""
    made = json.loads((crowd / "card.json").read_text())
    minutes = start.history["seconds"].sum() / 60
    return {
        "title": "ResNet-18 that has learnt synthetic people",
        "licence": "CC0-1.0",
        "command": "python benchmarks/start.py",
        "crowd": made["recipe"],
        "identities": made["identities"]["train"],
        "images": made["images"]["train"],
        "recipe": json.loads(start.recipe.to_json()),
        "minutes_of_one_core": round(minutes),
        "learnt_from": "no image of a real person; random weights",
        "scores_untouched": {name: scores(start, root) for name, root in tests.items()},
    }


def main(
    root: Annotated[Path | None, typer.Option(help="The crowd.")] = None,
    trained: Annotated[
        Path | None, typer.Option("--run", help="A finished training, of `reidkit train start`.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    epochs: Annotated[int, typer.Option(help="Of all, a quarter at half the size; by default the recipe's.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the start goes; what is there is replaced.")] = BUNDLED / "resnet18",
) -> None:
    crowd = root or course.home() / "datasets" / "synthetic-crowd"
    synthetic.write(crowd, size="crowd", seed=seed)
    if trained:
        run = load_run(trained)
    else:
        changes = {"epochs": epochs, "half": epochs // 4, "most": 5 * epochs // 12} if epochs else {}
        plan = recipe("start", "quick", seed=seed, **changes)
        run = load_or_fit(plan, *course.sets(plan, reidkit.read_images("synthetic", crowd)), runs=course.runs_folder())
    state = run.network.state_dict()
    state["classifier.weight"] = state["classifier.weight"][:1] * 0
    kept = {name: (value.half() if value.is_floating_point() else value).cpu() for name, value in state.items()}
    about = json.loads((run.folder / "environment.json").read_text())
    about |= {"people": [], "root": "", "targets": {**about["targets"], "people": 0}}
    tests = {size: course.home() / "datasets" / f"synthetic-{size}" for size in ("quick", "smoke")}
    for size, where in tests.items():
        synthetic.write(where, size=size)
    with new_folder(out, instead=True) as folder:
        save_file({name: value.contiguous() for name, value in kept.items()}, folder / "model.safetensors")
        (folder / "recipe.json").write_text(run.recipe.to_json())
        (folder / "environment.json").write_text(json.dumps(about, indent=2))
        run.history.to_csv(folder / "history.csv", index=False)
        facts = card(load_run(folder), crowd, tests)
        facts["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        (folder / "card.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    typer.run(main)
