"""Re-ranking: images are close when they have the same neighbours (Zhong et al. 2017)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from tqdm.auto import tqdm

from ..distances import blocks, features_pair, float32_products, for_metric, is_small, pieces
from ..errors import InputError
from .exact import PAIR_BYTES, Candidates, Exact, between, error, exactly, nearest_of, require_count

SIDE = 2048  # descriptors on either side of a tile of products


LARGE = 10_000  # images, from which on re-ranking tells its cost unasked
# Measured on two cores: passes over a tile, a pair of images; sorting and sparse products, an image and neighbour.
PAIR_SECONDS, NEIGHBOUR_SECONDS, NEIGHBOUR_BYTES = 3e-9, 3e-6, 200


@dataclass(frozen=True)
class Cost:
    """What a computation will take."""

    seconds: float
    bytes: int  # beside the descriptors

    def __str__(self) -> str:
        return f"about {self.seconds:.1f} s and {self.bytes / 1e9:.2f} GB beside the descriptors"


def rerank_cost(n_query: int, n_gallery: int, dimension: int, k1: int = 20, device: str = "cpu") -> Cost:
    """Estimate time and memory of `rerank`, to a factor of two; first measures briefly how fast the machine is."""
    n = n_query + n_gallery
    x = torch.ones(1024, dimension, device=device)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        (x @ x.T)[0, 0].item()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    pairs = n * (n + SIDE) / 2
    return Cost(
        pairs * (min(seconds) / 1024**2 + PAIR_SECONDS) + k1 * n * NEIGHBOUR_SECONDS,
        4 * n_query * n_gallery + 4 * n * dimension + 8 * min(n, SIDE) ** 2 + k1 * n * NEIGHBOUR_BYTES,
    )


def rerank(
    query: Any,
    gallery: Any,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: str = "euclidean",
    *,
    progress: bool | None = None,
) -> Any:
    """Distances after re-ranking: images are close when they have the same neighbours (Zhong et al. 2017, CVPR).

    Over the N = Q + G images together, with d_ij = |x_i - x_j|^2 / max_l |x_i - x_l|^2 and N(i, k) the k nearest of i
    and i itself:

        R(i, k)  = { j in N(i, k): i in N(j, k) }                               k-reciprocal neighbours (eq. 2)
        R*(i)    = R(i, k1) and each R(j, k1/2), j in R(i, k1), of which more
                   than two thirds lie in R(i, k1)                              expansion (eq. 3)
        V_ij     = exp(-d_ij) for j in R*(i), else 0; rows sum to 1             weights (eq. 7), as published in code
        V_i      = mean of V_j over i and its k2 - 1 nearest                    local query expansion (eq. 11)
        J(i, j)  = 1 - sum_l min(V_il, V_jl) / sum_l max(V_il, V_jl)            Jaccard distance (eq. 10)
        distance = (1 - lambda) J(i, j) + lambda d_ij                           (eq. 12)

    Sparse matrices keep only the nearest and what they share. So memory grows with N and with Q G, the answer, but
    not with N^2. Who is nearest is decided exactly (`Candidates`), equally far images by index, queries first.
    `rerank_cost` estimates time and memory beforehand.

    Args:
        query: (Q, D), numpy or torch, on any device.
        gallery: (G, D), numpy or torch.
        k1: neighbours that may be reciprocal.
        k2: neighbours to take the mean over; 1 for none.
        lambda_value: weight of the original distance, from 0 to 1; with 1 the order is the original one.
        metric: "euclidean" or "sqeuclidean" (the same here), or "cosine", the same of unit vectors.
        progress: show a bar with the cost on stderr; None: from LARGE images on.
    Returns:
        (Q, G), an array if `query` was one, else a tensor on its device; float32, or float64 where the problem is so
        small that `distances.pairwise` measures it in float64.
    Raises:
        InputError: shapes that do not fit, values that are not finite, numbers out of range.
    """
    q, g = features_pair(query, gallery, metric)
    require_count("k1", k1)
    require_count("k2", k2)
    if not 0 <= lambda_value <= 1:
        raise InputError(f"lambda_value is {lambda_value}: give a weight from 0 (Jaccard only) to 1 (original only).")
    shown = progress if progress is not None else len(q) + len(g) >= LARGE
    cost = rerank_cost(len(q), len(g), q.shape[1], k1, str(q.device)) if shown else ""
    with tqdm(
        total=1.0,
        desc=f"re-ranking ({cost})",
        bar_format="{desc} {percentage:3.0f}%|{bar}|",
        disable=not shown,
        leave=False,
    ) as bar:
        distance = torch.empty(len(q), len(g), device=q.device)
        joint = centred(q, g, metric)
        near = neighbours(joint, [q, g], metric, k1, k2, distance, bar)
        weights = expanded(near, k1, k2, joint)
    del joint
    if is_small(q, g):
        rows = [torch.from_numpy(part) for _, part in blocks(q, g, "cosine" if metric == "cosine" else "sqeuclidean")]
        distance = torch.cat(rows).to(q.device) * (2 if metric == "cosine" else 1)
    blend(distance, near.farthest[: len(q)], weights, lambda_value)
    return distance if isinstance(query, Tensor) else distance.numpy()


def centred(query: Tensor, gallery: Tensor, metric: str) -> Tensor:
    """Queries and gallery together in float32 (N, D), as the metric reads them, with the queries' mean as origin."""
    out = torch.empty(len(query) + len(gallery), query.shape[1], device=query.device)

    def wide(x: Tensor) -> Tensor:
        return for_metric(x if x.dtype == torch.float64 else x.float(), metric)

    centre = wide(query).mean(0).float()
    for part, first in ((query, 0), (gallery, len(query))):
        for rows in pieces(len(part), part.shape[1] * 8):
            out[first + rows.start : first + rows.stop] = wide(part[rows]) - centre
    return out


@dataclass(frozen=True)
class Neighbours:
    """Who is near whom among N images, and how far."""

    index: np.ndarray  # (N, K) int64; its first k1/2 + 1, k1 + 1 and k2 are the nearest so many, in no order inside
    farthest: np.ndarray  # (N,) squared distance of the farthest image
    known: tuple[np.ndarray, np.ndarray]  # keys i N + j (P,) ascending and squared distances (P,) met on the way


def neighbours(
    joint: Tensor, parts: Sequence[Tensor], metric: str, k1: int, k2: int, distance: Tensor, bar: tqdm
) -> Neighbours:
    """Find the nearest images of each of N images. Multiplies one half of all pairs, as the other half is the same.

    Args:
        joint: (N, D), as `centred` makes it.
        parts: queries and gallery as they came, for the exact distances.
        metric: one of `distances.METRICS`.
        k1: as for `rerank`.
        k2: as for `rerank`.
        distance: (Q, G), into which the squared distances of queries and gallery are written.
        bar: a progress bar, moved on by 1 in all.
    """
    n, n_query = len(joint), len(parts[0])
    counts = sorted({min(round(k1 / 2) + 1, n), min(k1 + 1, n), min(k2, n)})
    length = torch.linalg.vector_norm(joint, dim=1)
    squared, lengths = length.square(), length.cpu().numpy()
    exact = exactly(parts, parts, metric)
    sides = [
        *pieces(n_query, 1, SIDE),
        *(slice(n_query + s.start, n_query + s.stop) for s in pieces(n - n_query, 1, SIDE)),
    ]
    found = [Candidates(lengths[s], joint.shape[1], counts[-1], _from(s.start, exact)) for s in sides]
    farthest = torch.zeros(n, device=joint.device)
    memory = torch.empty(SIDE * SIDE, device=joint.device)
    order = sorted(combinations_with_replacement(range(len(sides)), 2), key=lambda pair: pair[1] - pair[0])
    with float32_products():
        for i, j in order:  # a block with itself first: that bounds whom it takes of the others
            I, J = sides[i], sides[j]
            shape = I.stop - I.start, J.stop - J.start
            if I.start < n_query <= J.start:
                tile = distance[I, J.start - n_query : J.stop - n_query]
            else:
                tile = memory[: shape[0] * shape[1]].view(shape)
            torch.addmm(squared[J][None], joint[I], joint[J].T, alpha=-2, out=tile).add_(squared[I][:, None])
            if i == j:
                tile.fill_diagonal_(0)
            found[i].offer(tile, lengths[J].max(), J.start)
            torch.maximum(farthest[I], tile.amax(1), out=farthest[I])
            if i != j:
                found[j].offer(tile, lengths[I].max(), I.start, rows=1)
                torch.maximum(farthest[J], tile.amax(0), out=farthest[J])
            bar.update(shape[0] * shape[1] / (n * n) * (1 if i == j else 2))
    several = [each.candidates() for each in found]
    row = np.concatenate([s.start + one[0] for s, one in zip(sides, several, strict=True)])
    column, value = (np.concatenate([one[i] for one in several]) for i in (1, 2))
    index = nearest_sets(row, column, value, lengths, joint.shape[1], counts, exact)
    key = row * n + column
    by_key = np.argsort(key)
    return Neighbours(index, farthest.cpu().numpy(), (key[by_key], value[by_key]))


def _from(start: int, exact: Exact) -> Exact:
    """Exact distances for rows that are numbered from `start`."""
    return lambda row, column: exact(row + start, column)


def nearest_sets(
    row: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    length: np.ndarray,
    dimension: int,
    counts: list[int],
    exact: Exact,
) -> np.ndarray:
    """Find the nearest so many of each row, for several counts; measure exactly only where a set's edge is in doubt.

    Args:
        row: (P,) the first image of each pair, numbers below N. The pairs hold all that can be meant.
        column: (P,) the second image of each pair.
        value: (P,) squared distances, off by an `error` at most.
        length: (N,) lengths of the descriptors.
        dimension: D of the descriptors.
        counts: how many nearest images each set has, ascending.
        exact: measures pairs in float64, see `exactly`.
    Returns:
        (N, K) columns, K the last count: those of each count come before the others.
    """
    order = np.lexsort((value, row))
    row, column, value = row[order], column[order], value[order].astype(np.float64)
    first = np.searchsorted(row, np.arange(len(length)))
    end = np.append(first[1:], len(row))
    doubt = np.zeros(len(row), bool)
    for count in counts:
        last = value[first + count - 1]
        unsure = 2 * error(last, length, length.max(), dimension)
        beyond = value[np.minimum(first + count, len(row) - 1)]
        open_edge = (first + count < end) & (beyond - last <= unsure)
        doubt |= open_edge[row] & (np.abs(value - last[row]) <= unsure[row])
    value[doubt] = np.square(exact(row[doubt], column[doubt]))
    return nearest_of(row, column, value, counts[-1])[1].reshape(len(length), -1)


def reciprocal(index: np.ndarray) -> sparse.csr_array:
    """R (N, N): 1 where two of N images are both among the other's nearest (N, k)."""
    n, k = index.shape
    ones = np.ones(n * k, np.int32)
    near = sparse.csr_array((ones, index.ravel(), np.arange(0, n * k + 1, k)), (n, n))
    return near.multiply(near.T).tocsr()


def expanded(near: Neighbours, k1: int, k2: int, joint: Tensor) -> sparse.csr_array:
    """V (N, N): what each of N images thinks of the others, see `rerank`."""
    n = len(near.index)
    mutual, half = reciprocal(near.index[:, : k1 + 1]), reciprocal(near.index[:, : round(k1 / 2) + 1])
    common = (mutual @ half.T).multiply(mutual).tocsr()  # |R(i, k1) and R(j, k1/2)| for j in R(i, k1)
    size = half.sum(1)
    common.data = (3 * common.data > 2 * size[common.indices]).astype(np.int32)
    members = (mutual + common @ half).tocsr()
    members.eliminate_zeros()
    i, j = members.nonzero()
    share = squared_distances(i, j, near, joint) / np.maximum(near.farthest[i], np.finfo(np.float32).tiny)
    weights = sparse.csr_array((np.exp(-share), (i, j)), (n, n))
    weights.data /= np.repeat(weights.sum(1), np.diff(weights.indptr))
    if k2 == 1:
        return weights
    nearest = near.index[:, :k2]
    mean = np.full(nearest.size, 1 / nearest.shape[1])
    return sparse.csr_array((mean, nearest.ravel(), np.arange(0, nearest.size + 1, nearest.shape[1])), (n, n)) @ weights


def squared_distances(i: np.ndarray, j: np.ndarray, near: Neighbours, joint: Tensor) -> np.ndarray:
    """|x_i - x_j|^2 (P,) for pairs of images: most were met on the way, the others are measured."""
    keys, values = near.known
    key = i * len(joint) + j
    place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    squared = values[place].astype(np.float64).clip(0)
    lacking = np.flatnonzero(keys[place] != key)
    for some in pieces(len(lacking), joint.shape[1] * 4, PAIR_BYTES):
        a, b = (joint[torch.from_numpy(side[lacking[some]]).to(joint.device)] for side in (i, j))
        squared[lacking[some]] = between(a, b).square().cpu().numpy()
    return squared


def blend(distance: Tensor, farthest: np.ndarray, weights: sparse.csr_array, lambda_value: float) -> None:
    """Turn squared distances (Q, G) in place into (1 - lambda) J + lambda d, see `rerank`.

    Args:
        distance: (Q, G) squared distances, overwritten.
        farthest: (Q,) squared distance of the image that is farthest from each query.
        weights: V (N, N), queries first.
        lambda_value: weight of the original distance, from 0 to 1.
    """
    n_query, n_gallery = distance.shape
    scale = torch.from_numpy(lambda_value / np.maximum(farthest, np.finfo(np.float32).tiny)).to(distance)
    query, gallery = weights[:n_query], weights[n_query:].tocsc()
    pairs = np.append(0, np.diff(gallery.indptr)[query.indices].cumsum())[query.indptr]  # up to each query
    first = 0
    while first < n_query:  # what fits the cache; an image that everybody has for a neighbour makes many pairs
        last = int(np.searchsorted(pairs, pairs[first] + PAIR_BYTES // 8, "right")) - 1
        last = max(first + 1, min(last, first + PAIR_BYTES // 8 // n_gallery))
        least = torch.from_numpy(common_weight(query[first:last], gallery)).to(distance)
        tile = distance[first:last]
        tile.clamp_(min=0).mul_(scale[first:last, None]).add_(1 - lambda_value)
        tile.sub_(least / (2 - least), alpha=1 - lambda_value)  # rows of V sum to 1, so min + max = 2
        first = last


def common_weight(query: sparse.csr_array, gallery: sparse.csc_array) -> np.ndarray:
    """sum_l min(V_il, V_jl) for the rows i of queries (Q, N) and j of gallery (G, N), as float64 (Q, G)."""
    shape = query.shape[0], gallery.shape[0]
    count = np.diff(gallery.indptr)[query.indices]  # gallery images that share each weight of a query
    start = np.repeat(gallery.indptr[query.indices] - (count.cumsum() - count), count)
    entry = start + np.arange(count.sum())
    least = np.minimum(np.repeat(query.data, count), gallery.data[entry])
    row = np.repeat(np.repeat(np.arange(shape[0]), np.diff(query.indptr)), count)
    return np.bincount(row * shape[1] + gallery.indices[entry], least, shape[0] * shape[1]).reshape(shape)
