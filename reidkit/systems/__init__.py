"""The systems, one class a file and all of one shape, so that a diff of two is the difference of two papers.

What a system is and may have stands in `base.System`. What the papers report is `papers.published`, percent.
"""

import pandas as pd

from .. import papers
from .aanet import AANet
from .base import System
from .baseline import Baseline
from .histogram import Histogram
from .inherent_code import InherentCode
from .part_multitask import PartMultitask
from .sharenet import Sharenet
from .two_stage import TwoStage

SYSTEMS: dict[str, type[System]] = {
    system.name: system for system in (Baseline, Histogram, TwoStage, InherentCode, Sharenet, PartMultitask, AANet)
}


def published(system: str, table: str) -> pd.DataFrame:
    """A table as its paper prints it: rows, columns of metrics, percent; InputError for names there are not."""
    return papers.published(system, table).pivot_table(index="row", columns="metric", values="percent", sort=False)
