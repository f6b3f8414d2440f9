"""Exact search, re-ranking and galleries on disk against slow definitions and what must not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import compared
from scipy.spatial.distance import cdist

from reidkit import distances, rerank
from reidkit.distances import METRICS, pairwise
from reidkit.errors import InputError
from reidkit.search import exact, reranking
from reidkit.search.gallery import INDEXES, Gallery, approximate, recall, search
from reidkit.search.reranking import rerank_cost


def people(
    rng: np.random.Generator, q: int, g: int, d: int, ids: int = 12, noise: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of people: a centre each, and noise."""
    centre = rng.normal(size=(ids, d))
    queries, gallery = (centre[rng.integers(0, ids, n)] + noise * rng.normal(size=(n, d)) for n in (q, g))
    return queries.astype(np.float32), gallery.astype(np.float32)


def odd(rng: np.random.Generator, q: int, g: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """People among whom are duplicates and equal distances."""
    query, gallery = people(rng, q, g, d)
    gallery = np.round(gallery[rng.integers(0, g, g)] * 2) / 2
    query[: q // 2] = gallery[rng.integers(0, g, q // 2)]
    return query, gallery


def slow_search(query: np.ndarray, gallery: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    distance = pairwise(torch.from_numpy(query), torch.from_numpy(gallery), metric, exact=True).numpy()
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, order, 1), order


# --- search ---


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("make", [people, odd])
@pytest.mark.parametrize("chunk", [1, 7, None])
def test_search_is_a_stable_sort_of_exact_distances(metric: str, make: Any, chunk: int | None) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        query, gallery = make(rng, 23, 150, int(rng.choice([2, 17, 64])))
        found = search(query, gallery, 9, metric, chunk=chunk)
        expected = slow_search(query, gallery, 9, metric)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])  # to the bit


def test_search_for_all_or_more(rng: np.random.Generator) -> None:
    query, gallery = odd(rng, 3, 40, 5)
    expected = slow_search(query, gallery, 40, "euclidean")
    for k in (40, 99):
        np.testing.assert_array_equal(search(query, gallery, k)[1], expected[1])
    one = search(query[:1], gallery[:1], 5)
    assert one[1].tolist() == [[0]] and one[0].dtype == np.float64 and one[1].dtype == np.int64


def test_the_same_image_a_hundred_times(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MANY", 50)  # exact distances thin the candidates out on the way
    gallery = np.repeat(rng.normal(size=(3, 8)), 100, 0).astype(np.float32)[rng.permutation(300)]
    query = gallery[:4] + np.float32(0.01)
    np.testing.assert_array_equal(
        search(query, gallery, 5, chunk=64)[1], slow_search(query, gallery, 5, "euclidean")[1]
    )


@pytest.mark.parametrize("metric", METRICS)
def test_what_does_not_change_a_search(metric: str, rng: np.random.Generator) -> None:
    query, gallery = people(rng, 12, 300, 16)
    distance, index = search(query, gallery, 20, metric)
    order = rng.permutation(300)
    moved = search(query, gallery[order], 20, metric)
    np.testing.assert_array_equal(moved[0], distance)
    np.testing.assert_array_equal(order[moved[1]], index)
    larger = search(query * 8, gallery * 8, 20, metric)
    np.testing.assert_array_equal(larger[1], index)
    scale = {"euclidean": 8, "sqeuclidean": 64, "cosine": 1}[metric]
    np.testing.assert_allclose(larger[0], distance * scale, rtol=1e-12)
    each = [search(query[i : i + 1], gallery, 20, metric)[1][0] for i in range(12)]
    np.testing.assert_array_equal(each, index)  # with or without company


@pytest.mark.parametrize("kind", ["few people", "everybody alike", "one far away"])
def test_equal_descriptors_and_outliers_are_ranked_as_others_are(
    kind: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "FEW", 1)  # pairs are measured by whole columns where enough are asked for
    monkeypatch.setattr(exact, "PAIR_BYTES", 8 * 8 * 30)  # thirty columns at a time
    gallery = rng.normal(size=(200, 8)).astype(np.float32)
    if kind == "few people":
        gallery = gallery[rng.integers(0, 5, 200)]
    elif kind == "everybody alike":
        gallery[:] = gallery[0]
    else:
        gallery[77] *= 10_000
    query = gallery[rng.integers(0, 200, 9)]
    for k in (1, 30, 200):
        found, expected = search(query, gallery, k, chunk=64), slow_search(query, gallery, k, "euclidean")
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(rerank(query, gallery), dense(query, gallery, 20, 6, 0.3), atol=1e-6)


def test_far_from_the_origin_products_cancel_and_search_does_not(rng: np.random.Generator) -> None:
    query, gallery = people(rng, 5, 400, 16)
    query, gallery = query / 64 + 1000, gallery / 64 + 1000
    np.testing.assert_array_equal(search(query, gallery, 5)[1], slow_search(query, gallery, 5, "euclidean")[1])


@pytest.mark.parametrize("form", [torch.from_numpy, lambda x: torch.from_numpy(x).bfloat16(), np.float64, np.int8])
def test_search_in_every_kind_of_array(form: Any, rng: np.random.Generator) -> None:
    gallery = rng.integers(-3, 4, (80, 12)).astype(np.float32)  # whole numbers are exact in all of them
    query = rng.integers(-3, 4, (6, 12)).astype(np.float32)
    np.testing.assert_array_equal(search(form(query), form(gallery), 7)[1], search(query, gallery, 7)[1])


def test_search_leaves_a_memory_map_where_it_is(rng: np.random.Generator, tmp_path: Path) -> None:
    query, gallery = people(rng, 4, 200, 16)
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    np.testing.assert_array_equal(search(query, mapped, 5)[1], search(query, gallery, 5)[1])


X = np.ones((2, 3), np.float32)
BAD: dict[str, dict[str, Any]] = {
    "k is 0": {"k": 0},
    "k is 1.5: give a whole number": {"k": 1.5},
    "chunk is 0": {"chunk": 0},
    "did you mean 'cosine'": {"metric": "cosin"},
    "query has 2 numbers a row and gallery 3": {"query": X[:, :2]},
    "gallery holds NaN or infinity in 2 of 2": {"gallery": X * np.inf},
    r"gallery has the shape \(0, 3\)": {"gallery": X[:0]},
    r"query has the shape \(3,\)": {"query": X[0]},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_of_search_is_one_sentence(message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        search(**{"query": X, "gallery": X} | BAD[message])
    assert "\n" not in str(caught.value)


# --- re-ranking ---


def dense(query: np.ndarray, gallery: np.ndarray, k1: int, k2: int, lambda_value: float) -> np.ndarray:
    """Zhong et al. 2017 from its equations, with sets and an N x N table."""
    x = np.concatenate([query, gallery]).astype(np.float64)
    n, q = len(x), len(query)
    d = cdist(x, x, "sqeuclidean")
    d /= np.maximum(d.max(1, keepdims=True), 1e-30)
    order = np.argsort(d, axis=1, kind="stable")

    def nearest(i: int, k: int) -> set[int]:
        return set(order[i, : k + 1].tolist())

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in nearest(i, k) if i in nearest(j, k)}

    v = np.zeros((n, n))
    for i in range(n):
        own = mutual(i, k1)
        more = [mutual(j, round(k1 / 2)) for j in own]
        members = sorted(own.union(*(m for m in more if 3 * len(m & own) > 2 * len(m))))
        v[i, members] = np.exp(-d[i, members])
        v[i] /= max(v[i].sum(), 1e-30)
    v = v if k2 == 1 else np.stack([v[order[i, :k2]].mean(0) for i in range(n)])
    least = np.stack([np.minimum(row, v[q:]).sum(1) for row in v[:q]])
    return (1 - lambda_value) * (1 - least / (2 - least)) + lambda_value * d[:q, q:]  # min + max = 2


@pytest.mark.parametrize("seed", range(24))
def test_rerank_equals_the_dense_definition(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    make = odd if seed % 3 == 0 else people
    query, gallery = make(rng, int(rng.integers(1, 25)), int(rng.integers(1, 120)), int(rng.choice([2, 8, 32])))
    k1, k2, weight = int(rng.integers(1, 25)), int(rng.integers(1, 8)), float(rng.random())
    monkeypatch.setattr(reranking, "SIDE", int(rng.choice([7, 32, 2048])))
    monkeypatch.setattr(exact, "MANY", int(rng.choice([8, 2**21])))
    if seed % 2:
        monkeypatch.setattr(distances, "EXACT_WORK", 0)
    found = rerank(query, gallery, k1, k2, weight)
    assert found.dtype == (np.float32 if seed % 2 else np.float64)
    np.testing.assert_allclose(found, dense(query, gallery, k1, k2, weight), atol=1e-6)


def test_cosine_is_the_same_of_unit_vectors(rng: np.random.Generator) -> None:
    query, gallery = people(rng, 9, 60, 16)
    unit = [x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (query, gallery)]
    found = rerank(query, gallery, metric="cosine")
    np.testing.assert_allclose(found, dense(*unit, 20, 6, 0.3), atol=1e-6)
    np.testing.assert_array_equal(rerank(query, gallery, metric="sqeuclidean"), rerank(query, gallery))


@pytest.mark.parametrize(("make", "work"), [(people, 2**28), (odd, 2**28), (people, 0)])
def test_with_lambda_1_the_order_is_the_original_one(
    make: Any, work: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, gallery = make(rng, 20, 300, 24)
    monkeypatch.setattr(distances, "EXACT_WORK", work)
    found = rerank(query, gallery, lambda_value=1)
    _, order = slow_search(query, gallery, 300, "euclidean")
    np.testing.assert_array_equal(np.argsort(found, axis=1, kind="stable"), order)


def test_what_does_not_change_a_reranking(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = people(rng, 12, 90, 16)
    plain = rerank(query, gallery)
    order = rng.permutation(90)
    np.testing.assert_allclose(rerank(query, gallery[order]), plain[:, order], atol=1e-7)
    np.testing.assert_allclose(rerank(query * 64, gallery * 64), plain, atol=1e-12)
    np.testing.assert_allclose(rerank(query + 8, gallery + 8), plain, atol=1e-5)
    turned, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    np.testing.assert_allclose(rerank(query @ turned, gallery @ turned), plain, atol=1e-5)
    monkeypatch.setattr(reranking, "SIDE", 13)
    np.testing.assert_allclose(rerank(query, gallery), plain, atol=1e-6)


def test_rerank_gives_back_what_it_was_given(rng: np.random.Generator) -> None:
    query, gallery = (rng.integers(-4, 5, (n, 8)).astype(np.float32) for n in (5, 40))
    plain = rerank(query, gallery)
    assert isinstance(plain, np.ndarray) and plain.shape == (5, 40)
    for form in (torch.from_numpy, lambda x: torch.from_numpy(x).bfloat16(), lambda x: torch.from_numpy(x).double()):
        found = rerank(form(query), form(gallery))
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found, plain, atol=1e-6)
    before = query.copy(), gallery.copy()
    rerank(query, gallery)
    assert all(np.array_equal(a, b) for a, b in zip(before, (query, gallery), strict=True))


@pytest.mark.parametrize(
    ("query", "gallery"),
    [
        (np.zeros((1, 4)), np.ones((1, 4))),  # a gallery smaller than k1
        (np.zeros((1, 4)), np.arange(20.0).reshape(5, 4)),
        (np.ones((3, 4)), np.ones((30, 4))),  # one and the same image
        (np.zeros((2, 4)), np.zeros((2, 4))),
    ],
)
def test_degenerate_sets(query: np.ndarray, gallery: np.ndarray) -> None:
    found = rerank(query, gallery)
    assert found.shape == (len(query), len(gallery)) and np.isfinite(found).all()
    np.testing.assert_allclose(found, dense(query, gallery, 20, 6, 0.3), atol=1e-6)


def test_people_are_found_better_by_their_neighbours(rng: np.random.Generator) -> None:
    centre = rng.normal(size=(30, 16))
    pids = np.repeat(np.arange(30), 12)
    x = (centre[pids] + 1.0 * rng.normal(size=(360, 16))).astype(np.float32)
    query, cams = np.arange(0, 360, 12), np.arange(360) % 6
    labels = {"query_pids": pids[query], "gallery_pids": pids, "query_camids": cams[query], "gallery_camids": cams}
    from reidkit.ranking import evaluate

    assert compared(distance=rerank(x[query], x), **labels).score().mAP > evaluate(x[query], x, **labels).mAP + 3


def test_the_cost_is_told_before(
    capsys: pytest.CaptureFixture[str], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = rerank_cost(100, 1000, 64), rerank_cost(3368, 15913, 2048)
    assert small.seconds < large.seconds and small.bytes < large.bytes
    assert 300e6 < large.bytes < 900e6
    assert "s and 0." in str(large) and "GB" in str(large)
    rerank(*people(rng, 3, 20, 4), progress=True)
    assert "re-ranking (about" in capsys.readouterr().err
    rerank(*people(rng, 3, 20, 4))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("reidkit.search.reranking.LARGE", 20)
    rerank(*people(rng, 3, 20, 4))
    assert "re-ranking (about" in capsys.readouterr().err


BAD_RERANK: dict[str, dict[str, Any]] = {
    "k1 is 0": {"k1": 0},
    "k1 is 20.5: give a whole number": {"k1": 20.5},
    "k2 is 0": {"k2": 0},
    "lambda_value is 1.5": {"lambda_value": 1.5},
    "lambda_value is nan": {"lambda_value": float("nan")},
    "did you mean 'cosine'": {"metric": "cosin"},
    "query has 2 numbers a row": {"query": X[:, :2]},
    "gallery holds NaN": {"gallery": X * np.nan},
    r"gallery has the shape \(0, 3\)": {"gallery": X[:0]},
}


@pytest.mark.parametrize("message", BAD_RERANK)
def test_bad_input_of_rerank_is_one_sentence(message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rerank(**{"query": X, "gallery": X} | BAD_RERANK[message])
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(rng: np.random.Generator) -> None:
    query, gallery = people(rng, 40, 700, 64)
    q, g = torch.from_numpy(query).cuda(), torch.from_numpy(gallery).cuda()
    found = rerank(q, g)
    assert found.device.type == "cuda"
    np.testing.assert_allclose(found.cpu(), rerank(query, gallery), atol=1e-6)
    np.testing.assert_array_equal(search(q, g, 9)[1], search(query, gallery, 9)[1])


# --- galleries on disk ---


def images(first: int, n: int) -> pd.DataFrame:
    return pd.DataFrame({"path": [f"{i}.png" for i in range(first, first + n)], "pid": range(n)})


def test_a_gallery_grows_and_is_searched(rng: np.random.Generator, tmp_path: Path) -> None:
    query, x = odd(rng, 6, 90, 16)
    folder = tmp_path / "deep" / "gallery"
    whole = Gallery.create(folder, x[:50], images(0, 50))
    whole = whole.append(torch.from_numpy(x[50:51]), images(50, 1)).append(x[51:], images(51, 39))
    assert len(whole) == 90 and whole.table["path"].tolist() == images(0, 90)["path"].tolist()
    for opened in (whole, Gallery(str(folder))):
        for metric in METRICS:
            found, expected = opened.search(query, 8, metric), search(query, x, 8, metric)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])
    assert whole.lacking(images(88, 4))["path"].tolist() == ["90.png", "91.png"]
    assert sorted(path.name for path in folder.iterdir()) == ["000000", "000001", "000002"]
    np.testing.assert_array_equal(np.load(folder / "000002" / "descriptors.npy"), x[51:])


def test_a_gallery_is_written_whole_or_not_at_all(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = rng.normal(size=(10, 4))
    gallery = Gallery.create(tmp_path / "g", x, images(0, 10))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(pd.DataFrame, "to_parquet", full)
        gallery.append(x, images(10, 10))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(pd.DataFrame, "to_parquet", full)
        Gallery.create(tmp_path / "h", x, images(0, 10))
    assert [path.name for path in tmp_path.rglob("*")].count("000000") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g"] and len(Gallery(tmp_path / "g")) == 10
    gallery.append(x, images(10, 10))
    with pytest.raises(InputError, match="written by another process"), monkeypatch.context() as patch:
        patch.setattr(Path, "glob", lambda *_: iter([Path("000000")]))  # seen before the other one wrote
        gallery.append(x, images(20, 10))
    assert len(Gallery(tmp_path / "g")) == 20


def test_a_gallery_refuses_in_one_sentence(rng: np.random.Generator, tmp_path: Path) -> None:
    x = rng.normal(size=(3, 4))
    gallery = Gallery.create(tmp_path / "g", x, images(0, 3))
    for message, call in {
        "is there already": lambda: Gallery.create(tmp_path / "g", x, images(0, 3)),
        "there is no gallery in": lambda: Gallery(tmp_path / "gone"),
        "the table has 2 rows": lambda: gallery.append(x, images(3, 2)),
        "with a column path": lambda: gallery.append(x, images(3, 3).drop(columns="path")),
        "2.png and 0 more are in the gallery twice": lambda: gallery.append(x, images(2, 3)),
        "numbers a row and gallery 4": lambda: gallery.append(x[:, :2], images(3, 3)),
        "descriptor holds NaN": lambda: gallery.append(x * np.nan, images(3, 3)),
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    (tmp_path / "g" / "000000" / "descriptors.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="is no part of a gallery"):
        Gallery(tmp_path / "g")
    np.save(tmp_path / "g" / "000000" / "descriptors.npy", x[:2])
    with pytest.raises(InputError, match="a table of 3 images"):
        Gallery(tmp_path / "g")


# --- approximate ---


def test_recall_by_hand() -> None:
    assert recall(np.array([[1, 2], [3, -1]]), np.array([[2, 1], [4, 3]])) == 75


def test_without_faiss_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'reidkit\[faiss\]'"):
        approximate(X)
    with pytest.raises(InputError, match="kind 'hnws' is not known; did you mean 'hnsw'"):
        approximate(X, kind="hnws")


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("metric", METRICS)
def test_approximate_search_finds_most(kind: str, metric: str, rng: np.random.Generator) -> None:
    pytest.importorskip("faiss", reason="the optional faiss-cpu is not installed")
    query, gallery = people(rng, 20, 2000, 16)
    distance, index = approximate(gallery, metric, kind).search(query, 10)
    true = search(query, gallery, 10, metric)
    assert recall(index, true[1]) > 95
    same = index == true[1]
    np.testing.assert_allclose(distance[same], true[0][same], rtol=1e-3, atol=1e-5)
    few = approximate(gallery[:3], metric, kind).search(query, 10)
    assert few[0].shape == (20, 3)
