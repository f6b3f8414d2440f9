"""The systems, one file each and all of one shape, so that a diff of two is the difference of two papers.

Every module has `Options` (its own knobs), `Network` with `forward(images) -> Output` and
`describe(images) -> (B, D)`, `objective(output, batch, options) -> dict of named losses`,
`watch(output, batch) -> dict` (what to log beside the losses), `RECIPES` by profile and `CLAIMS`.
"""

from types import ModuleType

from . import baseline, histogram

SYSTEMS: dict[str, ModuleType] = {"baseline": baseline, "histogram": histogram}
