"""Area under the ROC curve of scores at hand, with its confidence interval.

The estimate and its variance are those of DeLong et al. 1988, "Comparing the Areas under Two or
More Correlated Receiver Operating Characteristic Curves". The interval is made on the logit scale
(compared with others by Qin and Hotilovac 2008), so that it stays within 0 to 1.

Two cases that DeLong's variance does not cover:
    perfect order    the variance is zero although the sample is small. min(P, N) disjoint pairs are
                     all in order with probability at most AUC^min(P, N), which bounds the AUC.
    one case         of a class has no variance: the interval is 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Auc:
    """An estimate and its interval."""

    value: float
    low: float
    high: float
    positives: int
    negatives: int


def auc(scores: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> Auc | None:
    """Probability that a positive case scores above a negative one; a tie counts half.

    Args:
        scores: Any real numbers, shape (n,).
        labels: 0 or 1, shape (n,).
        level: Confidence level of the interval.

    Returns:
        The estimate, or None if a class has no case.

    Raises:
        ValueError: Shapes do not fit, a score is not finite, or a label is neither 0 nor 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected between 0 and 1")
    negatives, positives = _split(scores, labels)
    if not (negatives.size and positives.size):
        return None
    above_negatives = _part_below(positives, negatives)
    value = float(np.mean(above_negatives))
    smallest = min(negatives.size, positives.size)
    if smallest == 1:
        low, high = 0.0, 1.0
    elif value in (0.0, 1.0):
        distance = 1 - ((1 - level) / 2) ** (1 / smallest)
        low, high = max(0.0, value - distance), min(1.0, value + distance)
    else:
        # A negative's placement: the part of the positives above it.
        below_positives = 1 - _part_below(negatives, positives)
        variance = float(np.var(above_negatives, ddof=1)) / positives.size
        variance += float(np.var(below_positives, ddof=1)) / negatives.size
        low, high = _logit_interval(value, variance, level)
    return Auc(value=value, low=low, high=high, positives=positives.size, negatives=negatives.size)


def _split(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, Doubles]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels: got shape {truth.shape} for scores of shape {values.shape}")
    if not np.all((truth == 0) | (truth == 1)):
        raise ValueError("labels: got one that is neither 0 nor 1")
    if not np.all(np.isfinite(values)):
        raise ValueError("scores: got one that is not finite")
    return values[truth == 0], values[truth == 1]


def _part_below(scores: Doubles, others: Doubles) -> Doubles:
    """For each score the part of ``others`` below it, ties half: DeLong's placement values."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left")
    not_above = np.searchsorted(ordered, scores, side="right")
    parts: Doubles = (below + not_above) / (2 * others.size)
    return parts


def _logit_interval(value: float, variance: float, level: float) -> tuple[float, float]:
    quantile = NormalDist().inv_cdf((1 + level) / 2)
    half = quantile * math.sqrt(variance) / (value * (1 - value))
    logit = math.log(value / (1 - value))
    return _logistic(logit - half), _logistic(logit + half)


def _logistic(logit: float) -> float:
    # Of the two equal forms the one whose exponential cannot overflow.
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
