"""Does the bundled start answer from where it should? The tests of lesson 07 on whole sets of strangers.

    python benchmarks/evidence.py [--seeds 3] [--profile quick]

Each seed has people of its own, who were not in the crowd that the start has learnt. Of every test person one image is
drawn, and only right answers count. Per attribute: what share of them survives when the part is painted over, and when
the same shape is painted over elsewhere on the person (figures/attention-survival.csv); how often the brightest place
of a map is on the part, and how much of its heat, beside a centre box and a twin with random weights, percent with
Wilson's 95 % intervals (figures/attention-start.csv). Seed "all" pools the people of all seeds. Printed, and counted in
figures/attention-verdicts.csv, are the attributes whose intervals lie apart: the part from elsewhere, and at least two
methods from every guess.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import pandas as pd
import torch
import typer
from scores import images_of

from reidkit import attention, course
from reidkit.backbones import bundled
from reidkit.data import load
from reidkit.files import write_whole
from reidkit.images import is_person
from reidkit.runs import load_run

METHODS = ["cam", "layercam", "hirescam"]
LAYER = "layer3"
TABLES = (  # the file, what a row is of, and its scores
    ("attention-survival", ["task", "removed"], ["survived"]),
    ("attention-start", ["task", "part", "method"], ["pointing", "energy"]),
)


def measure(profile: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`attention.survival`, and `attention.localisation` of the start and of its twin, on the people of one seed."""
    start = load_run(bundled("resnet18"))
    network = start.network.cpu().eval()
    images = images_of("synthetic", None, profile, 0, seed)
    strangers = images[images["split"].isin(["query", "gallery"]) & is_person(images)]
    one = strangers.sample(frac=1, random_state=seed).groupby("pid").head(1)
    one.attrs = images.attrs
    size = start.recipe.height, start.recipe.width
    people = load(one, *size, attributes=course.asked_attributes(images), parts=True)
    assert people.parts is not None

    def right(of: attention.System) -> torch.Tensor:
        said = attention.answers(of, people.pixels)
        return torch.where(said == people.attributes, said, -1)

    survived = attention.survival(network, people, people.parts, classes=right(network))
    fine = attention.finer(network)
    asked = {"methods": METHODS, "classes": right(fine), "layer": LAYER}
    learnt = attention.localisation(fine, people, people.parts, **asked)
    twin = attention.localisation(attention.untaught(fine, people.pixels), people, people.parts, **asked)
    twin = twin[twin["method"].isin(METHODS)].assign(method=lambda table: "random " + table["method"])
    return survived, pd.concat([learnt, twin])


def pooled(table: pd.DataFrame, keys: list[str], scores: list[str]) -> pd.DataFrame:
    """All seeds as one set of people: means weighted by images, and the intervals of so many."""
    rows = []
    for key, group in table.groupby(keys, sort=False):
        n = int(group["images"].sum())
        row = dict(zip(keys, key, strict=True)) | {"seed": "all", "images": n}
        for score in scores:
            mean = float((group[score] * group["images"]).sum()) / max(n, 1) / 100
            row |= attention.share(torch.full((n,), mean), score)
        rows.append(row)
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def apart(survived: pd.DataFrame, scores: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Of one seed: the attributes that the part decides, and those that two methods find before every guess does."""
    of = {removed: rows.set_index("task") for removed, rows in survived.groupby("removed")}
    decided = of["part"].index[of["part"]["survived_high"] < of["elsewhere"]["survived_low"]]
    found = []
    for task, group in scores.groupby("task", sort=False):
        by_method = group.set_index("method")
        best = by_method.loc[~by_method.index.isin(METHODS), "pointing_high"].max()
        if sum(by_method.loc[method, "pointing_low"] > best for method in METHODS) > 1:
            found.append(str(task))
    return list(decided), found


def main(
    profile: Annotated[str, typer.Option()] = "quick",
    seeds: Annotated[int, typer.Option()] = 3,
) -> None:
    both = {seed: measure(profile, seed) for seed in range(seeds)}
    tables = []
    for i, (name, keys, scores) in enumerate(TABLES):
        every = pd.concat([pair[i].assign(seed=seed) for seed, pair in both.items()], ignore_index=True)
        tables.append(pooled(every, keys, scores).round(2))
        write_whole(course.home() / "figures" / f"{name}.csv", partial(tables[i].to_csv, index=False))
    rows = []
    for seed in [*both, "all"]:
        decided, found = apart(*(table[table["seed"] == seed] for table in tables))
        people = tables[0].loc[tables[0]["seed"] == seed, "images"].max()
        rows.append(
            {"seed": seed, "people": people, "part below elsewhere": len(decided), "two methods ahead": len(found)}
        )
        print(f"seed {seed}: the part decides {', '.join(decided)}; two methods or more find {', '.join(found)}")
    verdicts = pd.DataFrame(rows)
    write_whole(course.home() / "figures" / "attention-verdicts.csv", partial(verdicts.to_csv, index=False))


if __name__ == "__main__":
    typer.run(main)
