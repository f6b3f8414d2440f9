"""The attention browser: one image, and where a network looks for every attribute."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import ipywidgets as ipw
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from .. import attention, plots
from ..attention import PART_OF
from ..errors import InputError
from ..runs import Run
from ..synthetic import PARTS
from . import view
from .app import App, control, row
from .inputs import RunOrFolder, figures_of, pixels_of, run_and_images


class AttentionBrowser(App):
    """Where a network looks: `look(run)` makes one."""

    def __init__(self, run: Run, images: pd.DataFrame, *, figures: Path | str = "figures") -> None:
        """Show the first image.

        Args:
            run: of a system that answers attributes.
            images: rows of a table of images.
            figures: folder of saved views.
        """
        super().__init__(figures)
        self.run, self.images = run, images
        self.tasks = run.tasks if run.network.tasks else ()
        self.pictures: list[np.ndarray] = []  # the image, and the same under each map
        self.captions: list[str] = []  # of the maps
        n = len(images)
        off = not (n and self.tasks)
        methods = [*(["cam"] if run.network.classifiers() else []), *attention.METHODS]
        self.image = control(ipw.IntSlider, "image", "420px", min=1, max=max(n, 1), value=1, disabled=off)
        self.image.continuous_update = False  # a step asks the network, once an attribute
        self.method = control(ipw.Dropdown, "method", options=methods, disabled=off)
        self.random = self.random_button("Random image", self.image, self.refresh)
        self.grid = ipw.HTML()
        self.show(row(self.image, self.random, self.method, self.save), self.status, self.message, self.grid)
        self.on((self.image, self.method), self.refresh)
        self.attempt(self.refresh)

    def refresh(self) -> None:
        """Ask the network and show where it looked; what was shown stays until then."""
        self.pictures = []
        often = "hundreds of times an attribute" if self.method.value == "scorecam" else "about every attribute"
        self.tell(f"{self.method.value} asks the network {often} ...")
        try:
            self._ask()
        except InputError:
            self.grid.value = ""
            self.tell("nothing to show")
            raise

    def _ask(self) -> None:
        if not self.tasks:
            raise InputError(f"{self.run.folder} answers no attributes: give a run of a system that learns them.")
        if not len(self.images):
            raise InputError("there are no images to look at: give a table with some.")
        shown = self.images.iloc[self.image.value - 1]
        network, pixels = self.run.network, pixels_of([shown.path], self.run)
        with torch.inference_mode():
            odds = [logits[0].float().softmax(0).cpu() for logits in network.answer(pixels)]
        maps = self._maps(pixels)
        scores = self._scores(maps)
        self.captions = [
            f"{task.name}: {task.classes[int(p.argmax())]}\n{100 * float(p.max()):.0f} % sure{score}"
            for task, p, score in zip(self.tasks, odds, scores, strict=True)
        ]
        heats = [*maps]
        with suppress(InputError):  # of attributes that are not linear in a map there is nothing to merge
            heats.append(attention.merged_map(network, pixels)[0])
            self.captions.append("all, merged\n")
        picture = view.picture_or_cross(shown.path)
        self.pictures = [picture, *(view.overlaid(picture, heat.numpy()) for heat in heats)]
        first, *others = map(view.data_uri, self.pictures)
        parts = [view.cell(first, [f"{shown.pid}"], kind="reidkit-query")]
        for source, caption in zip(others, self.captions, strict=True):
            parts.append(view.cell(source, caption.split("\n"), kind="broad"))
        self.grid.value = view.cells(parts)
        visible = sum(" % on " in score for score in scores)
        self.tell(
            f"Image {self.image.value} of {len(self.images)}: person {shown.pid}, camera {shown.camid} · "
            f"{len(self.tasks)} attributes by {self.method.value}"
            + (f" · {visible} attributes have a visible part" if any(scores) else "")
        )

    def _maps(self, pixels: Tensor) -> Tensor:
        """Where the network sees each attribute, (T, H, W)."""
        network, method = self.run.network, self.method.value
        if method == "cam":  # all attributes in one product
            maps = attention.class_maps(network, pixels)
            maps = attention.normalise(maps, attention.read_by(network, maps)).float()
            return interpolate(maps, pixels.shape[-2:], mode="bilinear", align_corners=False)[0].cpu()
        return torch.cat([attention.attribute_maps(network, pixels, task.name, method) for task in self.tasks]).cpu()

    def _scores(self, maps: Tensor) -> list[str]:
        """How much of each map lies on the body part that shows the attribute; nothing where there is no part map."""
        try:
            parts = attention.part_masks(self.images.iloc[[self.image.value - 1]], *maps.shape[1:])
        except InputError:
            return [""] * len(maps)
        parts_of = [PART_OF.get(task.name) for task in self.tasks]
        return [part_score(heat[None], parts, part) for heat, part in zip(maps, parts_of, strict=True)]

    def figure(self) -> Figure:
        """The image and its maps.

        Raises:
            InputError: nothing is shown.
        """
        if not self.pictures:
            raise InputError("there is nothing to draw: choose an image first.")
        return plots.maps(self.pictures, ["image", *self.captions])

    def name(self) -> str:
        """The image and the method."""
        return f"attention_{Path(self.images['path'].iloc[self.image.value - 1]).stem}_{self.method.value}"


def part_score(heat: Tensor, parts: Tensor, part: str | None) -> str:
    """Two lines for a caption: how much of a map lies on a body part, and whether its highest place does.

    Args:
        heat: (1, H, W).
        parts: (1, H, W), the body part of each pixel.
        part: one of `PARTS`; None: the attribute is seen everywhere.
    """
    if part is None:
        return "\nno part of its own"
    inside = parts == PARTS[part]
    if inside.float().mean() < attention.VISIBLE:
        return "\nnot visible"
    sign = "✓" if float(attention.pointing(heat, inside)) >= 0.5 else "✗"
    return f"\n{100 * float(attention.energy(heat, inside)):.0f} % on {part}\n{sign} top there"


def look(run: RunOrFolder, *, images: pd.DataFrame | None = None) -> AttentionBrowser:
    """The attention browser of a finished run.

    Args:
        run: a Run or its folder, of a system that answers attributes.
        images: rows of a table of images; None: the queries of the data set it was trained on.
    """
    run, table = run_and_images(run, images)
    return AttentionBrowser(run, table[table["split"] == "query"] if images is None else table, figures=figures_of(run))
