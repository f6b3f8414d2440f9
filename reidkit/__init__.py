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
    from .metrics import Scores
    from .ranking import Comparison, Labels, Ranking, evaluate
    from .recipes import Recipe, recipe
    from .runs import load_or_fit, load_run
    from .search.gallery import Gallery
    from .search.reranking import rerank, rerank_cost
    from .systems import System
    from .train import fit
    from .widgets import browse

_HOME = {
    "attributes": ("read_attributes",),
    "errors": ("InputError",),
    "features": ("Features", "describe", "features_of"),
    "search.gallery": ("Gallery",),
    "images": ("read_images", "validation_fold"),
    "metrics": ("Scores",),
    "course.papers": ("published",),
    "ranking": ("Comparison", "Labels", "Ranking", "evaluate"),
    "recipes": ("Recipe", "recipe"),
    "search.reranking": ("rerank", "rerank_cost"),
    "runs": ("load_or_fit", "load_run"),
    "systems": ("System",),
    "train": ("fit",),
    "widgets": ("browse",),
}
__all__ = [
    "Comparison", "Features", "Gallery", "InputError", "Labels", "Ranking", "Recipe", "Scores", "System", "browse",
    "describe", "evaluate", "features_of", "fit", "load_or_fit", "load_run", "published", "read_attributes",
    "read_images", "recipe", "rerank", "rerank_cost", "validation_fold",
]  # fmt: skip

_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(f".{_MODULE[name]}", __name__), name)
    raise AttributeError(f"module 'reidkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
