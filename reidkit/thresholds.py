"""Which distance means the same person: pairs, thresholds, the attribute filter, error rates, open sets, calibration.

A `Comparison` is every query against every gallery image under one rule. Most functions here take one, and measure it
a block of queries at a time. A pair is accepted (taken for the same person) if its distance is at most the threshold.

Units: retrieval (mAP, kept, removed) in percent as in `metrics`; error rates and probabilities from 0 to 1.
Shape letters: Q queries, G gallery images, T attribute tasks, P genuine pairs, N impostor pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, exp, inf, isnan, log, nan, pi, sqrt
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from . import ranking
from .attributes import Task
from .errors import InputError, choose
from .features import Answers, Features
from .images import DISTRACTOR, JUNK
from .metrics import AP_FORMS, average_precision
from .ranking import Labels, as_features, as_numbers, features_pair, labels_of, rank_of_matches

METHODS = ("logistic", "isotonic")


# --- every query against every gallery image -------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Every query against every gallery image under one rule; distances are measured when asked for."""

    labels: Labels
    metric: str
    rule: str
    distances: Callable[[], Iterator[tuple[slice, np.ndarray]]]  # yields rows and their distances (rows, G)

    def __len__(self) -> int:
        return len(self.labels.query_pids)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """A block of queries at a time.

        Yields:
            (rows, distance, keep, match): the slice of queries, and for it (rows, G) distances, which gallery images
            the rule leaves in, and which of those show the query's person.
        """
        for rows, distance in self.distances():
            keep = self.labels.keep(rows, self.rule)
            yield rows, distance, keep, keep & self.labels.match(rows)


def compare(
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
) -> Comparison:
    """A comparison of descriptors; the arguments are those of `ranking.rank`.

    Args:
        query: (Q, D), numpy or torch, on any device.
        gallery: (G, D), numpy or torch, on any device.
        query_pids: (Q,) integers, the person of each query.
        gallery_pids: (G,) integers, the person of each gallery image.
        query_camids: (Q,) integers, the camera of each query, for the rule "market1501".
        gallery_camids: (G,) integers, the camera of each gallery image, for the rule "market1501".
        metric: one of `ranking.METRICS`.
        rule: which gallery images are left out, see `Labels.keep`.
        query_ids: (Q,) integers, a number per image, for the rule "same_image".
        gallery_ids: (G,) integers, a number per image, for the rule "same_image".
    Raises:
        InputError: shapes that do not fit, values that are not finite, a rule without what it needs.
    """
    q, g = features_pair(query, gallery, metric)
    labels = Labels.checked(
        len(q), len(g), query_pids, gallery_pids, query_camids, gallery_camids, query_ids, gallery_ids, rule
    )
    return Comparison(labels, metric, rule, partial(ranking.blocks, q, g, metric))


def compare_distance(
    distance: Any,
    query_pids: Any,
    gallery_pids: Any,
    query_camids: Any = None,
    gallery_camids: Any = None,
    rule: str = "market1501",
    *,
    query_ids: Any = None,
    gallery_ids: Any = None,
) -> Comparison:
    """`compare` for distances (Q, G) one has already, from re-ranking or a metric of one's own."""
    table = as_features(distance, "distance").cpu().numpy()
    q, g = table.shape
    labels = Labels.checked(q, g, query_pids, gallery_pids, query_camids, gallery_camids, query_ids, gallery_ids, rule)
    return Comparison(labels, "given", rule, partial(_slices, table))


def compare_features(
    query: Features, gallery: Features, metric: str = "euclidean", *, rule: str | None = None
) -> Comparison:
    """`compare` for described images; the rule is the data set's own unless another is given."""
    rule = rule or gallery.table.attrs["rule"]
    return compare(query.descriptor, gallery.descriptor, **labels_of(query, gallery), metric=metric, rule=rule)


def _slices(table: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """A table (Q, G) in blocks of rows, as `ranking.blocks` gives them."""
    step = max(1, ranking.BLOCK_BYTES // max(1, table[0].nbytes))
    for start in range(0, len(table), step):
        rows = slice(start, min(start + step, len(table)))
        yield rows, table[rows]


# --- genuine and impostor pairs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Distances of pairs of images of one person (genuine) and of two people (impostor), and who they are.

    People are numbered from 0. Pairs of one person depend on each other, so intervals are made over people, not pairs.
    """

    genuine: np.ndarray  # (P,) float64
    impostor: np.ndarray  # (N,) float64; a uniform sample where there are very many
    genuine_person: np.ndarray  # (P,) int32
    impostor_query: np.ndarray  # (N,) int32, the person of the query
    impostor_gallery: np.ndarray  # (N,) int32, the person of the gallery image
    n_impostor: int  # how many impostor pairs there are in all, N or more

    def __post_init__(self) -> None:
        """Refuse an empty side, which has no error rate, and people who do not fit the distances."""
        sizes = len(self.genuine_person), len(self.impostor_query), len(self.impostor_gallery)
        if sizes != (len(self.genuine), len(self.impostor), len(self.impostor)):
            raise InputError(
                f"here are {len(self.genuine)} genuine and {len(self.impostor)} impostor distances, but people for "
                f"{sizes[0]}, {sizes[1]} and {sizes[2]}: give a person for each genuine pair and two for each other."
            )
        if not len(self.genuine):
            raise InputError(
                "there is no genuine pair: no query has an image of the same person left in the gallery, so look "
                "whether both share people and whether the rule leaves them in."
            )
        if not len(self.impostor):
            raise InputError(
                "there is no impostor pair: the gallery shows nobody but the query's own person, so add images of "
                "other people."
            )


def pairs(comparison: Comparison, *, limit: int = 5_000_000, seed: int = 0) -> Pairs:
    """Measure all pairs that the rule leaves in, each kind in ascending order of distance.

    Queries of pid -1 show nobody known and give no pairs. Distractors of the gallery (pid 0 that no query has) are
    impostors, and each image counts as a person of its own.

    Args:
        comparison: queries and gallery, from `compare`.
        limit: where there are more impostor pairs than this, keep a uniform sample of this many; `n_impostor` is exact.
        seed: of the sample. It does not depend on the size of the blocks.
    Raises:
        InputError: no genuine or no impostor pair; a limit below 1.
    """
    if limit < 1:
        raise InputError(f"limit is {limit}: keep at least one impostor pair.")
    query_person, gallery_person = _people(comparison.labels)
    total = sum(_impostors(comparison, row) for row in range(len(comparison)))
    sample = _sample(total, limit, np.random.default_rng(seed)) if total > limit else None
    genuine: list[tuple[np.ndarray, ...]] = []
    impostor: list[tuple[np.ndarray, ...]] = []
    seen = 0  # impostor pairs in the blocks before this one
    for rows, distance, keep, match in comparison.blocks():
        other = keep & ~match & (query_person[rows, None] >= 0)
        index = np.flatnonzero(other)
        if sample is not None:
            first, last = np.searchsorted(sample, [seen, seen + len(index)])
            seen, index = seen + len(index), index[sample[first:last] - seen]
        for where, kind in ((np.flatnonzero(match), genuine), (index, impostor)):
            q, g = np.divmod(where, distance.shape[1])
            kind.append((distance[q, g].astype(np.float64), query_person[rows][q], gallery_person[g]))
    same, same_person, _ = _ascending(genuine)
    different, asked, found = _ascending(impostor)
    return Pairs(same, different, same_person, asked, found, total)


def _ascending(parts: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Blocks of (distance, person, person) joined, nearest pair first."""
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return [part[order] for part in joined]


def _people(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """A number for the person of every query (Q,) and gallery image (G,), int32; -1 for junk queries."""
    asked = np.unique(labels.query_pids[labels.query_pids != JUNK])
    names = labels.gallery_pids.copy()
    if DISTRACTOR not in asked:
        nobody = names == DISTRACTOR  # all we know is that no query shows them: each its own person
        names[nobody] = JUNK - 1 - np.arange(np.count_nonzero(nobody))
    others = np.setdiff1d(names, asked)

    def number(pids: np.ndarray) -> np.ndarray:
        known = np.isin(pids, asked)
        return np.where(known, np.searchsorted(asked, pids), len(asked) + np.searchsorted(others, pids))

    query = np.where(labels.query_pids == JUNK, -1, number(labels.query_pids))
    return query.astype(np.int32), number(names).astype(np.int32)


def _impostors(comparison: Comparison, row: int) -> int:
    """Number of impostor pairs of one query."""
    labels, rows = comparison.labels, slice(row, row + 1)
    if labels.query_pids[row] == JUNK:
        return 0
    return int(np.count_nonzero(labels.keep(rows, comparison.rule) & ~labels.match(rows)))


def _sample(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """k of the numbers 0..n-1 without replacement, ascending, every subset as likely; memory of k, not of n."""
    if n <= 4 * k:
        return np.sort(rng.permutation(n)[:k])
    found = np.empty(0, np.int64)
    while len(found) < k:  # by symmetry the distinct numbers drawn so far are a uniform subset
        found = np.sort(np.concatenate([found, rng.integers(n, size=k + k // 4 + 1)]))
        found = found[np.diff(found, prepend=-1) > 0]  # np.unique takes ten times as long
    return np.sort(rng.permutation(found)[:k])


# --- two Gaussians ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution of distances."""

    mean: float
    deviation: float  # standard deviation, in the units of the distance

    def density(self, distance: np.ndarray) -> np.ndarray:
        """exp(-((x - mean) / deviation)^2 / 2) / (deviation sqrt(2 pi)), the shape of `distance`."""
        standard = (np.asarray(distance) - self.mean) / self.deviation
        return np.exp(-(standard**2) / 2) / (self.deviation * sqrt(2 * pi))


@dataclass(frozen=True)
class Gaussians:
    """The fits of a set of pairs (paper 001, Figure 3 draws `all` and `genuine`)."""

    all: Gaussian
    genuine: Gaussian
    impostor: Gaussian


def fit_gaussians(pairs: Pairs) -> Gaussians:
    """Mean and standard deviation (maximum likelihood) of all, genuine and impostor distances.

    In `all` a sample of impostor pairs counts as many times as it stands for.
    """
    genuine = Gaussian(float(pairs.genuine.mean()), float(pairs.genuine.std()))
    impostor = Gaussian(float(pairs.impostor.mean()), float(pairs.impostor.std()))
    share = len(pairs.genuine) / (len(pairs.genuine) + pairs.n_impostor)
    mean = share * genuine.mean + (1 - share) * impostor.mean
    variance = sum(
        part * (fit.deviation**2 + (fit.mean - mean) ** 2) for part, fit in ((share, genuine), (1 - share, impostor))
    )
    return Gaussians(Gaussian(mean, sqrt(variance)), genuine, impostor)


def crossing(genuine: Gaussian, impostor: Gaussian) -> float:
    """Find the distance at which the genuine density falls below the impostor density.

    This is the Bayes threshold for equal priors and equal costs: no other threshold has a smaller sum of both errors
    under the two Gaussians. With u = x - mean_g and d = mean_i - mean_g, it is a root of

        (s_g^2 - s_i^2) u^2 - 2 s_g^2 d u + s_g^2 (d^2 + 2 s_i^2 ln(s_i / s_g)) = 0

    namely the one at which the difference of the log densities falls. Equal deviations give the middle of the two
    means. With unequal ones, the narrow density may lie so deep inside the wide one that the crossing is not between
    the means.

    Raises:
        InputError: a deviation of 0; genuine distances that are not smaller on average.
    """
    if not (genuine.deviation > 0 and impostor.deviation > 0):
        raise InputError(
            f"the deviations are {genuine.deviation:g} (genuine) and {impostor.deviation:g} (impostor), and both must "
            "be above 0: take pairs with at least two different distances of each kind."
        )
    apart = impostor.mean - genuine.mean
    if not apart > 0:
        raise InputError(
            f"genuine distances average {genuine.mean:g} and impostor distances {impostor.mean:g}, so no crossing "
            "parts near from far: look whether the descriptors or the labels are mixed up."
        )
    same, other = genuine.deviation**2, impostor.deviation**2
    half = same * apart
    constant = same * (apart**2 + other * log(other / same))
    root = sqrt(max(half**2 - (same - other) * constant, 0.0))
    return genuine.mean + constant / (half + root)  # the form that also holds for equal deviations


# --- what to return: a distance threshold, the attribute filter ------------------------------------------------


def mean_threshold(comparison: Comparison) -> np.ndarray:
    """Average each query's distances to the gallery images that the rule leaves in (paper 001, 4.2.1).

    Returns:
        (Q,) float64; NaN, which accepts nothing, where the rule leaves nothing in.
    """
    means = np.full(len(comparison), np.nan)
    for rows, distance, keep, _ in comparison.blocks():
        total = np.sum(distance, axis=1, where=keep, dtype=np.float64)
        np.divide(total, keep.sum(1), out=means[rows], where=keep.any(1))
    return means


def as_answers(answers: Any, n: int | None, what: str) -> np.ndarray:
    """Attribute classes (N, T) as integers, -1 (or below) for no answer; n rows if n is given, else InputError."""
    array = answers.detach().cpu().numpy() if isinstance(answers, Tensor) else np.asarray(answers)
    if array.ndim != 2 or (n is not None and len(array) != n):
        rows = "N" if n is None else n
        raise InputError(
            f"{what} has the shape {array.shape}, expected ({rows}, T): one row an image, one column a task."
        )
    if array.dtype.kind not in "iub" and not (array.dtype.kind == "f" and np.array_equal(array, np.round(array))):
        raise InputError(f"{what} holds {array.dtype} values that are no class numbers: give integers, -1 for a hole.")
    return array.astype(np.int32)


def hamming(query_answers: Any, gallery_answers: Any) -> np.ndarray:
    """Count the tasks in which both images have an answer (0 or more) and the answers differ.

    Goes through one task at a time: nothing of shape (Q, G, T) is made. For a block of queries give its rows.

    Args:
        query_answers: (Q, T) integers.
        gallery_answers: (G, T) integers.
    Returns:
        (Q, G) int16.
    """
    q, g = as_answers(query_answers, None, "query_answers"), as_answers(gallery_answers, None, "gallery_answers")
    if q.shape[1] != g.shape[1]:
        raise InputError(
            f"query_answers has {q.shape[1]} tasks and gallery_answers {g.shape[1]}: both must answer the same tasks."
        )
    count = np.zeros((len(q), len(g)), np.int16)
    for a, b in zip(q.T, g.T, strict=True):
        count += (a[:, None] != b) & (a >= 0)[:, None] & (b >= 0)
    return count


@dataclass(frozen=True)
class Filtered:
    """What is left of the ranked lists after a filter, over the queries that had a valid match before it."""

    mAP: float  # percent, strict: a match that was filtered out counts as missed, so AP is divided by all matches
    mAP_returned_only: float  # percent, AP divided by the matches still there; queries with none left are left out
    returned: float  # mean number of gallery images returned
    kept: float  # percent of all true matches that are returned
    removed: float  # percent of all false matches that are not returned; NaN where there are none
    n_queries: int  # all queries given
    n_without_match: int  # of them, those that the rule left without any match: in none of the numbers above
    n_empty: int  # scored queries to which nothing at all is returned: AP 0 in mAP
    n_lost: int  # scored queries to which no match is returned, the empty ones included: AP 0 in mAP
    ap: str


def filtered(
    comparison: Comparison,
    threshold: Any = None,
    *,
    answers: tuple[Any, Any] | None = None,
    h: int | None = None,
    ap: str = "precision",
) -> Filtered:
    """Score the lists after a distance threshold, the attribute filter, both or neither (paper 001, 4.2.1).

    AP counts places in the list that is left. With neither filter `mAP` is that of `metrics.evaluate`.
    The paper does not say what it divides by; it appears to mean `mAP_returned_only`.

    Args:
        comparison: queries and gallery, from `compare`.
        threshold: a gallery image is returned if its distance is at most this: a number, or (Q,) one a query; None: no
            threshold.
        answers: attribute classes of queries (Q, T) and gallery (G, T), -1 for a hole, see `hamming`; None: no
            attribute filter.
        h: an image is returned if it differs from the query in at most this many tasks.
        ap: "precision" or "trapezoid", see `metrics.average_precision`.
    Raises:
        InputError: shapes that do not fit, answers without h or h without answers, no query with a match.
    """
    if (answers is None) != (h is None):
        raise InputError("the attribute filter needs both answers=(query, gallery) and h: give both, or neither.")
    if h is not None and h < 0:
        raise InputError(f"h is {h}: let an image differ in 0 tasks at least.")
    return _select(comparison, threshold, answers, [0 if h is None else h], ap)[0]


def filter_curve(
    comparison: Comparison,
    query_answers: Any,
    gallery_answers: Any,
    *,
    threshold: Any = None,
    ap: str = "precision",
) -> pd.DataFrame:
    """The attribute filter as a trade-off: `filtered` for h = 0..T in one pass.

    Args:
        comparison: queries and gallery, from `compare`.
        query_answers: (Q, T) integers, -1 for a hole.
        gallery_answers: (G, T) integers, -1 for a hole.
        threshold: a distance threshold on top, as in `filtered`.
        ap: "precision" or "trapezoid", see `metrics.average_precision`.
    Returns:
        T + 1 rows: h, kept and removed (percent of true and false matches), returned (mean number of images),
        "mAP strict" and "mAP returned_only" (percent), n_empty, n_lost (queries).
    """
    n_tasks = as_answers(query_answers, len(comparison), "query_answers").shape[1]
    scores = _select(comparison, threshold, (query_answers, gallery_answers), range(n_tasks + 1), ap)
    rows = [
        {
            "h": h,
            "kept": score.kept,
            "removed": score.removed,
            "returned": score.returned,
            "mAP strict": score.mAP,
            "mAP returned_only": score.mAP_returned_only,
            "n_empty": score.n_empty,
            "n_lost": score.n_lost,
        }
        for h, score in enumerate(scores)
    ]
    return pd.DataFrame(rows)


def _select(
    comparison: Comparison, threshold: Any, answers: tuple[Any, Any] | None, limits: Sequence[int], ap: str
) -> list[Filtered]:
    """`filtered` for several h at once: every list is sorted once, whatever their number."""
    choose(ap, AP_FORMS, "ap")
    limit = _per_query(threshold, len(comparison))
    if answers is not None:
        answers = (
            as_answers(answers[0], len(comparison), "query_answers"),
            as_answers(answers[1], len(comparison.labels.gallery_pids), "gallery_answers"),
        )
    per_query: list[list[tuple[float, int, int]]] = []  # a scored query: for every h, (AP, matches, images) returned
    n_true, n_false = [], []  # of every scored query, before the filter
    for rows, distance, keep, match in comparison.blocks():
        inside = keep & (distance <= limit[rows, None])
        differ = None if answers is None else hamming(answers[0][rows], answers[1])
        for i in np.flatnonzero(match.any(1)):
            n_true.append(int(match[i].sum()))
            n_false.append(int(keep[i].sum()) - n_true[-1])
            index = np.flatnonzero(inside[i])
            index = index[np.argsort(distance[i, index], kind="stable")]  # (R,) nearest first, ties by gallery index
            hits = match[i, index]
            tasks = np.zeros(len(index), np.int16) if differ is None else differ[i, index]
            found = []
            for h in limits:
                passed = tasks <= h
                places = np.cumsum(passed)[passed & hits]
                found.append((average_precision(places, ap) if len(places) else 0.0, len(places), int(passed.sum())))
            per_query.append(found)
    if not per_query:
        raise InputError(
            f"none of the {len(comparison)} queries has a valid match in the gallery under rule "
            f"{comparison.rule!r}: look whether query and gallery share people, and from different cameras."
        )
    true, false = np.array(n_true), np.array(n_false)
    precision, matches, images = np.moveaxis(np.array(per_query, dtype=np.float64), 2, 0)  # (Q', H) each
    scores = []
    for own, m, n in zip(precision.T, matches.T, images.T, strict=True):
        scores.append(
            Filtered(
                mAP=float(100 * (own * (m / true)).mean()),
                mAP_returned_only=float(100 * own[m > 0].mean()) if m.any() else nan,
                returned=float(n.mean()),
                kept=float(100 * m.sum() / true.sum()),
                removed=float(100 - 100 * (n - m).sum() / false.sum()) if false.any() else nan,
                n_queries=len(comparison),
                n_without_match=len(comparison) - len(true),
                n_empty=int(np.count_nonzero(n == 0)),
                n_lost=int(np.count_nonzero(m == 0)),
                ap=ap,
            )
        )
    return scores


def _per_query(threshold: Any, n: int) -> np.ndarray:
    """A threshold as one number a query, (Q,) float64; None accepts everything."""
    value = threshold.detach().cpu().numpy() if isinstance(threshold, Tensor) else threshold
    limit = np.asarray(inf if value is None else value, dtype=np.float64)
    if limit.ndim == 0 and isnan(limit):
        raise InputError("threshold is NaN: give a distance.")
    if limit.shape not in ((), (n,)):
        raise InputError(f"threshold has the shape {limit.shape}, expected a number or ({n},): one for each query.")
    return np.broadcast_to(limit, (n,))


# --- error rates -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EqualError:
    """Where both error rates are equal."""

    rate: float  # from 0 to 1
    threshold: float


@dataclass(frozen=True)
class Threshold:
    """A threshold choose for a false accept rate, with what it does on the pairs it was choose on."""

    value: float
    low: float  # 95 % of resamples of the people choose between low and high; NaN for fewer than two people
    high: float
    far: float  # share of impostor pairs accepted, from 0 to 1
    frr: float  # share of genuine pairs rejected


@dataclass(frozen=True)
class Measured:
    """Both error rates of a threshold, from 0 to 1, with 95 % intervals and how these were made."""

    threshold: float
    far: float
    far_low: float
    far_high: float
    far_interval: str  # "bootstrap" or "wilson"
    frr: float
    frr_low: float
    frr_high: float
    frr_interval: str


def rates_at(pairs: Pairs, threshold: Any) -> tuple[np.ndarray, np.ndarray]:
    """False accept and false reject rate of any thresholds, from 0 to 1, each the shape of `threshold`.

    far   share of impostor pairs with a distance of at most the threshold
    frr   share of genuine pairs with a distance above it
    """
    impostor, genuine = np.sort(pairs.impostor, kind="stable"), np.sort(pairs.genuine, kind="stable")
    accepted = np.searchsorted(impostor, threshold, side="right")
    rejected = len(genuine) - np.searchsorted(genuine, threshold, side="right")
    return accepted / len(impostor), rejected / len(genuine)


def error_rates(pairs: Pairs) -> pd.DataFrame:
    """Both error rates over all thresholds, exact: the steps of the DET curve (and of the ROC curve, 1 - frr).

    Rates change only at distances that occur. Steps along which far alone changes are left out, so that five million
    impostors can be drawn. A threshold between two rows has the frr of the lower one and a far between theirs;
    `rates_at` gives it.

    Returns:
        threshold (ascending, the first -inf), far, frr.
    """
    threshold = _thresholds(pairs)
    far, frr = rates_at(pairs, threshold)
    falls = np.diff(frr) != 0
    turns = np.concatenate([[True], falls]) | np.concatenate([falls, [True]])
    return pd.DataFrame({"threshold": threshold, "far": far, "frr": frr})[turns].reset_index(drop=True)


def _thresholds(pairs: Pairs) -> np.ndarray:
    """Every threshold at which anything changes: -inf, then all distances that occur, ascending."""
    return np.concatenate([[-inf], np.unique(np.concatenate([pairs.genuine, pairs.impostor]))])


def eer(pairs: Pairs) -> EqualError:
    """The equal error rate: where far, rising, meets frr, falling.

    Steps seldom meet exactly. So the rate is read off the straight line between the last step with far < frr and the
    next one. The threshold is the one of these two whose larger error is smaller.
    """
    threshold = _thresholds(pairs)
    far, frr = rates_at(pairs, threshold)
    after = int(np.argmax(far >= frr))  # exists: the last threshold has far 1 and frr 0, the first far 0 and frr 1
    before = after - 1
    gap_before, gap_after = frr[before] - far[before], far[after] - frr[after]
    rate = far[before] + (far[after] - far[before]) * gap_before / (gap_before + gap_after)
    best = after if max(far[after], frr[after]) <= max(far[before], frr[before]) else before
    value = threshold[best] if best else np.nextafter(threshold[1], -inf)  # a number one can use
    return EqualError(float(rate), float(value))


def threshold_at(pairs: Pairs, far: float = 0.01, *, resamples: int = 500, seed: int = 0) -> Threshold:
    """Choose the largest threshold whose false accept rate is at most the wish.

    Of all thresholds that accept the same pairs it is the smallest, a distance that occurs. The band is the
    percentile bootstrap over people (`people_drawn`): choose again on other people of the same kind, and 95 % of
    the thresholds lie in it.

    Args:
        pairs: the pairs to choose on.
        far: the wish, above 0 and at most 1.
        resamples: draws of people.
        seed: of the draws.
    Raises:
        InputError: fewer than 1 / far impostor pairs, which cannot tell such a rate from 0.
    """
    _resolved(far, len(pairs.impostor), "impostor pairs", "false accept rate")
    order = np.argsort(pairs.impostor, kind="stable")
    distance, query, gallery = pairs.impostor[order], pairs.impostor_query[order], pairs.impostor_gallery[order]
    occurring = _thresholds(pairs)
    start = min(len(distance), int(4 * far * len(distance)) + 100)  # most draws need no more of the list

    def choose(weight: np.ndarray | None, total: float) -> float:
        """The largest distance that occurs below the first impostor pair too many."""
        allowed, n = far * total * (1 + 1e-9), start
        while True:
            each = np.ones(n) if weight is None else weight[query[:n]] * weight[gallery[:n]]
            place = int(np.searchsorted(np.cumsum(each), allowed, side="right"))
            if place < n or n == len(distance):
                break
            n = min(4 * n, len(distance))
        below = np.searchsorted(occurring, distance[place]) - 1 if place < len(distance) else len(occurring) - 1
        return float(occurring[below]) if below else float(np.nextafter(occurring[1], -inf))

    value = choose(None, len(distance))
    count = _between_people(pairs, np.ones(len(pairs.impostor), bool))
    drawn = []
    for weight in people_drawn(pairs, resamples, seed):
        total = float(weight @ (count @ weight))
        drawn.append(choose(weight, total) if total else nan)
    low, high = _band(drawn)
    own_far, own_frr = rates_at(pairs, value)
    return Threshold(value, low, high, float(own_far), float(own_frr))


def cost(far: Any, frr: Any, accept: float, reject: float, prior: float) -> Any:
    """What errors cost on average for each pair compared (Bayes risk).

        cost(t) = accept (1 - prior) FAR(t) + reject prior FRR(t)

    Args:
        far: false accept rate, a number or an array, from 0 to 1.
        frr: false reject rate, a number or an array, from 0 to 1.
        accept: the price of one false accept.
        reject: the price of one false reject.
        prior: share of genuine pairs among those that will be compared.
    """
    return accept * (1 - prior) * far + reject * prior * frr


def cheapest(pairs: Pairs, accept: float = 1.0, reject: float = 1.0, prior: float = 0.5) -> float:
    """Find the threshold of the lowest `cost`, exactly; of several the lowest. Arguments as for `cost`."""
    table = error_rates(pairs)
    best = int(np.argmin(cost(table["far"], table["frr"], accept, reject, prior)))
    value = float(table["threshold"].iloc[best])
    lowest = min(pairs.genuine.min(), pairs.impostor.min())
    return value if value > -inf else float(np.nextafter(lowest, -inf))  # a number one can use


def measure(pairs: Pairs, threshold: float, *, resamples: int = 500, seed: int = 0) -> Measured:
    """Both error rates of a threshold, with 95 % intervals.

    bootstrap   percentiles over draws of people (`people_drawn`)
    wilson      where no pair or every pair is an error, so that every draw says the same, and where fewer than two
                people were asked for: Wilson's interval with one trial a person asked for, not a pair (wide on
                purpose)

    Measure on other people than those the threshold was choose on, or the rates flatter it.

    Raises:
        InputError: a threshold that is NaN.
    """
    if isnan(threshold):
        raise InputError("threshold is NaN: give a distance.")
    accepted, rejected = pairs.impostor <= threshold, pairs.genuine > threshold
    every, wrong = _between_people(pairs, np.ones_like(accepted)), _between_people(pairs, accepted)
    n_people = every.shape[0]
    genuine = np.bincount(pairs.genuine_person, minlength=n_people)
    lost = np.bincount(pairs.genuine_person[rejected], minlength=n_people)
    far, frr = [], []
    for weight in people_drawn(pairs, resamples, seed):
        far.append(_ratio(float(weight @ (wrong @ weight)), float(weight @ (every @ weight))))
        frr.append(_ratio(float(weight @ lost), float(weight @ genuine)))
    far_interval = _interval(far, float(accepted.mean()), len(np.unique(pairs.impostor_query)))
    frr_interval = _interval(frr, float(rejected.mean()), len(np.unique(pairs.genuine_person)))
    return Measured(float(threshold), float(accepted.mean()), *far_interval, float(rejected.mean()), *frr_interval)


def people_drawn(pairs: Pairs, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw people for a bootstrap: as many as there are, with replacement.

    People with a query are drawn apart from people who are only in the gallery. A genuine pair counts as often as its
    person was drawn. An impostor pair counts as often as one person was drawn, times how often the other was.

    It does not suffice to draw by the query's person alone. Where the same people are queries and gallery, the band of
    the far then is half as wide as it must be: in a simulation with 60 people it held the true far 65 times in 100
    instead of 92.

    Yields:
        How often each person was drawn, (people,) float64, `resamples` times; nothing for fewer than two people.
    """
    asked = np.union1d(pairs.genuine_person, pairs.impostor_query)
    others = np.setdiff1d(pairs.impostor_gallery, asked)
    n_people = int(max(asked.max(), pairs.impostor_gallery.max())) + 1
    rng = np.random.default_rng(seed)
    for _ in range(resamples if len(asked) > 1 else 0):
        drawn = [people[rng.integers(len(people), size=len(people))] for people in (asked, others) if len(people)]
        yield np.bincount(np.concatenate(drawn), minlength=n_people).astype(np.float64)


def _between_people(pairs: Pairs, which: np.ndarray) -> sparse.csr_array:
    """Number of these impostor pairs between every two people, (people, people): query's person, gallery's person."""
    query, gallery = pairs.impostor_query, pairs.impostor_gallery
    n_people = int(max(query.max(), gallery.max(), pairs.genuine_person.max())) + 1
    ones = np.ones(np.count_nonzero(which))
    return sparse.coo_array((ones, (query[which], gallery[which])), shape=(n_people, n_people)).tocsr()


def _ratio(part: float, whole: float) -> float:
    """part / whole, NaN for a draw without any pair."""
    return part / whole if whole else nan


def _band(values: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of the values that are not NaN."""
    finite = np.array([value for value in values if not isnan(value)])
    if not len(finite):
        return nan, nan
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _interval(drawn: Sequence[float], share: float, n_people: int) -> tuple[float, float, str]:
    """95 % interval of a share and its name, see `measure`."""
    low, high = _band(drawn)
    if 0 < share < 1 and n_people > 1 and not isnan(low):
        return low, high, "bootstrap"
    wilson = binomtest(round(share * n_people), n_people).proportion_ci(0.95, method="wilson")
    return float(wilson.low), float(wilson.high), "wilson"


def _resolved(share: float, n: int, what: str, rate: str) -> None:
    """InputError unless n of something are enough to see a rate as small as `share`."""
    if not 0 < share <= 1:
        raise InputError(f"the {rate} asked for is {share}: give a share above 0 and at most 1, such as 0.01.")
    if n * share < 1 - 1e-9:
        raise InputError(
            f"here are {n} {what}, and a {rate} of {share:g} takes at least {ceil(1 / share - 1e-9)}: ask for a larger "
            "rate, or add images of more people."
        )


# --- open set: people who are not in the gallery ---------------------------------------------------------------


@dataclass(frozen=True)
class OpenSet:
    """Detection and identification over all thresholds."""

    curve: pd.DataFrame  # threshold (ascending, the first -inf), dir, false_alarm; rates from 0 to 1
    k: int
    n_known: int  # queries of people in the gallery
    n_unknown: int  # queries of people who are not
    n_left_out: int  # junk queries: nobody knows who they show

    def at(self, false_alarm: float = 0.01) -> float:
        """Detection and identification rate at the largest threshold that alarms at most so often.

        InputError if there are fewer than 1 / false_alarm queries of unknown people.
        """
        _resolved(false_alarm, self.n_unknown, "queries of unknown people", "false alarm rate")
        return float(self.curve["dir"][self.curve["false_alarm"] <= false_alarm + 1e-9].iloc[-1])


def detection_and_identification(comparison: Comparison, *, k: int = 1, hidden: Any = ()) -> OpenSet:
    """The open-set question: is this person in the gallery at all, and if so, who?

    dir           share of the known queries whose first match is within the first k places AND within the threshold
    false_alarm   share of the unknown queries with any gallery image within the threshold

    (Grother and Phillips 2004; Phillips, Grother and Micheals 2011. Places are counted in images, as in CMC.) A query
    is known if the gallery, as the rule leaves it, shows its person; a query without a valid match is unknown.

    Args:
        comparison: queries and gallery, from `compare`.
        k: places that count.
        hidden: people (pids) whose images are taken out of the gallery, where a benchmark has no unknown queries.
    Raises:
        InputError: no known or no unknown query, k below 1.
    """
    if k < 1:
        raise InputError(f"k is {k}: let at least the first place count.")
    in_sight = ~np.isin(comparison.labels.gallery_pids, np.asarray(hidden, dtype=np.int64))  # (G,)
    hit, alarm, n_known, n_left_out = [], [], 0, 0
    for rows, distance, keep, match in comparison.blocks():
        for pid, d, left, own in zip(comparison.labels.query_pids[rows], distance, keep & in_sight, match, strict=True):
            if pid == JUNK:
                n_left_out += 1
            elif (own & left).any():
                n_known += 1
                if rank_of_matches(d, left, own)[0] <= k:
                    hit.append(d[own & left].min())
            else:
                alarm.append(d[left].min() if left.any() else inf)
    if not n_known or not alarm:
        raise InputError(
            f"here are {n_known} queries of people in the gallery and {len(alarm)} of people who are not, and an open "
            "set takes both: hide some of the people with hidden=[pid, ...], or look why no query finds its person."
        )
    hits, alarms = np.sort(np.array(hit, np.float64)), np.sort(np.array(alarm, np.float64))
    threshold = np.concatenate([[-inf], np.unique(np.concatenate([hits, alarms[np.isfinite(alarms)]]))])
    curve = pd.DataFrame(
        {
            "threshold": threshold,
            "dir": np.searchsorted(hits, threshold, side="right") / n_known,
            "false_alarm": np.searchsorted(alarms, threshold, side="right") / len(alarms),
        }
    )
    return OpenSet(curve, k, n_known, len(alarms), n_left_out)


# --- calibration: does 0.8 mean right four times out of five? --------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from being right (Guo et al. 2017)."""

    error: float  # expected calibration error, from 0 to 1
    table: pd.DataFrame  # a row a bin: low, high (its borders), confidence, accuracy (means; NaN if empty), count


def expected_calibration_error(probability: Any, label: Any, bins: int = 15) -> Calibration:
    """Average the gap of confidence and accuracy over equally wide bins of confidence, weighted by their counts.

        ECE = sum_b n_b / n |accuracy_b - confidence_b|

    The confidence is the largest probability, and the answer is its class (the first of equals). Bins are open on the
    left: (0, 1/bins], ... (Guo et al. 2017).

    Args:
        probability: (N, C), rows that sum to 1.
        label: (N,) classes 0..C-1; -1 for none, which is left out.
        bins: number of bins.
    Raises:
        InputError: rows that are no probabilities, labels out of range, no label at all, bins below 1.
    """
    if bins < 1:
        raise InputError(f"bins is {bins}: ask for at least one.")
    p, y = _labelled(probability, label, "probability")
    if (p < 0).any() or (np.abs(p.sum(1) - 1) > 1e-3).any():
        raise InputError("probability has rows that are negative or do not sum to 1: give the softmax of the logits.")
    confidence, right = p.max(1), p.argmax(1) == y
    edges = np.arange(bins + 1) / bins
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    shown = np.maximum(count, 1)
    table = pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "confidence": np.where(count, np.bincount(place, confidence, bins) / shown, nan),
            "accuracy": np.where(count, np.bincount(place, right, bins) / shown, nan),
            "count": count,
        }
    )
    gap = (table["accuracy"] - table["confidence"]).abs().fillna(0)
    return Calibration(float((gap * count).sum() / count.sum()), table)


def temperature(logits: Any, label: Any) -> float:
    """Find the temperature T at which softmax(logits / T) has the smallest negative log-likelihood (Guo et al. 2017).

    The negative log-likelihood is convex in 1 / T, so it has one minimum. It is searched between 0.01 and 100: answers
    that are all right end near 0.01, answers worse than guessing near 100. T > 1 means the network was too sure.

    Args:
        logits: (N, C).
        label: (N,) classes 0..C-1; -1 for none, which is left out.
    Raises:
        InputError: shapes that do not fit, labels out of range, no label at all.
    """
    x, y = _labelled(logits, label, "logits")
    rows = np.arange(len(y))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(x * exp(-log_temperature), axis=1)[rows, y].mean())

    found = minimize_scalar(loss, bounds=(log(0.01), log(100)), method="bounded", options={"xatol": 1e-7})
    return exp(found.x)


def temperatures(answers: Answers, labels: np.ndarray) -> np.ndarray:
    """Fit the `temperature` of every attribute, (T,), on people whose labels (N, T) are known; 1 where none is."""
    fitted = [
        temperature(p.clamp(min=1e-12).log(), label) if (label >= 0).any() else 1.0
        for p, label in zip(answers.probability, labels.T, strict=True)
    ]
    return np.array(fitted)


def description(wanted: Mapping[str, str], tasks: Sequence[Task]) -> dict[int, int]:
    """Turn what is asked for, {"gender": "female", "backpack": "yes"}, into class indices by the number of the task.

    Raises:
        InputError: nothing asked for, an attribute or an answer that is not known.
    """
    names = [task.name for task in tasks]
    asked = {}
    if not wanted:
        raise InputError(f"nothing is asked for: give one or more of {', '.join(names)}.")
    for name, answer in wanted.items():
        choose(name, names, "attribute")
        number = names.index(name)
        choose(answer, tasks[number].classes, name)
        asked[number] = tasks[number].classes.index(answer)
    return asked


def described_as(answers: Answers, wanted: Mapping[str, str], scale: np.ndarray | None = None) -> np.ndarray:
    """Estimate how probably each image shows all that is asked for: search by words, without any query image.

        P(all) = prod_t softmax(log p_t / T_t)[wanted_t]

    The product assumes that the network errs on each attribute independently of the others.

    Args:
        answers: what a network says about N images.
        wanted: the answers asked for, see `description`.
        scale: `temperatures` (T,), so that probabilities mean what they say; None: the network's own probabilities.
    Returns:
        (N,) from 0 to 1.
    """
    scale = np.ones(len(answers.tasks)) if scale is None else scale
    out = np.zeros(len(answers.table))
    for number, answer in description(wanted, answers.tasks).items():
        logits = np.log(np.maximum(answers.probability[number].double().numpy(), 1e-12)) / scale[number]
        out += log_softmax(logits, axis=1)[:, answer]
    return np.exp(out)


def _labelled(values: Any, label: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N', C) in float64 that have a label, and their labels (N',)."""
    x = as_features(values, what).cpu().numpy().astype(np.float64)
    y = as_numbers(label, len(x), "label", what)
    if y.min() < -1 or y.max() >= x.shape[1]:
        raise InputError(
            f"label goes from {y.min()} to {y.max()}, but {what} has {x.shape[1]} classes: give 0 to {x.shape[1] - 1}, "
            "or -1 where there is no label."
        )
    if not (y >= 0).any():
        raise InputError("every label is -1: give at least one row with a label.")
    return x[y >= 0], y[y >= 0]


def probability_same(distance: Any, pairs: Pairs, *, method: str = "logistic", prior: float = 0.5) -> np.ndarray:
    """Estimate P(same person | distance), learned from the pairs.

    logistic   1 / (1 + exp(a distance + b)), a and b by maximum likelihood: smooth, two numbers, needs few pairs
    isotonic   the best falling curve, straight between distances seen: no shape assumed, needs many pairs

    Args:
        distance: any shape.
        pairs: the pairs to learn from.
        method: "logistic" or "isotonic".
        prior: share of genuine pairs among those one will meet. 0.5 balances the kinds; in a real search it is far
            smaller, and so is the probability.
    Returns:
        Probabilities from 0 to 1, float64, the shape of `distance`.
    """
    choose(method, METHODS, "method")
    if not 0 < prior < 1:
        raise InputError(f"prior is {prior}: give the share of genuine pairs, between 0 and 1.")
    asked = np.asarray(distance.detach().cpu() if isinstance(distance, Tensor) else distance, dtype=np.float64)
    seen = np.concatenate([pairs.genuine, pairs.impostor])
    same = np.repeat([1, 0], [len(pairs.genuine), len(pairs.impostor)])
    weight = len(seen) * np.where(same, prior / len(pairs.genuine), (1 - prior) / len(pairs.impostor))
    if method == "isotonic":
        falling = IsotonicRegression(y_min=0, y_max=1, increasing=False, out_of_bounds="clip")
        return falling.fit(seen, same, weight).predict(asked.ravel()).reshape(asked.shape)
    middle, width = seen.mean(), seen.std() or 1.0
    logistic = LogisticRegression(C=1e4)  # as good as no penalty, but finite where the kinds do not overlap
    logistic.fit((seen[:, None] - middle) / width, same, weight)
    return logistic.predict_proba((asked.reshape(-1, 1) - middle) / width)[:, 1].reshape(asked.shape)
