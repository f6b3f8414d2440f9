"""Distances of queries to a gallery: exact for small problems, by products and in blocks for large ones.

Shape letters: Q queries, G gallery images, D embedding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError, choose

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


def require_same_width(query: Tensor, gallery: Tensor) -> None:
    """InputError unless both have the same number of columns."""
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"query has {query.shape[1]} numbers a row and gallery {gallery.shape[1]}: both must come from the same "
            "network."
        )


def features_pair(query: Any, gallery: Any, metric: str) -> tuple[Tensor, Tensor]:
    """Checked queries (Q, D) and gallery (G, D) on one device, and the name of the metric checked."""
    choose(metric, METRICS, "metric")
    q, g = as_matrix(query, "query"), as_matrix(gallery, "gallery")
    require_same_width(q, g)
    return q, g.to(q.device)


def for_metric(features: Tensor, metric: str) -> Tensor:
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
        q = for_metric(query.double(), metric)
        for rows in pieces(len(gallery), gallery.shape[1] * 8):
            g = for_metric(gallery[rows].double(), metric)
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
        q = for_metric(query.float(), metric)
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


def slices(distance: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """A table (Q, G) in blocks of rows, as `blocks` gives them."""
    for rows in pieces(len(distance), distance[0].nbytes, BLOCK_BYTES):
        yield rows, distance[rows]
