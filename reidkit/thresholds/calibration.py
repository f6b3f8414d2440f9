"""Does 0.8 mean right four times out of five? Calibration of answers, and the probability of one person by distance."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ..distances import as_features, as_numbers
from ..errors import InputError, choose
from ..features import Answers
from .verification import Pairs

CURVES = ("logistic", "isotonic")


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
    choose(method, CURVES, "method")
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
