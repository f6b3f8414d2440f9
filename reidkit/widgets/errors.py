"""The threshold explorer: two distributions, two kinds of error, two costs, and the cheapest threshold."""

from __future__ import annotations

import os
from pathlib import Path

import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import plots
from ..errors import InputError
from ..features import images_of
from ..plots import BLUE, GREEN, ORANGE, VERMILION
from ..ranking import Comparison
from ..runs import Run
from ..thresholds import verification
from ..thresholds.verification import Pairs
from . import view
from .app import App, control, folder_of, opened, row, split_of

BINS = 80
PRIORS = {"1 in 2": 1 / 2, "1 in 10": 1 / 10, "1 in 100": 1 / 100, "1 in 1,000": 1 / 1000, "1 in 10,000": 1 / 10_000}


class ThresholdExplorer(App):
    """Where to say "the same person": `explore_threshold(run)` makes one."""

    def __init__(self, pairs: Pairs | None, *, figures: Path | str = "figures", lack: str = "") -> None:
        """Show the cheapest threshold of equal costs.

        Args:
            pairs: genuine and impostor distances; None with `lack`.
            figures: folder of saved views.
            lack: the sentence that says why there are no pairs.
        """
        super().__init__(figures)
        self.pairs = pairs
        self.accept = control(ipw.IntSlider, "stranger let in costs", "420px", min=1, max=100, value=1)
        self.reject = control(ipw.IntSlider, "match sent away costs", "420px", min=1, max=100, value=1)
        self.prior = control(ipw.Dropdown, "genuine pairs", "420px", options=list(PRIORS.items()), value=1 / 2)
        self.threshold = control(ipw.FloatSlider, "threshold", "420px", min=0, max=1, readout_format=".3f")
        for each in (self.accept, self.reject, self.prior, self.threshold):
            each.style.description_width = "160px"
        self.take = ipw.Button(description="Take the cheapest")
        self.chart, self.rates = ipw.HTML(), ipw.HTML()
        self.show(
            row(
                self.chart, ipw.VBox([self.threshold, self.accept, self.reject, self.prior, row(self.take, self.save)])
            ),
            self.status,
            self.message,
            self.rates,
        )
        self.take.on_click(lambda _: self._react(self._take, None))
        self.on((self.accept, self.reject, self.prior), self._take)
        self.on((self.threshold,), lambda _: self.refresh())
        self._lack = lack
        if pairs is None:
            with self.guarded():
                self.refresh()
            return
        low = float(min(pairs.genuine.min(), pairs.impostor.min()))
        high = float(max(pairs.genuine.max(), np.quantile(pairs.impostor, 0.99)))  # beyond no threshold is cheapest
        self.edges = np.linspace(low - (high - low) / BINS, max(high, low + 1e-6), BINS + 1)  # the first accepts nobody
        self._far, self._frr = verification.rates_at(pairs, self.edges)
        with self.silently(), self.threshold.hold_trait_notifications():
            self.threshold.min, self.threshold.max = float(self.edges[0]), float(self.edges[-1])
            self.threshold.step = (self.threshold.max - self.threshold.min) / 1000
        self._take(None)

    @property
    def prices(self) -> tuple[float, float, float]:
        """Of a false accept, of a false reject, and the share of genuine pairs, as `thresholds.cost` takes them."""
        return self.accept.value, self.reject.value, self.prior.value

    def _take(self, _: object) -> None:
        """Put the threshold where errors cost least."""
        if self.pairs is None:
            raise InputError(self._lack)
        self.best = verification.cheapest(self.pairs, *self.prices)
        with self.silently():
            self.threshold.value = min(max(self.best, self.threshold.min), self.threshold.max)
        self.refresh()

    def refresh(self) -> None:
        """Measure the threshold and show it."""
        if self.pairs is None:
            raise InputError(self._lack)
        value = self.threshold.value
        far, frr = verification.rates_at(self.pairs, np.array([value, self.best]))
        here, least = verification.cost(far, frr, *self.prices)
        wrong, lost = float(far[0]), float(frr[0])
        self.tell(
            f"Threshold {value:.3f}: FAR {100 * wrong:.2f} %, FRR {100 * lost:.2f} %, cost {1000 * here:.3g} per 1,000 "
            f"pairs · cheapest {self.best:.3f}: {1000 * least:.3g}"
        )
        areas = {}
        for name, values, colour in (("impostor", self.pairs.impostor, ORANGE), ("genuine", self.pairs.genuine, BLUE)):
            heights, _ = np.histogram(values, self.edges)
            areas[name] = heights.astype(float), colour
        total = verification.cost(self._far, self._frr, *self.prices)
        lines = {
            "FAR": (self._far, VERMILION),
            "FRR": (self._frr, "#004A75"),
            "cost": (total / max(total.max(), 1e-12), GREEN),
        }
        marks = {"threshold": value, "cheapest": min(self.best, self.edges[-1])}
        self.chart.value = view.chart(areas, self.edges, marks, lines=lines, width=520, height=240)
        n = 10_000
        genuine = n * self.prior.value
        rows = [
            ("genuine", f"{genuine:,.0f}", f"{genuine * (1 - lost):,.0f}", f"{genuine * lost:,.0f} sent away"),
            (
                "impostor",
                f"{n - genuine:,.0f}",
                f"{(n - genuine) * wrong:,.0f} let in",
                f"{(n - genuine) * (1 - wrong):,.0f}",
            ),
        ]
        table = view.table(rows, (f"of {n:,} pairs", "there are", "accepted", "rejected"))
        self.rates.value = f'<div class="reidkit">{table}</div>'

    def figure(self) -> Figure:
        """Both distributions with both thresholds, and the error rates with the cost.

        Raises:
            InputError: there are no pairs.
        """
        if self.pairs is None:
            raise InputError("there is nothing to draw: no pairs were compared.")
        plots.use_style()
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
        marks = {"threshold": self.threshold.value, "cheapest": self.best}
        plots.pair_distances(self.pairs, marks, left)
        table = pd.DataFrame({"threshold": self.edges, "far": self._far, "frr": self._frr})
        plots.error_curves(table, verification.eer(self.pairs), right)
        total = verification.cost(self._far, self._frr, *self.prices)
        right.plot(self.edges, 100 * total / max(total.max(), 1e-12), ":", color=GREEN, label="cost, % of its highest")
        right.axvline(self.best, color="0.5", linewidth=1)
        right.legend()
        return figure

    def name(self) -> str:
        """The prices and the threshold."""
        return f"threshold_{self.accept.value}_{self.reject.value}_{self.prior.value:g}_{self.threshold.value:.3f}"


def explore_threshold(
    run: Run | Pairs | str | os.PathLike[str], *, images: pd.DataFrame | None = None
) -> ThresholdExplorer:
    """The threshold explorer of a finished run, on its query and gallery images, or of pairs of one's own.

    Args:
        run: a Run, its folder, or `thresholds.pairs(...)`.
        images: as in `browse`.
    """
    if isinstance(run, Pairs):
        return ThresholdExplorer(run)
    own = opened(run)
    table = images_of(own) if images is None else images
    try:
        query, gallery = (split_of(own, table, split) for split in ("query", "gallery"))
        compared = Comparison.of(query, gallery, own.recipe.metric)
        return ThresholdExplorer(verification.pairs(compared, limit=10**6), figures=folder_of(own))
    except InputError as error:
        return ThresholdExplorer(None, lack=str(error))
