"""Is it the same person? Distances of pairs, thresholds, error rates with intervals, open sets.

A pair is accepted (taken for the same person) if its distance is at most the threshold. Rates are from 0 to 1.
Shape letters: P genuine pairs, N impostor pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf, isnan, nan, sqrt
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import binomtest

from ..errors import InputError
from ..images import DISTRACTOR, JUNK
from ..ranking import Comparison, Labels, places_of_matches


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
        comparison: queries and gallery.
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


# --- error rates -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EqualError:
    """Where both error rates are equal."""

    rate: float  # from 0 to 1
    threshold: float


@dataclass(frozen=True)
class Threshold:
    """A threshold chosen for a false accept rate, with what it does on the pairs it was chosen on."""

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
    distance, query, gallery = (part[order] for part in (pairs.impostor, pairs.impostor_query, pairs.impostor_gallery))
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

    Measure on other people than those the threshold was chosen on, or the rates flatter it.

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
        comparison: queries and gallery.
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


def rank_of_matches(distance: np.ndarray, keep: np.ndarray, match: np.ndarray) -> np.ndarray:
    """`places_of_matches` for masks: distance, keep, match (G,) to (M,) ascending places."""
    return places_of_matches(distance, np.flatnonzero(match & keep), np.flatnonzero(~keep))
