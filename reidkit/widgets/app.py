"""What the widgets have in common: controls of one width, observers, messages in place, a figure on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plots
from ..errors import InputError
from . import view

ANY = "any"  # the option of a dropdown that asks for nothing


def control(kind: Any, description: str, width: str = "255px", words: str = "88px", **traits: Any) -> Any:
    """A control with its words in front, all of one width."""
    return kind(description=description, layout=ipw.Layout(width=width), style={"description_width": words}, **traits)


def column(title: str, *parts: ipw.Widget) -> ipw.VBox:
    """Controls under a heading."""
    heading = ipw.HTML(view.block(f"<b>{title}</b>"))
    return ipw.VBox([heading, *parts], layout=ipw.Layout(margin="4px 14px 4px 0", width="262px"))


def row(*parts: ipw.Widget) -> ipw.HBox:
    """Side by side, below one another where the page is narrow."""
    return ipw.HBox(parts, layout=ipw.Layout(display="flex", flex_flow="row wrap", align_items="flex-start"))


class App:
    """A widget: `box` is what a notebook shows. It is no box itself: those have many names already."""

    def __init__(self, figures: Path | str) -> None:
        self.figures = Path(figures)
        self.status, self.message = ipw.HTML(), ipw.HTML()
        self.save = self.button("Save figure", self.save_figure)
        self.box = ipw.VBox()
        self.box.add_class("reidkit-app")
        self._silent = False

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    def show(self, *parts: ipw.Widget) -> None:
        """Put the parts into the box, below the style they share."""
        self.box.children = [ipw.HTML(view.STYLE), *parts]

    def on(self, controls: Sequence[ipw.Widget], act: Callable[[], object]) -> None:
        """Do this when one of the controls changes, by a hand or by code."""
        for each in controls:
            each.observe(lambda _: self.attempt(act), "value")

    def button(self, description: str, act: Callable[[], object], **traits: Any) -> ipw.Button:
        """A button that does this."""
        made = ipw.Button(description=description, **traits)
        made.on_click(lambda _: self.attempt(act))
        return made

    def random_button(self, description: str, slider: ipw.IntSlider, act: Callable[[], object]) -> ipw.Button:
        """A button that puts a slider elsewhere at random, where it can be elsewhere, and then does this."""

        def draw() -> None:
            others = [value for value in range(slider.min, slider.max + 1) if value != slider.value]
            with self.silently():
                slider.value = np.random.default_rng().choice(others or [slider.value])
            act()

        return self.button(description, draw, disabled=slider.disabled)

    def attempt(self, act: Callable[[], object]) -> None:
        """Do this and show what is wrong with an input in its place; the widget lives on. Nothing inside `silently`."""
        if self._silent:
            return
        self.message.value = ""
        try:
            act()
        except InputError as error:
            self.message.value = view.note(str(error))

    @contextmanager
    def silently(self) -> Iterator[None]:
        """Set controls without computing anything."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def set_range(self, slider: ipw.FloatSlider, low: float, high: float, steps: int, value: float) -> None:
        """Another range for a slider, and its value within it, without computing anything."""
        with self.silently(), slider.hold_trait_notifications():
            slider.min, slider.max = low, high
            slider.step = (high - low) / steps
            slider.value = min(max(value, low), high)

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
