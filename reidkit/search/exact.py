"""The nearest, exactly: products in float32 say who may be among them, and differences in float64 decide.

So neither the size of a block nor the machine changes who is nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..distances import for_metric, pieces
from ..errors import InputError

PAIR_BYTES = 2**22  # gathered descriptors at a time; what fits a processor's cache is fastest
FEW = 2**15  # pairs to measure one by one
MANY = 2**21  # candidates of a block; beyond, the exact distances thin them out

Exact = Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows (P,), columns (P,) to float64 |x_row - x_column| (P,)


def rounding(dimension: int) -> float:
    """Bound the error of a float32 product of vectors, as a share of the product of their lengths.

    With u = 2^-24, the error never exceeds D u. In practice it does not exceed 6 sqrt(D) u either, as rounding errors
    do not conspire (Higham & Mary, A new approach to probabilistic rounding error analysis, 2019). A few u more cover
    the rounding of the vectors themselves.
    """
    return (min(dimension, 6 * dimension**0.5) + 8) * 2**-24


def error(value: np.ndarray, length: np.ndarray, longest: float, dimension: int) -> np.ndarray:
    """Bound the error of squared distances |x|^2 + |y|^2 - 2 x.y in float32, however long a single y is.

    The error is at most u (|x| + |y|)^2 with u = `rounding`. If |y| <= 2 |x|, that is at most 9 u |x|^2. Otherwise y
    is so far away that it is at most 9 u |x - y|^2. Ten stands for nine, as the true distance is not known either.

    Args:
        value: (P,) squared distances.
        length: (P,) lengths |x|.
        longest: the longest |y|.
        dimension: D of the descriptors.
    """
    return rounding(dimension) * np.minimum((length + longest) ** 2, 10 * np.maximum(length**2, value))


class Candidates:
    """Keeps whoever may be among the K nearest of R rows. Squared distances come in tiles, with a known error.

    Fast values d' are within e of the true d (`error`). The K-th smallest d' + e so far is a bound of the K-th smallest
    d, so whoever has d' - e above it is out. What stays is measured exactly. So neither the size of the tiles nor the
    machine changes who is nearest.
    """

    def __init__(self, length: np.ndarray, dimension: int, k: int, exact: Exact) -> None:
        self.length = length  # (R,) of the rows' descriptors
        self.dimension = dimension
        self.k = k
        self.exact = exact
        self.upper = np.full((len(length), k), np.inf, np.float32)  # the K smallest d' + e
        self.longest = 0.0  # of the columns' descriptors so far
        self.found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # rows, columns, d'
        self.seen = 0  # columns so far
        self.room = 4 * self.upper.size  # pairs to take before looking who is out by now

    def offer(self, tile: Tensor, longest: float, first: int, rows: int = 0) -> None:
        """Take the candidates out of a tile.

        Args:
            tile: squared distances d' of the R rows to some columns.
            longest: the length of the longest descriptor among these columns.
            first: the number of the first of these columns.
            rows: the dimension of the tile that holds the R rows; the other one holds columns.
        """
        size = tile.shape[1 - rows]
        self.longest = max(self.longest, longest)
        limit = self.upper.max(1)
        if self.seen < self.k <= size:
            nearest = tile.topk(self.k, dim=1 - rows, largest=False)[0].amax(1 - rows).cpu().numpy()
            limit = np.minimum(limit, nearest + error(nearest, self.length, longest, self.dimension))
        limit = limit + error(limit, self.length, longest, self.dimension)
        near = (tile <= torch.from_numpy(limit).to(tile.device).unsqueeze(1 - rows)).flatten()
        flat = np.flatnonzero(near.numpy()) if near.device.type == "cpu" else near.nonzero()[:, 0].cpu().numpy()
        self.seen += size
        if not len(flat):
            return
        place = np.divmod(flat, tile.shape[1])
        value = tile[tuple(torch.from_numpy(one).to(tile.device) for one in place)].cpu().numpy()
        row, column = place[rows], place[1 - rows]
        if rows == 1:
            order = np.argsort(row.astype(np.int32), kind="stable")
            row, column, value = row[order], column[order], value[order]
        self.found.append((row.astype(np.int32), column + first, value))
        self._tighten(row, value + error(value, self.length[row], longest, self.dimension))
        self.room -= len(row)
        if self.room < 0:
            self._thin()

    def _tighten(self, row: np.ndarray, upper: np.ndarray) -> None:
        """Merge new upper bounds (P,) of ascending rows (P,) into the K smallest."""
        count = np.bincount(row, minlength=len(self.upper))
        fresh = np.full((len(self.upper), count.max(initial=0)), np.inf, np.float32)
        fresh[row, np.arange(len(row)) - (count.cumsum() - count)[row]] = upper
        self.upper = np.partition(np.concatenate([self.upper, fresh], 1), self.k - 1, axis=1)[:, : self.k]

    def _thin(self) -> None:
        """Drop who is out by now; where very many are about equally far, or the same image, keep the K nearest."""
        row, column, value = self.candidates()
        if len(row) > max(MANY, 4 * self.upper.size):
            row, column, distance = nearest_of(row, column, self.exact(row, column), self.k)
            value = np.square(distance).astype(np.float32)
        self.found = [(row, column, value)]
        self.room = max(4 * self.upper.size, len(row))

    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows (P,) ascending, columns (P,) and d' (P,) of those who are not out."""
        row, column, value = (np.concatenate(part) for part in zip(*self.found, strict=True))
        limit = self.upper.max(1)
        stay = value <= (limit + error(limit, self.length, self.longest, self.dimension))[row]
        row, column, value = row[stay], column[stay], value[stay]
        order = np.argsort(row, kind="stable")
        return row[order], column[order], value[order]


def nearest_of(
    row: np.ndarray, column: np.ndarray, distance: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the K pairs of smallest distance in each row, of pairs (P,); sort by row, then distance, then column."""
    order = np.lexsort((column, distance, row))
    row, column, distance = row[order], column[order], distance[order]
    first = np.searchsorted(row, row)  # where its row begins
    stay = np.arange(len(row)) - first < k
    return row[stay], column[stay], distance[stay]


def between(a: Tensor, b: Tensor) -> Tensor:
    """|a - b| (P,) for the rows of a (P, D) and b (P, D); in float64 to the bit what `distances.differences` finds."""
    return torch.cdist(a[:, None], b[:, None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0, 0]


def gather(parts: Sequence[Tensor], index: np.ndarray) -> Tensor:
    """Rows (P,) of descriptors that lie in parts, numbered through, as float64 (P, D)."""
    device = "cpu" if parts[0].device.type == "mps" else parts[0].device  # Apple's GPUs have no float64
    out = torch.empty(len(index), parts[0].shape[1], dtype=torch.float64, device=device)
    first = 0
    for part in parts:
        here = np.flatnonzero((index >= first) & (index < first + len(part)))
        rows = part[torch.from_numpy(index[here] - first).to(part.device)]
        out[torch.from_numpy(here).to(device)] = rows.to(device).double()
        first += len(part)
    return out


def exactly(rows: Sequence[Tensor], columns: Sequence[Tensor], metric: str) -> Exact:
    """Make the function that measures pairs of descriptors in float64; both sides may come in parts.

    Few pairs are gathered one by one. Rows may ask for much the same columns, as when a network gives everybody the
    same descriptor. Then each column is gathered once, and measured once for all that are equal to it.
    """
    wide = rows[0].shape[1] * 8

    def exact(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        distance = np.empty(len(row))
        (a, i), (b, j) = (np.unique(side, return_inverse=True) for side in (row, column))
        if len(row) < FEW or 16 * len(row) < len(a) * len(b):
            for some in pieces(len(row), wide, PAIR_BYTES):
                x, y = gather(rows, row[some]), gather(columns, column[some])
                distance[some] = between(for_metric(x, metric), for_metric(y, metric)).cpu().numpy()
            return distance
        x = for_metric(gather(rows, a), metric)
        order = np.argsort(j, kind="stable")
        ends = np.searchsorted(j, np.arange(len(b) + 1), sorter=order)
        for some in pieces(len(b), wide, PAIR_BYTES):
            own = gather(columns, b[some])
            alike = own.cpu().numpy().view(np.dtype((np.void, wide)))[:, 0]  # as bytes: equal to the bit
            _, first, which = np.unique(alike, return_index=True, return_inverse=True)
            y = for_metric(own[torch.from_numpy(first).to(own.device)], metric)
            table = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
            here = order[ends[some.start] : ends[some.stop]]
            distance[here] = table[i[here], which[j[here] - some.start]]
        return distance

    return exact


def require_count(name: str, number: Any) -> None:
    """InputError unless it is a whole number of 1 or more."""
    if not isinstance(number, Integral) or number < 1:
        raise InputError(f"{name} is {number}: give a whole number, at least 1.")
