"""The retrieval browser: one query, its ranked list, and every knob that changes it.

`Search` holds the descriptors and answers questions, without any widget; `Browser` shows what it answers.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import plots, ranking
from ..attention import attribute_maps, merged_map, pair_maps
from ..distances import Fill, differences, features_pair, is_small, products
from ..errors import InputError
from ..features import Features, answers_of, describe
from ..metrics import average_precision
from ..ranking import Comparison, Labels
from ..runs import Run
from ..search.reranking import rerank
from ..thresholds import verification
from ..thresholds.filters import leave_out
from . import view
from .app import ANY, App, column, control, row
from .inputs import RunOrFolder, figures_of, image_set, nameless, opened, pixels_of, query_and_gallery, run_and_images

SAMPLE = 100  # queries from which the range of distances is read
MERGED = "all (merged)"
NOBODY = {"query_pids": [-2], "query_camids": [-1], "query_ids": [-1]}  # who a picture of one's own shows, and where


# --- what is asked, what is found -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """An image to ask with: of the query table, or a picture of one's own."""

    path: str
    descriptor: Tensor = field(compare=False)  # (1, D)
    place: int | None = None  # in the query table; None: a picture of one's own, and nobody said who it shows
    name: str = ""  # of the file of a picture of one's own


@dataclass(frozen=True)
class Question:
    """A query and all that decides its list."""

    query: Query
    metric: str = "euclidean"
    rule: str = "market1501"
    rerank: tuple[int, int, float] | None = None  # k1, k2, lambda
    agree: tuple[str, ...] = ()  # attributes in which an image must agree with the query
    differ: int | None = None  # in how many attributes it may differ at most


@dataclass(frozen=True)
class Result:
    """The list of one query."""

    question: Question
    ranking: ranking.Ranking  # one row
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
        near = self.ranking.distance[0] <= threshold  # what is left out is infinitely far
        hits, n = int((self.ranking.match[0] & near).sum()), int(near.sum())
        return n, 100 * hits / n if n else np.nan, 100 * hits / self.n_match if self.n_match else np.nan

    def fits(self, k: int) -> bool | None:
        """Whether the image at place k, from 0, shows the query's person; None: nobody said who that is."""
        return None if self.question.query.place is None else bool(self.ranking.match[0, k])


class Search:
    """Described queries and gallery, asked one query at a time.

    The distances of one query are those that `Comparison.rank` gives for all queries, by the same arithmetic. What
    depends on the gallery alone is computed once a metric.
    """

    def __init__(self, query: Features, gallery: Features, run: Run | None = None, reader: Run | None = None) -> None:
        """Nothing is computed yet.

        Args:
            query: described images to ask with.
            gallery: described images to search in.
            run: describes pictures of one's own and shows what makes two images alike; None: neither.
            reader: answers attributes; None: `run`, if it does.
        """
        reader = reader or run
        self.query, self.gallery, self.run = query, gallery, run
        self._reader = reader if reader is not None and reader.network.tasks else None
        self.tasks = self._reader.tasks if self._reader else ()
        self._labels = Labels.of(query, gallery)
        self._fill = cache(self._fill_of)  # by metric
        self._reranked = lru_cache(1)(self._rerank)  # of all queries or of one guest: the last that was asked for
        self._heat: dict[tuple[str, str], np.ndarray] = {}

    # queries

    def listed(self, place: int) -> Query:
        """The image at a place of the query table."""
        return Query(str(self.query.table["path"].iloc[place]), self.query.descriptor[place : place + 1], place)

    def guest(self, path: str, name: str) -> Query:
        """A picture of one's own, described.

        Raises:
            InputError: no run to describe it with, a file that is no picture.
        """
        if self.run is None:
            raise InputError("without a run nothing can describe a picture of your own: start with browse(run).")
        try:
            features = describe(self.run.network, image_set([path], self.run), self.run.recipe)
        except InputError as error:
            raise InputError(f"{name} is no picture that can be read: upload a JPEG, PNG or BMP.") from error
        return Query(path, features.descriptor, name=name)

    def labels(self, places: Sequence[int] | np.ndarray) -> Labels:
        """Who and where, of some queries and of the gallery."""
        sides = vars(self._labels).items()
        return replace(self._labels, **{name: side[places] for name, side in sides if name.startswith("query")})

    # distances

    def _fill_of(self, metric: str) -> tuple[Fill, torch.dtype]:
        """What writes the distances of queries to the gallery, and their type."""
        if not len(self.gallery):
            raise InputError("the gallery has no images, so there is nothing to find: give one with images.")
        queries = self.query.descriptor if len(self.query) else self.gallery.descriptor[:1]
        q, g = features_pair(queries, self.gallery.descriptor, metric)
        if is_small(q, g):
            return differences(g, metric), torch.float64
        return products(q, g, metric), torch.float32

    def _rerank(self, metric: str, numbers: tuple[int, int, float], guest: Query | None) -> np.ndarray:
        """Re-ranked distances of all queries (Q, G), or of a guest (1, G)."""
        self._fill(metric)  # refuses an empty gallery
        query = guest.descriptor if guest else self.query.descriptor
        return rerank(query, self.gallery.descriptor, *numbers, metric, progress=False).numpy()

    def distances(self, question: Question) -> np.ndarray:
        """Distances of one query to the gallery, (1, G)."""
        query, metric = question.query, question.metric
        if question.rerank is not None:
            if query.place is None:
                return self._reranked(metric, question.rerank, query)
            return self._reranked(metric, question.rerank, None)[query.place : query.place + 1]
        fill, dtype = self._fill(metric)
        distance = torch.empty(1, len(self.gallery), dtype=dtype)
        fill(query.descriptor, distance)
        return distance.numpy()

    def spread(self, question: Question) -> tuple[float, float, float]:
        """Lowest, nearly highest and equal-error distance of some queries: the range of a threshold, and its start."""
        if not len(self.query):
            distance = self.distances(question)
            return float(distance.min()), float(distance.max()), float(np.median(distance))
        some = np.unique(np.linspace(0, len(self.query) - 1, min(SAMPLE, len(self.query))).astype(int))
        distance = np.concatenate([self.distances(replace(question, query=self.listed(int(i)))) for i in some])
        try:
            comparison = Comparison.of_distances(distance, self.labels(some), question.rule)
            middle = verification.eer(verification.pairs(comparison, limit=10**6)).threshold
        except InputError:  # nobody of these queries has a match: any place will do
            middle = float(np.median(distance))
        return float(distance.min()), float(np.quantile(distance, 0.999)), middle

    # answers

    def find(self, question: Question) -> Result:
        """The whole list of one query.

        Raises:
            InputError: an empty gallery, no query, a filter where no network answers attributes.
        """
        distance, place = self.distances(question), question.query.place
        labels = replace(self._labels, **NOBODY) if place is None else self.labels([place])
        rule = "none" if place is None else question.rule
        metric = question.metric + (", re-ranked" if question.rerank else "")
        ranked = Comparison.of_distances(distance, labels, rule, metric).rank()
        n_match = int(ranked.match.sum())
        if question.agree or question.differ is not None:
            ranked = leave_out(ranked, self._misfits(question)[None])
        return Result(question, ranked, n_match)

    def hardest(self, question: Question) -> np.ndarray:
        """Queries (Q,) by average precision, the lowest first, those without any match last; without the filter."""
        if question.rerank is None:
            comparison = Comparison.of(self.query, self.gallery, question.metric, question.rule)
        else:
            distance = self._reranked(question.metric, question.rerank, None)
            comparison = Comparison.of_distances(distance, self._labels, question.rule)
        scores = comparison.score()
        return np.argsort(scores.per_query, kind="stable")  # NaN stands last

    def _misfits(self, question: Question) -> np.ndarray:
        """Gallery images (G,) that the attribute filter takes out."""
        differs = self.gallery_answers != self.answers([question.query.path])  # (G, T)
        names = [task.name for task in self.tasks]
        out = differs[:, [names.index(name) for name in question.agree]].any(1)
        return out if question.differ is None else out | (differs.sum(1) > question.differ)

    def answers(self, paths: Sequence[str]) -> np.ndarray:
        """What the network says about some images, (N, T) classes."""
        return answers_of(self.reader, nameless(paths)).classes

    @cached_property
    def gallery_answers(self) -> np.ndarray:
        """What the network says about every gallery image, (G, T) classes."""
        return answers_of(self.reader, self.gallery.table, keep=True).classes

    @property
    def reader(self) -> Run:
        """The run that answers attributes.

        Raises:
            InputError: there is none.
        """
        if self._reader is None:
            raise InputError(
                "this run answers no attributes, so there is neither a filter nor an overlay: give the run of a system "
                "that learns them as reader=..."
            )
        return self._reader

    def heat(self, paths: Sequence[str], task: str) -> list[np.ndarray]:
        """Where the network sees an attribute, or all of them merged, in each image: maps (H, W) from 0 to 1, kept."""
        network = self.reader.network
        new = [path for path in dict.fromkeys(paths) if (path, task) not in self._heat]
        if new:
            pixels = pixels_of(new, self.reader)
            method = "cam" if network.classifiers() else "gradcam"
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
        self.search = Search(query, gallery, run, reader)
        self.result: Result | None = None
        self._listed = np.arange(len(query))  # rows of the query table in the order of the slider
        self._guest: Query | None = None
        self._uploads = tempfile.TemporaryDirectory(prefix="reidkit")
        self._make_controls()
        self._arrange()
        self.attempt(self._redistance)

    # controls

    def _make_controls(self) -> None:
        search, table = self.search, self.search.query.table
        n, rule = len(search.query), search.gallery.table.attrs.get("rule", "market1501")
        self._loose = "same_image" if rule == "same_image" else "none"  # without the camera rule
        places: dict[str, Any] = {"min": 1, "max": max(n, 1), "value": 1, "disabled": not n}
        self.query = control(ipw.IntSlider, "query", "420px", readout=False, **places)
        self.jump = ipw.BoundedIntText(layout=ipw.Layout(width="80px"), **places)
        self.jump.add_class("reidkit-query-number")
        self.random = self.random_button("Random query", self.query, self._choose_query)
        self.upload = ipw.FileUpload(accept="image/*", description="Upload image", icon="", disabled=not search.run)
        self.upload.layout.width = "auto"
        people, cameras = ([ANY, *sorted(set(table[name].tolist()))] for name in ("pid", "camid"))
        self.person = control(ipw.Dropdown, "person", options=[(str(pid), pid) for pid in people])
        self.camera = control(ipw.Dropdown, "camera", options=[(str(camid), camid) for camid in cameras])
        self.order = control(ipw.Dropdown, "order", options=["as listed", "hardest first"])

        self.top = control(ipw.IntSlider, "show first", min=1, max=100, value=20)
        metrics = [search.run.recipe.metric] if search.run else []
        self.metric = control(ipw.Dropdown, "metric", options=list(dict.fromkeys([*metrics, "euclidean", "cosine"])))
        cameras_known = all((part.table["camid"] >= 0).any() for part in (search.query, search.gallery))
        self.same_camera = ipw.Checkbox(description="leave out the query's own camera", indent=False)
        self.same_camera.value, self.same_camera.disabled = rule == "market1501" and cameras_known, not cameras_known
        self.rerank = ipw.Checkbox(description="re-rank by common neighbours", indent=False, disabled=not n)
        self.k1 = control(ipw.BoundedIntText, "k1", min=1, max=200, value=20, continuous_update=False)
        self.k2 = control(ipw.BoundedIntText, "k2", min=1, max=100, value=6, continuous_update=False)
        self.weight = control(ipw.FloatSlider, "lambda", min=0, max=1, step=0.05, value=0.3, continuous_update=False)
        self.threshold = control(ipw.FloatSlider, "threshold", "360px", min=0, max=1, step=0.01, readout_format=".3f")

        tasks = [task.name for task in search.tasks]
        most, off = max(len(tasks), 1), not tasks
        self.hint = ipw.HTML(view.note("This run answers no attributes: filter and attention are off." if off else ""))
        rows = min(6, max(len(tasks), 2))
        self.agree = control(ipw.SelectMultiple, "agree in", options=tasks, rows=rows, disabled=off)
        self.differ = control(ipw.IntSlider, "differ in", min=0, max=most, value=most, disabled=off)
        overlays = ["none", *tasks, *([MERGED] if tasks else [])]
        self.overlay = control(ipw.Dropdown, "attention", options=overlays, disabled=off)
        self.pick = control(ipw.BoundedIntText, "compare", min=0, max=self.top.value, value=0)
        self.pick.add_class("reidkit-place")
        self.strip, self.grid, self.histogram, self.pair = (ipw.HTML() for _ in range(4))
        self.grid.layout = ipw.Layout(flex="1 1 420px", width="auto", min_width="300px")

    def _arrange(self) -> None:
        side = ipw.VBox([self.histogram, self.threshold], layout=ipw.Layout(flex="0 0 auto", width="380px"))
        numbers = (self.metric, self.same_camera, self.rerank, self.k1, self.k2, self.weight)
        columns = [
            column("Queries", self.person, self.camera, self.order),
            column("Ranking", self.top, *numbers),
            column("Attributes", self.hint, self.agree, self.differ, self.overlay),
            column("Place to compare, picture", self.pick, self.save),
        ]
        first = row(self.query, self.jump, self.random, self.upload)
        parts = (self.strip, self.status, self.message, row(self.grid, side), self.pair)
        self.show(first, *parts, row(*columns))
        self.on((self.person, self.camera, self.order), self._relist)
        self.on((self.query,), self._choose_query)
        self.on((self.jump,), lambda: setattr(self.query, "value", self.jump.value))
        self.on((self.upload,), self._take_upload)
        self.on(numbers, self._redistance)
        self.on((self.top, self.threshold, self.agree, self.differ, self.overlay), self.refresh)
        self.on((self.pick,), self._show_pair)

    # what the controls say

    def asked(self) -> Question:
        """The question that the controls ask now.

        Raises:
            InputError: there is neither a query nor a picture of one's own.
        """
        if self._guest is None and not len(self._listed):
            raise InputError("no query fits this person and camera: choose others, or upload a picture.")
        return Question(
            self._guest or self.search.listed(int(self._listed[self.query.value - 1])),
            self.metric.value,
            "market1501" if self.same_camera.value else self._loose,
            (self.k1.value, self.k2.value, self.weight.value) if self.rerank.value else None,
            tuple(self.agree.value),
            self.differ.value if self.differ.value < len(self.search.tasks) else None,
        )

    # what happens

    def _relist(self) -> None:
        """Other queries, or another order, under the slider."""
        table = self.search.query.table
        choices = {"pid": self.person.value, "camid": self.camera.value}
        wanted = np.all([(value == ANY) | (table[name] == value) for name, value in choices.items()], axis=0)
        order = np.arange(len(table))
        if self.order.value == "hardest first" and len(table):
            self._listed = order
            order = self.search.hardest(self.asked())
        self._listed = order[wanted[order]]
        with self.silently():
            self.query.value = self.jump.value = 1
            self.query.max = self.jump.max = max(len(self._listed), 1)
        self._choose_query()

    def _choose_query(self, guest: Query | None = None) -> None:
        """Ask with a picture of one's own, or with the query under the slider."""
        self._guest = guest
        with self.silently():
            self.pick.value = 0
        self.refresh()

    def _take_upload(self) -> None:
        if not self.upload.value:
            return
        file = self.upload.value[-1]
        content = bytes(file["content"])
        path = Path(self._uploads.name) / hashlib.sha256(content).hexdigest()[:16]  # same picture, same thumbnail
        path.write_bytes(content)
        try:
            guest = self.search.guest(str(path), file["name"])
        finally:
            with self.silently():
                self.upload.value = ()  # the same file may be chosen again
        self._choose_query(guest)

    def _redistance(self) -> None:
        """Other distances: another range for the threshold, another order of difficulty."""
        try:
            if self.rerank.value:
                self.tell("re-ranking all queries ...")
            low, high, middle = self.search.spread(self.asked())
            self.set_range(self.threshold, low, max(high, low + 1e-6), 200, middle)
        finally:
            if self.order.value == "hardest first" and self._guest is None:
                self._relist()
            else:
                self.refresh()

    def refresh(self) -> None:
        """Ask again and show what is found."""
        filtering = self.agree.value or self.differ.value < self.differ.max
        if filtering and "gallery_answers" not in vars(self.search):
            self.tell("the network reads the attributes of the gallery, once ...")
        self.result = None
        with self.silently():
            self.jump.value = self.query.value
        self.strip.value = self._strip()
        try:
            self.result = self.search.find(self.asked())
        except InputError:
            self.grid.value = self.histogram.value = self.pair.value = ""
            self.tell("nothing to show")
            raise
        self.pick.max = min(self.top.value, self.result.n)
        self.tell(self.summary())
        self.histogram.value = self._chart(self.result)
        try:
            self._show_grid(self.result)
        finally:
            self._show_pair()

    def summary(self) -> str:
        """What is shown, in one line."""
        result = self.result
        assert result is not None
        question = result.question
        n, precision, recall = result.within(self.threshold.value)
        if question.query.place is not None:
            image = self.search.query.table.iloc[question.query.place]
            who = f"Query {self.query.value} of {len(self._listed)}: person {image.pid}, camera {image.camid}"
            ap = f"AP {result.ap:.1f}" if result.n_match else "no match in the gallery"
            rates = f" · precision {_percent(precision)}, recall {_percent(recall)}" if result.n_match else ""
        else:
            who, ap, rates = f"Your picture {question.query.name}", "nobody said who it is", ""
        return (
            f"{who} · {ap} · {n} of {result.n} images within {self.threshold.value:.3f}{rates} · "
            f"first {min(self.top.value, result.n)} by {result.ranking.metric}"
        )

    # pictures

    def _strip(self) -> str:
        """The queries around the chosen one, to click on."""
        place = self.query.value - 1
        start = max(0, min(place - 7, len(self._listed) - 15))
        parts = []
        for k, i in enumerate(self._listed[start : start + 15], start):
            image = self.search.query.table.iloc[i]
            kind = "on" if k == place and self._guest is None else ""
            lines = [f"{image.pid}", f"cam {image.camid}"]
            parts.append(view.cell(view.thumbnail(image.path), lines, kind=kind, pick=("query-number", k + 1)))
        return view.cells(parts, "reidkit-strip")

    def _cells(self, result: Result) -> list[tuple[str, list[str], str]]:
        """File, lines below it and CSS classes: of the query and of the images that are shown, nearest first."""
        cells = [(result.question.query.path, ["query", ""], "reidkit-query")]
        shown = result.ranking.order[0, : min(self.top.value, result.n)]
        for k, image in enumerate(self.search.gallery.table.iloc[shown].itertuples()):
            fits, distance = result.fits(k), result.ranking.distance[0, k]
            far = "" if distance <= self.threshold.value else " far"
            cells.append((str(image.path), view.captions(fits, f"{distance:.3f}", image), view.FRAMES[fits] + far))
        return cells

    def _images(self, paths: Sequence[str]) -> list[np.ndarray] | None:
        """Pictures under the attention overlay; None where none is asked for."""
        if self.overlay.value == "none":
            return None
        maps = self.search.heat(paths, self.overlay.value)
        return [view.overlaid(view.picture_or_cross(path), heat) for path, heat in zip(paths, maps, strict=True)]

    def _show_grid(self, result: Result) -> None:
        """The query and the first images of its list; without the overlay where it fails."""
        cells, images = self._cells(result), None
        paths = [path for path, _, _ in cells]
        try:
            images = self._images(paths)
        finally:
            sources = map(view.thumbnail, paths) if images is None else map(view.data_uri, images)
            parts = []
            for k, (source, (_, lines, kind)) in enumerate(zip(sources, cells, strict=True)):
                parts.append(view.cell(source, lines, kind=kind, pick=("place", k) if k else None))
            self.grid.value = view.cells(parts)

    def _chart(self, result: Result) -> str:
        """Distances of this query to its matches and to others, and the threshold."""
        low, high = self.threshold.min, self.threshold.max
        distance, match = (part[0, : result.n] for part in (result.ranking.distance, result.ranking.match))
        samples = {
            f"{name} ({int(which.sum()):,})": (distance[which].clip(low, high), colour)
            for name, which, colour in (("others", ~match, plots.ORANGE), ("same person", match, plots.BLUE))
        }
        marks = {"threshold": self.threshold.value}
        return view.chart(samples, np.linspace(low, high, 41), marks, xlabel=f"{result.ranking.metric} distance")

    def _show_pair(self) -> None:
        """The chosen place beside the query."""
        result, place = self.result, self.pick.value
        if result is None or not 0 < place <= min(self.top.value, result.n):
            self.pair.value = ""
            return
        cells = self._cells(result)
        chosen = {"query": cells[0], f"place {place}": cells[place]}
        paths = [path for path, _, _ in chosen.values()]
        maps, parts = self.search.alike(*paths), []
        for n, (name, (path, _, kind)) in enumerate(chosen.items()):
            picture = view.picture_or_cross(path)
            parts.append(view.cell(view.data_uri(picture), [name], kind=kind))
            if maps is not None:
                parts.append(view.cell(view.data_uri(view.overlaid(picture, maps[n])), ["what makes", "them alike"]))
        parts.append(f'<div class="wide">{self._differences(result, place, paths)}</div>')
        self.pair.value = view.cells(parts)

    def _differences(self, result: Result, place: int, paths: Sequence[str]) -> str:
        """In words: how far, who, and in which attributes the two differ by what the network says."""
        distance = result.ranking.distance[0, place - 1]
        who = {True: "✓ the same person, ", False: "✗ another person, ", None: ""}[result.fits(place - 1)]
        accepted = "within" if distance <= self.threshold.value else "beyond"
        text = f"<b>{who}distance {distance:.3f}</b>, {accepted} the threshold<br>"
        if not self.search.tasks:
            return text + "This run answers no attributes."
        answers, tasks = self.search.answers(paths), self.search.tasks
        rows = [(t.name, t.classes[a], t.classes[b]) for t, a, b in zip(tasks, *answers, strict=True) if a != b]
        if not rows:
            return text + f"The network sees no difference in {len(tasks)} attributes."
        return text + view.table(rows, (f"differ in {len(rows)} of {len(tasks)}", "query", f"place {place}"))

    # the static twin

    def figure(self) -> Figure:
        """What is shown now as a figure, for print and for a notebook that is opened again.

        Raises:
            InputError: nothing is shown.
        """
        result = self.result
        if result is None:
            raise InputError("there is nothing to draw: choose a query first.")
        paths, captions, _ = zip(*self._cells(result), strict=True)
        query, *images = self._images(paths) or map(view.picture_or_cross, paths)
        titles = ["\n".join(lines) for lines in captions[1:]]
        limit, known = self.threshold.value, result.question.query.place is not None
        return plots.retrieved(query, images, titles, result.ranking, limit, title=self.summary(), known=known)

    def name(self) -> str:
        """The query, and letters that change with the view."""
        assert self.result is not None
        query, question = self.result.question.query, vars(self.result.question) | {"query": None}
        shown = f"own_{Path(query.path).name}" if query.place is None else f"query{query.place}"
        state = repr((question, self.top.value, self.threshold.value, self.overlay.value))
        return f"{shown}_{hashlib.sha256(state.encode()).hexdigest()[:6]}"


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.0f} %"


def browse(run: RunOrFolder, *, reader: RunOrFolder | None = None, images: pd.DataFrame | None = None) -> Browser:
    """The retrieval browser of a finished run.

    Args:
        run: a Run or its folder.
        reader: another run that answers the attributes, where this one does not.
        images: the table of images; None: read from where the run was trained.
    Raises:
        InputError: no such run, images that are not there any more.
    """
    run, table = run_and_images(run, images)
    query, gallery = query_and_gallery(run, table)
    return Browser(query, gallery, run=run, reader=opened(reader) if reader else None, figures=figures_of(run))
