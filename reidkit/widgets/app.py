"""What the widgets have in common: controls of one width, observers, messages in place, a figure on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots
from ..data import load, standardise
from ..errors import InputError
from ..features import Features, features_of
from ..runs import Run, load_run
from . import view

WRAP = {"display": "flex", "flex_flow": "row wrap", "align_items": "flex-start"}


def control(kind: Any, description: str, width: str = "255px", **given: Any) -> Any:
    """A control with its words in front, all of one width."""
    return kind(description=description, layout=ipw.Layout(width=width), style={"description_width": "88px"}, **given)


def column(title: str, *parts: ipw.Widget) -> ipw.VBox:
    """Controls under a heading."""
    heading = ipw.HTML(f'<div class="reidkit"><b>{title}</b></div>')
    return ipw.VBox([heading, *parts], layout=ipw.Layout(margin="4px 14px 4px 0", width="262px"))


def another(now: int, n: int) -> int:
    """One of the numbers 1 to n at random, never the present one where there are others."""
    return (now + int(np.random.default_rng().integers(n - 1))) % n + 1 if n > 1 else 1


def row(*parts: ipw.Widget) -> ipw.HBox:
    """Side by side, below one another where the page is narrow."""
    return ipw.HBox(parts, layout=ipw.Layout(**WRAP))


class App:
    """A widget: `box` is what a notebook shows. It is no box itself: those have many names already."""

    def __init__(self, figures: Path | str) -> None:
        self.figures = Path(figures)
        self.status, self.message = ipw.HTML(), ipw.HTML()
        self.save = ipw.Button(description="Save figure")
        self.save.on_click(lambda _: self._react(lambda _: self.save_figure(), None))
        self.box = ipw.VBox()
        self.box.add_class("reidkit-app")
        self._quiet = False

    def _repr_mimebundle_(self, **given: Any) -> Any:
        return self.box._repr_mimebundle_(**given)

    def show(self, *parts: ipw.Widget) -> None:
        """Put the parts into the box, below the style they share."""
        self.box.children = [ipw.HTML(view.STYLE), *parts]

    def on(self, controls: Sequence[ipw.Widget], react: Callable[[Any], object]) -> None:
        """Call this when one of the controls changes, by a hand or by code."""
        for each in controls:
            each.observe(lambda change: self._react(react, change), "value")

    def _react(self, how: Callable[[Any], object], change: Any) -> None:
        if not self._quiet:
            with self.guarded():
                how(change)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Show what is wrong with an input in its place; the widget lives on."""
        self.message.value = ""
        try:
            yield
        except InputError as error:
            self.message.value = view.note(str(error))

    @contextmanager
    def silently(self) -> Iterator[None]:
        """Set controls without computing anything."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def tell(self, text: str) -> None:
        """Say what is shown, in one line, for eyes, screen readers and tests."""
        self.status.value = view.status(text)

    def figure(self) -> Figure:
        """What is shown now as a figure, for print and for a notebook that is opened again."""
        raise NotImplementedError

    def name(self) -> str:
        """File name of the figure."""
        raise NotImplementedError

    def save_figure(self) -> Path:
        """Write `figure` as PNG and PDF; returns the PNG's path."""
        figure = self.figure()
        path = plots.save(figure, self.name(), self.figures)
        plt.close(figure)
        self.message.value = view.note(f"wrote {path} and {path.with_suffix('.pdf').name}")
        return path


# --- runs and their images ------------------------------------------------------------------------------------------


def folder_of(run: Run) -> Path:
    """Where the saved views of a run go: a folder of its own in figures/, beside runs/."""
    home = run.folder.expanduser().absolute()
    return home.parent.parent / "figures" / home.name


def opened(run: Run | str | os.PathLike[str]) -> Run:
    """A run, or the one of a folder."""
    return run if isinstance(run, Run) else load_run(Path(run))


def split_of(run: Run, images: pd.DataFrame, split: str) -> Features:
    """Descriptors of a split, also of one without images."""
    rows = images[images["split"] == split]
    return Features(torch.empty(0, 0), rows) if rows.empty else features_of(run, images, split)


def nameless(*paths: str) -> pd.DataFrame:
    """A table of images of which nobody said who they show."""
    return pd.DataFrame({"path": list(paths), "pid": 0, "camid": -1, "split": "query", "frame": -1, "orientation": -1})


def pixels_of(paths: Sequence[str], run: Run) -> Tensor:
    """Images (B, 3, H, W) as the network of a run reads them, on its device."""
    rows = load(nameless(*paths), run.recipe.height, run.recipe.width, people=())
    return standardise(rows.pixels.to(next(run.network.parameters()).device))
