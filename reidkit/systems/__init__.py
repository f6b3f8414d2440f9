"""The systems, one class a file and all of one shape, so that a diff of two is the difference of two papers.

What a system is and may have stands in `base.System`.
"""

from .aanet import AANet
from .base import System
from .baseline import Baseline
from .histogram import Histogram
from .inherent_code import InherentCode
from .part_multitask import PartMultitask
from .sharenet import Sharenet
from .start import Start
from .two_stage import TwoStage

SYSTEMS: dict[str, type[System]] = {
    system.name: system
    for system in (Baseline, Histogram, Start, TwoStage, InherentCode, Sharenet, PartMultitask, AANet)
}
