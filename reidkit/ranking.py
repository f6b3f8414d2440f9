"""Descriptors to rankings: distances, the exclusion rules by name, ties broken by gallery index.

Shape letters: Q queries, G gallery images, D embedding, K places kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError, choose
from .features import Features
from .images import JUNK, RULES

METRICS = ("euclidean", "sqeuclidean", "cosine")

# Below this many multiply-adds (about a second) distances are taken by differences in float64: exact
# ties stay ties and nothing cancels. Above it a float32 matrix product is some fifty times as fast.
EXACT_WORK = 2**28
BLOCK_BYTES = 3 * 2**24  # memory for one block of distances, unless an eighth of the gallery's own is more
CHUNK_BYTES = 2**24  # gallery rows that are converted at a time


def pieces(rows: int, row_bytes: int, limit: int | None = None) -> Iterator[slice]:
    """Cut rows into slices of at most `limit` bytes each (CHUNK_BYTES by default), but of at least one row."""
    step = max(1, (limit or CHUNK_BYTES) // max(1, row_bytes))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def as_matrix(features: Any, what: str, *, read: bool = True) -> Tensor:
    """Check descriptors (N, D), numpy or torch, and give them as a tensor of the same type and device, not copied.

    Raises InputError unless they are a two-dimensional array of finite numbers. Without `read` only the shape is
    checked.
    """
    try:
        with warnings.catch_warnings():  # a memory map that may not be written to: nothing here writes
            warnings.filterwarnings("ignore", "The given NumPy array is not writ")
            tensor = torch.as_tensor(features)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} is no array of numbers ({error}): give a (N, D) array.") from None
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise InputError(
            f"{what} has the shape {tuple(tensor.shape)}, expected (N, D) with at least one row and one column."
        )
    tensor = tensor.detach()
    if read:
        require_finite(tensor, what)
    return tensor


def as_features(features: Any, what: str) -> Tensor:
    """`as_matrix` as float32 or float64; what is of another type is copied."""
    tensor = as_matrix(features, what)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def require_finite(tensor: Tensor, what: str) -> None:
    """Raise InputError if any row (N, D) holds NaN or infinity. Works by pieces: isfinite() would copy everything."""
    bad = []
    for rows in pieces(len(tensor), tensor.shape[1] * 8, CHUNK_BYTES // 4):
        part = tensor[rows]
        total = part.sum(1, dtype=torch.float64 if part.dtype == torch.float64 else torch.float32)
        if not total.isfinite().all():
            bad += [rows.start + i for i in (~part.isfinite()).any(1).nonzero()[:, 0].tolist()]
    if bad:
        raise InputError(
            f"{what} holds NaN or infinity in {len(bad)} of {len(tensor)} rows, the first is row {bad[0]}: "
            "look for images that did not decode or a training that diverged, and leave those rows out."
        )


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


@contextmanager
def float32_products() -> Iterator[None]:
    """Matrix products in full float32, whatever the training asked for: TF32 and bfloat16 change who is nearest."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


Fill = Callable[[Tensor, Tensor], None]  # writes the distances of queries (Q, D) into a tensor (Q, G)


def differences(gallery: Tensor, metric: str) -> Fill:
    """Distances to a gallery (G, D) in float64 by differences: equal images are equally far, and nothing cancels."""

    def fill(query: Tensor, out: Tensor) -> None:
        q = prepare(query.double(), metric)
        for rows in pieces(len(gallery), gallery.shape[1] * 8):
            g = prepare(gallery[rows].double(), metric)
            distance = torch.cdist(q, g, compute_mode="donot_use_mm_for_euclid_dist")
            if metric != "euclidean":
                distance.square_()
            if metric == "cosine":  # |q - g|^2 = 2 - 2 q.g for unit vectors
                distance /= 2
            out[:, rows] = distance

    return fill


def products(query: Tensor, gallery: Tensor, metric: str, only_order: bool = False) -> Fill:
    """Distances to a gallery (G, D) in float32 by matrix products, without a copy of a float32 gallery.

    Distances do not depend on the origin, and from c, the mean of some queries, the products cancel less:

        |q - g|^2 = |g - c|^2 - 2 (q - c).g + [|q - c|^2 + 2 (q - c).c]

    The last term is one number a query.

    Args:
        query: (Q, D). The mean of its first 1024 rows is the origin; nothing else of it is used.
        gallery: (G, D), on the same device.
        metric: one of `METRICS`.
        only_order: leave out what does not change the order of the gallery: the last term and the root.
    """
    centre = torch.zeros_like(query[0], dtype=torch.float32) if metric == "cosine" else query[:1024].float().mean(0)
    own = torch.empty(len(gallery), device=gallery.device)  # what depends on the gallery alone
    for rows in pieces(len(gallery), gallery.shape[1] * 4, CHUNK_BYTES // 4):
        g = gallery[rows].float()
        torch.linalg.vector_norm(g - centre, dim=1, out=own[rows])
    if metric == "cosine":
        away = 1 - (own == 0) / 2  # a row of zeros has no direction: it is as far as `differences` says
        own = own.clamp_(min=1e-12).reciprocal_().neg_()
    else:
        own.square_()

    def fill(query: Tensor, out: Tensor) -> None:
        q = prepare(query.float(), metric)
        moved = q - centre
        with float32_products():
            for rows in pieces(len(gallery), 0 if gallery.dtype == torch.float32 else gallery.shape[1] * 4):
                tile = out[:, rows]
                if metric == "cosine":
                    torch.mm(moved, gallery[rows].float().T, out=tile)
                    torch.addcmul(away[rows], tile, own[rows], out=tile)
                else:
                    torch.addmm(own[rows][None], moved, gallery[rows].float().T, alpha=-2, out=tile)
        if only_order:
            return
        if metric == "cosine":
            out.sub_((q == 0).all(1, keepdim=True) / 2)
        else:
            out.add_((moved * (q + centre)).sum(1, keepdim=True))  # |q - c|^2 + 2 (q - c).c
        out.clamp_(min=0)
        if metric == "euclidean":
            out.sqrt_()

    return fill


def is_small(query: Tensor, gallery: Tensor) -> bool:
    """Whether distances are taken by differences in float64; Apple's GPUs have no float64."""
    return len(query) * len(gallery) * query.shape[1] <= EXACT_WORK and query.device.type != "mps"


def pairwise(query: Tensor, gallery: Tensor, metric: str = "euclidean", exact: bool | None = None) -> Tensor:
    """Measure the distance of every query to every gallery descriptor.

    euclidean    sqrt(sum_d (q_d - g_d)^2)
    sqeuclidean  sum_d (q_d - g_d)^2
    cosine       1 - q.g / (|q| |g|), from 0 (same direction) to 2

    Args:
        query: (Q, D).
        gallery: (G, D), on the same device.
        metric: one of `METRICS`.
        exact: take differences in float64 instead of products in float32; None: for small problems only.
    Returns:
        (Q, G), float64 if exact, else float32.
    """
    exact = is_small(query, gallery) if exact is None else exact and query.device.type != "mps"
    fill = differences(gallery, metric) if exact else products(query, gallery, metric)
    kind = torch.float64 if exact else torch.float32
    distance = torch.empty(len(query), len(gallery), dtype=kind, device=query.device)
    fill(query, distance)
    return distance


def blocks(query: Tensor, gallery: Tensor, metric: str, only_order: bool = False) -> Iterator[tuple[slice, np.ndarray]]:
    """Measure distances a block of queries at a time, so that memory does not grow with Q.

    A block takes BLOCK_BYTES, or an eighth of the gallery's own memory (D / 8 queries) where that is more. With fewer
    queries at a time, reading the gallery would take longer than multiplying it.

    Args:
        query: (Q, D).
        gallery: (G, D), on the same device.
        metric: one of `METRICS`.
        only_order: give any values in the order of the distances, see `products`. The next block may then reuse the
            memory.
    Yields:
        (rows, distance): the slice of queries and their distances (rows, G) on the CPU.
    """
    exact = is_small(query, gallery)
    fill = differences(gallery, metric) if exact else products(query, gallery, metric, only_order)
    kind = torch.float64 if exact else torch.float32
    row_bytes = len(gallery) * kind.itemsize
    memory = torch.empty(0)
    for rows in pieces(len(query), row_bytes, max(BLOCK_BYTES, row_bytes * query.shape[1] // 8)):
        n = rows.stop - rows.start
        if not only_order or len(memory) < n:
            memory = torch.empty(n, len(gallery), dtype=kind, device=query.device)
        distance = memory[:n]
        fill(query[rows], distance)
        yield rows, distance.cpu().numpy()


def equal_to(values: np.ndarray | None, among: np.ndarray | None) -> list[np.ndarray]:
    """Find, for each of the values (N,), the places in `among` (M,) that hold the same, ascending; in N + M memory."""
    assert values is not None and among is not None
    order = np.argsort(among, kind="stable")
    start, stop = (np.searchsorted(among, values, side, sorter=order) for side in ("left", "right"))
    return [order[a:b] for a, b in zip(start, stop, strict=True)]


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
        choose(rule, RULES, "rule")

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

    def pairs(self, rule: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What `match` and `keep` say, as places in the gallery: of thousands only a few are concerned.

        Yields:
            (match, out): for each query the images that match and stay, ascending, and those left out, in any order.
        """
        junk = np.flatnonzero(self.gallery_pids == JUNK)
        people = equal_to(self.query_pids, self.gallery_pids)
        twins = equal_to(self.query_ids, self.gallery_ids) if rule == "same_image" else people
        for i, own in enumerate(people):
            if self.query_pids[i] == JUNK:
                own = own[:0]
            if rule == "market1501":
                assert self.query_camids is not None and self.gallery_camids is not None
                same = self.gallery_camids[own] == self.query_camids[i]
                yield own[~same], np.concatenate([junk, own[same]])
            elif rule == "same_image":
                twin = twins[i][self.gallery_pids[twins[i]] != JUNK]
                yield own[~np.isin(own, twin)], np.concatenate([junk, twin])
            else:
                yield own, junk


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
    """Sort the gallery by distance for every query; equal distances keep the gallery's own order.

    Args:
        query: (Q, D), numpy or torch, on any device.
        gallery: (G, D), numpy or torch, on any device.
        query_pids: (Q,) integers, the person of each query.
        gallery_pids: (G,) integers, the person of each gallery image.
        query_camids: (Q,) integers, the camera of each query, for the rule "market1501".
        gallery_camids: (G,) integers, the camera of each gallery image, for the rule "market1501".
        metric: one of `METRICS`.
        rule: which gallery images are left out, see `Labels.keep`.
        query_ids: (Q,) integers, a number per image, for the rule "same_image".
        gallery_ids: (G,) integers, a number per image, for the rule "same_image".
        top: keep only this many first places; None: all.
    Raises:
        InputError: shapes that do not fit, values that are not finite, a rule without what it needs.
    """
    q, g = features_pair(query, gallery, metric)
    labels = Labels.checked(
        len(q), len(g), query_pids, gallery_pids, query_camids, gallery_camids, query_ids, gallery_ids, rule
    )
    return ranking_of(blocks(q, g, metric), labels, metric, rule, top)


def rank_distance(
    distance: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    rule: str = "market1501",
    *,
    query_ids: Any = None,
    gallery_ids: Any = None,
    top: int | None = None,
) -> Ranking:
    """`rank` for distances (Q, G) one has already, from re-ranking or a metric of one's own."""
    table = as_features(distance, "distance").cpu().numpy()
    q, g = table.shape
    labels = Labels.checked(q, g, query_pids, gallery_pids, query_camids, gallery_camids, query_ids, gallery_ids, rule)
    return ranking_of(slices(table), labels, "given", rule, top)


def slices(distance: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """A table (Q, G) in blocks of rows, as `blocks` gives them."""
    for rows in pieces(len(distance), distance[0].nbytes, BLOCK_BYTES):
        yield rows, distance[rows]


def ranking_of(
    parts: Iterable[tuple[slice, np.ndarray]], labels: Labels, metric: str, rule: str, top: int | None
) -> Ranking:
    """A Ranking from blocks of distances as `blocks` gives them."""
    if top is not None and top < 1:
        raise InputError(f"top is {top}: ask for at least one place.")
    rows_out: list[tuple[np.ndarray, ...]] = []
    for rows, distance in parts:
        keep = labels.keep(rows, rule)
        distance = np.where(keep, distance, np.inf)
        order = nearest_places(distance, top)
        found = (distance, labels.match(rows), keep)
        rows_out.append((order, *(np.take_along_axis(part, order, axis=1) for part in found)))
    order, distance, match, keep = (np.concatenate(part) for part in zip(*rows_out, strict=True))
    return Ranking(order, distance, match & keep, keep, rule, metric)


def leave_out(ranking: Ranking, out: np.ndarray) -> Ranking:
    """The ranking without some gallery images, (Q, G) bool: by attributes that do not fit (paper 002, figure 8).

    What is left out stands at the end of its row, as what the rule leaves out does, and is no match any more.
    """
    if out.shape[0] != len(ranking) or out.shape[1] <= ranking.order.max(initial=-1):
        raise InputError(
            f"out has the shape {out.shape}: give a yes or no for each of {len(ranking)} queries and image."
        )
    keep = ranking.keep & ~np.take_along_axis(out, ranking.order, axis=1)
    behind = np.argsort(~keep, axis=1, kind="stable")
    order, distance, match, keep = (
        np.take_along_axis(part, behind, axis=1) for part in (ranking.order, ranking.distance, ranking.match, keep)
    )
    return Ranking(order, np.where(keep, distance, np.inf), match & keep, keep, ranking.rule, ranking.metric)


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
    choose(metric, METRICS, "metric")
    q, g = as_matrix(query, "query"), as_matrix(gallery, "gallery")
    require_same_width(q, g)
    return q, g.to(q.device)


def require_same_width(query: Tensor, gallery: Tensor) -> None:
    """InputError unless both have the same number of columns."""
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"query has {query.shape[1]} numbers a row and gallery {gallery.shape[1]}: both must come from the same "
            "network."
        )


def rank_of_matches(distance: np.ndarray, keep: np.ndarray, match: np.ndarray) -> np.ndarray:
    """`places_of_matches` for masks: distance, keep, match (G,) to (M,) ascending places."""
    return places_of_matches(distance, np.flatnonzero(match & keep), np.flatnonzero(~keep))


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
