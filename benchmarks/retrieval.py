"""How long retrieval takes and what memory it needs, at Market-1501's true scale unless told otherwise.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --only evaluate --distractors 500000
    python benchmarks/retrieval.py --only search --galleries 20000 --hnsw 20000 --ivf 20000,500000

Every row is measured in a process of its own. Seconds are the best of `--repeats`; memory is the peak beside the
descriptors. Each time stands beside what the machine could do at best, measured in the same process: the bare matrix
product of queries and gallery (the faster of numpy and torch), or reading the gallery once.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from reidkit import evaluate, rerank, rerank_cost
from reidkit.search.gallery import approximate, recall, search


def descriptors(n: int, dimension: int, pids: np.ndarray, seed: int) -> np.ndarray:
    """People as clouds (n, D) float32 around a centre each, made a piece at a time."""
    centre = np.random.default_rng(0).standard_normal((751, 32), dtype=np.float32)
    spread = np.random.default_rng(1).standard_normal((32, dimension), dtype=np.float32)
    rng, out = np.random.default_rng(seed), np.empty((n, dimension), np.float32)
    for start in range(0, n, 4096):
        part = pids[start : start + 4096]
        people = centre[part] + rng.standard_normal((len(part), 32), dtype=np.float32)
        noise = rng.standard_normal((len(part), dimension), dtype=np.float32)
        out[start : start + 4096] = np.maximum(people @ spread / 6 + noise / 2, 0)  # as after a ReLU
    return out


def market(queries: int, gallery: int, dimension: int, distractors: int = 0) -> dict[str, Any]:
    """What `evaluate` takes: 750 people, six cameras, 2,798 of 15,913 gallery images and `distractors` of nobody."""
    rng = np.random.default_rng(7)
    pids = rng.integers(1, 751, gallery + distractors)
    pids[gallery - gallery * 2798 // 15913 :] = 0
    own = rng.integers(1, 751, queries)
    return {
        "query": descriptors(queries, dimension, own, 2),
        "gallery": descriptors(gallery + distractors, dimension, pids, 3),
        "query_pids": own,
        "gallery_pids": pids,
        "query_camids": rng.integers(1, 7, queries),
        "gallery_camids": rng.integers(1, 7, gallery + distractors),
    }


def memory(key: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process in bytes; elsewhere than on Linux the peak so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak(work: Callable[[], object]) -> int:
    """Bytes that some work needs at most beside what is there already."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before


def best(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the best of some runs."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def product(query: np.ndarray, gallery: np.ndarray, repeats: int, block: int = 4096) -> float:
    """Seconds of the bare product of all queries and gallery images, into memory that is there already."""
    out = np.empty((len(query), min(block * 4, len(gallery))), np.float32)
    a, b, c = torch.from_numpy(query), torch.from_numpy(gallery), torch.from_numpy(out)
    parts = [slice(s, min(s + out.shape[1], len(gallery))) for s in range(0, len(gallery), out.shape[1])]

    def with_numpy() -> None:
        for part in parts:
            np.matmul(query, gallery[part].T, out=out[:, : part.stop - part.start])

    def with_torch() -> None:
        for part in parts:
            torch.mm(a, b[part].T, out=c[:, : part.stop - part.start])

    return min(best(with_numpy, repeats), best(with_torch, repeats))


def evaluation(scale: list[int], repeats: int, kind: str) -> dict[str, float]:
    """Evaluation beside the bare product."""
    data = market(*scale)
    bare = product(data["query"], data["gallery"], repeats)
    if kind == "bfloat16":
        data |= {name: torch.from_numpy(data.pop(name)).bfloat16() for name in ("query", "gallery")}
    evaluate(**data | {name: value[:64] for name, value in data.items()})  # libraries are loaded now
    needed = peak(lambda: evaluate(**data))
    return {"seconds": best(lambda: evaluate(**data), repeats), "bare": bare, "bytes": needed}


def reranking(scale: list[int], repeats: int, k1: int, k2: int) -> dict[str, float]:
    """Re-ranking beside the bare product, and what was foretold."""
    data = market(*scale)
    query, gallery = data["query"], data["gallery"]
    rerank(query[:64], gallery[:256])
    bare, cost = product(query, gallery, repeats), rerank_cost(*scale[:3], k1)
    needed = peak(lambda: rerank(query, gallery, k1, k2))
    seconds = best(lambda: rerank(query, gallery, k1, k2), repeats)
    return {"seconds": seconds, "bare": bare, "bytes": needed, "foretold": cost.seconds, "foretold_bytes": cost.bytes}


def dense(query: np.ndarray, gallery: np.ndarray, k1: int, k2: int, weight: float = 0.3) -> np.ndarray:
    """Zhong et al. 2017 as it is usually written, over tables (N, N) in float32: the yardstick."""
    x = np.concatenate([query, gallery])
    n, q = len(x), len(query)
    squared = (x.astype(np.float64) ** 2).sum(1)
    d = np.maximum(squared[:, None] + squared - 2 * (x.astype(np.float64) @ x.T.astype(np.float64)), 0)
    d = (d / d.max(1, keepdims=True)).astype(np.float32)
    order = np.argsort(d, axis=1, kind="stable")
    v = np.zeros_like(d)

    def mutual(i: int, k: int) -> np.ndarray:
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(1)]

    for i in range(n):
        own = mutual(i, k1)
        members = own
        for j in own:
            more = mutual(j, round(k1 / 2))
            if 3 * len(np.intersect1d(more, own)) > 2 * len(more):
                members = np.append(members, more)
        members = np.unique(members)
        share = np.exp(-d[i, members])
        v[i, members] = share / share.sum()
    if k2 > 1:
        v = np.stack([v[order[i, :k2]].mean(0) for i in range(n)])
    has = [np.flatnonzero(column) for column in v.T]
    out = np.empty((q, n - q), np.float32)
    for i in range(q):
        least = np.zeros(n, np.float32)
        for j in np.flatnonzero(v[i]):
            least[has[j]] += np.minimum(v[i, j], v[has[j], j])
        out[i] = (1 - weight) * (1 - least / (2 - least))[q:]
    return out + weight * d[:q, q:]


def yardstick(scale: list[int], repeats: int, k1: int, k2: int) -> dict[str, float]:
    """The dense algorithm, and how far ours is from it."""
    data = market(*scale)
    query, gallery = data["query"], data["gallery"]
    out: list[np.ndarray] = []
    bare = product(query, gallery, repeats)
    start = time.perf_counter()
    needed = peak(lambda: out.append(dense(query, gallery, k1, k2)))
    seconds = time.perf_counter() - start
    apart = float(np.abs(rerank(query, gallery, k1, k2) - out[0]).max())
    return {"seconds": seconds, "bare": bare, "bytes": needed, "apart": apart}


def searching(scale: list[int], repeats: int, k: int) -> dict[str, float]:
    """The nearest of a gallery for one and for a hundred queries, beside reading it once."""
    rng, (size, dimension) = np.random.default_rng(0), scale
    gallery = descriptors(size, dimension, rng.integers(1, 751, size), 3)
    query = descriptors(100, dimension, rng.integers(1, 751, 100), 2)
    search(query[:1], gallery[:999], k)
    read = best(lambda: torch.from_numpy(gallery).sum(), repeats)
    needed = peak(lambda: search(query, gallery, k))
    one, many = (best(lambda n=n: search(query[:n], gallery, k), repeats) for n in (1, 100))
    return {"read": read, "one": one, "hundred": many, "bytes": needed}


def approximating(scale: list[int], kind: str, k: int) -> dict[str, float]:
    """An approximate index of faiss: what it costs to build, and at three efforts time a query and recall at k."""
    rng, (size, dimension) = np.random.default_rng(0), scale
    gallery = descriptors(size, dimension, rng.integers(1, 751, size), 3)
    query = descriptors(100, dimension, rng.integers(1, 751, 100), 2)
    true = search(query, gallery, k)[1]
    start = time.perf_counter()
    index = approximate(gallery, kind=kind)
    found = {"build": time.perf_counter() - start}
    for effort in EFFORTS[kind]:
        mine = np.concatenate([index.search(query[n : n + 1], k, effort=effort)[1] for n in range(100)])
        start = time.perf_counter()
        for n in range(100):
            index.search(query[n : n + 1], k, effort=effort)
        found |= {f"{effort} s": (time.perf_counter() - start) / 100, f"{effort} recall": recall(mine, true)}
    return found


EFFORTS = {"hnsw": (16, 64, 256), "ivf": (4, 16, 64)}
WORK: dict[str, Callable[..., dict[str, float]]] = {
    work.__name__: work for work in (evaluation, reranking, yardstick, searching, approximating)
}


def alone(name: str, *arguments: Any) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps([name, torch.get_num_threads(), *arguments])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    return json.loads(done.stdout)


def main(
    queries: Annotated[int, typer.Option(help="Queries.")] = 3368,
    gallery: Annotated[int, typer.Option(help="Gallery images.")] = 15913,
    dimension: Annotated[int, typer.Option(help="Numbers a descriptor.")] = 2048,
    distractors: Annotated[int, typer.Option(help="Evaluate with so many more gallery images as well.")] = 0,
    share: Annotated[float, typer.Option(help="Of both sets for the dense yardstick; 0 leaves it out.")] = 0.25,
    galleries: Annotated[str, typer.Option(help="Sizes to search, 512 numbers an image.")] = "20000,500000,1000000",
    hnsw: Annotated[str, typer.Option(help="Sizes to search by faiss's graph; needs faiss-cpu.")] = "",
    ivf: Annotated[str, typer.Option(help="Sizes to search by faiss's cells; needs faiss-cpu.")] = "",
    only: Annotated[str, typer.Option(help="evaluate, rerank or search; by default all.")] = "",
    k1: Annotated[int, typer.Option(help="Of re-ranking.")] = 20,
    k2: Annotated[int, typer.Option(help="Of re-ranking.")] = 6,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = torch.get_num_threads(),
    repeats: Annotated[int, typer.Option(help="Runs of which the best counts.")] = 3,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if one:
        name, threads, *arguments = json.loads(one)
        torch.set_num_threads(threads)
        print(json.dumps(WORK[name](*arguments)))
        return
    torch.set_num_threads(threads)
    print(f"{platform.machine()}, {threads} threads, torch {torch.__version__}, numpy {np.__version__}\n")
    full = [queries, gallery, dimension]
    if only != "search":
        print("| what | queries x gallery x numbers | seconds | x the bare product | MB beside the descriptors |")
        print("|---|---|---:|---:|---:|")
    if only in ("", "evaluate"):
        for kind in ("float32", "bfloat16"):
            row(f"evaluate, {kind}", full, alone("evaluation", full, repeats, kind))
    if only in ("", "evaluate") and distractors:
        row("evaluate, float32", [*full, distractors], alone("evaluation", [*full, distractors], 1, "float32"))
    if only in ("", "rerank"):
        compare_reranking(full, share, repeats, k1, k2)
    if only in ("", "search"):
        compare_search(numbers(galleries), numbers(hnsw), numbers(ivf), repeats)


def numbers(text: str) -> list[int]:
    """ "20000,500000" as numbers; none for nothing."""
    return [int(part) for part in text.split(",") if part]


def row(what: str, scale: list[int], found: dict[str, float]) -> None:
    """A line of the first table."""
    size = f"{scale[0]:,} x {scale[1] + sum(scale[3:]):,} x {scale[2]:,}"
    ratio = found["seconds"] / found["bare"]
    print(f"| {what} | {size} | {found['seconds']:.2f} | {ratio:.2f} | {found['bytes'] / 1e6:.0f} |", flush=True)


def compare_reranking(full: list[int], share: float, repeats: int, k1: int, k2: int) -> None:
    """Re-ranking at full size, and at a share of it beside the dense algorithm."""
    ours = alone("reranking", full, repeats, k1, k2)
    row("re-rank", full, ours)
    notes = [f"Foretold for re-ranking: {ours['foretold']:.1f} s, {ours['foretold_bytes'] / 1e6:.0f} MB."]
    if share:
        part = [int(full[0] * share), int(full[1] * share), full[2]]
        ours, slow = alone("reranking", part, repeats, k1, k2), alone("yardstick", part, 1, k1, k2)
        row("re-rank", part, ours)
        row("re-rank, the dense yardstick", part, slow)
        faster, smaller = slow["seconds"] / ours["seconds"], slow["bytes"] / ours["bytes"]
        notes.append(f"The yardstick takes {faster:.0f} times as long and {smaller:.1f} times the memory; the largest ")
        notes[-1] += f"difference of a distance is {slow['apart']:.1e}."
    print("\n" + "\n".join(notes))


def compare_search(exact: list[int], hnsw: list[int], ivf: list[int], repeats: int) -> None:
    """Exact search beside reading the gallery once; approximate search beside exact search."""
    print("\n| gallery x 512 | reading it, ms | one query, ms | x reading | 100 queries, ms | MB beside it |")
    print("|---|---:|---:|---:|---:|---:|")
    for size in exact:
        found = alone("searching", [size, 512], repeats, 10)
        read, first, many = (1000 * found[name] for name in ("read", "one", "hundred"))
        ratio, mb = first / read, found["bytes"] / 1e6
        print(f"| {size:,} | {read:.1f} | {first:.1f} | {ratio:.1f} | {many:.0f} | {mb:.0f} |", flush=True)
    if hnsw or ivf:
        print("\n| index | gallery x 512 | to build, s | effort | one query, ms | recall at 10, % |")
        print("|---|---|---:|---:|---:|---:|")
    for kind, size in [*(("hnsw", size) for size in hnsw), *(("ivf", size) for size in ivf)]:
        found = alone("approximating", [size, 512], kind, 10)
        for effort in EFFORTS[kind]:
            ms, share, build = 1000 * found[f"{effort} s"], found[f"{effort} recall"], found["build"]
            print(f"| {kind} | {size:,} | {build:.0f} | {effort} | {ms:.2f} | {share:.1f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
