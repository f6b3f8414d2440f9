"""The loss playground: points in a plane that losses pull and push, with a hand on their weights.

`Plane` holds the points and moves them, without any widget; `Playground` shows them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import losses, plots
from ..errors import InputError
from . import view
from .app import App, control, row

TRIPLETS = {
    "hardest, margin 0.3": lambda x, label: losses.batch_hard_triplet(x, label, margin=0.3),
    "hardest, softplus": lambda x, label: losses.batch_hard_triplet(x, label, margin=None),
    "all, cosine, margin 0.5": lambda x, label: losses.batch_triplets(x, label, margin=0.5, mining="all"),
}
OPTIMISERS = {"Adam": torch.optim.Adam, "gradient descent": torch.optim.SGD}
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SIGN = {"softmax": 1, "compact": 1, "scatter": -1, "triplet": 1}  # scatter is subtracted, losses.scatter
MEASURES = {"length": plots.BLACK, "to own centre": plots.BLUE, "ball radius": plots.ORANGE}
LEGEND = (
    '<div class="reidkit-legend">Colour and mark: a person · ring and cross: its ball and centre · black: the pull now '
    "· thin: the way here · dashed: directions of the classifier</div>"
)
MARK_SHAPES = Path(__file__).with_name("marks.txt").read_text().splitlines()  # SVG of plots.MARKS, from -1 to 1
FAR = 1e6  # units of the plane; beyond, nothing can be drawn or learnt any more


class Plane:
    """Points of some people and a linear classifier beside them, both moved by the gradient of the same losses."""

    def __init__(self, points: Tensor, label: Tensor) -> None:
        """Nothing has moved yet.

        Args:
            points: (N, 2).
            label: (N,) int64 from 0, a person each.
        """
        self.label = label
        self.points = torch.nn.Parameter(points.detach().float().clone())  # (N, 2)
        draw = torch.Generator().manual_seed(0)
        self.classifier = torch.nn.Parameter(0.4 * torch.randn(int(label.max()) + 1, 2, generator=draw))  # (P, 2)
        self.path = [self.points.detach().clone()]
        self.sizes = [self._sizes()]
        self.way = ("", 0.0)

    def balls(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each person is: centres (P, 2), radii of the balls (P,), distance of points to their own centre (N,).

        A centre is the mean of a person's points; the ball around it is that of `losses.half_gaps`.
        """
        points = self.points.detach()
        centres = torch.stack([points[self.label == person].mean(0) for person in self.label.unique()])
        return centres, losses.half_gaps(centres), (points - centres[self.label]).norm(dim=1)

    def terms(self, triplet: str) -> dict[str, Tensor]:
        """Mean of each loss over the points; `triplet` is one of `TRIPLETS`."""
        x, label = self.points, self.label
        centres, *_ = self.balls()
        return {
            "softmax": losses.cross_entropy(x @ self.classifier.T, label).mean(),
            "compact": losses.compact(x, label, centres).mean(),
            "scatter": losses.scatter(x, label, centres).mean(),
            "triplet": TRIPLETS[triplet](x, label).mean(),
        }

    def total(self, weights: dict[str, float], triplet: str) -> Tensor:
        """What is minimised: the weighted sum, with scatter subtracted."""
        return torch.stack([SIGN[name] * weights[name] * loss for name, loss in self.terms(triplet).items()]).sum()

    def pull(self, weights: dict[str, float], triplet: str) -> Tensor:
        """Where each point would go by plain gradient descent, (N, 2) for a rate of N."""
        return -len(self.points) * torch.autograd.grad(self.total(weights, triplet), self.points)[0]

    def step(self, weights: dict[str, float], triplet: str, optimiser: str, rate: float) -> None:
        """One step; another optimiser or rate starts without momentum.

        Raises:
            InputError: the points run away; they stay where they were.
        """
        if self.way != (optimiser, rate):
            self._update = OPTIMISERS[optimiser]([self.points, self.classifier], lr=rate)
            self.way = optimiser, rate
        self._update.zero_grad()
        self.total(weights, triplet).backward()
        self._update.step()
        if not self.points.detach().abs().max() < FAR:  # NaN is not smaller either
            self.points.data.copy_(self.path[-1])
            raise InputError(
                f"step {len(self.path)} throws the points farther than {FAR:,.0f}: start again with a smaller learning "
                "rate, or with less weight on the loss that pushes, scatter, which has no bottom."
            )
        self.path.append(self.points.detach().clone())
        self.sizes.append(self._sizes())

    def _sizes(self) -> tuple[float, float, float]:
        """Mean length of the points, mean distance to their own centre, mean radius of the balls (`MEASURES`)."""
        _, radius, distance = self.balls()
        return float(self.points.detach().norm(dim=1).mean()), float(distance.mean()), float(radius.mean())

    def inside(self) -> float:
        """Share of the points that lie inside the ball around their own centre, in percent."""
        _, radius, distance = self.balls()
        return 100 * float((distance <= radius[self.label]).float().mean())

    def rank1(self) -> float:
        """Share of the points whose nearest other point is of the same person, in percent."""
        apart = losses.pairwise_distance(self.points.detach()).fill_diagonal_(torch.inf)
        return 100 * float((self.label[apart.argmin(1)] == self.label).float().mean())


def four_people(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points (32, 2) and labels (32,): four people with eight images each, who overlap."""
    label = torch.arange(4).repeat_interleave(8)
    home = torch.tensor([[1.0, 0.6], [-0.4, 1.0], [-1.0, -0.5], [0.5, -1.0]])
    return 0.8 * home[label] + 0.7 * torch.randn(32, 2, generator=torch.Generator().manual_seed(seed)), label


def points_chart(plane: Plane, weights: dict[str, float], triplet: str, side: int = 400) -> str:
    """Draw a plane in SVG: a colour and a mark each person, centres and balls, ways and arrows.

    Args:
        plane: the points.
        weights: of the losses that pull; without softmax the directions of the classifier are not drawn.
        triplet: one of `TRIPLETS`.
        side: pixels. The longest arrow is a tenth of it.
    """
    points, (centres, radius, _) = plane.path[-1].numpy(), plane.balls()
    reach = _round(1.12 * max(float(np.abs(points).max()), 1e-6))
    middle, scale = side / 2, side / 2 / reach

    def at(place: Any) -> str:
        return f"{middle + scale * place[0]:.1f},{middle - scale * place[1]:.1f}"

    parts = [f'<path d="M0,{middle}H{side}M{middle},0V{side}" stroke="currentColor" stroke-opacity="0.2"/>']
    for share, anchor in ((-1, "start"), (-0.5, "middle"), (0.5, "middle"), (1, "end")):
        place = f'x="{middle * (1 + share):.0f}" y="{middle + 13:.0f}"'
        parts.append(f'<text {place} text-anchor="{anchor}">{share * reach:g}</text>')
    for centre, r in zip(centres.numpy(), radius.numpy(), strict=True):
        parts.append(
            f'<g transform="translate({at(centre)})" fill="none" stroke="currentColor"><path d="M-6,0h12M0-6v12"/>'
            f'<circle r="{scale * r:.1f}" opacity="0.35"/></g>'
        )
    rays = plane.classifier.detach().numpy() if weights["softmax"] else ()
    for colour, ray in zip(plots.PALETTE, rays, strict=False):
        line = f"M{at((0, 0))}L{at(2 * reach * ray / max(float(np.linalg.norm(ray)), 1e-12))}"
        parts.append(f'<path d="{line}" stroke="{colour}" stroke-dasharray="6 5" stroke-width="1.5" opacity="0.7"/>')
    pull = plane.pull(weights, triplet).numpy()
    arrows = pull / max(float(np.linalg.norm(pull, axis=1).max()), 1e-12) * 0.2 * reach
    trail = torch.stack([*plane.path[-100::3], plane.path[-1]], 1).numpy()  # (N, S, 2)
    for person, point, way, arrow in zip(plane.label.tolist(), points, trail, arrows, strict=True):
        colour, line = plots.PALETTE[person], " ".join(map(at, way))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" opacity="0.45"/>')
        parts.append(f'<path d="M{at(point)}L{at(point + arrow)}" stroke="currentColor" stroke-width="1.5"/>')
        parts.append(f'<path d="{MARK_SHAPES[person]}" fill="{colour}" transform="translate({at(point)}) scale(5)"/>')
    return view.svg(parts, side, side, f' class="reidkit-points" aria-label="points of {len(centres)} people"')


def _round(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 5, 7, 10, 15, ...: an axis that rarely changes while points move."""
    ten = 10.0 ** np.floor(np.log10(value))
    return float(next(step * ten for step in (1, 1.5, 2, 3, 5, 7, 10) if step * ten >= value))


class Playground(App):
    """Losses one can weigh by hand, and points that follow: `play()` makes one."""

    def __init__(self, points: Tensor, label: Tensor, *, figures: Path | str = "figures") -> None:
        """Nothing has moved yet, and only softmax has a weight.

        Args:
            points: (N, 2).
            label: (N,) int64 from 0, a person each.
            figures: folder of saved views.
        Raises:
            InputError: points that are not in a plane, a person too few or too many, a number that nobody has.
        """
        super().__init__(figures)
        n = label.unique()
        if points.ndim != 2 or points.shape[1] != 2 or label.shape != points.shape[:1]:
            raise InputError(
                f"points {tuple(points.shape)} with labels {tuple(label.shape)} lie in no plane: give (N, 2) and (N,)."
            )
        if not 2 <= len(n) <= len(plots.PALETTE) or n.tolist() != list(range(len(n))):
            raise InputError(
                f"the labels are {n.tolist()[:9]}: number two to {len(plots.PALETTE)} people, from 0 and without a gap."
            )
        self._start = points, label
        wide: dict[str, Any] = {"width": "300px", "words": "100px"}

        def slider(name: str, most: float, step: float, digits: int = 1, value: float = 0.0) -> ipw.FloatSlider:
            shape: dict[str, Any] = {"min": 0, "max": most, "step": step, "readout_format": f".{digits}f"}
            return control(ipw.FloatSlider, name, value=value, **shape, **wide)

        self.weights = {
            "softmax": slider("softmax", 2, 0.1, value=1),
            "compact": slider("compact", 2, 0.1),
            "scatter": slider("scatter (minus)", 0.1, 0.005, digits=3),
            "triplet": slider("triplet", 2, 0.1),
        }
        self.triplet = control(ipw.Dropdown, "triplets", options=list(TRIPLETS), **wide)
        self.optimiser = control(ipw.Dropdown, "optimiser", options=list(OPTIMISERS), **wide)
        self.rate = control(ipw.SelectionSlider, "learning rate", options=RATES, value=0.02, **wide)
        self.one = self.button("1 step", lambda: self.move(1))
        self.many = self.button("50 steps", lambda: self.move(50))
        self.again = self.button("Start again", self._begin)
        self.picture, self.numbers = ipw.HTML(), ipw.HTML()
        steering = [*self.weights.values(), self.triplet, self.optimiser, self.rate]
        buttons = row(self.one, self.many, self.again, self.save)
        side = ipw.VBox([*steering, buttons, self.numbers], layout={"width": "306px"})
        self.show(self.status, self.message, row(self.picture, side))
        self.on(steering, self.refresh)
        self._begin()

    @property
    def given(self) -> tuple[dict[str, float], str]:
        """Weight of each loss, and the form of the triplet loss."""
        return {name: each.value for name, each in self.weights.items()}, self.triplet.value

    def _begin(self) -> None:
        self.plane = Plane(*self._start)
        self.refresh()

    def move(self, steps: int) -> None:
        """Make some steps, and show every fifth.

        Raises:
            InputError: nothing has a weight; the points run away.
        """
        if not any(self.given[0].values()):
            raise InputError("all weights are 0, so nothing pulls at the points: give one of the losses a weight.")
        try:
            for k in range(steps):
                self.plane.step(*self.given, self.optimiser.value, self.rate.value)
                if k % 5 == 4:
                    self.refresh()
        finally:
            self.refresh()

    def refresh(self) -> None:
        """Show where the points are, and where they are pulled now."""
        plane, (weights, triplet) = self.plane, self.given
        self.tell(
            f"Step {len(plane.path) - 1} · rank-1 {plane.rank1():.0f} % · inside their ball {plane.inside():.0f} % · "
            f"mean length {plane.sizes[-1][0]:.2f}"
        )
        self.picture.value = view.block(points_chart(plane, weights, triplet) + LEGEND)
        rows = [
            (name, f"{SIGN[name] * weights[name]:+g} ×" if weights[name] else "", f"{loss.item():.3f}")
            for name, loss in plane.terms(triplet).items()
        ]
        rows.append(("minimised", "", f"{plane.total(weights, triplet).item():.3f}"))
        self.numbers.value = view.block(view.table(rows, ("mean loss", "", "now")) + self._grown())

    def _grown(self) -> str:
        """Sizes on the way here, as a chart; a line a size, all on one scale; nothing before there is a way."""
        table = np.array(self.plane.sizes)
        if len(table) < 5:
            return ""
        scale = max(float(table.max()), 1e-12)
        lines = {
            name: (values / scale, colour) for values, (name, colour) in zip(table.T, MEASURES.items(), strict=True)
        }
        return view.chart({}, np.arange(len(table)), {}, lines=lines, xlabel=f"step; the top is {scale:.2f}", width=300)

    def figure(self) -> Figure:
        """The points with their balls, and how large everything has become on the way there."""
        plots.use_style()
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
        plane = self.plane
        centres, radius, _ = plane.balls()
        plots.plane(plane.path[-1].numpy(), plane.label.numpy(), centres.numpy(), radius.numpy(), left)
        weights = [f"{SIGN[name] * weight:+g} {name}" for name, weight in self.given[0].items() if weight]
        left.set_title(f"step {len(plane.path) - 1}: {' '.join(weights) or 'nothing pulls'}")
        for values, (name, colour) in zip(np.array(plane.sizes).T, MEASURES.items(), strict=True):
            right.plot(values, color=colour, label=name)
        right.set(xlabel="step", ylabel="mean", ylim=(0, None))
        right.legend()
        return figure

    def name(self) -> str:
        """The step, and letters that change with the weights."""
        state = repr((self.given, self.plane.way))
        return f"points_{len(self.plane.path) - 1}_{hashlib.sha256(state.encode()).hexdigest()[:6]}"


def play(points: Tensor | None = None, label: Tensor | None = None) -> Playground:
    """The loss playground, with points of one's own or those of four people.

    Args:
        points: (N, 2); None: those of four people.
        label: (N,) int64 from 0, a person each.
    """
    if points is None or label is None:
        points, label = four_people()
    return Playground(points, label)
