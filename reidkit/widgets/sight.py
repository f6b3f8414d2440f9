"""The attention browser: one image, and where a network looks for every attribute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as ipw
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from .. import plots
from ..attention import (
    METHODS,
    PART_OF,
    VISIBLE,
    attribute_maps,
    class_maps,
    energy,
    merged_map,
    normalise,
    part_masks,
    pointing,
    read_by,
)
from ..errors import InputError
from ..features import images_of
from ..runs import Run
from ..synthetic import PARTS
from . import view
from .app import App, another, control, folder_of, opened, pixels_of, row


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
        self.pictures: list[np.ndarray] = []
        self.captions: list[str] = []
        n = len(images)
        usable = bool(n and self.tasks)
        self.image = control(ipw.IntSlider, "image", "420px", min=1, max=max(n, 1), value=1, disabled=not usable)
        methods = [*(["cam"] if run.network.classifiers() else []), *METHODS]
        self.method = control(ipw.Dropdown, "method", options=methods, disabled=not usable)
        self.random = ipw.Button(description="Random image", disabled=not usable)
        self.grid = ipw.HTML()
        self.show(row(self.image, self.random, self.method, self.save), self.status, self.message, self.grid)
        self.image.continuous_update = False  # a step asks the network, once an attribute
        self.on((self.image, self.method), lambda _: self.refresh())
        self.random.on_click(lambda _: self._react(self._draw, None))
        with self.guarded():
            self.refresh()

    def _draw(self, _: object) -> None:
        self.image.value = another(self.image.value, len(self.images))

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
        shown = self.images.iloc[[self.image.value - 1]]
        path = str(shown["path"].iloc[0])
        pixels = pixels_of([path], self.run)
        maps, chosen, sure = self._maps(pixels)
        heats = [*maps.numpy()]
        self.captions = [
            f"{t.name}: {t.classes[c]}\n{100 * p:.0f} % sure" for t, c, p in zip(self.tasks, chosen, sure, strict=True)
        ]
        said = self._scores(shown, maps)
        self.captions = [f"{a}{b}" for a, b in zip(self.captions, said, strict=True)]
        try:
            heats.append(merged_map(self.run.network, pixels)[0].numpy())
            self.captions.append("all, merged\n")
        except InputError:  # no attributes that are linear in a map: there is nothing to merge
            pass
        picture = view.picture(path)
        self.pictures = [picture, *(view.overlaid(picture, heat) for heat in heats)]
        parts = [view.cell(view.data_uri(picture), [f"{shown['pid'].iloc[0]}"], kind="reidkit-query")]
        for image, caption in zip(self.pictures[1:], self.captions, strict=True):
            parts.append(view.cell(view.data_uri(image), caption.split("\n"), kind="broad"))
        self.grid.value = view.cells(parts)
        own = shown.iloc[0]
        scored = f" · {sum('on ' in text for text in said)} attributes have a visible part" if any(said) else ""
        self.tell(
            f"Image {self.image.value} of {len(self.images)}: person {own.pid}, camera {own.camid} · "
            f"{len(self.tasks)} attributes by {self.method.value}{scored}"
        )

    def _maps(self, pixels: torch.Tensor) -> tuple[torch.Tensor, list[int], list[float]]:
        """Maps (T, H, W), the class chosen for each attribute, and how sure the network is of it."""
        network = self.run.network
        with torch.inference_mode():
            odds = [logits[0].float().softmax(0).cpu() for logits in network.answer(pixels)]
        chosen, sure = [int(p.argmax()) for p in odds], [float(p.max()) for p in odds]
        if self.method.value == "cam":  # all attributes in one product
            size = pixels.shape[-2:]
            maps = class_maps(network, pixels)
            small = normalise(maps, read_by(network, maps)).float()
            maps = torch.nn.functional.interpolate(small, size, mode="bilinear", align_corners=False)[0].cpu()
        else:
            names = [task.name for task in self.tasks]
            maps = torch.cat([attribute_maps(network, pixels, name, self.method.value) for name in names]).cpu()
        return maps, chosen, sure

    def _scores(self, shown: pd.DataFrame, maps: torch.Tensor) -> Sequence[str]:
        """How much of each map lies on the body part that shows the attribute, where there is a part map."""
        shown = shown.copy()
        shown.attrs = self.images.attrs
        try:
            parts = part_masks(shown, *maps.shape[1:])
        except InputError:
            return [""] * len(maps)
        out = []
        for task, one in zip(self.tasks, maps, strict=True):
            inside = parts == PARTS[PART_OF[task.name]] if task.name in PART_OF else torch.zeros(0)
            if task.name not in PART_OF or inside.float().mean() < VISIBLE:
                out.append("\nnot visible" if task.name in PART_OF else "\nno part of its own")
                continue
            top = "✓ top" if float(pointing(one[None], inside)) >= 0.5 else "✗ top"
            out.append(f"\n{100 * float(energy(one[None], inside)):.0f} % on {PART_OF[task.name]}\n{top} there")
        return out

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
        return f"attention_{Path(str(self.images['path'].iloc[self.image.value - 1])).stem}_{self.method.value}"


def look(run: Run | str | os.PathLike[str], *, images: pd.DataFrame | None = None) -> AttentionBrowser:
    """The attention browser of a finished run.

    Args:
        run: a Run or its folder, of a system that answers attributes.
        images: rows of a table of images; None: the queries of the data set it was trained on.
    """
    own = opened(run)
    if images is None:
        table = images_of(own)
        images = table[table["split"] == "query"]
    return AttentionBrowser(own, images, figures=folder_of(own))
