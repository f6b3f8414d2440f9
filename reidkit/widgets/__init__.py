"""Widgets for a notebook: look through a gallery, choose a threshold, see where a network looks, search by words.

Each is one line, `widgets.browse(run)`, and each has a static twin, `.figure()`, for print. What they compute is
separate from what they show, so that code drives them by setting the `.value` of a control.
"""

from .retrieval import Browser, browse

__all__ = ["Browser", "browse"]
