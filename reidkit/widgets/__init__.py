"""Widgets for a notebook: look through a gallery, choose a threshold, see where a network looks, search by words.

Each is one line, `widgets.browse(run)`, and each has a static twin, `.figure()`, for print. What they compute is
separate from what they show, so that code drives them by setting the `.value` of a control.
"""

from .errors import ThresholdExplorer, explore_threshold
from .retrieval import Browser, browse
from .sight import AttentionBrowser, look
from .words import AttributeSearch, ask

__all__ = [
    "AttentionBrowser", "AttributeSearch", "Browser", "ThresholdExplorer", "ask", "browse", "explore_threshold", "look",
]  # fmt: skip
