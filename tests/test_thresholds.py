"""Pairs, thresholds, filters, error rates, open sets and calibration against slow loops and closed forms."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import compared
from scipy.special import logit, softmax
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_curve

from reidkit import distances
from reidkit.attributes import Task
from reidkit.distances import pairwise
from reidkit.errors import InputError
from reidkit.features import Answers, Features
from reidkit.images import JUNK
from reidkit.metrics import AP_FORMS
from reidkit.ranking import Comparison, Labels, evaluate
from reidkit.thresholds import calibration, verification
from reidkit.thresholds.calibration import expected_calibration_error, probability_same, temperature, temperatures
from reidkit.thresholds.filters import described_as, filter_curve, filtered, hamming, mean_threshold
from reidkit.thresholds.verification import (
    Pairs,
    cheapest,
    cost,
    detection_and_identification,
    eer,
    error_rates,
    fit_gaussians,
    measure,
    people_drawn,
    rates_at,
    threshold_at,
)

RULES = ("market1501", "same_image", "none")


def case(rng: np.random.Generator, q: int = 12, g: int = 60) -> dict[str, Any]:
    """Integer descriptors, so that there are ties; junk, distractors, people nobody has, queries without a match."""
    query_pids = rng.integers(-1, 7, q)
    query_pids[query_pids == 0] = rng.choice([0, 6])  # is 0 a person or everybody else?
    return {
        "query": rng.integers(0, 4, (q, 3)).astype(float),
        "gallery": rng.integers(0, 4, (g, 3)).astype(float),
        "query_pids": query_pids,
        "gallery_pids": rng.integers(-1, 6, g),
        "query_camids": rng.integers(1, 4, q),
        "gallery_camids": rng.integers(1, 4, g),
        "query_ids": rng.integers(0, g, q),
        "gallery_ids": np.arange(g),
        "rule": str(rng.choice(RULES)),
    }


def loop(c: dict[str, Any]) -> list[list[tuple[float, bool, int]]]:
    """For every query what the rule leaves in, nearest first: (distance, is it a match, gallery index)."""
    rows = []
    for i, q in enumerate(c["query"]):
        row = []
        for j, g in enumerate(c["gallery"]):
            same = c["query_pids"][i] == c["gallery_pids"][j]
            out = c["gallery_pids"][j] == JUNK
            if c["rule"] == "market1501":
                out |= same and c["query_camids"][i] == c["gallery_camids"][j]
            if c["rule"] == "same_image":
                out |= c["query_ids"][i] == c["gallery_ids"][j]
            if not out:
                row.append((float(np.sqrt(((q - g) ** 2).sum())), j, bool(same)))
        rows.append([(d, same, j) for d, j, same in sorted(row)])
    return rows


def given(genuine: Any, impostor: Any, people: int | None = None) -> Pairs:
    """Pairs of such distances; each its own person, or so many people in turn."""
    genuine, impostor = np.asarray(genuine, float), np.asarray(impostor, float)
    n = people or max(len(genuine), len(impostor), 2)
    one, two = np.arange(len(impostor)) % n, (np.arange(len(impostor)) + 1) % n
    return Pairs(genuine, impostor, np.arange(len(genuine)) % n, one, two, len(impostor))


def says(message: str) -> pytest.RaisesExc:
    return pytest.raises(InputError, match=message, check=lambda error: "\n" not in str(error))


# --- pairs -----------------------------------------------------------------------------------------------------


def test_pairs_equal_a_loop() -> None:
    seen = dict.fromkeys(("junk query", "distractor", "a real person 0", "left out"), 0)
    for seed in range(60):
        c = case(np.random.default_rng(seed))
        rows = [(pid, row) for pid, row in zip(c["query_pids"], loop(c), strict=True) if pid != JUNK]
        genuine = sorted(d for _, row in rows for d, same, _ in row if same)
        impostor = sorted(d for _, row in rows for d, same, _ in row if not same)
        found = verification.pairs(compared(**c))
        np.testing.assert_allclose(found.genuine, genuine, atol=1e-12)
        np.testing.assert_allclose(found.impostor, impostor, atol=1e-12)
        assert found.n_impostor == len(impostor) and (found.impostor_query != found.impostor_gallery).all()
        people = {int(pid): i for i, pid in enumerate(np.unique(c["query_pids"][c["query_pids"] != JUNK]))}
        for pid, number in people.items():  # who a pair belongs to
            own = [row for p, row in rows if p == pid]
            assert (found.genuine_person == number).sum() == sum(same for row in own for _, same, _ in row)
            assert (found.impostor_query == number).sum() == sum(not same for row in own for _, same, _ in row)
            others = sum(c["gallery_pids"][j] == pid for p, row in rows if p != pid for _, _, j in row)
            assert (found.impostor_gallery == number).sum() == others
        nobody = (c["gallery_pids"] == 0).sum() if 0 not in people else 0
        strangers = {int(pid) for pid in c["gallery_pids"]} - set(people) - {JUNK, 0}
        assert len(np.unique(found.impostor_gallery[found.impostor_gallery >= len(people)])) == nobody + len(strangers)
        seen["junk query"] += JUNK in c["query_pids"]
        seen["distractor"] += nobody > 0
        seen["a real person 0"] += 0 in people and 0 in c["gallery_pids"]
        seen["left out"] += any(len(row) < (c["gallery_pids"] != JUNK).sum() for _, row in rows)
    assert min(seen.values()) >= 5, seen


def same_pairs(one: Pairs, other: Pairs) -> None:
    for name, values in asdict(one).items():
        np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


@pytest.mark.parametrize("limit", [5_000_000, 400, 20])
def test_the_size_of_blocks_changes_nothing(
    limit: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = case(rng) | {"rule": "market1501"}
    answers = rng.integers(-1, 3, (12, 4)), rng.integers(-1, 3, (60, 4))
    table = pairwise(torch.from_numpy(c["query"]), torch.from_numpy(c["gallery"]))
    labels = {name: value for name, value in c.items() if name not in ("query", "gallery")}

    def everything(comparison: Comparison) -> list[Any]:
        return [
            verification.pairs(comparison, limit=limit),
            mean_threshold(comparison),
            filter_curve(comparison, *answers),
            detection_and_identification(comparison, hidden=[1]).curve,
        ]

    whole = everything(compared(**c))
    for step in (1, 60 * 8 * 5):  # a query at a time, five at a time
        monkeypatch.setattr(distances, "BLOCK_BYTES", step)
        for comparison in (compared(**c), compared(distance=table, **labels)):
            found = everything(comparison)
            same_pairs(whole[0], found[0])
            np.testing.assert_array_equal(whole[1], found[1])
            pd.testing.assert_frame_equal(whole[2], found[2])
            pd.testing.assert_frame_equal(whole[3], found[3])


def test_a_limit_takes_a_sample_and_counts_all(rng: np.random.Generator) -> None:
    c = case(rng) | {"rule": "none"}
    whole = verification.pairs(compared(**c))
    part = verification.pairs(compared(**c), limit=100, seed=3)
    assert len(part.impostor) == 100 and part.n_impostor == whole.n_impostor == len(whole.impostor)
    np.testing.assert_array_equal(part.genuine, whole.genuine)
    same_pairs(part, verification.pairs(compared(**c), limit=100, seed=3))
    assert not np.array_equal(
        part.impostor_query,
        verification.pairs(compared(**c), limit=100, seed=4).impostor_query,
    )

    def rows(pairs: Pairs) -> list[tuple[float, int, int]]:
        return list(zip(pairs.impostor, pairs.impostor_query, pairs.impostor_gallery, strict=True))

    left = rows(whole)
    for row in rows(part):
        left.remove(row)  # each pair at most as often as it is there
    assert fit_gaussians(part).all.mean == pytest.approx(fit_gaussians(whole).all.mean, rel=0.1)


@pytest.mark.parametrize(("n", "k"), [(10, 10), (10, 7), (30, 10), (50, 10), (10_000, 10)])
def test_a_sample_is_uniform(n: int, k: int) -> None:
    draws = [verification._sample(n, k, np.random.default_rng(seed)) for seed in range(1000)]
    for draw in draws:
        assert len(draw) == k and (np.diff(draw) > 0).all() and draw[0] >= 0 and draw[-1] < n
    low = int((np.concatenate(draws) < n // 2).sum())  # hypergeometric: at most as spread as a binomial
    assert abs(low - 1000 * k * (n // 2) / n) < 4 * np.sqrt(1000 * k / 4)


def test_described_images_bring_their_rule() -> None:
    def features(x: list[float], pids: list[int], name: str) -> Features:
        rows = {"path": [f"{name}{i}" for i in range(len(x))], "pid": pids, "camid": 1, "split": name}
        return Features(torch.tensor(x)[:, None], pd.DataFrame(rows | {"frame": -1, "orientation": -1}))

    query, gallery = features([0.0, 5.0], [1, 2], "query"), features([1.0, 3.0, 9.0], [1, 2, 3], "gallery")
    gallery.table.attrs["rule"] = "none"
    found = verification.pairs(Comparison.of(query, gallery))
    assert found.genuine.tolist() == [1, 2] and found.impostor.tolist() == [3, 4, 4, 9]
    assert verification.pairs(Comparison.of(query, gallery, "sqeuclidean")).genuine.tolist() == [1, 4]
    with says("there is no genuine pair"):  # one camera: the rule leaves no match in
        verification.pairs(Comparison.of(query, gallery, rule="market1501"))


def test_one_person_has_no_impostors() -> None:
    with says("there is no impostor pair"):
        verification.pairs(Comparison.of_descriptors([[0.0]], [[1.0]], Labels([1], [1]), rule="none"))
    with says("limit is 0"):
        verification.pairs(Comparison.of_descriptors([[0.0]], [[1.0]], Labels([1], [1]), rule="none"), limit=0)
    with says("people for 1, 0 and 1"):
        Pairs(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(0), np.zeros(1), 1)


# --- Gaussians -------------------------------------------------------------------------------------------------


def test_fits_are_means_and_deviations(rng: np.random.Generator) -> None:
    genuine, impostor = rng.normal(1, 0.2, 50), rng.normal(2, 0.5, 300)
    fit = fit_gaussians(given(genuine, impostor))
    every = np.concatenate([genuine, impostor])
    for found, values in ((fit.genuine, genuine), (fit.impostor, impostor), (fit.all, every)):
        assert (found.mean, found.deviation) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    tenfold = Pairs(**vars(given(genuine, impostor)) | {"n_impostor": 3000})  # each stands for ten
    every = np.concatenate([genuine, np.repeat(impostor, 10)])
    assert fit_gaussians(tenfold).all.deviation == pytest.approx(every.std())


# --- what to return --------------------------------------------------------------------------------------------


def test_mean_threshold_is_a_mean_over_what_is_left_in() -> None:
    for seed in range(20):
        c = case(np.random.default_rng(seed), g=8)
        expected = [np.mean([d for d, _, _ in row]) if row else np.nan for row in loop(c)]
        np.testing.assert_allclose(mean_threshold(compared(**c)), expected)
    empty = Comparison.of_descriptors(
        [[0.0], [1.0]], [[1.0], [3.0]], Labels([1, 2], [1, 1], [1, 1], [1, 1])
    )  # nothing is left in for person 1
    np.testing.assert_array_equal(mean_threshold(empty), [np.nan, 1])


def test_hamming_equals_a_loop_and_skips_holes(rng: np.random.Generator) -> None:
    q, g = rng.integers(-1, 3, (5, 7)), rng.integers(-1, 3, (9, 7))
    expected = [[sum(x != y and x >= 0 and y >= 0 for x, y in zip(a, b, strict=True)) for b in g] for a in q]
    np.testing.assert_array_equal(hamming(q, g), expected)
    np.testing.assert_array_equal(hamming(torch.from_numpy(q), g.astype(float)), expected)
    np.testing.assert_array_equal(hamming(q[2:4], g), expected[2:4])
    assert hamming(-np.ones((2, 7)), g).max() == 0  # who answers nothing differs in nothing
    with says("query_answers has 7 tasks and gallery_answers 6"):
        hamming(q, g[:, :6])
    with says("expected .N, T."):
        hamming(q[0], g)
    with says("no class numbers"):
        hamming(q + 0.5, g)
    with says("no class numbers"):
        hamming(q, g.astype(str))


def slow_ap(hits: list[bool], n_true: int, ap: str) -> float:
    """AP of a list, divided by `n_true`, one place after the other."""
    total, before, good = 0.0, 1.0, 0
    for place, hit in enumerate(hits, 1):
        good += hit
        if hit:
            total += good / place if ap == "precision" else (good / place + before) / 2
        before = good / place
    return total / n_true


def test_filtered_equals_a_loop_and_scikit_learn() -> None:
    seen = dict.fromkeys(("lost", "empty", "without match", "all kept"), 0)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        c = case(rng)
        answers = rng.integers(-1, 3, (12, 4)), rng.integers(-1, 3, (60, 4))
        limit = [None, 2.0, mean_threshold(compared(**c)), rng.random(12) * 3][seed % 4]
        h = [None, 0, 1, 4][seed // 4 % 4]
        ap = AP_FORMS[seed % 2]
        strict, only, returned, lost, empty = [], [], [], 0, 0
        kept, removed = [], []
        for i, row in enumerate(loop(c)):
            n_true = sum(same for _, same, _ in row)
            if not n_true:
                continue
            cut = np.inf if limit is None else np.broadcast_to(limit, 12)[i]
            tasks = [0 if h is None else hamming(answers[0][[i]], answers[1][[j]])[0, 0] for _, _, j in row]
            passed = [d <= cut + 1e-12 and t <= (h or 0) for (d, _, _), t in zip(row, tasks, strict=True)]
            hits = [same for (_, same, _), ok in zip(row, passed, strict=True) if ok]
            strict.append(slow_ap(hits, n_true, ap))
            if any(hits):
                only.append(slow_ap(hits, sum(hits), ap))
                if ap == "precision":
                    assert only[-1] == pytest.approx(average_precision_score(hits, -np.arange(len(hits))))
            returned.append(len(hits))
            kept += [ok for (_, same, _), ok in zip(row, passed, strict=True) if same]
            removed += [not ok for (_, same, _), ok in zip(row, passed, strict=True) if not same]
            lost += not any(hits)
            empty += not hits
        limit = limit if limit is None else np.asarray(limit) + 1e-12
        found = filtered(compared(**c), limit, answers=None if h is None else answers, h=h, ap=ap)
        assert found.mAP == pytest.approx(100 * np.mean(strict)), seed
        assert found.mAP_returned_only == pytest.approx(100 * np.mean(only) if only else np.nan, nan_ok=True)
        assert found.returned == pytest.approx(np.mean(returned))
        assert found.kept == pytest.approx(100 * np.mean(kept))
        assert found.removed == pytest.approx(100 * np.mean(removed))
        assert (found.n_lost, found.n_empty, found.n_queries) == (lost, empty, 12)
        assert found.n_without_match == 12 - len(strict)
        seen["lost"] += lost > empty
        seen["empty"] += empty > 0
        seen["without match"] += len(strict) < 12
        seen["all kept"] += all(kept)
    assert min(seen.values()) >= 5, seen


@pytest.mark.parametrize("ap", AP_FORMS)
def test_nothing_filtered_is_the_ordinary_map(ap: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        c = case(rng)
        plain = evaluate(**c, ap=ap)
        answers = rng.integers(-1, 3, (12, 4)), rng.integers(-1, 3, (60, 4))
        for options in ({}, {"threshold": np.inf}, {"answers": answers, "h": 4}):
            found = filtered(compared(**c), **options, ap=ap)
            assert found.mAP == pytest.approx(plain.mAP, abs=1e-12)
            assert found.mAP_returned_only == pytest.approx(plain.mAP, abs=1e-12)
            assert (found.kept, found.removed, found.n_lost) == (100, 0, 0)
            assert found.n_without_match == plain.n_without_match


def test_filtered_by_hand() -> None:
    """The list of query 0 is + - + -, that of query 1 ends before its only match."""
    distance = [[1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 2.0, 3.0]]
    comparison = Comparison.of_distances(distance, Labels([1, 2], [1, 3, 1, 2]), rule="none")
    found = filtered(comparison, 2)
    assert found.mAP == pytest.approx(100 * (1 / 2 + 0) / 2)
    assert found.mAP_returned_only == 100  # of query 0 alone
    assert (found.returned, found.n_lost, found.n_empty) == (2, 1, 0)
    assert found.kept == pytest.approx(100 / 3) and found.removed == pytest.approx(100 * 2 / 5)
    found = filtered(comparison, [3, 0.5])
    assert found.mAP == pytest.approx(100 * (1 + 2 / 3) / 4) and (found.n_lost, found.n_empty) == (1, 1)
    nothing = filtered(comparison, np.full(2, np.nan))
    assert nothing.mAP == 0 and np.isnan(nothing.mAP_returned_only) and nothing.n_empty == 2
    alone = filtered(Comparison.of_descriptors([[0.0]], [[1.0]], Labels([1], [1]), rule="none"))
    assert np.isnan(alone.removed) and alone.mAP == 100


def test_the_filter_curve_is_filtered_at_every_h(rng: np.random.Generator) -> None:
    c = case(rng)
    answers = rng.integers(-1, 3, (12, 5)), rng.integers(-1, 3, (60, 5))
    for limit in (None, 2.5):
        curve = filter_curve(compared(**c), *answers, threshold=limit)
        assert list(curve["h"]) == list(range(6))
        for row in curve.to_dict("records"):
            one = filtered(compared(**c), limit, answers=answers, h=int(row["h"]))
            names = ("kept", "removed", "returned", "mAP strict", "mAP returned_only", "n_empty", "n_lost")
            found = (one.kept, one.removed, one.returned, one.mAP, one.mAP_returned_only, one.n_empty, one.n_lost)
            assert [row[name] for name in names] == list(found)
        assert curve["kept"].is_monotonic_increasing and curve["removed"].is_monotonic_decreasing
        assert curve["mAP strict"].iloc[-1] == filtered(compared(**c), limit).mAP


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"h": 2}, "give both, or neither"),
        ({"answers": (np.zeros((12, 2)), np.zeros((60, 2)))}, "give both, or neither"),
        ({"answers": (np.zeros((12, 2)), np.zeros((60, 2))), "h": -1}, "h is -1"),
        ({"answers": (np.zeros((11, 2)), np.zeros((60, 2))), "h": 1}, r"query_answers has the shape \(11, 2\)"),
        ({"answers": (np.zeros((12, 2)), np.zeros((61, 2))), "h": 1}, r"expected \(60, T\)"),
        ({"threshold": np.zeros(5)}, r"threshold has the shape \(5,\)"),
        ({"threshold": np.nan}, "threshold is NaN"),
        ({"ap": "precison"}, "did you mean 'precision'"),
    ],
)
def test_bad_filters_are_one_sentence(options: dict[str, Any], message: str, rng: np.random.Generator) -> None:
    with says(message):
        filtered(compared(**case(rng)), **options)


def test_no_query_with_a_match() -> None:
    with says("none of the 1 queries has a valid match in the gallery under rule 'none'"):
        filtered(Comparison.of_descriptors([[0.0]], [[1.0]], Labels([1], [2]), rule="none"))


# --- error rates -----------------------------------------------------------------------------------------------


def test_error_rates_by_hand() -> None:
    """Ties between genuine and impostor at 2: both rates change there at once."""
    table = error_rates(given([1, 2, 2, 5], [2, 3, 4, 4.5, 6]))
    assert table["threshold"].tolist() == [-np.inf, 1, 2, 4.5, 5, 6]  # 3 and 4: far alone
    np.testing.assert_allclose(table["far"], [0, 0, 0.2, 0.8, 0.8, 1])
    np.testing.assert_allclose(table["frr"], [1, 0.75, 0.25, 0.25, 0, 0])


def test_error_rates_equal_a_loop_and_scikit_learn() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        draw = (lambda n, r=rng: r.integers(0, 9, n)) if seed % 2 else (lambda n, r=rng: r.normal(size=n))
        pairs = given(draw(rng.integers(1, 9)), draw(rng.integers(1, 40)))
        table = error_rates(pairs)
        for t, far, frr in table.itertuples(index=False):
            assert far == np.mean([d <= t for d in pairs.impostor])
            assert frr == pytest.approx(np.mean([d > t for d in pairs.genuine]))
        same = np.repeat([1, 0], [len(pairs.genuine), len(pairs.impostor)])
        distance = np.concatenate([pairs.genuine, pairs.impostor])
        far, accepted, score = roc_curve(same, -distance, drop_intermediate=False)
        np.testing.assert_allclose(rates_at(pairs, -score), (far, 1 - accepted), atol=1e-12)
        # what the table leaves out lies on it: the area under the steps is that of all thresholds
        area = np.sum(np.diff(table["far"]) * (1 - table["frr"])[:-1])
        assert area == pytest.approx(np.sum(np.diff(far) * accepted[:-1]))
        assert len(table) <= 2 * len(np.unique(pairs.genuine)) + 2


@pytest.mark.parametrize(
    ("genuine", "impostor", "rate"),
    [
        ([1, 2], [3, 4], 0),
        ([3, 4], [1, 2], 1),
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.5),
        ([1, 1], [1, 1, 1], 0.5),  # one step from (0, 1) to (1, 0)
        ([1, 2, 3, 6], [4, 5, 7, 8, 9], 0.25),  # far goes from 0.2 to 0.4 while frr is 0.25
    ],
)
def test_eer_by_hand(genuine: list[float], impostor: list[float], rate: float) -> None:
    found = eer(given(genuine, impostor))
    assert found.rate == pytest.approx(rate)
    far, frr = rates_at(given(genuine, impostor), found.threshold)
    worst = [max(rates_at(given(genuine, impostor), t)) for t in [0, *genuine, *impostor]]
    assert max(far, frr) == min(worst) and np.isfinite(found.threshold)


def test_eer_of_two_gaussians(rng: np.random.Generator) -> None:
    """Equal deviations: both errors are Phi(-d / 2) in the middle."""
    found = eer(given(rng.normal(0, 1, 40_000), rng.normal(2, 1, 40_000)))
    assert found.rate == pytest.approx(0.1587, abs=0.005) and found.threshold == pytest.approx(1, abs=0.03)


def world(seed: int, people: int = 40, spread: float = 0.15) -> Pairs:
    """Two queries and three gallery images of each of some people in a plane."""
    rng = np.random.default_rng(seed)
    home = rng.normal(size=(people, 2))
    q, g = np.repeat(np.arange(people), 2), np.repeat(np.arange(people), 3)
    query, gallery = (home[i] + spread * rng.normal(size=(len(i), 2)) for i in (q, g))
    return verification.pairs(Comparison.of_descriptors(query, gallery, Labels(q + 1, g + 1), rule="none"))


@pytest.mark.parametrize("far", [0.05, 0.1, 0.29, 1 / 3, 0.5, 1.0])
def test_threshold_at_is_the_largest_allowed(far: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pairs = given(rng.integers(0, 12, 6), rng.integers(2, 30, 20))
        occurring = [-1.0, *np.unique(np.concatenate([pairs.genuine, pairs.impostor]))]
        allowed = [t for t in occurring if np.mean(pairs.impostor <= t) <= far + 1e-12]
        found = threshold_at(pairs, far, resamples=5)
        if len(allowed) > 1:
            assert found.value == max(allowed)
        assert found.far == np.mean(pairs.impostor <= found.value) <= far + 1e-12
        assert found.frr == pytest.approx(np.mean(pairs.genuine > found.value))


def test_threshold_at_by_hand() -> None:
    impostor = np.arange(100.0) + 10
    assert threshold_at(given([1, 12.5], impostor), 0.03).value == 12.5  # accepts 10, 11, 12 and the genuine one
    assert threshold_at(given([1, 12.5], impostor), 0.02).value == 11
    tied = threshold_at(given([5], np.full(50, 4.0)), 0.1)  # all or nothing: nothing
    assert tied.value < 4 and (tied.far, tied.frr) == (0, 1)


def test_bands_are_deterministic_and_hold_the_estimate() -> None:
    pairs = world(0)
    found, rates = threshold_at(pairs, 0.05, resamples=200), measure(pairs, 0.3, resamples=200)
    assert found == threshold_at(pairs, 0.05, resamples=200) and rates == measure(pairs, 0.3, resamples=200)
    assert threshold_at(pairs, 0.05, resamples=200, seed=1).low != found.low
    assert found.low < found.value < found.high
    assert rates.far_low < rates.far < rates.far_high and rates.frr_low < rates.frr < rates.frr_high
    assert (rates.far_interval, rates.frr_interval) == ("bootstrap", "bootstrap")
    assert rates.far == np.mean(pairs.impostor <= 0.3) and rates.frr == np.mean(pairs.genuine > 0.3)


def test_a_draw_counts_pairs_as_often_as_their_people() -> None:
    """The quick sums over people equal writing every pair out as often as it was drawn."""
    pairs = world(1, people=8)
    chosen, far, frr = [], [], []
    for weight in people_drawn(pairs, 30, seed=5):
        assert weight.sum() == 8
        often = (weight[pairs.impostor_query] * weight[pairs.impostor_gallery]).astype(int)
        impostor = np.repeat(pairs.impostor, often)
        genuine = np.repeat(pairs.genuine, weight[pairs.genuine_person].astype(int))
        far.append(np.mean(impostor <= 0.5))
        frr.append(np.mean(genuine > 0.5))
        first_too_many = np.sort(impostor)[int(0.1 * len(impostor) + 1e-9)]
        both = np.concatenate([pairs.genuine, pairs.impostor])
        chosen.append(both[both < first_too_many].max())
    rates, found = measure(pairs, 0.5, resamples=30, seed=5), threshold_at(pairs, 0.1, resamples=30, seed=5)
    assert (rates.far_low, rates.far_high) == pytest.approx(np.quantile(far, [0.025, 0.975]))
    assert (rates.frr_low, rates.frr_high) == pytest.approx(np.quantile(frr, [0.025, 0.975]))
    assert (found.low, found.high) == pytest.approx(np.quantile(chosen, [0.025, 0.975]))


def test_bands_are_as_wide_as_other_people_make_them() -> None:
    """Sixty groups of forty people: the spread of the rates among them is what a band of one group promises."""
    groups = [measure(world(seed), 0.4, resamples=60) for seed in range(60)]
    for low, rate, high in (("far_low", "far", "far_high"), ("frr_low", "frr", "frr_high")):
        width = np.mean([getattr(g, high) - getattr(g, low) for g in groups])
        assert width == pytest.approx(2 * 1.96 * np.std([getattr(g, rate) for g in groups]), rel=0.3)


def test_people_only_in_the_gallery_are_drawn_apart() -> None:
    c = {"query": np.zeros((4, 1)), "gallery": np.ones((9, 1)), "query_pids": [1, 1, 2, 3]}
    c |= {"gallery_pids": [1, 2, 3, 0, 0, 0, 7, 7, -1], "rule": "none"}
    pairs = verification.pairs(compared(**c))
    for weight in people_drawn(pairs, 50):
        assert weight[:3].sum() == 3 and weight.sum() == 3 + 4  # three distractors and person 7
    assert len(pairs.impostor) == 4 * 8 - 4


def test_rates_of_zero_fall_back_on_wilson() -> None:
    pairs = given([1, 2, 3], [8, 9, 10, 11], people=4)
    rates = measure(pairs, 5)
    assert (rates.far, rates.frr, rates.far_interval, rates.frr_interval) == (0, 0, "wilson", "wilson")
    for high, n in ((rates.far_high, 4), (rates.frr_high, 3)):
        assert high == pytest.approx(binomtest(0, n).proportion_ci(method="wilson").high)
    assert measure(pairs, 100).far_low < 1 == measure(pairs, 100).far_high


def test_one_person_has_no_band() -> None:
    pairs = verification.pairs(
        Comparison.of_descriptors([[0.0], [0.1]], [[1.0], [3.0], [4.0]], Labels([1, 1], [1, 2, 3]), rule="none")
    )
    found = threshold_at(pairs, 0.5)
    assert found.value == 3 and np.isnan(found.low) and np.isnan(found.high)
    rates = measure(pairs, 3.5)
    assert rates.far_interval == "wilson" and rates.far_low < rates.far < rates.far_high


def test_rates_that_cannot_be_seen_are_refused() -> None:
    pairs = given([1], np.arange(50.0))
    with says("here are 50 impostor pairs, and a false accept rate of 0.01 takes at least 100"):
        threshold_at(pairs, 0.01)
    assert threshold_at(pairs, 0.02).far == 0.02
    for far in (0, -0.1, 1.5, np.nan):
        with says("give a share above 0 and at most 1"):
            threshold_at(pairs, far)
    with says("threshold is NaN"):
        measure(pairs, np.nan)


# --- open set --------------------------------------------------------------------------------------------------


def test_open_set_by_hand() -> None:
    """Known: right at 1, right at 3, wrong in front. Unknown: nearest at 2 and at 5."""
    distance = [
        [1.0, 2, 9, 9],
        [9.0, 3, 9, 9],
        [9.0, 2, 4, 9],
        [9.0, 9, 2, 9],
        [5.0, 9, 9, 9],
    ]
    found = detection_and_identification(
        Comparison.of_distances(distance, Labels([1, 2, 3, 8, 9], [1, 2, 3, 4]), rule="none")
    )
    assert (found.n_known, found.n_unknown, found.n_left_out, found.k) == (3, 2, 0, 1)
    expected = {-np.inf: (0, 0), 1: (1 / 3, 0), 2: (1 / 3, 0.5), 3: (2 / 3, 0.5), 5: (2 / 3, 1)}
    assert found.curve["threshold"].tolist() == list(expected)
    np.testing.assert_allclose(found.curve[["dir", "false_alarm"]], list(expected.values()))
    assert found.at(0.5) == pytest.approx(2 / 3)
    with says("here are 2 queries of unknown people, and a false alarm rate of 0.01 takes at least 100"):
        found.at()
    second = detection_and_identification(
        Comparison.of_distances(distance, Labels([1, 2, 3, 8, 9], [1, 2, 3, 4]), rule="none"), k=2
    )
    assert second.curve["dir"].iloc[-1] == 1


def test_open_set_equals_a_loop() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        c, k, hidden = case(rng), int(rng.integers(1, 4)), rng.integers(1, 6, rng.integers(0, 3))
        known, unknown = [], []
        for pid, row in zip(c["query_pids"], loop(c), strict=True):
            row = [(d, same) for d, same, j in row if c["gallery_pids"][j] not in hidden]
            if pid == JUNK:
                continue
            if any(same for _, same in row):
                known.append(min([d for d, same in row[:k] if same], default=np.inf))
            else:
                unknown.append(row[0][0] if row else np.inf)
        comparison = compared(**c)
        if not known or not unknown:
            with says("an open set takes both"):
                detection_and_identification(comparison, k=k, hidden=hidden)
            continue
        found = detection_and_identification(comparison, k=k, hidden=hidden)
        assert (found.n_known, found.n_unknown) == (len(known), len(unknown))
        assert found.n_left_out == 12 - len(known) - len(unknown)
        for t, rate, alarm in found.curve.itertuples(index=False):
            assert rate == pytest.approx(np.mean(np.array(known) <= t + 1e-12))
            assert alarm == pytest.approx(np.mean(np.array(unknown) <= t + 1e-12))
    with says("k is 0"):
        detection_and_identification(comparison, k=0)


# --- calibration -----------------------------------------------------------------------------------------------


def test_ece_by_hand() -> None:
    """Two bins: 0.5 belongs to the lower one and wins a tie as class 0."""
    probability = [[0.5, 0.5], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.1, 0.9]]
    found = expected_calibration_error(probability, [1, 0, 0, 1, -1], bins=2)
    assert found.table["count"].tolist() == [1, 3]
    np.testing.assert_allclose(found.table["confidence"], [0.5, 0.8])
    np.testing.assert_allclose(found.table["accuracy"], [0, 2 / 3])
    assert found.error == pytest.approx(1 / 4 * 0.5 + 3 / 4 * (0.8 - 2 / 3))
    np.testing.assert_allclose(found.table[["low", "high"]], [[0, 0.5], [0.5, 1]])
    sure = expected_calibration_error(torch.eye(3), [0, 1, 2], bins=10)
    assert sure.error == 0 and sure.table["count"].iloc[-1] == 3 and sure.table["accuracy"][:9].isna().all()


def test_ece_of_the_calibrated_is_small_and_equals_a_loop(rng: np.random.Generator) -> None:
    probability = softmax(rng.normal(size=(20_000, 4)) * 2, axis=1)
    label = (rng.random((20_000, 1)) > probability.cumsum(1)).sum(1).clip(max=3)
    found = expected_calibration_error(probability, label)
    assert found.error < 0.02 and found.table["count"].sum() == 20_000 and len(found.table) == 15
    error, confidence = 0.0, probability.max(1)
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            gap = abs((probability.argmax(1) == label)[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    assert found.error == pytest.approx(error)
    overconfident = expected_calibration_error(softmax(np.log(probability) * 4, axis=1), label)
    assert overconfident.error > 0.1


@pytest.mark.parametrize(
    ("probability", "label", "options", "message"),
    [
        ([[2.0, -1.0]], [0], {}, "give the softmax of the logits"),
        ([[0.5, 0.2]], [0], {}, "give the softmax of the logits"),
        ([[0.5, 0.5]], [2], {}, "label goes from 2 to 2, but probability has 2 classes"),
        ([[0.5, 0.5]], [-2], {}, "or -1 where there is no label"),
        ([[0.5, 0.5]], [-1], {}, "every label is -1"),
        ([[0.5, 0.5]], [0, 1], {}, "label has the shape"),
        ([[0.5, 0.5]], [0], {"bins": 0}, "bins is 0"),
    ],
)
def test_bad_probabilities_are_one_sentence(probability: Any, label: Any, options: Any, message: str) -> None:
    with says(message):
        expected_calibration_error(probability, label, **options)


@pytest.mark.parametrize("true", [0.25, 1.0, 3.0])
def test_temperature_is_found_again(true: float, rng: np.random.Generator) -> None:
    logits = rng.normal(size=(20_000, 5)) * 2 * true
    label = (rng.random((20_000, 1)) > softmax(logits / true, axis=1).cumsum(1)).sum(1).clip(max=4)
    found = temperature(logits, label)
    assert found == pytest.approx(true, rel=0.05)
    assert temperature(logits * 8, label) == pytest.approx(8 * found, rel=1e-4)

    def loss(t: float) -> float:
        return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits / t), torch.from_numpy(label)))

    assert loss(found) <= min(loss(found * factor) for factor in (0.99, 0.999, 1.001, 1.01))
    holes = np.where(rng.random(20_000) < 0.5, -1, label)
    assert temperature(logits, holes) == temperature(logits[holes >= 0], label[holes >= 0])


def test_temperature_by_hand_and_at_its_ends() -> None:
    """Two classes, one logit of 2 ahead, right three times out of four: sigmoid(2 / T) = 3 / 4."""
    logits = np.tile([2.0, 0.0], (4, 1))
    assert temperature(logits, [0, 0, 0, 1]) == pytest.approx(2 / np.log(3), rel=1e-5)
    assert temperature(logits, [0, 0, 0, 0]) < 0.2  # always right: as sure as can be
    assert temperature(logits, [1, 1, 1, 1]) == pytest.approx(100, rel=1e-3)
    with says("every label is -1"):
        temperature(logits, [-1] * 4)


@pytest.mark.parametrize("method", calibration.CURVES)
def test_probability_falls_with_distance(method: str, rng: np.random.Generator) -> None:
    """Two Gaussians of one deviation s: logit P = (d / s^2) (middle - x) + logit prior, exactly."""
    pairs = given(rng.normal(1, 0.5, 20_000), rng.normal(2, 0.5, 60_000))
    x = np.linspace(0.8, 2.2, 15).reshape(3, 5)
    for prior in (0.5, 0.1):
        found = probability_same(torch.from_numpy(x), pairs, method=method, prior=prior)
        expected = 1 / (1 + np.exp(-(4 * (1.5 - x) + logit(prior))))
        assert found.shape == (3, 5) and (np.diff(found.ravel()) <= 0).all()
        np.testing.assert_allclose(found, expected, atol=0.02 if method == "logistic" else 0.1)
    assert probability_same(1.5, pairs, method=method).shape == ()


def test_probability_of_kinds_that_do_not_overlap() -> None:
    pairs = given([1, 2], [8, 9, 10])
    for method in calibration.CURVES:
        near, far = probability_same([1.5, 9], pairs, method=method)
        assert near > 0.99 and far < 0.01
    assert probability_same([5.0], given([1], [1, 1]))[0] == pytest.approx(0.5)  # nothing to learn: the prior


def test_isotonic_by_hand() -> None:
    """Neighbours in the wrong order are pooled: genuine at 1 and 3, impostor at 2 and 4, kinds balanced."""
    found = probability_same([0, 1, 2, 3, 4, 9], given([1, 3], [2, 4]), method="isotonic")
    np.testing.assert_allclose(found, [1, 1, 0.5, 0.5, 0, 0])


def test_bad_questions_are_one_sentence() -> None:
    with says("did you mean 'isotonic'"):
        probability_same(1, given([1], [2]), method="isotonik")
    with says("prior is 1"):
        probability_same(1, given([1], [2]), prior=1)


def answers(rng: np.random.Generator, n: int = 400) -> Answers:
    """A yes-no task and one of three classes, answered at random."""
    tasks = (Task("bag", ("no", "yes"), ("bag",)), Task("shirt", ("red", "green", "blue"), ("shirt",)))
    said = tuple(torch.from_numpy(rng.dirichlet(np.ones(len(t.classes)), n)).float() for t in tasks)
    return Answers(said, tasks, pd.DataFrame({"path": [f"{i}.png" for i in range(n)]}))


def test_a_description_is_the_product_of_its_answers(rng: np.random.Generator) -> None:
    own = answers(rng)
    bag, shirt = (p.double().numpy() for p in own.probability)
    np.testing.assert_allclose(described_as(own, {"bag": "yes"}), bag[:, 1], rtol=1e-5)
    both = described_as(own, {"shirt": "blue", "bag": "no"})
    np.testing.assert_allclose(both, shirt[:, 2] * bag[:, 0], rtol=1e-5)
    everything = sum(described_as(own, {"bag": a, "shirt": b}) for a in ("no", "yes") for b in ("red", "green", "blue"))
    np.testing.assert_allclose(everything, 1, rtol=1e-5)
    cool = described_as(own, {"shirt": "blue"}, np.array([1.0, 2.0]))
    np.testing.assert_allclose(cool, shirt[:, 2] ** 0.5 / (shirt**0.5).sum(1), rtol=1e-5)


def test_temperatures_make_descriptions_honest(rng: np.random.Generator) -> None:
    """Labels are drawn from probabilities; the network then says them squared, too sure by T = 2."""
    true = answers(rng, 20_000)
    labels = np.stack([(rng.random((len(p), 1)) > p.numpy().cumsum(1)).sum(1) for p in true.probability], 1)
    labels = np.minimum(labels, [1, 2])
    sure = replace(true, probability=tuple(p**2 / (p**2).sum(1, keepdim=True) for p in true.probability))
    scale = temperatures(sure, labels)
    np.testing.assert_allclose(scale, 2, rtol=0.05)
    wanted = {"bag": "yes", "shirt": "green"}
    right = ((labels[:, 0] == 1) & (labels[:, 1] == 1)).mean()
    assert described_as(sure, wanted, scale).mean() == pytest.approx(right, abs=0.01)
    assert temperatures(sure, np.full_like(labels, -1)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({}, "nothing is asked for"), ({"bags": "yes"}, "did you mean 'bag'"), ({"shirt": "grey"}, "shirt 'grey' is not")],
)
def test_a_description_that_cannot_be_is_a_sentence(
    wanted: dict[str, str], message: str, rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=message):
        described_as(answers(rng, 3), wanted)


# --- prices of errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accept", "reject", "prior"), [(1, 1, 0.5), (1, 20, 0.5), (50, 1, 0.5), (1, 1, 0.01)])
def test_the_cheapest_threshold_is_the_cheapest_of_all(
    accept: float, reject: float, prior: float, rng: np.random.Generator
) -> None:
    own = given(rng.normal(1, 0.3, 40), rng.normal(1.6, 0.4, 90))

    def price(t: float) -> float:  # by counting
        far, frr = np.mean(own.impostor <= t), np.mean(own.genuine > t)
        return accept * (1 - prior) * far + reject * prior * frr

    every = np.concatenate([[0.0], own.genuine, own.impostor])
    found = cheapest(own, accept, reject, prior)
    assert price(found) == pytest.approx(min(price(t) for t in every))
    far, frr = (np.array([rate]) for rate in rates_at(own, found))
    assert cost(far, frr, accept, reject, prior)[0] == pytest.approx(price(found))


def test_the_cheapest_threshold_by_hand() -> None:
    own = given(np.array([0.2, 0.3, 0.6]), np.array([0.5, 0.8, 0.9]))
    assert cheapest(own, 1, 10, 0.5) == 0.6  # no match is lost, one stranger of three comes in
    assert cheapest(own, 10, 1, 0.5) == 0.3  # no stranger comes in, one match of three is lost
    nobody = cheapest(own, 100, 1, 0.0001)
    assert nobody == 0.3  # impostors begin at 0.5: matches below cost nothing
    reverse = given(np.array([0.5]), np.array([0.1, 0.2]))
    assert cheapest(reverse, 100, 1, 0.5) < 0.1 and np.isfinite(cheapest(reverse, 100, 1, 0.5))
