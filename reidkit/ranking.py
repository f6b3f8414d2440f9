"""A retrieval: queries against a gallery under one metric and one rule, put in order and scored.

Shape letters: Q queries, G gallery images, D embedding, K places kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .distances import as_features, as_numbers, blocks, features_pair, slices
from .errors import InputError, choose
from .features import Features
from .images import JUNK, RULES
from .metrics import AP_FORMS, Scores, scores_of
from .search.reranking import rerank


@dataclass(frozen=True)
class Labels:
    """Who and where: what a rule needs to know of queries and gallery, whole numbers each, numpy or torch.

    Args:
        query_pids: (Q,) the person of each query.
        gallery_pids: (G,) the person of each gallery image.
        query_camids: (Q,) the camera of each query, for the rule "market1501".
        gallery_camids: (G,) the camera of each gallery image, for the rule "market1501".
        query_ids: (Q,) a number per image, for "same_image"; not needed where both sets are the same.
        gallery_ids: (G,) a number per image, for "same_image".
    """

    query_pids: Any
    gallery_pids: Any
    query_camids: Any = None
    gallery_camids: Any = None
    query_ids: Any = None
    gallery_ids: Any = None

    @classmethod
    def of(cls, query: Features, gallery: Features) -> Labels:
        """What the tables of described images say; images of the same path have the same number."""
        asked, shown = query.table, gallery.table
        camids = asked["camid"].to_numpy(), shown["camid"].to_numpy()
        return cls(asked["pid"].to_numpy(), shown["pid"].to_numpy(), *camids, *image_ids(asked, shown))

    def checked(self, n_query: int, n_gallery: int, rule: str) -> Labels:
        """The same as int64 arrays of these lengths, with all that the rule needs; else InputError."""
        choose(rule, RULES, "rule")
        if rule == "market1501" and (self.query_camids is None or self.gallery_camids is None):
            raise InputError(
                "rule 'market1501' leaves out matches from the query's own camera, so it needs query_camids and "
                "gallery_camids: give both, or choose rule='same_image' or rule='none'."
            )
        labels = self
        if rule == "same_image" and (self.query_ids is None or self.gallery_ids is None):
            if n_query != n_gallery:
                raise InputError(
                    "rule 'same_image' leaves the query's own image out of the gallery, so it needs query_ids and "
                    "gallery_ids (one number an image) unless queries and gallery are the same images in the same "
                    f"order; here are {n_query} queries and {n_gallery} gallery images."
                )
            labels = replace(self, query_ids=np.arange(n_query), gallery_ids=np.arange(n_gallery))
        arrays = {}
        for name, values in vars(labels).items():
            side, n = ("query", n_query) if name.startswith("query") else ("gallery", n_gallery)
            if values is not None or name.endswith("pids"):
                arrays[name] = as_numbers(values, n, name, side)
        return Labels(**arrays)

    def keep(self, rows: slice, rule: str) -> np.ndarray:
        """Which gallery images stay in each query's ranking, (rows, G) bool.

        Junk (pid -1) never counts, whatever the rule. On top of that `market1501` leaves out images of the same
        person from the same camera, `same_image` the query's own image, `none` nothing.
        """
        keep = np.broadcast_to(self.gallery_pids != JUNK, (rows.stop - rows.start, len(self.gallery_pids)))
        if rule == "market1501":
            same_camera = self.query_camids[rows, None] == self.gallery_camids
            return keep & ~(same_camera & (self.query_pids[rows, None] == self.gallery_pids))
        return keep & (self.query_ids[rows, None] != self.gallery_ids) if rule == "same_image" else keep

    def match(self, rows: slice) -> np.ndarray:
        """Which gallery images show the query's person, (rows, G) bool; junk matches nobody."""
        pids = self.query_pids[rows, None]
        return (pids == self.gallery_pids) & (pids != JUNK)

    def pairs(self, rule: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What `match` and `keep` say, as places in the gallery: of thousands only a few are concerned.

        Yields:
            (match, out): for each query the images that match and stay, ascending, and those left out, in any order.
        """
        junk = np.flatnonzero(self.gallery_pids == JUNK)
        people = equal_to(self.query_pids, self.gallery_pids)
        twins = equal_to(self.query_ids, self.gallery_ids) if rule == "same_image" else people
        for i, alike in enumerate(people):
            if self.query_pids[i] == JUNK:
                alike = alike[:0]
            if rule == "market1501":
                same = self.gallery_camids[alike] == self.query_camids[i]
                yield alike[~same], np.concatenate([junk, alike[same]])
            elif rule == "same_image":
                twin = twins[i][self.gallery_pids[twins[i]] != JUNK]
                yield alike[~np.isin(alike, twin)], np.concatenate([junk, twin])
            else:
                yield alike, junk


@dataclass(frozen=True)
class Ranking:
    """The gallery in order of distance, one row a query: what is scored, drawn, thresholded and re-ranked.

    Excluded images (`keep` False) stand at the end of their row with an infinite distance.
    """

    order: np.ndarray  # (Q, K) int64, index into the gallery
    distance: np.ndarray  # (Q, K) float
    match: np.ndarray  # (Q, K) bool
    keep: np.ndarray  # (Q, K) bool
    rule: str
    metric: str

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class Comparison:
    """Every query against every gallery image under one metric and one rule: the object of every retrieval.

    Made by `of`, `of_descriptors` or `of_distances`; measured, a block of queries at a time, when it is asked.
    """

    labels: Labels
    metric: str
    rule: str
    query: Tensor | None = None  # (Q, D)
    gallery: Tensor | None = None  # (G, D)
    given: np.ndarray | None = None  # (Q, G), distances that were given instead

    @classmethod
    def of(cls, query: Features, gallery: Features, metric: str = "euclidean", rule: str | None = None) -> Comparison:
        """Compare described images.

        Args:
            query: Q images.
            gallery: G images.
            metric: one of `distances.METRICS`.
            rule: one of `images.RULES`; None: that of the data set.
        """
        rule = rule or gallery.table.attrs["rule"]
        return cls.of_descriptors(query.descriptor, gallery.descriptor, Labels.of(query, gallery), metric, rule)

    @classmethod
    def of_descriptors(
        cls, query: Any, gallery: Any, labels: Labels, metric: str = "euclidean", rule: str = "market1501"
    ) -> Comparison:
        """Compare descriptors.

        Args:
            query: (Q, D), numpy or torch, on any device.
            gallery: (G, D), numpy or torch, on any device.
            labels: who and where.
            metric: one of `distances.METRICS`.
            rule: which gallery images are left out, see `Labels.keep`.
        Raises:
            InputError: shapes that do not fit, values that are not finite, a rule without what it needs.
        """
        q, g = features_pair(query, gallery, metric)
        return cls(labels.checked(len(q), len(g), rule), metric, rule, q, g)

    @classmethod
    def of_distances(cls, distance: Any, labels: Labels, rule: str = "market1501", metric: str = "given") -> Comparison:
        """Take distances (Q, G) one has already, from re-ranking or a metric of one's own, called `metric`."""
        table = as_features(distance, "distance").cpu().numpy()
        n_query, n_gallery = table.shape
        return cls(labels.checked(n_query, n_gallery, rule), metric, rule, given=table)

    def __len__(self) -> int:
        return len(self.labels.query_pids)

    def distances(self, only_order: bool = False) -> Iterator[tuple[slice, np.ndarray]]:
        """A block of queries at a time: the slice of them, and their distances (rows, G); see `distances.blocks`."""
        if self.given is not None:
            return slices(self.given)
        assert self.query is not None and self.gallery is not None
        return blocks(self.query, self.gallery, self.metric, only_order)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """A block of queries at a time, with what the rule says of it.

        Yields:
            (rows, distance, keep, match): the slice of queries, and for it (rows, G) distances, which gallery images
            the rule leaves in, and which of those show the query's person.
        """
        for rows, distance in self.distances():
            keep = self.labels.keep(rows, self.rule)
            yield rows, distance, keep, keep & self.labels.match(rows)

    def rank(self, top: int | None = None) -> Ranking:
        """Sort the gallery by distance for every query; equal distances keep the gallery's own order.

        Args:
            top: keep only this many first places; None: all.
        """
        if top is not None and top < 1:
            raise InputError(f"top is {top}: ask for at least one place.")
        rows_out: list[tuple[np.ndarray, ...]] = []
        for _, distance, keep, match in self.blocks():
            distance = np.where(keep, distance, np.inf)
            order = nearest_places(distance, top)
            rows_out.append((order, *(np.take_along_axis(part, order, axis=1) for part in (distance, match, keep))))
        order, distance, match, keep = (np.concatenate(part) for part in zip(*rows_out, strict=True))
        return Ranking(order, distance, match, keep, self.rule, self.metric)

    def places(self) -> list[np.ndarray]:
        """Places of the matches of every query, an array (M,) each, 1 the first."""
        pairs = self.labels.pairs(self.rule)

        def some(distance: np.ndarray, concerned: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
            return [places_of_matches(row, *pair) for row, pair in zip(distance, concerned, strict=True)]

        places: list[np.ndarray] = []
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:  # numpy sorts without holding Python's lock
            for _, distance in self.distances(only_order=True):
                shares = np.array_split(distance, threads)
                for part in pool.map(some, shares, [list(islice(pairs, len(share))) for share in shares]):
                    places += part
        return places

    def score(self, ap: str = "precision", max_rank: int = 50) -> Scores:
        """Score it, in percent.

        Args:
            ap: "precision" or "trapezoid", see `metrics.average_precision`.
            max_rank: length K of the CMC curve at most.
        Raises:
            InputError: no query with a match.
        """
        choose(ap, AP_FORMS, "ap")
        return scores_of(self.places(), len(self.labels.gallery_pids), self.metric, self.rule, ap, max_rank)

    def rerank(
        self, k1: int = 20, k2: int = 6, lambda_value: float = 0.3, *, progress: bool | None = False
    ) -> Comparison:
        """The comparison by re-ranked distances; arguments as for `reidkit.rerank`, the defaults are its paper's."""
        if self.query is None:
            raise InputError("these are distances, and re-ranking compares descriptors: re-rank before, not after.")
        distance = rerank(self.query, self.gallery, k1, k2, lambda_value, self.metric, progress=progress)
        return Comparison.of_distances(distance, self.labels, self.rule, f"{self.metric}, re-ranked")


def evaluate(
    query: Any,
    gallery: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    metric: str = "euclidean",
    rule: str = "market1501",
    ap: str = "precision",
    *,
    query_ids: Any = None,
    gallery_ids: Any = None,
    max_rank: int = 50,
) -> Scores:
    """Measure CMC, mAP and mINP of descriptors over the whole gallery, in bounded memory.

    Small problems (up to 2^28 multiply-adds) are measured in float64, larger ones in float32 by matrix products. Both
    give the same distance to about 1e-6 of the descriptors' spread.

    Junk (gallery pid -1) is never counted. Distractors (a pid no query has, 0 in Market-1501) stay in the gallery
    and never match. Equal distances keep the gallery's order.

    Args:
        query: (Q, D), numpy or torch, any device, any float type.
        gallery: (G, D), numpy or torch, any device, any float type.
        query_pids: (Q,) integers, the person of each query.
        gallery_pids: (G,) integers, the person of each gallery image.
        query_camids: (Q,) integers, the camera of each query, for "market1501".
        gallery_camids: (G,) integers, the camera of each gallery image, for "market1501".
        metric: "euclidean", "sqeuclidean" or "cosine".
        rule: "market1501" leaves out the same person from the same camera, "same_image" the query's own image, "none"
            nothing.
        ap: "precision" or "trapezoid", see `average_precision`.
        query_ids: (Q,) integers, a number per image, for "same_image"; not needed where both sets are the same.
        gallery_ids: (G,) integers, a number per image, for "same_image"; not needed where both sets are the same.
        max_rank: length K of the CMC curve at most.
    Returns:
        Scores in percent.
    Raises:
        InputError: shapes that do not fit, values that are not finite, unknown names, no query with a match.
    """
    labels = Labels(query_pids, gallery_pids, query_camids, gallery_camids, query_ids, gallery_ids)
    return Comparison.of_descriptors(query, gallery, labels, metric, rule).score(ap, max_rank)


def nearest_places(distance: np.ndarray, top: int | None) -> np.ndarray:
    """The `top` nearest of each row (Q, G), nearest first, equal ones by index; a full sort only where all are asked.

    Returns:
        (Q, min(top, G)) int64.
    """
    if top is None or top >= distance.shape[1]:
        return np.argsort(distance, axis=1, kind="stable")
    order = np.empty((len(distance), top), np.int64)
    for row, best in zip(distance, order, strict=True):
        near = np.flatnonzero(row <= np.partition(row, top - 1)[top - 1])  # more than `top` where some are equally far
        best[:] = near[np.argsort(row[near], kind="stable")[:top]]
    return order


def equal_to(values: np.ndarray, among: np.ndarray) -> list[np.ndarray]:
    """Find, for each of the values (N,), the places in `among` (M,) that hold the same, ascending; in N + M memory."""
    order = np.argsort(among, kind="stable")
    start, stop = (np.searchsorted(among, values, side, sorter=order) for side in ("left", "right"))
    return [order[a:b] for a, b in zip(start, stop, strict=True)]


def image_ids(*tables: pd.DataFrame) -> list[np.ndarray]:
    """A number for every image, the same for the same path in all tables: what the rule `same_image` compares."""
    codes, _ = pd.factorize(pd.concat([table["path"] for table in tables]))
    return np.split(codes, np.cumsum([len(table) for table in tables])[:-1])


def places_of_matches(distance: np.ndarray, match: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Find the places (1 = first) of the matches of ONE query, ascending: all that any metric needs.

    A match stands behind everything closer, and behind equally far images of a smaller index. So its place is a count,
    less what is left out. Numpy sorts bare values about as fast as it counts a row sixteen times, which is what a
    query of Market-1501 would need. Sorting places as well takes thirty times as long.

    Args:
        distance: (G,) distances of the query to the gallery.
        match: (M,) places in the gallery that match and stay.
        out: (L,) places in the gallery that are left out.
    Returns:
        (M,) int64.
    """
    if not len(match):
        return np.empty(0, np.int64)
    own, left = distance[match], np.sort(distance[out])
    ordered = np.sort(distance)
    before = np.searchsorted(ordered, own) - np.searchsorted(left, own)
    until = np.searchsorted(ordered, own, "right") - np.searchsorted(left, own, "right")
    for i in np.flatnonzero(until - before > 1):
        earlier = out[out < match[i]]
        before[i] += np.count_nonzero(distance[: match[i]] == own[i]) - np.count_nonzero(distance[earlier] == own[i])
    return np.sort(before + 1)
