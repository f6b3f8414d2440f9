"""Search by words: a description instead of a picture, and the gallery by how probable it is that it fits."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as ipw
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import plots
from ..attributes import Attributes
from ..errors import InputError
from ..features import Answers, answers_of
from ..images import JUNK
from ..thresholds.filters import described_as, description
from . import view
from .app import ANY, App, control, row
from .inputs import RunOrFolder, figures_of, run_and_images


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
            scale: `calibration.temperatures`; None: the network's own probabilities.
            figures: folder of saved views.
            lack: the sentence that says why there are no answers.
        """
        super().__init__(figures)
        self.answers, self.attributes, self.scale = answers, attributes, scale
        self._lack = lack or "the gallery has no images whose attributes could be asked."
        self.order = np.empty(0, int)  # rows of the gallery that are shown
        self.wanted = {
            task.name: control(ipw.Dropdown, task.name, "230px", options=[ANY, *task.classes])
            for task in (answers.tasks if answers else ())
        }
        words = tuple(self.wanted.values())
        self.top = control(ipw.IntSlider, "show first", min=1, max=100, value=20)
        self.clear = self.button("Clear", self._clear)
        self.grid = ipw.HTML()
        self.show(row(*words), row(self.top, self.clear, self.save), self.status, self.message, self.grid)
        self.on((*words, self.top), self.refresh)
        self.attempt(self.refresh)

    def _clear(self) -> None:
        with self.silently():
            for each in self.wanted.values():
                each.value = ANY
        self.refresh()

    @property
    def asked(self) -> dict[str, str]:
        """What is asked for, as `filters.description` takes it."""
        return {name: each.value for name, each in self.wanted.items() if each.value != ANY}

    def refresh(self) -> None:
        """Search and show."""
        if self.answers is None or not len(self.answers.table):
            raise InputError(self._lack)
        table, asked = self.answers.table, self.asked
        if not asked:
            self.order = np.empty(0, int)
            self.grid.value = ""
            self.tell(f"{len(table):,} images: say what the person wears.")
            return
        self.chance = described_as(self.answers, asked, self.scale)
        self.order = np.argsort(-self.chance, kind="stable")[: self.top.value]
        fits = self._fits(self.answers)
        captions = [view.captions(fits[i], f"{self.chance[i]:.2f}", table.iloc[i]) for i in self.order]
        self.titles = ["\n".join(lines) for lines in captions]
        parts = []
        for i, path, lines in zip(self.order, table["path"].iloc[self.order], captions, strict=True):
            parts.append(view.cell(view.thumbnail(path), lines, kind=view.FRAMES[fits[i]]))
        self.grid.value = view.cells(parts)
        words = ", ".join(f"{name} {answer}" for name, answer in asked.items())
        truth = ""
        if self.attributes is not None:
            known = [each for each in fits if each is not None]
            truth = f", {100 * np.mean(known):.1f} % do" if known else ""
            truth += f" · of the first {len(self.order)} shown {sum(fits[i] is True for i in self.order)} do"
        self.tell(f"{words}: {100 * self.chance.mean():.1f} % of {len(table):,} images fit by the network{truth}")

    def _fits(self, answers: Answers) -> np.ndarray:
        """Whether each image really shows what is asked for, (N,) True or False; None: nobody annotated it."""
        if self.attributes is None:
            return np.full(len(answers.table), None)
        asked, names = description(self.asked, answers.tasks), [task.name for task in answers.tasks]
        truth = self.attributes.only(names).of(answers.table["pid"])[:, list(asked)]
        fits = (truth == list(asked.values())).all(1).astype(object)
        fits[(truth < 0).any(1)] = None
        return fits

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
    run: RunOrFolder,
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
    run, table = run_and_images(run, images)
    table = table[(table["split"] == "gallery") & (table["pid"] != JUNK)].reset_index(drop=True)
    try:
        answers = answers_of(run, table, keep=True)
    except InputError as error:
        return AttributeSearch(None, lack=str(error))
    return AttributeSearch(answers, attributes=attributes, scale=scale, figures=figures_of(run))
