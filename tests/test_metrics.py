"""CMC, mAP and mINP against a slow double loop, scikit-learn and numbers worked out by hand."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)

import reidkit
from reidkit import distances, metrics
from reidkit.attributes import MARKET, Task
from reidkit.course.papers import as_printed
from reidkit.errors import InputError
from reidkit.features import Features
from reidkit.groups import by_group, view_scores
from reidkit.metrics import attribute_scores, average_precision, class_scores
from reidkit.ranking import Comparison, Labels, evaluate

RULES = ("market1501", "same_image", "none")


def signs(rng: np.random.Generator, n: int, scaled: bool) -> np.ndarray:
    """Rows of eight numbers, four of them -1 or 1: their length is 2, so unit vectors and ties are exact."""
    x = np.zeros((n, 8))
    for row in x:
        row[rng.permutation(8)[:4]] = rng.choice([-1, 1], 4)
    return x * (2.0 ** rng.integers(0, 3, (n, 1)) if scaled else 1)


def random_case(rng: np.random.Generator) -> dict[str, Any]:
    """A small gallery with everything that goes wrong in real ones."""
    q, g, metric = int(rng.integers(1, 6)), int(rng.integers(1, 25)), str(rng.choice(distances.METRICS))
    gallery = signs(rng, g, metric == "cosine") if rng.random() < 0.5 or metric == "cosine" else None
    gallery = rng.integers(0, 3, (g, 8)).astype(float) if gallery is None else gallery
    gallery = gallery[rng.integers(0, g, g)]  # duplicated rows
    return {
        "query": np.concatenate([gallery, signs(rng, 5, metric == "cosine")])[rng.integers(0, g + 5, q)],
        "gallery": gallery,
        "query_pids": rng.integers(0, 6, q),  # 0: a real person 0; 5: in no gallery
        "gallery_pids": rng.integers(-1, 5, g),
        "query_camids": rng.integers(1, 4, q),
        "gallery_camids": rng.integers(1, 4, g),
        "query_ids": rng.integers(0, g, q),
        "gallery_ids": np.arange(g),
        "metric": metric,
        "rule": str(rng.choice(RULES)),
    }


def slow_ap(hits: list[bool], ap: str) -> float:
    """Average precision straight from the two published evaluation codes."""
    total, old_recall, old_precision, good = 0.0, 0.0, 1.0, 0
    for place, hit in enumerate(hits, 1):
        good += hit
        recall, precision = good / sum(hits), good / place
        if ap == "trapezoid":
            total += (recall - old_recall) * (old_precision + precision) / 2
        elif hit:
            total += precision / sum(hits)
        old_recall, old_precision = recall, precision
    return total


def slow_rows(c: dict[str, Any]) -> list[list[bool]]:
    """For every query the gallery that stays, nearest first: is it a match?"""
    rows = []
    for i, q in enumerate(c["query"]):
        places = []
        for j, g in enumerate(c["gallery"]):
            same_pid = c["query_pids"][i] == c["gallery_pids"][j]
            if c["gallery_pids"][j] == -1:
                continue
            if c["rule"] == "market1501" and same_pid and c["query_camids"][i] == c["gallery_camids"][j]:
                continue
            if c["rule"] == "same_image" and c["query_ids"][i] == c["gallery_ids"][j]:
                continue
            a, b = (q / np.sqrt(q @ q), g / np.sqrt(g @ g)) if c["metric"] == "cosine" else (q, g)
            places.append((sum((a - b) ** 2), j, bool(same_pid)))
        rows.append([hit for _, _, hit in sorted(places)])
    return rows


def test_a_thousand_random_galleries_agree_with_the_slow_loop_and_scikit_learn() -> None:
    seen = dict.fromkeys(("ties", "junk", "distractors", "left out", "no match", "refused"), 0)
    for seed in range(1000):
        c = random_case(np.random.default_rng(seed))
        rows = slow_rows(c)
        valid = [row for row in rows if any(row)]
        seen["ties"] += len(np.unique(c["gallery"], axis=0)) < len(c["gallery"])
        seen["junk"] += -1 in c["gallery_pids"]
        seen["distractors"] += 0 in c["gallery_pids"] and 0 not in c["query_pids"]
        seen["left out"] += any(len(row) < (c["gallery_pids"] != -1).sum() for row in rows)
        seen["no match"] += 0 < len(valid) < len(rows)
        if not valid:
            seen["refused"] += 1
            with pytest.raises(InputError, match="valid match"):
                evaluate(**c)
            continue
        for ap in metrics.AP_FORMS:
            found = evaluate(**c, ap=ap)
            expected = np.array([100 * slow_ap(row, ap) if any(row) else np.nan for row in rows])
            np.testing.assert_allclose(found.per_query, expected, atol=1e-9, err_msg=f"seed {seed}")
            assert found.mAP == pytest.approx(np.nanmean(expected))
            assert (found.n_queries, found.n_without_match) == (len(rows), len(rows) - len(valid))
        sklearn = [average_precision_score(row, -np.arange(len(row))) for row in valid]
        assert evaluate(**c).mAP == pytest.approx(100 * np.mean(sklearn)), f"seed {seed}"
        cmc = [100 * np.mean([any(row[:k]) for row in valid]) for k in range(1, len(c["gallery"]) + 1)]
        np.testing.assert_allclose(found.cmc, cmc)
        last = [max(k for k, hit in enumerate(row, 1) if hit) for row in valid]
        assert found.mINP == pytest.approx(100 * np.mean([sum(r) / k for r, k in zip(valid, last, strict=True)]))
    assert min(seen.values()) >= 20, seen  # every kind was met often


@pytest.mark.parametrize(
    ("hits", "precision", "trapezoid"),
    [
        ([0, 0, 0, 1], 25.0, 12.5),
        ([1, 0, 0, 0], 100.0, 100.0),
        ([0, 1], 50.0, 25.0),
        ([1, 1, 1], 100.0, 100.0),
        ([1, 0, 1], 100 * (1 + 2 / 3) / 2, 100 * (1 + (1 / 2 + 2 / 3) / 2) / 2),
    ],
)
def test_average_precision_by_hand(hits: list[int], precision: float, trapezoid: float) -> None:
    gallery = np.arange(len(hits), dtype=float)[:, None]
    for ap, expected in (("precision", precision), ("trapezoid", trapezoid)):
        scores = evaluate([[-1.0]], gallery, [1], hits, rule="none", ap=ap)
        assert scores.mAP == pytest.approx(expected)
        assert average_precision(np.flatnonzero(hits) + 1, ap) == pytest.approx(expected / 100)


@pytest.mark.parametrize("m", [1, 3, 10])
def test_closed_forms(m: int) -> None:
    """M matches behind n others: AP = mean of k / (n + k); all in front: 100; CMC is a step, mINP = M / (n + M)."""
    n = 7
    gallery, pids = np.arange(n + m, dtype=float)[:, None], np.repeat([0, 1], [n, m])
    behind = evaluate([[-1.0]], gallery, [1], pids, rule="none")
    assert behind.mAP == pytest.approx(100 * np.mean([k / (n + k) for k in range(1, m + 1)]))
    assert behind.mINP == pytest.approx(100 * m / (n + m))
    assert behind.cmc.tolist() == [0.0] * n + [100.0] * m
    front = evaluate([[n + m + 1.0]], gallery, [1], pids, rule="none")
    assert (front.mAP, front.rank1, front.mINP) == (100, 100, 100)


def test_cmc_by_hand() -> None:
    """Three queries find their first match at places 1, 2 and 4, one has none."""
    distance = np.array([[0, 1, 2, 3], [1, 0, 2, 3], [3, 1, 2, 4], [0, 0, 0, 0]], dtype=float)
    scores = Comparison.of_distances(distance, Labels([1, 1, 4, 9], [1, 2, 3, 4]), rule="none").score()
    np.testing.assert_allclose(scores.cmc, [100 / 3, 200 / 3, 200 / 3, 100])
    assert (scores.rank1, scores.at(2), scores.at(99)) == (scores.cmc[0], scores.cmc[1], 100)
    assert (scores.n_queries, scores.n_without_match) == (4, 1) and np.isnan(scores.per_query[3])
    assert scores.mINP == pytest.approx(100 * (1 + 1 / 2 + 1 / 4) / 3)
    assert (
        len(Comparison.of_distances(distance, Labels([1, 1, 4, 9], [1, 2, 3, 4]), rule="none").score(max_rank=2).cmc)
        == 2
    )


def case(rng: np.random.Generator) -> dict[str, Any]:
    """Descriptors without ties, so that the order of the gallery cannot matter."""
    return {
        "query": rng.normal(size=(7, 16)).astype(np.float32),
        "gallery": rng.normal(size=(60, 16)).astype(np.float32),
        "query_pids": rng.integers(1, 6, 7),
        "gallery_pids": rng.integers(-1, 6, 60),
        "query_camids": rng.integers(1, 4, 7),
        "gallery_camids": rng.integers(1, 4, 60),
    }


def same(one: metrics.Scores, other: metrics.Scores) -> None:
    np.testing.assert_allclose(one.per_query, other.per_query, atol=1e-9)
    np.testing.assert_allclose(one.cmc, other.cmc)
    assert one.mINP == pytest.approx(other.mINP) and one.to_dict() == other.to_dict()


@pytest.mark.parametrize("metric", distances.METRICS)
def test_what_changes_nothing(metric: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    c = case(rng) | {"metric": metric}
    plain = evaluate(**c)
    order = rng.permutation(60)
    same(plain, evaluate(**c | {k: c[k][order] for k in ("gallery", "gallery_pids", "gallery_camids")}))
    same(plain, evaluate(**c | {"query": c["query"] * 8, "gallery": c["gallery"] * 8}))
    names = {pid: 100 - 7 * pid if pid > 0 else pid for pid in range(-1, 6)}  # other numbers, same people
    same(plain, evaluate(**c | {k: np.vectorize(names.get)(c[k]) for k in ("query_pids", "gallery_pids")}))
    monkeypatch.setattr(distances, "BLOCK_BYTES", 60 * 8 * 2)  # two queries at a time
    same(plain, evaluate(**c))
    monkeypatch.setattr(distances, "EXACT_WORK", 0)
    same(plain, evaluate(**c))


@pytest.mark.parametrize("rule", RULES)
def test_distances_of_ones_own(rule: str, rng: np.random.Generator) -> None:
    c = case(rng)
    ids = {"query_ids": np.arange(7), "gallery_ids": np.arange(60)}
    distance = distances.pairwise(torch.from_numpy(c["query"]), torch.from_numpy(c["gallery"]))
    labels = {k: c[k] for k in c if k not in ("query", "gallery")}
    given = Comparison.of_distances(distance, Labels(**labels, **ids), rule=rule).score(ap="trapezoid")
    own = evaluate(**c, **ids, rule=rule, ap="trapezoid")
    np.testing.assert_array_equal(given.per_query, own.per_query)
    assert given.to_dict() == own.to_dict() | {"metric": "given"}


@pytest.mark.parametrize(
    "form",
    [
        torch.from_numpy, lambda x: torch.from_numpy(x).bfloat16(), lambda x: torch.from_numpy(x).half(),
        lambda x: x.astype(np.float64), lambda x: x.astype(np.int32), lambda x: x.tolist(),
        lambda x: torch.from_numpy(x).requires_grad_(),
    ],
    ids=["torch", "bf16", "fp16", "float64", "int32", "list", "grad"],
)  # fmt: skip
def test_every_kind_of_array(form: Any, rng: np.random.Generator) -> None:
    c = case(rng) | {"query": signs(rng, 7, True).astype(np.float32), "gallery": signs(rng, 60, True)}
    c["gallery"] = c["gallery"].astype(np.float32)
    other = {k: form(v) if v.ndim == 2 else torch.from_numpy(v) for k, v in c.items()}
    same(evaluate(**c), evaluate(**other))


def test_reranked_scores(rng: np.random.Generator) -> None:
    c = case(rng)
    tables = [
        pd.DataFrame({"path": [f"{name}{i}" for i in range(n)], "pid": c[f"{name}_pids"], "camid": c[f"{name}_camids"]})
        for name, n in (("query", 7), ("gallery", 60))
    ]
    tables[1].attrs["rule"] = "market1501"
    query, gallery = (Features(torch.from_numpy(c[n]), t) for n, t in zip(("query", "gallery"), tables, strict=True))
    labels = {k: v for k, v in c.items() if k not in ("query", "gallery")}
    expected = Comparison.of_distances(
        reidkit.rerank(c["query"], c["gallery"], metric="cosine"), Labels(**labels), metric="named"
    ).score()
    found = Comparison.of(query, gallery, "cosine").rerank().score()
    np.testing.assert_array_equal(found.per_query, expected.per_query)
    assert (found.metric, expected.metric) == ("cosine, re-ranked", "named")
    np.testing.assert_array_equal(Comparison.of(query, gallery).score().per_query, evaluate(**c).per_query)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("work", [0, 2**28])
def test_on_a_gpu(work: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    c = case(rng)
    monkeypatch.setattr(distances, "EXACT_WORK", work)
    for kind in (torch.float32, torch.bfloat16):
        given = {name: torch.from_numpy(c[name]).to(kind) for name in ("query", "gallery")}
        there = {name: value.cuda() for name, value in given.items()}
        same(evaluate(**c | given), evaluate(**c | there))


def test_scores_speak(rng: np.random.Generator) -> None:
    c = case(rng)
    c["query_pids"][0] = 99
    scores = evaluate(**c)
    told = json.loads(json.dumps(scores.to_dict()))
    assert told["mAP"] == round(scores.mAP, 4) and told["n_without_match"] == 1
    assert f"mAP {scores.mAP:.1f} (precision)" in str(scores) and "1 without a match left out" in str(scores)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ap": "precison"}, "did you mean 'precision'"),
        ({"metric": "manhattan"}, "metric 'manhattan' is not known"),
        ({"rule": "duke"}, "rule 'duke' is not known"),
        ({"max_rank": 0}, "max_rank is 0"),
        ({"query_pids": np.full(7, 77)}, "none of the 7 queries has a valid match"),
        ({"query_pids": np.arange(6)}, "query_pids has the shape"),
        ({"query": np.zeros((0, 16))}, "at least one row"),
        ({"gallery": np.full((60, 16), np.nan)}, "60 of 60 rows"),
    ],
)
def test_bad_input_is_one_sentence(changes: dict[str, Any], message: str, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluate(**case(rng) | changes)
    assert "\n" not in str(caught.value)
    if {"ap", "max_rank"} & set(changes):
        with pytest.raises(InputError, match=message):
            Comparison.of_distances(np.ones((1, 1)), Labels([1], [1]), rule="none").score(**changes)


# --- attributes ---

HAT = Task("hat", ("no", "yes"), ("hat",))
UP = Task("up", ("red", "blue", "green", "multi"), ("upred", "upblue", "upgreen"))


def answered(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Random labels with holes, and answers that are right more often than not."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(-1, len(task.classes), n) for task in MARKET.tasks], 1)
    other = np.stack([rng.integers(0, len(task.classes), n) for task in MARKET.tasks], 1)
    return labels, np.where((rng.random(labels.shape) < 0.6) & (labels >= 0), labels, other)


@pytest.mark.parametrize("seed", range(4))
def test_attribute_scores_agree_with_scikit_learn(seed: int) -> None:
    labels, answers = answered(seed, n=int(np.random.default_rng(seed).integers(20, 90)))
    table = attribute_scores(labels, answers, MARKET.tasks)
    assert list(table) == ["n", "commonest", "accuracy", "macro_f1", "mean_accuracy"] and len(table) == 13
    for task, label, answer in zip(MARKET.tasks, labels.T, answers.T, strict=True):
        y, said, row = label[label >= 0], answer[label >= 0], table.loc[task.name]
        assert row["n"] == len(y) and row["commonest"] == pytest.approx(100 * max(np.mean(y == c) for c in y))
        assert row["accuracy"] == pytest.approx(100 * accuracy_score(y, said))
        f1 = f1_score(y, said, labels=np.unique(y), average="macro", zero_division=0)
        assert row["macro_f1"] == pytest.approx(100 * f1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # answers that are no label
            assert row["mean_accuracy"] == pytest.approx(100 * balanced_accuracy_score(y, said))
    means = table.iloc[:-1].drop(columns="n").mean()
    assert table.index[-1] == "global" and table.loc["global", "n"] == table["n"].iloc[:-1].max()
    np.testing.assert_allclose(table.iloc[-1][means.index].astype(float), means)


@pytest.mark.parametrize("seed", range(4))
def test_class_scores_agree_with_scikit_learn(seed: int) -> None:
    labels, answers = answered(seed)
    table = class_scores(labels, answers, MARKET.tasks)
    assert list(table) == ["task", "class", "count", "answered", "recall", "precision", "f1"]
    for task, label, answer in zip(MARKET.tasks, labels.T, answers.T, strict=True):
        y, said, rows = label[label >= 0], answer[label >= 0], table[table["task"] == task.name]
        assert tuple(rows["class"]) == task.classes
        every = range(len(task.classes))
        precision, recall, f1, count = precision_recall_fscore_support(y, said, labels=every, zero_division=np.nan)
        for name, theirs in {"precision": precision, "recall": recall, "f1": f1}.items():
            np.testing.assert_allclose(rows[name], 100 * theirs)
        assert rows["count"].tolist() == count.tolist() and rows["answered"].sum() == len(y)


def test_nobody_wears_a_hat() -> None:
    """97 of 100 without a hat: accuracy 97, but the F1 of "no" is 2 * 97 / 197 and that of "yes" 0."""
    labels = np.repeat([0, 1, -1], [97, 3, 7])[:, None]
    answers = np.zeros_like(labels)
    table = attribute_scores(labels, answers, [HAT])
    expected = [100, 97, 97, 100 * 97 / 197, 50]
    np.testing.assert_allclose(table.loc["hat"].astype(float), expected)
    np.testing.assert_allclose(table.loc["global"].astype(float), expected)
    no, yes = class_scores(labels, answers, [HAT]).itertuples(index=False)
    assert (no.count, no.answered, no.recall, no.precision) == (97, 100, 100, 97)
    assert (yes.count, yes.answered, yes.recall, yes.f1) == (3, 0, 0, 0) and np.isnan(yes.precision)


def test_classes_that_do_not_occur_are_not_scored() -> None:
    labels, answers = np.array([0, 0, 1, 1, -1])[:, None], np.array([0, 2, 1, 1, 3])[:, None]
    row = attribute_scores(labels, answers, [UP]).loc["up"]
    assert (row["accuracy"], row["mean_accuracy"]) == (75, 75)
    assert row["macro_f1"] == pytest.approx(100 * (2 / 3 + 1) / 2)  # of the two that occur
    red, blue, green, multi = class_scores(labels, answers, [UP]).itertuples(index=False)
    assert (red.recall, blue.recall, blue.precision) == (50, 100, 100) and red.f1 == pytest.approx(200 / 3)
    assert (green.count, green.answered, green.precision, green.f1) == (0, 1, 0, 0) and np.isnan(green.recall)
    assert multi.answered == 0 and np.isnan([multi.recall, multi.precision, multi.f1]).all()


def test_a_task_without_labels_is_left_out_of_the_mean() -> None:
    labels, answers = np.array([[0, -1], [1, -1], [1, -1]]), np.array([[0, 2], [1, 2], [0, 1]])
    table = attribute_scores(labels, answers, (HAT, UP))
    assert table["n"].tolist() == [3, 0, 3] and table["n"].dtype == int
    assert table.loc["up"].drop("n").isna().all()
    np.testing.assert_array_equal(table.loc["global"], table.loc["hat"])
    assert class_scores(labels, answers, (HAT, UP)).query("task == 'up'")["count"].tolist() == [0, 0, 0, 0]
    nothing = attribute_scores(np.full((3, 1), -1), answers[:, :1], (HAT,))
    assert nothing["n"].tolist() == [0, 0] and nothing.drop(columns="n").isna().all(axis=None)


def test_global_is_what_the_paper_prints_below_its_tasks() -> None:
    """Table 2 of paper 001: the mean of the accuracies of its twelve tasks, to its own rounding."""
    row = as_printed("two_stage", "Table 2").loc["Vanilla CE"]
    tasks = [row[f"accuracy/{task.name}"] for task in MARKET.tasks]
    assert len(tasks) == 12 and np.mean(tasks) == pytest.approx(row["accuracy/global"], abs=0.01)


def seen(rng: np.random.Generator, n: int, **columns: Any) -> Features:
    """Random descriptors of few people, two cameras and three views."""
    table = pd.DataFrame({"pid": rng.integers(-1, 6, n), "camid": rng.integers(1, 3, n),
                          "orientation": rng.integers(0, 3, n)})  # fmt: skip
    return Features(torch.from_numpy(rng.normal(size=(n, 4))).float(), table.assign(**columns))


def test_view_scores_are_those_of_galleries_with_matches_of_one_view() -> None:
    rng = np.random.default_rng(5)
    query, gallery = seen(rng, 30), seen(rng, 90)
    query.table["pid"] = query.table["pid"].clip(lower=0)
    table = view_scores(query, gallery)
    g = gallery.table
    for view in range(3):
        for other in range(3):
            found = []
            for i in np.flatnonzero(query.table["orientation"] == view):
                pid, camera = query.table.loc[i, ["pid", "camid"]]
                keep = ((g["pid"] != pid) | (g["orientation"] == other)).to_numpy()
                try:
                    scores = evaluate(
                        query.descriptor[i : i + 1], gallery.descriptor[keep], [pid], g["pid"][keep],
                        [camera], g["camid"][keep],
                    )  # fmt: skip
                except InputError:
                    continue  # no match of this view
                found.append(scores.mAP)
            assert table.loc[view, other] == pytest.approx(np.mean(found))


def test_view_scores_want_orientations() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="have no orientation"):
        view_scores(seen(rng, 5, orientation=-1), seen(rng, 9))


# --- groups ---


def slow_groups(c: dict[str, Any], groups: list[str | None]) -> dict[str, tuple[int, int, int, float, float]]:
    """People, queries and those left out, mAP and rank-1 of every group, straight from the slow rankings."""
    found = {}
    for name in {group for group in groups if group is not None}:
        people, aps, firsts, left_out = set(), [], [], 0
        for row, pid, group in zip(slow_rows(c), c["query_pids"], groups, strict=True):
            if group != name:
                continue
            if not any(row):
                left_out += 1
                continue
            people.add(int(pid))
            aps.append(100 * slow_ap(row, "precision"))
            firsts.append(100.0 * row[0])
        means = (float(np.mean(aps)), float(np.mean(firsts))) if aps else (np.nan, np.nan)
        found[name] = (len(people), len(aps), left_out, *means)
    return found


def test_groups_agree_with_the_slow_loop() -> None:
    """On galleries with ties, junk and queries without a match; who belongs to no group counts nowhere."""
    seen = dict.fromkeys(("ties", "no match", "empty", "one person", "no group"), 0)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        c = random_case(rng)
        if not any(any(row) for row in slow_rows(c)):
            continue
        groups = [[None, "a", "b"][k] for k in rng.integers(0, 3, len(c["query"]))]
        expected = slow_groups(c, groups)
        table = by_group(evaluate(**c), c["query_pids"], groups, resamples=3)
        assert table.index.tolist() == sorted(expected)
        for name, (people, queries, left_out, mean_ap, rank1) in expected.items():
            row = table.loc[name]
            assert (row["people"], row["queries"], row["without_match"]) == (people, queries, left_out)
            np.testing.assert_allclose(row[["mAP", "rank1"]].astype(float), [mean_ap, rank1], atol=1e-9)
            seen["no match"] += left_out > 0
            seen["empty"] += queries == 0
            seen["one person"] += people == 1
        seen["ties"] += len(np.unique(c["gallery"], axis=0)) < len(c["gallery"])
        seen["no group"] += None in groups
    assert min(seen.values()) >= 10, seen


def test_equal_distances_keep_the_order_of_the_gallery() -> None:
    """The match that stands first in the gallery wins its tie, the one that stands second loses it."""
    scores = Comparison.of_distances(np.zeros((2, 2)), Labels([1, 2], [1, 2]), rule="none").score()
    table = by_group(scores, [1, 2], ["wins", "loses"])
    assert scores.first.tolist() == [1, 2]
    assert table["rank1"].to_dict() == {"wins": 100, "loses": 0} and table["mAP"].to_dict() == {
        "wins": 100,
        "loses": 50,
    }


def test_the_interval_draws_people_with_all_their_queries() -> None:
    """Against a slow loop over the same draws; twenty queries of two people are two people."""
    rng = np.random.default_rng(3)
    pids = np.repeat([5, 7, 9], [1, 4, 2])
    distance = rng.random((7, 12))
    scores = Comparison.of_distances(distance, Labels(pids, np.repeat([5, 7, 9, 11], 3)), rule="none").score()
    (row,) = by_group(scores, pids, ["all"] * 7, resamples=50, seed=4).to_dict("records")
    draws = np.random.default_rng(4).multinomial(3, [1 / 3] * 3, size=50)
    for name, value in (("mAP", scores.per_query), ("rank1", 100.0 * (scores.first == 1))):
        means = []
        for draw in draws:
            queries = [v for pid, times in zip((5, 7, 9), draw, strict=True) for v in [*value[pids == pid]] * times]
            means.append(np.mean(queries))
        np.testing.assert_allclose([row[f"{name}_low"], row[f"{name}_high"]], np.quantile(means, [0.025, 0.975]))
        assert row[name] == pytest.approx(value.mean())

    found, lost = [1.0] * 10, [2.0] * 10  # two people, one always first, one never
    many = Comparison.of_distances(
        np.array([[0.0, 1.0]] * 20), Labels([1] * 10 + [2] * 10, [1, 2]), rule="none"
    ).score()
    assert many.first.tolist() == found + lost
    wide = by_group(many, [1] * 10 + [2] * 10, ["all"] * 20).loc["all"]
    assert (wide["people"], wide["rank1"], wide["rank1_low"], wide["rank1_high"]) == (2, 50, 0, 100)
    narrow = by_group(many, np.arange(20), ["all"] * 20).loc["all"]  # as though every query were another person
    assert narrow["rank1_high"] - narrow["rank1_low"] < 60


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """People score differently, the queries of each alike: 95 intervals of 100, give or take."""
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        chance = np.repeat(rng.random(50), 4)  # of a person's queries to be found first; 0.5 on average
        first = np.where(rng.random(200) < chance, 1.0, 2.0)
        scores = metrics.Scores(0, np.zeros(1), 0, 200, 0, 100 / first, first, "given", "none", "precision")
        row = by_group(scores, np.repeat(np.arange(50), 4), ["all"] * 200, resamples=300).loc["all"]
        inside.append(row["rank1_low"] <= 50 <= row["rank1_high"])
    assert 0.89 <= np.mean(inside) <= 0.99


def test_groups_that_say_little() -> None:
    """One person, people who all score the same, nobody with a match, a category that nobody is in."""
    distance = np.array([[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 1, 2]], dtype=float)
    scores = Comparison.of_distances(distance, Labels([1, 2, 2, 9], [1, 2, 3]), rule="none").score()
    groups = pd.Categorical(["same", "same", "one", "none"], ["none", "one", "nobody", "same"])
    table = by_group(scores, torch.tensor([1, 2, 2, 9]), groups)
    assert table.index.tolist() == ["none", "one", "nobody", "same"] and table.index.name == "group"
    assert table["people"].tolist() == [0, 1, 0, 2] and table["without_match"].tolist() == [1, 0, 0, 0]
    assert table.loc[["one", "same"], ["mAP", "rank1"]].to_numpy().tolist() == [[50, 0], [100, 100]]
    assert table.loc[["none", "nobody"], ["mAP", "rank1"]].isna().all(axis=None)
    assert table.filter(regex="low|high").isna().all(axis=None)
    assert by_group(scores, [1, 2, 2, 9], [None] * 4).empty


def test_the_draws_of_a_group_do_not_depend_on_the_others(rng: np.random.Generator) -> None:
    c = case(rng)
    scores, groups = evaluate(**c), np.array(list("aaaabbb"))
    both = by_group(scores, c["query_pids"], groups)
    pd.testing.assert_frame_equal(both, by_group(scores, c["query_pids"], groups))
    alone = by_group(scores, c["query_pids"], [name if name == "b" else None for name in groups])
    pd.testing.assert_series_equal(both.loc["b"], alone.loc["b"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pids": [1, 2]}, r"pids has the shape \(2,\): give one value for each of 3 queries"),
        ({"groups": ["a"]}, r"groups has the shape \(1,\): give one value for each of 3 queries"),
        ({"resamples": 0}, "resamples is 0: draw the people at least once"),
    ],
)
def test_wrong_groups_are_one_sentence(changes: dict[str, Any], message: str) -> None:
    scores = Comparison.of_distances(np.eye(3), Labels([1, 2, 3], [1, 2, 3]), rule="none").score()
    given: dict[str, Any] = {"pids": [1, 2, 3], "groups": ["a", "a", "b"]} | changes
    with pytest.raises(InputError, match=message):
        by_group(scores, **given)
