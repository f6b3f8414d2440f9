"""Search in a gallery: exactly, in one kept on disk, or approximately in a very large one.

Shape letters: Q queries, G gallery images, D embedding, K places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..distances import (
    CHUNK_BYTES,
    METRICS,
    as_matrix,
    float32_products,
    for_metric,
    pieces,
    require_finite,
    require_same_width,
)
from ..errors import InputError, choose
from ..files import new_folder
from .exact import Candidates, exactly, nearest_of, require_count


def search(
    query: Any,
    gallery: Any,
    k: int = 10,
    metric: str = "euclidean",
    *,
    chunk: int | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the K nearest gallery images of every query, exactly; read the gallery once, a chunk at a time.

    Products in float32 find who may be among them, and differences in float64 decide (`Candidates`). So neither the
    chunk nor the number of queries changes an answer. Equally far images come in the gallery's order.

    Args:
        query: (Q, D), numpy or torch, on any device.
        gallery: (G, D), numpy or torch. A memory map (`np.load(path, mmap_mode="r")`) may be larger than the memory.
        k: how many images to find for each query.
        metric: one of `distances.METRICS`.
        chunk: gallery images at a time; None: what fits a processor's cache.
        progress: show a bar on stderr.
    Returns:
        distance (Q, K) float64 and index (Q, K) int64, nearest first, K = min(k, G).
    Raises:
        InputError: shapes that do not fit, values that are not finite, k or chunk below 1, an unknown metric.
    """
    q, g = as_matrix(query, "query"), as_matrix(gallery, "gallery", read=False)
    return search_parts(q, [g], k, metric, chunk, progress)


def search_parts(
    query: Tensor, parts: Sequence[Tensor], k: int, metric: str, chunk: int | None = None, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """`search` in a gallery that comes in parts, numbered through."""
    choose(metric, METRICS, "metric")
    require_same_width(query, parts[0])
    require_count("k", k)
    require_count("chunk", 1 if chunk is None else chunk)
    size, dimension = sum(len(part) for part in parts), query.shape[1]
    chunk = chunk or max(1, CHUNK_BYTES // (4 * dimension))
    q = for_metric(query.float(), metric)
    length = torch.linalg.vector_norm(q, dim=1)
    groups = list(pieces(len(q), 4 * chunk))
    found = [
        Candidates(length[rows].cpu().numpy(), dimension, min(k, size), exactly([query[rows]], parts, metric))
        for rows in groups
    ]
    bar = tqdm(total=size, desc="searching", unit=" images", disable=not progress, leave=False)
    first = 0
    with bar, float32_products():
        for part in parts:
            for some in pieces(len(part), 1, chunk):
                g = for_metric(part[some].to(q.device).float(), metric)
                squared = torch.linalg.vector_norm(g, dim=1).square_()
                if not squared.isfinite().all():
                    require_finite(part, "gallery")
                longest = squared.max().sqrt().item()
                for rows, candidates in zip(groups, found, strict=True):
                    tile = torch.addmm(squared[None], q[rows], g.T, alpha=-2).add_(length[rows].square()[:, None])
                    candidates.offer(tile, longest, first)
                first += len(g)
                bar.update(len(g))
    nearest = [
        nearest_of(row, column, each.exact(row, column), each.k)
        for each in found
        for row, column, _ in [each.candidates()]
    ]
    distance = np.concatenate([distance for *_, distance in nearest]).reshape(len(q), -1)
    index = np.concatenate([column for _, column, _ in nearest]).reshape(len(q), -1)
    if metric != "euclidean":
        distance = np.square(distance)
    return distance / 2 if metric == "cosine" else distance, index


# --- galleries on disk ---------------------------------------------------------------------------------------

_DESCRIPTORS, _IMAGES = "descriptors.npy", "images.parquet"


class Gallery:
    """Descriptors on disk beside the table of their images: searched without being read into memory, and added to.

    A folder of parts 000000, 000001, ...; each holds `descriptors.npy` (n, D) float32 and `images.parquet`, n rows with
    a column `path`. A part is written under a temporary name and renamed: it is whole or absent.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open what `create` made; InputError where the folder is absent or something else."""
        self.folder = Path(folder)
        self.parts: list[Tensor] = []
        tables = []
        for part in sorted(self.folder.glob("[0-9]" * 6)):
            try:
                descriptor = np.load(part / _DESCRIPTORS, mmap_mode="r")
                table = pd.read_parquet(part / _IMAGES)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{part} is no part of a gallery ({error}): remove it and append its images again."
                ) from None
            if descriptor.ndim != 2 or len(descriptor) != len(table) or "path" not in table:
                raise InputError(
                    f"{part} holds descriptors of the shape {descriptor.shape} and a table of {len(table)} images: "
                    "remove it and append its images again."
                )
            self.parts.append(as_matrix(descriptor, str(part), read=False))
            tables.append(table)
        if not tables:
            raise InputError(f"there is no gallery in {folder}: make one with Gallery.create.")
        self.table = pd.concat(tables, ignore_index=True)  # a row an image, in the order of their numbers

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def create(cls, folder: Path | str, descriptor: Any, table: pd.DataFrame) -> Gallery:
        """Make a new gallery.

        Args:
            folder: where it goes; must not exist yet.
            descriptor: (N, D), numpy or torch; written as float32, a piece at a time.
            table: N rows with a column `path`, such as `Features.table`.
        Raises:
            InputError: a folder that is there already, lengths that do not fit, a path twice, values not finite.
        """
        folder = Path(folder)
        if folder.exists():
            raise InputError(f"{folder} is there already: append to it, or choose another folder.")
        x = _matching(descriptor, table, pd.Series(dtype=object))
        with new_folder(folder) as temporary:
            _write_part(temporary / f"{0:06d}", x, table)
        return cls(folder)

    def append(self, descriptor: Any, table: pd.DataFrame) -> Gallery:
        """Add images behind the others, arguments as for `create`; returns the new gallery. Computes nothing again."""
        x = _matching(descriptor, table, self.table["path"])
        require_same_width(x, self.parts[0])
        number = max(int(part.name) for part in self.folder.glob("[0-9]" * 6)) + 1
        with new_folder(self.folder / f"{number:06d}") as temporary:
            _write_part(temporary, x, table)
        return Gallery(self.folder)

    def lacking(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table whose images are not in the gallery yet: what is left to describe."""
        return table[~table["path"].isin(self.table["path"])]

    def search(
        self, query: Any, k: int = 10, metric: str = "euclidean", *, progress: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """`search` in the gallery; the index counts rows of `table`."""
        return search_parts(as_matrix(query, "query"), self.parts, k, metric, progress=progress)


def _matching(descriptor: Any, table: pd.DataFrame, there: pd.Series) -> Tensor:
    """Checked descriptors for a table of images of which none is there yet."""
    x = as_matrix(descriptor, "descriptor")
    if "path" not in table or len(table) != len(x):
        raise InputError(
            f"the table has {len(table)} rows and the columns {', '.join(map(str, table.columns))}, the descriptors "
            f"have {len(x)} rows: give a row for each, with a column path."
        )
    twice = table["path"][table["path"].duplicated() | table["path"].isin(there)]
    if len(twice):
        raise InputError(f"{twice.iloc[0]} and {len(twice) - 1} more are in the gallery twice: append only what lacks.")
    return x


def _write_part(folder: Path, x: Tensor, table: pd.DataFrame) -> None:
    """Descriptors (N, D) and their table into a folder."""
    folder.mkdir(exist_ok=True)
    out = np.lib.format.open_memmap(folder / _DESCRIPTORS, "w+", np.float32, (len(x), x.shape[1]))
    for rows in pieces(len(x), x.shape[1] * 4):
        out[rows] = x[rows].float().cpu().numpy()
    out.flush()
    table.reset_index(drop=True).to_parquet(folder / _IMAGES)


# --- approximate search --------------------------------------------------------------------------------------

INDEXES = ("hnsw", "ivf")


@dataclass(frozen=True)
class Approximate:
    """An index that finds most of the nearest without looking at every image."""

    index: Any  # of faiss
    metric: str
    kind: str

    def search(self, query: Any, k: int = 10, *, effort: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Like `search`, but some of the nearest may be missed; `recall` says how many.

        Args:
            query: (Q, D), numpy or torch.
            k: how many images to find for each query.
            effort: candidates kept on the way (hnsw), or cells looked into (ivf). More effort finds more and is slower.
        Returns:
            distance (Q, K) float32 and index (Q, K) int64; infinity and -1 where fewer were found.
        """
        q = for_metric(as_matrix(query, "query").float(), self.metric).cpu().numpy()
        if self.kind == "hnsw":
            self.index.hnsw.efSearch = max(effort, k)
        else:
            self.index.nprobe = effort
        squared, index = self.index.search(q, min(k, self.index.ntotal))
        squared = np.where(index < 0, np.inf, squared.clip(0))
        if self.metric == "euclidean":
            return np.sqrt(squared), index
        return squared / 2 if self.metric == "cosine" else squared, index


def approximate(gallery: Any, metric: str = "euclidean", kind: str = "hnsw") -> Approximate:
    """Build an approximate index over a gallery (G, D) with faiss, an optional package; for a million images and more.

    hnsw    a graph of near neighbours (Malkov and Yashunin 2018): fast and precise, slow to build, needs the memory of
            the gallery once more
    ivf     cells around 4 sqrt(G) centres, of which some are looked into (Sivic and Zisserman 2003): quick to build

    Raises:
        InputError: faiss is not installed, an unknown kind or metric, values that are not finite.
    """
    choose(kind, INDEXES, "kind")
    choose(metric, METRICS, "metric")
    try:
        faiss = import_module("faiss")
    except ImportError:
        raise InputError(
            "approximate search needs the package faiss-cpu, which is not installed: pip install 'reidkit[faiss]', "
            "or use the exact search."
        ) from None
    g = as_matrix(gallery, "gallery")
    size, dimension = g.shape
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, 32)
    else:
        cells = max(1, min(int(4 * size**0.5), size // 39))  # faiss wants 39 images or more a cell to place it
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, cells)
        some = torch.linspace(0, size - 1, min(size, 64 * cells)).long().to(g.device)
        index.train(for_metric(g[some].float(), metric).cpu().numpy())
    for rows in pieces(size, dimension * 4):
        index.add(for_metric(g[rows].float(), metric).cpu().numpy())
    return Approximate(index, metric, kind)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Percent of the truly nearest (Q, K) that were found (Q, K), whatever their order."""
    return 100 * float(np.mean([np.isin(t, f).mean() for f, t in zip(found, true, strict=True)]))
