"""Widgets for a notebook: a gallery, a threshold, where a network looks, search by words, losses that pull at points.

Each is one line, `widgets.browse(run)`, and each has a static twin, `.figure()`, for print. What they compute is
separate from what they show, so that code drives them by setting the `.value` of a control.
"""

from .attention_map import AttentionBrowser, look
from .attribute_search import AttributeSearch, ask
from .loss_playground import Playground, play
from .retrieval import Browser, browse
from .threshold import ThresholdExplorer, explore_threshold

__all__ = [
    "AttentionBrowser", "AttributeSearch", "Browser", "Playground", "ThresholdExplorer", "ask", "browse",
    "explore_threshold", "look", "play",
]  # fmt: skip
