"""reidkit: a course one can run on person re-identification and person attributes.

The names below are the ones to call from one's own code. They are imported on first use, so that `reidkit doctor`
can still speak where torch does not import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attributes import read_attributes
    from .course.papers import published
    from .errors import InputError
    from .features import Features, describe, features_of
    from .images import read_images, validation_fold
    from .metrics import Scores, evaluate, score
    from .ranking import Ranking, rank
    from .search import Gallery, rerank, rerank_cost
    from .systems import System
    from .train import Recipe, fit, load_or_fit, load_run, recipe
    from .widgets import browse

__all__ = [
    "Features",
    "Gallery",
    "InputError",
    "Ranking",
    "Recipe",
    "Scores",
    "System",
    "browse",
    "describe",
    "evaluate",
    "features_of",
    "fit",
    "load_or_fit",
    "load_run",
    "published",
    "rank",
    "read_attributes",
    "read_images",
    "recipe",
    "rerank",
    "rerank_cost",
    "score",
    "validation_fold",
]

_HOME = {
    "attributes": ("read_attributes",),
    "course.papers": ("published",),
    "features": ("Features", "describe", "features_of"),
    "images": ("InputError", "read_images", "validation_fold"),
    "metrics": ("Scores", "evaluate", "score"),
    "ranking": ("Ranking", "rank"),
    "search": ("Gallery", "rerank", "rerank_cost"),
    "systems": ("System",),
    "train": ("Recipe", "fit", "load_or_fit", "load_run", "recipe"),
    "widgets": ("browse",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(f".{_MODULE[name]}", __name__), name)
    raise AttributeError(f"module 'reidkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
