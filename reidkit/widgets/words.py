"""Search by words: a description instead of a picture, and the gallery by how probable it is that it fits."""

from __future__ import annotations

import os
from pathlib import Path

import ipywidgets as ipw
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import plots
from ..attributes import Attributes
from ..errors import InputError
from ..features import Answers, answers_of, images_of
from ..images import JUNK
from ..runs import Run
from ..thresholds.filters import described_as, description
from . import view
from .app import App, control, folder_of, opened, row

ANY = "any"


class AttributeSearch(App):
    """Describe whom you look for: `ask(run)` makes one."""

    def __init__(
        self,
        answers: Answers | None,
        *,
        attributes: Attributes | None = None,
        scale: np.ndarray | None = None,
        figures: Path | str = "figures",
        lack: str = "",
    ) -> None:
        """Nothing is described yet.

        Args:
            answers: of a network over the gallery; None with `lack`.
            attributes: what people really wear, for a mark on each image.
            scale: `thresholds.temperatures`; None: the network's own probabilities.
            figures: folder of saved views.
            lack: the sentence that says why there are no answers.
        """
        super().__init__(figures)
        self.answers, self.attributes, self.scale = answers, attributes, scale
        self.order = np.empty(0, int)
        tasks = answers.tasks if answers else ()
        self.wanted = {
            task.name: control(ipw.Dropdown, task.name, "230px", options=[ANY, *task.classes]) for task in tasks
        }
        self.top = control(ipw.IntSlider, "show first", min=1, max=100, value=20)
        self.clear = ipw.Button(description="Clear")
        self.grid = ipw.HTML()
        self.show(
            row(*self.wanted.values()), row(self.top, self.clear, self.save), self.status, self.message, self.grid
        )
        self.on((*self.wanted.values(), self.top), lambda _: self.refresh())
        self.clear.on_click(lambda _: self._react(self._clear, None))
        self._lack = lack or "the gallery has no images whose attributes could be asked."
        with self.guarded():
            self.refresh()

    def _clear(self, _: object) -> None:
        with self.silently():
            for each in self.wanted.values():
                each.value = ANY
        self.refresh()

    @property
    def asked(self) -> dict[str, str]:
        """What is asked for, as `thresholds.description` takes it."""
        return {name: each.value for name, each in self.wanted.items() if each.value != ANY}

    def refresh(self) -> None:
        """Search and show."""
        answers = self.answers
        if answers is None or not len(answers.table):
            raise InputError(self._lack)
        asked = self.asked
        if not asked:
            self.order = np.empty(0, int)
            self.grid.value = ""
            self.tell(f"{len(answers.table):,} images: say what the person wears.")
            return
        self.chance = described_as(answers, asked, self.scale)
        self.order = np.argsort(-self.chance, kind="stable")[: self.top.value]
        fits = self._fits()
        self.titles = []
        parts = []
        for i in self.order:
            known = fits is not None and fits[1][i]
            mark = "" if fits is None or not known else "✓ " if fits[0][i] else "✗ "
            kind = "reidkit-plain" if not mark else "reidkit-hit" if fits is not None and fits[0][i] else "reidkit-miss"
            shown = answers.table.iloc[i]
            self.titles.append(f"{mark}{self.chance[i]:.2f}\n{shown.pid}, cam {shown.camid}")
            parts.append(view.cell(view.thumbnail(str(shown.path)), self.titles[-1].split("\n"), kind=kind))
        self.grid.value = view.cells(parts)
        words = ", ".join(f"{name} {answer}" for name, answer in asked.items())
        truth = ""
        if fits is not None:
            right, known = fits
            truth = f", {100 * right[known].mean():.1f} % do" if known.any() else ""
            truth += f" · of the first {len(self.order)} shown {int((right & known)[self.order].sum())} do"
        self.tell(f"{words}: {100 * self.chance.mean():.1f} % of {len(self.chance):,} images fit by the network{truth}")

    def _fits(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Who really fits (N,), and of whom it is known; None without annotations."""
        if self.attributes is None or self.answers is None:
            return None
        names = [task.name for task in self.answers.tasks]
        truth = self.attributes.only(names).of(self.answers.table["pid"])
        asked = description(self.asked, self.answers.tasks)
        known = np.all([truth[:, t] >= 0 for t in asked], axis=0)
        return np.all([truth[:, t] == answer for t, answer in asked.items()], axis=0), known

    def figure(self) -> Figure:
        """The first ten images.

        Raises:
            InputError: nothing is shown.
        """
        if self.answers is None or not len(self.order):
            raise InputError("there is nothing to draw: describe somebody first.")
        paths = self.answers.table["path"].iloc[self.order[:10]]
        return plots.found(None, list(zip(paths, self.titles, strict=False)))

    def name(self) -> str:
        """The words."""
        return "words_" + "_".join(f"{name}-{answer}".replace(" ", "-") for name, answer in self.asked.items())


def ask(
    run: Run | str | os.PathLike[str],
    *,
    images: pd.DataFrame | None = None,
    attributes: Attributes | None = None,
    scale: np.ndarray | None = None,
) -> AttributeSearch:
    """Search by words in the gallery of a finished run.

    Args:
        run: a Run or its folder, of a system that answers attributes.
        images: the table of images, of which the split gallery is searched; None: read from where the run was trained.
        attributes: see `AttributeSearch`.
        scale: see `AttributeSearch`.
    """
    own = opened(run)
    table = images_of(own) if images is None else images
    table = table[(table["split"] == "gallery") & (table["pid"] != JUNK)].reset_index(drop=True)
    try:
        answers = answers_of(own, table, keep=True)
    except InputError as error:
        return AttributeSearch(None, lack=str(error))
    return AttributeSearch(answers, attributes=attributes, scale=scale, figures=folder_of(own))
