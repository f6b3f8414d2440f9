"""Distances, exclusion rules and the order of the gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import compared

from reidkit import distances
from reidkit.distances import METRICS, as_features, blocks, features_pair, pairwise
from reidkit.errors import InputError
from reidkit.features import Features
from reidkit.images import JUNK
from reidkit.ranking import Comparison, Labels, image_ids
from reidkit.thresholds.filters import leave_out
from reidkit.thresholds.verification import rank_of_matches


def case(rng: np.random.Generator, q: int = 6, g: int = 40, d: int = 3) -> dict[str, Any]:
    """Integer descriptors, so that there are ties; pids with junk, distractors and people nobody has."""
    return {
        "query": rng.integers(1, 4, (q, d)).astype(np.float32),
        "gallery": rng.integers(1, 4, (g, d)).astype(np.float32),
        "query_pids": rng.integers(1, 5, q),
        "gallery_pids": rng.integers(-1, 4, g),
        "query_camids": rng.integers(1, 4, q),
        "gallery_camids": rng.integers(1, 4, g),
    }


def loop_distance(q: np.ndarray, g: np.ndarray, metric: str) -> float:
    if metric == "cosine":
        return float(1 - (q @ g) / np.sqrt((q @ q) * (g @ g)))
    squared = sum((a - b) ** 2 for a, b in zip(q, g, strict=True))
    return float(squared if metric == "sqeuclidean" else np.sqrt(squared))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("exact", [True, False])
def test_pairwise_equals_its_definition(metric: str, exact: bool, rng: np.random.Generator) -> None:
    q, g = rng.normal(size=(4, 7)), rng.normal(size=(5, 7))
    expected = [[loop_distance(a, b, metric) for b in g] for a in q]
    found = pairwise(torch.from_numpy(q), torch.from_numpy(g), metric, exact)
    assert found.dtype == (torch.float64 if exact else torch.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-12 if exact else 1e-4)


def test_products_do_not_cancel_below_zero() -> None:
    far = torch.full((3, 64), 1000.0)
    distance = pairwise(far, far + 1e-3, exact=False)
    assert (distance >= 0).all() and torch.isfinite(distance).all()


@pytest.mark.parametrize("exact", [True, False])
def test_a_row_of_zeros_is_as_far_either_way(exact: bool) -> None:
    q, g = torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0]])
    np.testing.assert_allclose(pairwise(q, g, "cosine", exact), [[0, 0.5, 0.5], [0.5, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("work", [0, 2**28])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.int16])
def test_descriptors_are_converted_in_pieces(
    metric: str, work: int, kind: torch.dtype, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, g = (torch.from_numpy(rng.integers(-4, 5, (n, 16))).to(kind) for n in (11, 50))
    whole = pairwise(q, g, metric, work > 0)
    monkeypatch.setattr(distances, "EXACT_WORK", work)
    monkeypatch.setattr(distances, "CHUNK_BYTES", 7 * 16 * 8)  # seven images of the gallery
    monkeypatch.setattr(distances, "BLOCK_BYTES", 4 * 50 * 8)  # four queries
    kept, other = features_pair(q, g, metric)
    assert kept.dtype == other.dtype == kind  # not copied whole
    parts = list(blocks(kept, other, metric))
    assert [rows.stop - rows.start for rows, _ in parts] == ([4, 4, 3] if work else [8, 3])
    # float32 rounds in shares of a number, and each processor in its own order
    np.testing.assert_allclose(np.concatenate([d for _, d in parts]), whole, rtol=1e-5, atol=1e-5)
    for rows, values in blocks(kept, other, metric, only_order=True):
        near = whole[rows].numpy()
        assert (np.diff(np.take_along_axis(near, np.argsort(values), 1)) > -1e-5 * max(near.max(), 1)).all()


def test_training_in_lower_precision_does_not_touch_distances() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        distances.pairwise(torch.ones(2, 3), torch.ones(4, 3), exact=False)
        assert torch.get_float32_matmul_precision() == "medium"
        with distances.float32_products():
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_memory_map_is_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 4), np.float32))
    as_features(np.load(tmp_path / "x.npy", mmap_mode="r"), "query")
    assert not recwarn


@pytest.mark.parametrize("metric", METRICS)
def test_rank_is_a_stable_argsort(metric: str, rng: np.random.Generator) -> None:
    given = case(rng)
    found = compared(**given, metric=metric, rule="none").rank()
    distance = pairwise(torch.from_numpy(given["query"]), torch.from_numpy(given["gallery"]), metric).numpy()
    distance[:, given["gallery_pids"] == JUNK] = np.inf
    np.testing.assert_array_equal(found.order, np.argsort(distance, axis=1, kind="stable"))
    np.testing.assert_array_equal(found.distance, np.sort(distance, axis=1))
    assert (found.rule, found.metric, len(found)) == ("none", metric, 6)


@pytest.mark.parametrize("rule", ["market1501", "same_image", "none"])
def test_what_a_rule_leaves_out(rule: str, rng: np.random.Generator) -> None:
    given = case(rng)
    ids = {"query_ids": np.arange(6), "gallery_ids": np.arange(40) % 9}
    found = compared(**given, **ids, rule=rule).rank()
    for i in range(6):
        for place, j in enumerate(found.order[i]):
            same = given["query_pids"][i] == given["gallery_pids"][j]
            out = given["gallery_pids"][j] == JUNK
            if rule == "market1501":
                out |= same and given["query_camids"][i] == given["gallery_camids"][j]
            if rule == "same_image":
                out |= ids["query_ids"][i] == ids["gallery_ids"][j]
            assert found.keep[i, place] == (not out)
            assert found.match[i, place] == (same and not out)
            assert np.isinf(found.distance[i, place]) == out
    assert (np.diff(found.keep.astype(int), axis=1) <= 0).all()  # what is left out stands last


@pytest.mark.parametrize("rule", ["market1501", "same_image", "none"])
def test_pairs_say_what_the_masks_say(rule: str, rng: np.random.Generator) -> None:
    given = case(rng)
    given["query_pids"][0] = JUNK
    ids = {"query_ids": np.arange(6), "gallery_ids": np.arange(40) % 9}
    labels = Labels(**{k: v for k, v in given.items() if k not in ("query", "gallery")}, **ids).checked(6, 40, rule)
    keep, match = labels.keep(slice(0, 6), rule), labels.match(slice(0, 6))
    pairs = list(labels.pairs(rule))
    assert len(pairs) == 6
    for i, (own, out) in enumerate(pairs):
        np.testing.assert_array_equal(own, np.flatnonzero(keep[i] & match[i]))
        np.testing.assert_array_equal(np.sort(out), np.flatnonzero(~keep[i]))  # each once


def test_distances_of_ones_own_are_ranked_alike(rng: np.random.Generator) -> None:
    given = case(rng)
    labels = {name: value for name, value in given.items() if name not in ("query", "gallery")}
    distance = pairwise(torch.from_numpy(given["query"]), torch.from_numpy(given["gallery"]))
    own, found = (
        compared(**given).rank(top=5),
        compared(distance=distance, **labels).rank(top=5),
    )
    for name in ("order", "distance", "match", "keep"):
        np.testing.assert_array_equal(getattr(own, name), getattr(found, name))
    assert found.metric == "given"
    with pytest.raises(InputError, match="top is 0"):
        compared(distance=distance, **labels).rank(top=0)


def test_same_image_without_ids_means_row_for_row(rng: np.random.Generator) -> None:
    x, pids = rng.normal(size=(8, 3)), np.arange(8) // 2
    found = Comparison.of_descriptors(x, x, Labels(pids, pids), rule="same_image").rank()
    assert (found.order[:, -1] == np.arange(8)).all() and not found.keep[:, -1].any()
    assert found.keep[:, :-1].all()
    again = Comparison.of_descriptors(
        x, x, Labels(pids, pids, query_ids=np.arange(8) + 5, gallery_ids=np.arange(8) + 5), rule="same_image"
    ).rank()
    np.testing.assert_array_equal(found.order, again.order)


def test_junk_matches_nobody_not_even_junk() -> None:
    found = Comparison.of_descriptors([[0.0], [1.0]], [[0.0], [1.0]], Labels([-1, 1], [-1, 1]), rule="none").rank()
    assert not found.match[0].any() and found.match[1].sum() == 1


def test_top_keeps_the_first_places(rng: np.random.Generator) -> None:
    given = case(rng)
    whole, three = (
        compared(**given).rank(),
        compared(**given).rank(top=3),
    )
    np.testing.assert_array_equal(whole.order[:, :3], three.order)
    assert compared(**given).rank(top=1000).order.shape == whole.order.shape


def test_products_and_blocks_give_the_order_of_differences(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = case(rng) | {
        "query": rng.normal(size=(6, 16)).astype(np.float32),
        "gallery": rng.normal(size=(40, 16)).astype(np.float32),
    }
    exact = compared(**given).rank()
    monkeypatch.setattr(distances, "BLOCK_BYTES", 1)  # a query at a time
    np.testing.assert_array_equal(exact.order, compared(**given).rank().order)
    monkeypatch.setattr(distances, "EXACT_WORK", 0)
    fast = compared(**given).rank()
    assert fast.distance.dtype == np.float32
    np.testing.assert_array_equal(exact.order, fast.order)
    np.testing.assert_allclose(exact.distance, fast.distance, rtol=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_rank_of_matches_equals_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance, keep, match = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.8, rng.random(30) < 0.3
    order = [i for i in sorted(range(30), key=lambda i: (distance[i], i)) if keep[i]]
    expected = [place for place, i in enumerate(order, 1) if match[i]]
    np.testing.assert_array_equal(rank_of_matches(distance, keep, match), expected)


def table(n: int, pid: int, split: str, name: str) -> pd.DataFrame:
    rows = {"path": [f"{name}{i}" for i in range(n)], "pid": pid, "camid": range(n), "split": split}
    return pd.DataFrame(rows | {"frame": -1, "orientation": -1})


def test_rank_features_takes_the_rule_of_the_data() -> None:
    gallery = Features(torch.arange(4.0)[:, None], table(4, 1, "gallery", "a"))
    query = Features(torch.tensor([[2.0]]), table(4, 1, "query", "a").iloc[[2]])
    gallery.table.attrs["rule"] = "same_image"
    assert not Comparison.of(query, gallery).rank().keep[0, -1]  # the query's own file, though in another row
    assert Comparison.of(query, gallery).rank().order[0, -1] == 2
    assert Comparison.of(query, gallery, rule="none").rank(top=1).order.tolist() == [[2]]
    same, other = image_ids(query.table, gallery.table)
    assert same.tolist() == [other[2]]


X, ONES = np.ones((2, 3)), [1, 1]
BAD = {
    "is not known; did you mean 'cosine'": {"metric": "cosin"},
    "rule 'market' is not known; did you mean 'market1501'": {"rule": "market"},
    "query holds NaN or infinity in 1 of 2 rows, the first is row 1": {"query": [[1, 1, 1], [1, np.nan, 1]]},
    "gallery holds NaN or infinity in 2": {"gallery": X * np.inf},
    r"shape \(3,\), expected \(N, D\)": {"query": np.ones(3)},
    r"shape \(0, 3\), expected": {"query": np.ones((0, 3))},
    "gallery is no array of numbers": {"gallery": [["a", "b"]]},
    "query has 2 numbers a row and gallery 3": {"query": np.ones((2, 2))},
    "query_pids has the shape .3,., but query has 2 rows": {"query_pids": [1, 2, 3]},
    "gallery_camids has the shape": {"gallery_camids": [[1, 1]]},
    "gallery_pids holds fractions": {"gallery_pids": [1.5, 2]},
    "query_pids are not whole numbers": {"query_pids": ["one", "two"]},
    "needs query_camids and": {"query_camids": None},
    "needs query_ids and": {"rule": "same_image", "query": np.ones((3, 3))},
    "top is 0": {"top": 0},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_sentence(message: str) -> None:
    given: dict[str, Any] = {"query": X, "gallery": X, "query_pids": ONES, "gallery_pids": ONES}
    given |= {"query_camids": ONES, "gallery_camids": ONES}
    with pytest.raises(InputError, match=message) as caught:
        changes = dict(BAD[message])
        top = changes.pop("top", None)
        compared(**given | changes).rank(top)
    assert "\n" not in str(caught.value)


def test_labels_are_int64_whatever_they_were() -> None:
    labels = Labels(torch.tensor([1, 2]), np.array([1.0, 2.0]), [True, False], [1, 0]).checked(2, 2, "market1501")
    assert all(getattr(labels, n).dtype == np.int64 for n in ("query_pids", "gallery_pids", "query_camids"))


def test_what_is_left_out_stands_behind_and_matches_nobody(rng: np.random.Generator) -> None:
    query, gallery = rng.normal(size=(6, 4)), rng.normal(size=(40, 4))
    pids, own = rng.integers(0, 5, 40), rng.integers(0, 5, 6)
    whole = Comparison.of_descriptors(
        query, gallery, Labels(own, pids, rng.integers(0, 3, 6), rng.integers(0, 3, 40))
    ).rank()
    out = rng.random((6, 40)) < 0.5
    less = leave_out(whole, out)
    for i in range(6):
        stay = [g for g, kept in zip(whole.order[i], whole.keep[i], strict=True) if kept and not out[i, g]]
        assert less.order[i, : len(stay)].tolist() == stay and less.keep[i].sum() == len(stay)
        assert sorted(less.order[i]) == list(range(40)) and np.isinf(less.distance[i, len(stay) :]).all()
        assert less.match[i, : len(stay)].tolist() == (pids[stay] == own[i]).tolist()
        assert not less.match[i, len(stay) :].any()
    nobody = leave_out(whole, np.ones((6, 40), bool))
    assert not nobody.keep.any() and not nobody.match.any()
    same = leave_out(whole, np.zeros((6, 40), bool))
    assert (same.order == whole.order).all() and (same.match == whole.match).all()
    with pytest.raises(InputError, match=r"out has the shape \(6, 3\)"):
        leave_out(whole, np.zeros((6, 3), bool))
