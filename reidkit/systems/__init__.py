"""The systems, one file each and all of one shape, so that a diff of two is the difference of two papers.

Every module has `Options` (its own knobs), `Network` with `forward(images) -> Output` and
`describe(images) -> (B, D)`, `objective(output, batch, options) -> dict of named losses`,
`watch(output, batch) -> dict` (what to log beside the losses), `RECIPES` by profile and `CLAIMS`. It may have

- `VARIANTS`, the rows of its paper's tables: changes to the recipe by profile, or for "all";
- `learns_attributes(options)`, whether it does: the network then has `answer(images) -> list of logits`, a task each;
- `VALIDATES = True`, if its losses mean something on people it was not trained on;
- `invent(batch, tasks, options, generator) -> batch`, what becomes of a training batch before it is augmented;
- a network with `identify(images) -> (B, C)`, logits of the training people; `evidence(images) -> map, weights`, where
  its attributes are linear in a pooled map; `last_layers(of)`, where not the backbone's last map decides;
- a network with `before_epoch(images)`, `before_step(images)` or `after_step(output, batch)`, which the loop calls.

What the papers report is `papers.published`, percent.
"""

from types import ModuleType

import pandas as pd

from .. import papers
from . import aanet, baseline, histogram, inherent_code, part_multitask, sharenet, two_stage

SYSTEMS: dict[str, ModuleType] = {
    "baseline": baseline,
    "histogram": histogram,
    "two_stage": two_stage,
    "inherent_code": inherent_code,
    "sharenet": sharenet,
    "part_multitask": part_multitask,
    "aanet": aanet,
}


def published(system: str, table: str) -> pd.DataFrame:
    """A table as its paper prints it: rows, columns of metrics, percent; InputError for names there are not."""
    return papers.published(system, table).pivot_table(index="row", columns="metric", values="percent", sort=False)
