"""The retrieval browser: one query, its ranked list, and every knob that changes it.

`Search` holds the descriptors and answers questions, without any widget; `Browser` shows what it answers.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots
from ..attention import attribute_maps, merged_map, pair_maps
from ..data import load
from ..distances import Fill, differences, features_pair, is_small, products
from ..errors import InputError
from ..features import Features, answers_of, describe, images_of
from ..metrics import average_precision
from ..plots import BLUE, ORANGE
from ..ranking import Comparison, Labels, Ranking, evaluate, labels_of, leave_out, ranking_of
from ..runs import Run
from ..search.reranking import rerank
from ..thresholds import verification
from . import view
from .app import App, another, column, control, folder_of, nameless, opened, pixels_of, row, split_of

SAMPLE = 100  # queries from which the range of distances is read
MERGED, ANY = "all (merged)", "any"


# --- what is asked, what is found -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guest:
    """A picture of one's own in the place of a query."""

    path: str
    descriptor: Tensor  # (1, D)
    name: str


@dataclass(frozen=True)
class Question:
    """A query and all that decides its list; `query` is a row of the query table."""

    query: int | Guest
    metric: str = "euclidean"
    rule: str = "market1501"
    rerank: tuple[int, int, float] | None = None  # k1, k2, lambda
    agree: tuple[str, ...] = ()  # attributes in which an image must agree with the query
    differ: int | None = None  # in how many attributes it may differ at most


@dataclass(frozen=True)
class Found:
    """The list of one query."""

    ranking: Ranking  # one row
    n_match: int  # matches that the rule leaves in, before any filter

    @property
    def n(self) -> int:
        """Images in the list."""
        return int(self.ranking.keep[0].sum())

    @property
    def ap(self) -> float:
        """Average precision in percent; a match that the filter took counts as missed. NaN without a match."""
        if not self.n_match:
            return float("nan")
        places = 1 + np.flatnonzero(self.ranking.match[0])
        return 100 * average_precision(places) * len(places) / self.n_match if len(places) else 0.0

    def within(self, threshold: float) -> tuple[int, float, float]:
        """Images at most that far, and their precision and recall in percent (NaN where there is nothing to count)."""
        near = self.ranking.keep[0] & (self.ranking.distance[0] <= threshold)
        hits, n = int((self.ranking.match[0] & near).sum()), int(near.sum())
        return n, 100 * hits / n if n else np.nan, 100 * hits / self.n_match if self.n_match else np.nan


class Search:
    """Described queries and gallery, asked one query at a time.

    The distances of one query are those that `ranking.rank` gives for all queries, by the same arithmetic. What depends
    on the gallery alone is computed once a metric.
    """

    def __init__(
        self, query: Features, gallery: Features, *, run: Run | None = None, reader: Run | None = None
    ) -> None:
        """Nothing is computed yet.

        Args:
            query: described images to ask with.
            gallery: described images to search in.
            run: describes pictures of one's own and shows what makes two images alike; None: neither.
            reader: answers attributes; None: `run`, if it does.
        """
        own = reader or run
        self.query, self.gallery, self.run = query, gallery, run
        self.reader = own if own is not None and own.network.tasks else None
        self.tasks = self.reader.tasks if self.reader else ()
        self._about = labels_of(query, gallery)
        self._fills: dict[str, Fill] = {}
        self._reranked: tuple[Any, np.ndarray] | None = None
        self._heat: dict[tuple[str, str], np.ndarray] = {}

    @property
    def has_cameras(self) -> bool:
        """Whether it is known which camera took what."""
        cameras = self._about["query_camids"], self._about["gallery_camids"]
        return all(len(camids) and (camids >= 0).any() for camids in cameras)

    def _fill(self, metric: str) -> Fill:
        if not len(self.gallery):
            raise InputError("the gallery has no images, so there is nothing to find: give one with images.")
        if metric not in self._fills:
            asked = self.query.descriptor if len(self.query) else self.gallery.descriptor[:1]
            q, g = features_pair(asked, self.gallery.descriptor, metric)
            self._fills[metric] = differences(g, metric) if is_small(q, g) else products(q, g, metric)
        return self._fills[metric]

    def distances(self, question: Question) -> np.ndarray:
        """Distances of one query to the gallery, (1, G)."""
        own = question.query
        if question.rerank is not None:
            table = self._rerank(question)
            return table[own : own + 1] if isinstance(own, int) else table
        fill = self._fill(question.metric)
        descriptor = self.query.descriptor[own : own + 1] if isinstance(own, int) else own.descriptor
        exact = is_small(self.query.descriptor if len(self.query) else descriptor, self.gallery.descriptor)
        out = torch.empty(1, len(self.gallery), dtype=torch.float64 if exact else torch.float32)
        fill(descriptor, out)
        return out.numpy()

    def _rerank(self, question: Question) -> np.ndarray:
        """Re-ranked distances of all queries (Q, G), or of a guest (1, G); kept until others are asked for."""
        assert question.rerank is not None
        own = question.query
        key = question.metric, question.rerank, None if isinstance(own, int) else own.path
        if self._reranked is None or self._reranked[0] != key:
            self._fill(question.metric)  # refuses an empty gallery
            k1, k2, weight = question.rerank
            query = self.query.descriptor if isinstance(own, int) else own.descriptor
            found = rerank(query, self.gallery.descriptor, k1, k2, weight, question.metric, progress=False)
            self._reranked = key, found.numpy()
        return self._reranked[1]

    def find(self, question: Question) -> Found:
        """The whole list of one query.

        Raises:
            InputError: an empty gallery, no query, a filter where no network answers attributes.
        """
        distance, own, about = self.distances(question), question.query, self._about
        if isinstance(own, int):
            asked = {name: about[f"query_{name}"][own : own + 1] for name in ("pids", "camids", "ids")}
        else:
            asked = {"pids": np.array([-2]), "camids": np.array([-1]), "ids": np.array([-1])}  # nobody, nowhere
        labels = Labels(
            asked["pids"], about["gallery_pids"], asked["camids"], about["gallery_camids"],
            asked["ids"], about["gallery_ids"],
        )  # fmt: skip
        rule = question.rule if isinstance(own, int) else "none"
        metric = question.metric + (", re-ranked" if question.rerank else "")
        ranking = ranking_of([(slice(0, 1), distance)], labels, metric, rule, None)
        n_match = int(ranking.match.sum())
        if question.agree or question.differ is not None:
            ranking = leave_out(ranking, self._misfits(question)[None])
        return Found(ranking, n_match)

    def _misfits(self, question: Question) -> np.ndarray:
        """Gallery images (G,) that the attribute filter takes out."""
        said = self.answers_of_query(question.query)
        differs = self.gallery_answers != said  # (G, T)
        names = [task.name for task in self.tasks]
        out = differs[:, [names.index(name) for name in question.agree]].any(1)
        return out if question.differ is None else out | (differs.sum(1) > question.differ)

    @cached_property
    def gallery_answers(self) -> np.ndarray:
        """What the network says about every gallery image, (G, T) classes."""
        return answers_of(self._asked_reader, self.gallery.table, keep=True).classes

    def answers_of_query(self, query: int | Guest) -> np.ndarray:
        """What it says about one query, (T,) classes."""
        return answers_of(self._asked_reader, nameless(self.path(query))).classes[0]

    @property
    def _asked_reader(self) -> Run:
        if self.reader is None:
            raise InputError(
                "this run answers no attributes, so there is neither a filter nor an overlay: give the run of a system "
                "that learns them as reader=..."
            )
        return self.reader

    def path(self, query: int | Guest) -> str:
        """The image file of a query."""
        return str(self.query.table["path"].iloc[query]) if isinstance(query, int) else query.path

    def guest(self, path: str, name: str) -> Guest:
        """A picture of one's own, described.

        Raises:
            InputError: no run to describe it with, a file that is no picture.
        """
        if self.run is None:
            raise InputError("without a run nothing can describe a picture of your own: start with browse(run).")
        rows = load(nameless(path), self.run.recipe.height, self.run.recipe.width, people=())
        return Guest(path, describe(self.run.network, rows, self.run.recipe).descriptor, name)

    def hardest(self, question: Question) -> np.ndarray:
        """Queries (Q,) by average precision, the lowest first, those without any match last; without the filter."""
        if question.rerank is None:
            scores = evaluate(
                self.query.descriptor,
                self.gallery.descriptor,
                **self._about,
                metric=question.metric,
                rule=question.rule,
            )
        else:
            scores = Comparison.of_distances(self._rerank(question), Labels(**self._about), rule=question.rule).score()
        return np.argsort(scores.per_query, kind="stable")  # NaN stands last

    def spread(self, question: Question) -> tuple[float, float, float]:
        """Lowest, nearly highest and equal-error distance of some queries: the range of a threshold, and its start."""
        if not len(self.query):
            found = self.distances(question)
            return float(found.min()), float(found.max()), float(np.median(found))
        some = np.unique(np.linspace(0, len(self.query) - 1, min(SAMPLE, len(self.query))).astype(int))
        parts = [self.distances(Question(int(i), question.metric, rerank=question.rerank)) for i in some]
        distance = np.concatenate(parts)
        about = {name: part[some] if name.startswith("query") else part for name, part in self._about.items()}
        try:
            pairs = verification.pairs(
                Comparison.of_distances(distance, Labels(**about), rule=question.rule), limit=10**6
            )
            middle = verification.eer(pairs).threshold
        except InputError:  # nobody of these queries has a match: any place will do
            middle = float(np.median(distance))
        return float(distance.min()), float(np.quantile(distance, 0.999)), middle

    def heat(self, paths: Sequence[str], task: str) -> list[np.ndarray]:
        """Where the network sees an attribute, or all of them merged, in each image: maps (H, W) from 0 to 1, kept."""
        network = self._asked_reader.network
        method = "cam" if network.classifiers() else "gradcam"
        new = [path for path in dict.fromkeys(paths) if (path, task) not in self._heat]
        if new:
            pixels = pixels_of(new, self._asked_reader)
            maps = merged_map(network, pixels) if task == MERGED else attribute_maps(network, pixels, task, method)
            if len(self._heat) > view.KEPT:
                self._heat.clear()
            self._heat |= {(path, task): m.cpu().numpy() for path, m in zip(new, maps, strict=True)}
        return [self._heat[path, task] for path in paths]

    def alike(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What makes two images alike, a map (H, W) in each; None for a system without maps."""
        if self.run is None or not self.run.network.last_layers("identity"):
            return None
        one, two = pair_maps(self.run.network, pixels_of([first], self.run), pixels_of([second], self.run))
        return one[0].numpy(), two[0].numpy()


# --- the widget -----------------------------------------------------------------------------------------------------


class Browser(App):
    """Ask a gallery with your own eyes: `browse(run)` makes one.

    Every control is an attribute (`query`, `top`, `metric`, ...): set its `.value` to drive the browser from code.
    """

    def __init__(
        self,
        query: Features,
        gallery: Features,
        *,
        run: Run | None = None,
        reader: Run | None = None,
        figures: Path | str = "figures",
    ) -> None:
        """Show the first query.

        Args:
            query: described images to ask with.
            gallery: described images to search in.
            run: see `Search`.
            reader: see `Search`.
            figures: folder of saved views.
        """
        super().__init__(figures)
        self.search = Search(query, gallery, run=run, reader=reader)
        self.found: Found | None = None
        self.question: Question | None = None
        self._listed = np.arange(len(query))  # rows of the query table in the order of the slider
        self._guest: Guest | None = None
        self._uploads = tempfile.TemporaryDirectory(prefix="reidkit")
        self._build(query, gallery, run)
        self._arrange()
        self._listen()
        with self.guarded():
            self._redistance(None)

    # controls

    def _build(self, query: Features, gallery: Features, run: Run | None) -> None:
        tasks = [task.name for task in self.search.tasks]
        n, rule = len(query), gallery.table.attrs.get("rule", "market1501")
        self._loose = "same_image" if rule == "same_image" else "none"  # without the camera rule
        pids, camids = (sorted(set(query.table[name].tolist())) for name in ("pid", "camid"))
        own = run.recipe.metric if run else "euclidean"
        metrics = list(dict.fromkeys([own, "euclidean", "cosine"]))
        self.query = control(
            ipw.IntSlider, "query", "420px", min=1, max=max(n, 1), value=1, disabled=not n, readout=False
        )
        self.jump = ipw.BoundedIntText(min=1, max=max(n, 1), value=1, disabled=not n, layout=ipw.Layout(width="80px"))
        self.person = control(ipw.Dropdown, "person", options=[(ANY, ANY), *((str(p), p) for p in pids)])
        self.camera = control(ipw.Dropdown, "camera", options=[(ANY, ANY), *((str(c), c) for c in camids)])
        self.order = control(ipw.Dropdown, "order", options=["as listed", "hardest first"])
        self.random = ipw.Button(description="Random query", disabled=not n)
        self.upload = ipw.FileUpload(
            accept="image/*", description="Upload image", icon="", layout=ipw.Layout(width="auto"), disabled=run is None
        )
        self.top = control(ipw.IntSlider, "show first", min=1, max=100, value=20)
        self.metric = control(ipw.Dropdown, "metric", options=metrics)
        self.same_camera = ipw.Checkbox(
            description="leave out the query's own camera", indent=False,
            value=rule == "market1501" and self.search.has_cameras, disabled=not self.search.has_cameras,
        )  # fmt: skip
        self.rerank = ipw.Checkbox(description="re-rank by common neighbours", indent=False, disabled=not n)
        self.k1 = control(ipw.BoundedIntText, "k1", min=1, max=200, value=20, continuous_update=False)
        self.k2 = control(ipw.BoundedIntText, "k2", min=1, max=100, value=6, continuous_update=False)
        self.weight = control(ipw.FloatSlider, "lambda", min=0, max=1, step=0.05, value=0.3, continuous_update=False)
        self.threshold = control(ipw.FloatSlider, "threshold", "360px", min=0, max=1, step=0.01, readout_format=".3f")
        self.agree = control(
            ipw.SelectMultiple, "agree in", options=tasks, rows=min(6, max(len(tasks), 2)), disabled=not tasks
        )
        self.differ = control(
            ipw.IntSlider, "differ in", min=0, max=max(len(tasks), 1), value=max(len(tasks), 1), disabled=not tasks
        )
        self.overlay = control(
            ipw.Dropdown, "attention", options=["none", *tasks, *([MERGED] if tasks else [])], disabled=not tasks
        )
        silent = "" if tasks else "This run answers no attributes: filter and attention are off."
        self.hint = ipw.HTML(view.note(silent))
        self.pick = control(ipw.BoundedIntText, "compare", min=0, max=self.top.value, value=0)
        self.jump.add_class("reidkit-query-number")
        self.pick.add_class("reidkit-place")
        self.strip, self.grid, self.histogram, self.pair = (ipw.HTML() for _ in range(4))
        self.grid.layout = ipw.Layout(flex="1 1 420px", width="auto", min_width="300px")

    def _arrange(self) -> None:
        side = ipw.VBox([self.histogram, self.threshold], layout=ipw.Layout(flex="0 0 auto", width="380px"))
        self.show(
            row(self.query, self.jump, self.random, self.upload),
            self.strip,
            self.status,
            self.message,
            row(self.grid, side),
            self.pair,
            row(
                column("Queries", self.person, self.camera, self.order),
                column("Ranking", self.top, self.metric, self.same_camera, self.rerank, self.k1, self.k2, self.weight),
                column("Attributes", self.hint, self.agree, self.differ, self.overlay),
                column("Place to compare, picture", self.pick, self.save),
            ),
        )

    def _listen(self) -> None:
        self.on((self.person, self.camera, self.order), self._relist)
        self.on((self.query,), self._query_chosen)
        self.on((self.jump,), lambda change: setattr(self.query, "value", change["new"]))
        self.on((self.upload,), self._uploaded)
        numbers = (self.metric, self.same_camera, self.rerank, self.k1, self.k2, self.weight)
        self.on(numbers, self._redistance)
        self.on((self.top, self.threshold, self.agree, self.differ, self.overlay), lambda _: self.refresh())
        self.on((self.pick,), lambda _: self._show_pair())
        self.random.on_click(lambda _: self._react(self._draw, None))

    # what the controls say

    def asked(self) -> Question:
        """The question that the controls ask now.

        Raises:
            InputError: there is neither a query nor a picture of one's own.
        """
        if self._guest is None and not len(self._listed):
            raise InputError("no query fits this person and camera: choose others, or upload a picture.")
        n = len(self.search.tasks)
        return Question(
            self._guest or int(self._listed[self.query.value - 1]),
            self.metric.value,
            "market1501" if self.same_camera.value else self._loose,
            (self.k1.value, self.k2.value, self.weight.value) if self.rerank.value else None,
            tuple(self.agree.value),
            self.differ.value if self.differ.value < n else None,
        )

    # what happens

    def _relist(self, _: Any) -> None:
        """Other queries, or another order, under the slider."""
        table = self.search.query.table
        wanted = np.ones(len(table), bool)
        for name, chooser in (("pid", self.person), ("camid", self.camera)):
            if chooser.value != ANY:
                wanted &= table[name].to_numpy() == chooser.value
        order = np.arange(len(table))
        if self.order.value == "hardest first" and len(table):
            self._listed = order
            order = self.search.hardest(self.asked())
        self._listed = order[wanted[order]]
        with self.silently():
            self.query.value = self.jump.value = 1
            self.query.max = self.jump.max = max(len(self._listed), 1)
        self._leave_guest()
        self.refresh()

    def _query_chosen(self, _: Any) -> None:
        self._leave_guest()
        self.refresh()

    def _leave_guest(self) -> None:
        self._guest = None
        with self.silently():
            self.pick.value = 0

    def _draw(self, _: Any) -> None:
        """Another one of the queries under the slider, at random."""
        with self.silently():
            self.query.value = another(self.query.value, len(self._listed))
        self._query_chosen(None)

    def _uploaded(self, _: Any) -> None:
        if not self.upload.value:
            return
        file = self.upload.value[-1]
        content = bytes(file["content"])
        path = Path(self._uploads.name) / hashlib.sha256(content).hexdigest()[:16]  # same picture, same thumbnail
        path.write_bytes(content)
        try:
            guest = self.search.guest(str(path), file["name"])
        except InputError as error:
            if self.search.run is None:
                raise
            raise InputError(f"{file['name']} is no picture that can be read: upload a JPEG, PNG or BMP.") from error
        finally:
            with self.silently():
                self.upload.value = ()  # the same file may be chosen again
        self._leave_guest()
        self._guest = guest
        self.refresh()

    def _redistance(self, _: Any) -> None:
        """Other distances: another range for the threshold, another order of difficulty."""
        try:
            self._rescale()
        finally:
            if self.order.value == "hardest first" and self._guest is None:
                self._relist(None)
            else:
                self.refresh()

    def _rescale(self) -> None:
        if self.rerank.value:
            self.tell("re-ranking all queries ...")
        low, high, middle = self.search.spread(self.asked())
        with self.silently(), self.threshold.hold_trait_notifications():
            self.threshold.min, self.threshold.max = low, max(high, low + 1e-6)
            self.threshold.step = (self.threshold.max - low) / 200
            self.threshold.value = min(max(middle, low), self.threshold.max)

    def refresh(self) -> None:
        """Ask again and show what is found."""
        filtering = self.agree.value or self.differ.value < self.differ.max
        if filtering and "gallery_answers" not in vars(self.search):
            self.tell("the network reads the attributes of the gallery, once ...")
        self.found = None
        with self.silently():
            self.jump.value = self.query.value
        self.strip.value = self._strip()
        try:
            self.question = self.asked()
            self.found = self.search.find(self.question)
        except InputError:
            self.grid.value = self.histogram.value = self.pair.value = ""
            self.tell("nothing to show")
            raise
        self.pick.max = min(self.top.value, self.found.n)
        self.tell(self.summary())
        self.histogram.value = self._chart()
        try:
            self.grid.value = self._grid()
        finally:
            self._show_pair()

    def summary(self) -> str:
        """What is shown, in one line."""
        found, question = self.found, self.question
        assert found is not None and question is not None
        n, precision, recall = found.within(self.threshold.value)
        if isinstance(question.query, int):
            own = self.search.query.table.iloc[question.query]
            who = f"Query {self.query.value} of {len(self._listed)}: person {own.pid}, camera {own.camid}"
            ap = f"AP {found.ap:.1f}" if found.n_match else "no match in the gallery"
            rates = f" · precision {_percent(precision)}, recall {_percent(recall)}" if found.n_match else ""
        else:
            who, ap, rates = f"Your picture {question.query.name}", "nobody said who it is", ""
        first = min(self.top.value, found.n)
        how = question.metric + (", re-ranked" if question.rerank else "")
        return (
            f"{who} · {ap} · {n} of {found.n} images within {self.threshold.value:.3f}{rates} · first {first} by {how}"
        )

    # pictures

    def _strip(self) -> str:
        """The queries around the chosen one, to click on."""
        place = self.query.value - 1
        start = max(0, min(place - 7, len(self._listed) - 15))
        parts = []
        for k, i in enumerate(self._listed[start : start + 15], start):
            shown = self.search.query.table.iloc[i]
            kind = "on" if k == place and self._guest is None else ""
            label = [f"{shown.pid}", f"cam {shown.camid}"]
            parts.append(view.cell(view.thumbnail(shown.path), label, kind=kind, pick=("query-number", k + 1)))
        return view.cells(parts, "reidkit-strip")

    def _images(self, paths: Sequence[str]) -> list[np.ndarray] | None:
        """Pictures under the attention overlay; None where none is asked for."""
        if self.overlay.value == "none":
            return None
        maps = self.search.heat(paths, self.overlay.value)
        return [view.overlaid(view.picture(path), heat) for path, heat in zip(paths, maps, strict=True)]

    def _first(self) -> list[int]:
        """Gallery rows that are shown, nearest first."""
        assert self.found is not None
        ranking = self.found.ranking
        return ranking.order[0][ranking.keep[0]][: self.top.value].tolist()

    def _captions(self) -> list[list[str]]:
        """Two lines for each image shown: a mark and the distance, who and where."""
        assert self.found is not None and self.question is not None
        ranking, table = self.found.ranking, self.search.gallery.table
        known = isinstance(self.question.query, int)
        captions = []
        for k, i in enumerate(self._first()):
            mark = ("✓ " if ranking.match[0, k] else "✗ ") if known else ""
            shown = table.iloc[i]
            captions.append([f"{mark}{ranking.distance[0, k]:.3f}", f"{shown.pid}, cam {shown.camid}"])
        return captions

    def _kind(self, k: int) -> str:
        assert self.found is not None and self.question is not None
        ranking = self.found.ranking
        far = "" if ranking.distance[0, k] <= self.threshold.value else " far"
        if not isinstance(self.question.query, int):
            return f"reidkit-plain{far}"
        return ("reidkit-hit" if ranking.match[0, k] else "reidkit-miss") + far

    def _grid(self) -> str:
        assert self.question is not None
        paths = [self.search.path(self.question.query), *self.search.gallery.table["path"].iloc[self._first()]]
        note = None
        try:
            images = self._images(paths)
        except InputError as error:
            images, note = None, error
        sources = [view.thumbnail(path) for path in paths] if images is None else [view.data_uri(x) for x in images]
        parts = [view.cell(sources[0], ["query", ""], kind="reidkit-query")]
        for k, (source, caption) in enumerate(zip(sources[1:], self._captions(), strict=True)):
            parts.append(view.cell(source, caption, kind=self._kind(k), pick=("place", k + 1)))
        if note is not None:
            self.grid.value = view.cells(parts)
            raise note
        return view.cells(parts)

    def _chart(self) -> str:
        """Distances of this query to its matches and to others, and the threshold."""
        assert self.found is not None
        ranking = self.found.ranking
        near = ranking.keep[0]
        low, high = self.threshold.min, self.threshold.max
        edges = np.linspace(low, high, 41)
        areas = {}
        hit = ranking.match[0]
        for name, which, colour in (("others", near & ~hit, ORANGE), ("same person", near & hit, BLUE)):
            heights, _ = np.histogram(ranking.distance[0][which].clip(low, high), edges)
            areas[f"{name} ({int(which.sum()):,})"] = heights.astype(float), colour
        return view.chart(areas, edges, {"threshold": self.threshold.value}, xlabel=f"{ranking.metric} distance")

    def _show_pair(self) -> None:
        """The chosen place beside the query."""
        if self.found is None or self.question is None or not 0 < self.pick.value <= len(self._first()):
            self.pair.value = ""
            return
        k = self.pick.value - 1
        gallery = self.search.gallery.table.iloc[self._first()[k]]
        paths = [self.search.path(self.question.query), str(gallery.path)]
        pictures = [view.picture(path) for path in paths]
        maps = self.search.alike(paths[0], paths[1])
        parts = []
        for n, (picture, label) in enumerate(zip(pictures, ("query", f"place {k + 1}"), strict=True)):
            parts.append(view.cell(view.data_uri(picture), [label], kind=self._kind(k) if n else "reidkit-query"))
            if maps is not None:
                parts.append(view.cell(view.data_uri(view.overlaid(picture, maps[n])), ["what makes", "them alike"]))
        parts.append(f'<div class="wide">{self._differences(k, paths)}</div>')
        self.pair.value = view.cells(parts)

    def _differences(self, k: int, paths: Sequence[str]) -> str:
        """In words: how far, who, and in which attributes the two differ by what the network says."""
        assert self.found is not None and self.question is not None
        ranking = self.found.ranking
        distance = ranking.distance[0, k]
        accepted = "within" if distance <= self.threshold.value else "beyond"
        who = ("✓ the same person" if ranking.match[0, k] else "✗ another person") + ", "
        who = who if isinstance(self.question.query, int) else ""
        text = f"<b>{who}distance {distance:.3f}</b>, {accepted} the threshold<br>"
        if self.search.reader is None:
            return text + "This run answers no attributes."
        said = answers_of(self.search.reader, nameless(*paths)).classes
        rows = [
            (task.name, task.classes[a], task.classes[b])
            for task, a, b in zip(self.search.tasks, *said, strict=True)
            if a != b
        ]
        if not rows:
            return text + f"The network sees no difference in {len(self.search.tasks)} attributes."
        return text + view.table(
            rows, (f"differ in {len(rows)} of {len(self.search.tasks)}", "query", f"place {k + 1}")
        )

    # the static twin

    def figure(self) -> Figure:
        """What is shown now as a figure, for print and for a notebook that is opened again.

        Raises:
            InputError: nothing is shown.
        """
        if self.found is None or self.question is None:
            raise InputError("there is nothing to draw: choose a query first.")
        paths = [self.search.path(self.question.query), *self.search.gallery.table["path"].iloc[self._first()]]
        images = self._images(paths) or [view.picture(path) for path in paths]
        titles = ["\n".join(caption) for caption in self._captions()]
        known = isinstance(self.question.query, int)
        return plots.retrieved(
            images[0], images[1:], titles, self.found.ranking, self.threshold.value, title=self.summary(), known=known
        )

    def name(self) -> str:
        """The query, and letters that change with the view."""
        assert self.question is not None
        own = self.question.query
        shown = f"query{own}" if isinstance(own, int) else f"own_{Path(own.path).name}"
        state = repr((replace(self.question, query=0), self.top.value, self.threshold.value, self.overlay.value))
        return f"{shown}_{hashlib.sha256(state.encode()).hexdigest()[:6]}"


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.0f} %"


def browse(
    run: Run | str | os.PathLike[str],
    *,
    reader: Run | str | os.PathLike[str] | None = None,
    images: pd.DataFrame | None = None,
) -> Browser:
    """The retrieval browser of a finished run.

    Args:
        run: a Run or its folder.
        reader: another run that answers the attributes, where this one does not.
        images: the table of images; None: read from where the run was trained.
    Raises:
        InputError: no such run, images that are not there any more.
    """
    own = opened(run)
    table = images_of(own) if images is None else images
    query, gallery = (split_of(own, table, split) for split in ("query", "gallery"))
    return Browser(query, gallery, run=own, reader=opened(reader) if reader else None, figures=folder_of(own))
