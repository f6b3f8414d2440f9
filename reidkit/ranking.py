"""Descriptors to rankings: distances, the exclusion rules by name, ties broken by gallery index.

Shape letters: Q queries, G gallery images, D embedding, K places kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from .features import Features
from .images import JUNK, RULES, InputError, nearest

METRICS = ("euclidean", "sqeuclidean", "cosine")

# Below this many multiply-adds (about a second) distances are taken by differences in float64: exact
# ties stay ties and nothing cancels. Above it a float32 matrix product is some fifty times as fast.
EXACT_WORK = 2**28
BLOCK_BYTES = 2**26  # memory for one block of distances


def chosen(value: str, names: Sequence[str], what: str) -> str:
    """`value` if it is one of `names`; else InputError with the names there are."""
    if value not in names:
        near = nearest(str(value), names)
        hint = f"did you mean {near!r}? " if near else ""
        raise InputError(f"{what} {value!r} is not known; {hint}choose one of {', '.join(names)}.")
    return value


def as_features(features: Any, what: str) -> Tensor:
    """Descriptors (N, D), numpy or torch, as a finite float32 or float64 tensor on the device it is on.

    Raises InputError unless it is a two-dimensional array of finite numbers.
    """
    try:
        tensor = torch.as_tensor(features)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} is no array of numbers ({error}): give a (N, D) array.") from None
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise InputError(
            f"{what} has the shape {tuple(tensor.shape)}, expected (N, D) with at least one row and one column."
        )
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    bad = (~torch.isfinite(tensor)).any(1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise InputError(
            f"{what} holds NaN or infinity in {int(bad.sum())} of {len(tensor)} rows, the first is row {first}: "
            "look for images that did not decode or a training that diverged, and leave those rows out."
        )
    return tensor


def as_numbers(numbers: Any, n: int, what: str, of: str) -> np.ndarray:
    """Whole numbers (n,) as int64; raises InputError for another length or for fractions."""
    if isinstance(numbers, Tensor):
        numbers = numbers.detach().cpu()
    try:
        array = np.asarray(numbers)
        whole = array.astype(np.int64)
    except (TypeError, ValueError):
        raise InputError(f"{what} are not whole numbers: give one integer for each row of {of}.") from None
    if array.ndim != 1 or len(array) != n:
        raise InputError(f"{what} has the shape {array.shape}, but {of} has {n} rows: give one for each row.")
    if array.dtype.kind not in "iub" and not np.array_equal(whole, array):
        raise InputError(f"{what} holds fractions or NaN: give one integer for each row of {of}.")
    return whole


def prepare(features: Tensor, metric: str) -> Tensor:
    """Descriptors as the metric reads them: cosine compares directions, so rows become unit vectors."""
    return F.normalize(features, dim=1) if metric == "cosine" else features


def pairwise(query: Tensor, gallery: Tensor, metric: str = "euclidean", exact: bool | None = None) -> Tensor:
    """Distances between every query and every gallery descriptor.

    euclidean    sqrt(sum_d (q_d - g_d)^2)
    sqeuclidean  sum_d (q_d - g_d)^2
    cosine       1 - q.g / (|q| |g|), from 0 (same direction) to 2

    Args:
        query: (Q, D). gallery: (G, D), same device.
        exact: differences in float64 instead of products in float32; by default for small problems only.
    Returns:
        (Q, G), float64 if exact, else float32.
    """
    if exact is None:
        exact = len(query) * len(gallery) * query.shape[1] <= EXACT_WORK
    exact = exact and query.device.type != "mps"  # Apple's GPUs have no float64
    kind = torch.float64 if exact else torch.float32
    q, g = prepare(query.to(kind), metric), prepare(gallery.to(kind), metric)
    if not exact:  # distances do not change with the origin, but the products below cancel less
        middle = g.mean(0)
        q, g = q - middle, g - middle
    if exact:
        distance = torch.cdist(q, g, compute_mode="donot_use_mm_for_euclid_dist")
        squared = distance.square()
    else:
        squared = torch.addmm(g.square().sum(1)[None], q, g.T, alpha=-2.0)
        squared.add_(q.square().sum(1)[:, None]).clamp_(min=0)
        distance = squared
    if metric == "cosine":
        return squared / 2  # |q - g|^2 = 2 - 2 q.g for unit vectors
    if metric == "sqeuclidean":
        return squared
    return distance if exact else squared.sqrt_()


def blocks(query: Tensor, gallery: Tensor, metric: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Distances a block of queries at a time, so that memory does not grow with Q.

    Yields:
        (rows, distance): the slice of queries and their distances (rows, G) on the CPU.
    """
    exact = query.shape[0] * gallery.shape[0] * query.shape[1] <= EXACT_WORK
    rows = max(1, BLOCK_BYTES // (len(gallery) * (8 if exact else 4)))
    for start in range(0, len(query), rows):
        part = slice(start, min(start + rows, len(query)))
        yield part, pairwise(query[part], gallery, metric, exact).cpu().numpy()


@dataclass(frozen=True)
class Labels:
    """Who and where: what a rule needs to know of queries and gallery. Arrays are int64."""

    query_pids: np.ndarray  # (Q,)
    gallery_pids: np.ndarray  # (G,)
    query_camids: np.ndarray | None = None
    gallery_camids: np.ndarray | None = None
    query_ids: np.ndarray | None = None  # number of the image itself, for same_image
    gallery_ids: np.ndarray | None = None

    @classmethod
    def checked(
        cls,
        n_query: int,
        n_gallery: int,
        query_pids: Any,
        gallery_pids: Any,
        query_camids: Any = None,
        gallery_camids: Any = None,
        query_ids: Any = None,
        gallery_ids: Any = None,
        rule: str = "market1501",
    ) -> Labels:
        """Labels of the right lengths and with all the rule needs; else InputError."""
        chosen(rule, RULES, "rule")

        def one(values: Any, n: int, what: str, of: str) -> np.ndarray | None:
            return None if values is None else as_numbers(values, n, what, of)

        if rule == "market1501" and (query_camids is None or gallery_camids is None):
            raise InputError(
                "rule 'market1501' leaves out matches from the query's own camera, so it needs query_camids and "
                "gallery_camids: give both, or choose rule='same_image' or rule='none'."
            )
        if rule == "same_image" and (query_ids is None or gallery_ids is None):
            if n_query != n_gallery:
                raise InputError(
                    "rule 'same_image' leaves the query's own image out of the gallery, so it needs query_ids and "
                    "gallery_ids (one number an image) unless queries and gallery are the same images in the same "
                    f"order; here are {n_query} queries and {n_gallery} gallery images."
                )
            query_ids = gallery_ids = np.arange(n_query)
        return cls(
            as_numbers(query_pids, n_query, "query_pids", "query"),
            as_numbers(gallery_pids, n_gallery, "gallery_pids", "gallery"),
            one(query_camids, n_query, "query_camids", "query"),
            one(gallery_camids, n_gallery, "gallery_camids", "gallery"),
            one(query_ids, n_query, "query_ids", "query"),
            one(gallery_ids, n_gallery, "gallery_ids", "gallery"),
        )

    def keep(self, rows: slice, rule: str) -> np.ndarray:
        """Which gallery images stay in each query's ranking, (rows, G) bool.

        Junk (pid -1) never counts, whatever the rule. On top of that `market1501` leaves out images of the same
        person from the same camera, `same_image` the query's own image, `none` nothing.
        """
        keep = np.broadcast_to(self.gallery_pids != JUNK, (rows.stop - rows.start, len(self.gallery_pids)))
        if rule == "market1501":
            assert self.query_camids is not None and self.gallery_camids is not None
            same_camera = self.query_camids[rows, None] == self.gallery_camids
            return keep & ~(same_camera & (self.query_pids[rows, None] == self.gallery_pids))
        if rule == "same_image":
            assert self.query_ids is not None
            return keep & (self.query_ids[rows, None] != self.gallery_ids)
        return keep

    def match(self, rows: slice) -> np.ndarray:
        """Which gallery images show the query's person, (rows, G) bool; junk matches nobody."""
        pids = self.query_pids[rows, None]
        return (pids == self.gallery_pids) & (pids != JUNK)


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


def rank(
    query: Any,
    gallery: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    metric: str = "euclidean",
    rule: str = "market1501",
    *,
    query_ids: Any = None,
    gallery_ids: Any = None,
    top: int | None = None,
) -> Ranking:
    """The gallery sorted by distance for every query; equal distances keep the gallery's own order.

    Args:
        query: (Q, D); gallery: (G, D); numpy or torch on any device.
        query_pids, query_camids: (Q,) integers; gallery_pids, gallery_camids: (G,).
        rule: what is left out, see `Labels.keep`.
        query_ids, gallery_ids: a number per image, for the rule `same_image`.
        top: keep only the first so many places (all by default).
    Raises:
        InputError: shapes that do not fit, values that are not finite, a rule without what it needs.
    """
    q, g = features_pair(query, gallery, metric)
    labels = Labels.checked(
        len(q), len(g), query_pids, gallery_pids, query_camids, gallery_camids, query_ids, gallery_ids, rule
    )
    if top is not None and top < 1:
        raise InputError(f"top is {top}: ask for at least one place.")
    rows_out: list[tuple[np.ndarray, ...]] = []
    for rows, distance in blocks(q, g, metric):
        keep = labels.keep(rows, rule)
        distance = np.where(keep, distance, np.inf)
        order = np.argsort(distance, axis=1, kind="stable")[:, :top]
        parts = (distance, labels.match(rows), keep)
        rows_out.append((order, *(np.take_along_axis(part, order, axis=1) for part in parts)))
    order, distance, match, keep = (np.concatenate(part) for part in zip(*rows_out, strict=True))
    return Ranking(order, distance, match & keep, keep, rule, metric)


def image_ids(*tables: pd.DataFrame) -> list[np.ndarray]:
    """A number for every image, the same for the same path in all tables: what the rule `same_image` compares."""
    codes, _ = pd.factorize(pd.concat([table["path"] for table in tables]))
    return np.split(codes, np.cumsum([len(table) for table in tables])[:-1])


def labels_of(query: Features, gallery: Features) -> dict[str, Any]:
    """What `rank` and `evaluate` want to know beside descriptors, taken from the tables of both."""
    query_ids, gallery_ids = image_ids(query.table, gallery.table)
    return {
        "query_pids": query.table["pid"].to_numpy(),
        "gallery_pids": gallery.table["pid"].to_numpy(),
        "query_camids": query.table["camid"].to_numpy(),
        "gallery_camids": gallery.table["camid"].to_numpy(),
        "query_ids": query_ids,
        "gallery_ids": gallery_ids,
    }


def rank_features(
    query: Features,
    gallery: Features,
    metric: str = "euclidean",
    *,
    rule: str | None = None,
    top: int | None = None,
) -> Ranking:
    """`rank` for described images; the rule is the data set's own unless another is given."""
    rule = rule or gallery.table.attrs["rule"]
    return rank(query.descriptor, gallery.descriptor, **labels_of(query, gallery), metric=metric, rule=rule, top=top)


def features_pair(query: Any, gallery: Any, metric: str) -> tuple[Tensor, Tensor]:
    """Checked queries (Q, D) and gallery (G, D) on one device, and the name of the metric checked."""
    chosen(metric, METRICS, "metric")
    q, g = as_features(query, "query"), as_features(gallery, "gallery")
    if q.shape[1] != g.shape[1]:
        raise InputError(
            f"query has {q.shape[1]} numbers a row and gallery {g.shape[1]}: both must come from the same network."
        )
    return q, g.to(q.device)


def rank_of_matches(distance: np.ndarray, keep: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Places (1 = first) of the matches of ONE query, ascending; all that any metric needs.

    Counting replaces the full sort with its indices: a match stands behind everything closer and behind equally
    far images of a smaller index.

    Args:
        distance, keep, match: (G,).
    Returns:
        (M,) int64, M the number of kept matches.
    """
    kept = distance[keep]
    is_match = match[keep]
    ordered = np.sort(kept)
    own = kept[is_match]
    before = np.searchsorted(ordered, own, side="left")
    ties = np.searchsorted(ordered, own, side="right") - before
    places = before + 1
    for i in np.flatnonzero(ties > 1):
        index = np.flatnonzero(is_match)[i]
        places[i] += np.count_nonzero(kept[:index] == own[i])
    return np.sort(places)
