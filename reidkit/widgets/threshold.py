"""The threshold explorer: two distributions, two kinds of error, two costs, and the cheapest threshold."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import plots
from ..errors import InputError
from ..plots import BLUE, GREEN, ORANGE, VERMILION
from ..ranking import Comparison
from ..thresholds import verification
from ..thresholds.verification import Pairs
from . import view
from .app import App, control, row
from .inputs import RunOrFolder, figures_of, query_and_gallery, run_and_images

BINS = 80
PRIORS = {"1 in 2": 1 / 2, "1 in 10": 1 / 10, "1 in 100": 1 / 100, "1 in 1,000": 1 / 1000, "1 in 10,000": 1 / 10_000}
PAIRS = 10_000  # in the table of what happens to them


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
        self.pairs, self._lack = pairs, lack
        wide = {"width": "420px", "words": "160px"}
        self.accept = control(ipw.IntSlider, "stranger let in costs", min=1, max=100, value=1, **wide)
        self.reject = control(ipw.IntSlider, "match sent away costs", min=1, max=100, value=1, **wide)
        self.prior = control(ipw.Dropdown, "genuine pairs", options=list(PRIORS.items()), value=1 / 2, **wide)
        self.threshold = control(ipw.FloatSlider, "threshold", min=0, max=1, readout_format=".3f", **wide)
        self.take = self.button("Take the cheapest", self.take_cheapest)
        self.chart, self.rates = ipw.HTML(), ipw.HTML()
        buttons = row(self.take, self.save)
        side = ipw.VBox([self.threshold, self.accept, self.reject, self.prior, buttons])
        self.show(row(self.chart, side), self.status, self.message, self.rates)
        self.on((self.accept, self.reject, self.prior), self.take_cheapest)
        self.on((self.threshold,), self.refresh)
        if pairs is not None:
            low = float(min(pairs.genuine.min(), pairs.impostor.min()))
            high = float(max(pairs.genuine.max(), np.quantile(pairs.impostor, 0.99)))  # no cheapest one lies beyond
            first = low - (high - low) / BINS  # accepts nobody
            self.edges = np.linspace(first, max(high, low + 1e-6), BINS + 1)
            self._far, self._frr = verification.rates_at(pairs, self.edges)
            self.set_range(self.threshold, float(self.edges[0]), float(self.edges[-1]), 1000, low)
        self.attempt(self.take_cheapest)

    @property
    def prices(self) -> tuple[float, float, float]:
        """Of a false accept, of a false reject, and the share of genuine pairs, as `verification.cost` takes them."""
        return self.accept.value, self.reject.value, self.prior.value

    def costs(self) -> np.ndarray:
        """The cost of each threshold of the chart as a share of the highest, (BINS + 1,)."""
        costs = verification.cost(self._far, self._frr, *self.prices)
        return costs / max(costs.max(), 1e-12)

    def take_cheapest(self) -> None:
        """Put the threshold where errors cost least, and show it."""
        if self.pairs is not None:
            self.best = verification.cheapest(self.pairs, *self.prices)
            with self.silently():
                self.threshold.value = self.best  # the slider stops at its ends
        self.refresh()

    def refresh(self) -> None:
        """Measure the threshold and show it."""
        if self.pairs is None:
            raise InputError(self._lack)
        value, pairs = self.threshold.value, self.pairs
        far, frr = verification.rates_at(pairs, np.array([value, self.best]))
        here, least = verification.cost(far, frr, *self.prices)
        self.tell(
            f"Threshold {value:.3f}: FAR {100 * far[0]:.2f} %, FRR {100 * frr[0]:.2f} %, cost {1000 * here:.3g} per "
            f"1,000 pairs · cheapest {self.best:.3f}: {1000 * least:.3g}"
        )
        self.chart.value = view.chart(
            {"impostor": (pairs.impostor, ORANGE), "genuine": (pairs.genuine, BLUE)},
            self.edges,
            {"threshold": value, "cheapest": min(self.best, self.edges[-1])},
            lines={"FAR": (self._far, VERMILION), "FRR": (self._frr, "#004A75"), "cost": (self.costs(), GREEN)},
            width=520,
            height=240,
        )
        genuine = PAIRS * self.prior.value
        impostor = PAIRS - genuine
        lost, let_in = genuine * frr[0], impostor * far[0]
        rows = [
            ("genuine", f"{genuine:,.0f}", f"{genuine - lost:,.0f}", f"{lost:,.0f} sent away"),
            ("impostor", f"{impostor:,.0f}", f"{let_in:,.0f} let in", f"{impostor - let_in:,.0f}"),
        ]
        self.rates.value = view.block(view.table(rows, (f"of {PAIRS:,} pairs", "there are", "accepted", "rejected")))

    def figure(self) -> Figure:
        """Both distributions with both thresholds, and the error rates with the cost.

        Raises:
            InputError: there are no pairs.
        """
        if self.pairs is None:
            raise InputError("there is nothing to draw: no pairs were compared.")
        plots.use_style()
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
        chosen = {} if self.threshold.value == self.best else {"threshold": self.threshold.value}
        plots.pair_distances(self.pairs, chosen | {"cheapest": self.best}, left)
        table = pd.DataFrame({"threshold": self.edges, "far": self._far, "frr": self._frr})
        plots.error_curves(table, verification.eer(self.pairs), right)
        right.plot(self.edges, 100 * self.costs(), ":", color=GREEN, label="cost, % of its highest")
        right.axvline(self.best, color="0.5", linewidth=1)
        right.legend()
        return figure

    def name(self) -> str:
        """The prices and the threshold."""
        return f"threshold_{self.accept.value}_{self.reject.value}_{self.prior.value:g}_{self.threshold.value:.3f}"


def explore_threshold(run: RunOrFolder | Pairs, *, images: pd.DataFrame | None = None) -> ThresholdExplorer:
    """The threshold explorer of a finished run, on its query and gallery images, or of pairs of one's own.

    Args:
        run: a Run, its folder, or `verification.pairs(...)`.
        images: as in `browse`.
    """
    if isinstance(run, Pairs):
        return ThresholdExplorer(run)
    run, table = run_and_images(run, images)
    try:
        comparison = Comparison.of(*query_and_gallery(run, table), run.recipe.metric)
        return ThresholdExplorer(verification.pairs(comparison, limit=10**6), figures=figures_of(run))
    except InputError as error:
        return ThresholdExplorer(None, lack=str(error))
