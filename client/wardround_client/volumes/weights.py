"""Averages of a linearly interpolated row of values, as few weights for each result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround_client.volumes.geometry import Float

_EDGE = 1e-6
"""Of a step: as far beyond the first or last knot a point still counts as inside."""
_NARROW = 1e-3
"""Of a step: a narrower average is a single reading."""


class Weights(NamedTuple):
    """For each result, the places of the values it is made of and their weights."""

    places: NDArray[np.intp]
    """intp, shape (results, taps)."""
    weight: NDArray[np.float32]
    """float32, shape (results, taps); rows sum to 1, or to 0 outside."""
    inside: NDArray[np.bool_]
    """bool, shape (results,): whether the point lies between the first and the last knot."""


def box_weights(knots: Float, points: Float, width: float) -> Weights:
    """Finds the weights that average around points the line through values at knots.

    The box is narrowed where it would leave the knots, on both sides alike: its middle stays at
    the point, so that a linear row of values is met exactly everywhere.

    Args:
        knots: float64, shape (n,), ascending places of the values, at least two.
        points: float64, shape (m,), places of the results.
        width: Width of the box.
    """
    step = (knots[-1] - knots[0]) / (len(knots) - 1)
    inside = (points >= knots[0] - _EDGE * step) & (points <= knots[-1] + _EDGE * step)
    middle = np.clip(points, knots[0], knots[-1])
    half = np.minimum(width / 2, np.minimum(middle - knots[0], knots[-1] - middle))
    narrow = half < _NARROW * step
    half = np.where(narrow, 1.0, half)
    averages = (_area(knots, middle + half) - _area(knots, middle - half)) / (2 * half[:, None])
    weight = np.where(narrow[:, None], _reading(knots, middle), averages)
    return _band(weight * inside[:, None], inside)


def _reading(knots: Float, points: Float) -> Float:
    """Weights of linear interpolation, float64, shape (points, knots)."""
    left = np.clip(np.searchsorted(knots, points, side="right") - 1, 0, len(knots) - 2)
    share = (points - knots[left]) / (knots[left + 1] - knots[left])
    weight = np.zeros((len(points), len(knots)))
    rows = np.arange(len(points))
    weight[rows, left] = 1 - share
    weight[rows, left + 1] = share
    return weight


def _area(knots: Float, points: Float) -> Float:
    """Integral of each knot's hat function up to each point, float64, shape (points, knots)."""
    steps = np.diff(knots)
    share = np.clip((points[:, None] - knots[:-1]) / steps, 0, 1)
    area = np.zeros((len(points), len(knots)))
    area[:, 1:] += steps * share**2 / 2  # the rising side of each hat but the first
    area[:, :-1] += steps * (share - share**2 / 2)  # the falling side of each but the last
    return area


def _band(weight: Float, inside: NDArray[np.bool_]) -> Weights:
    """Keeps of each row the run from its first to its last weight, all of one length."""
    used = weight != 0
    first = used.argmax(axis=1)
    last = weight.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    taps = int(np.where(used.any(axis=1), last - first, 0).max(initial=0)) + 1
    start = np.minimum(first, weight.shape[1] - taps)
    index = start[:, None] + np.arange(taps)
    kept = np.take_along_axis(weight, index, axis=1)
    return Weights(index, kept.astype(np.float32), inside)


def weighted(weights: Weights, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Applies weights along the first axis.

    Args:
        weights: From `box_weights`.
        values: float32, shape (n, ...).

    Returns:
        float32, shape (m, ...).
    """
    share = weights.weight.reshape(*weights.weight.shape, *[1] * (values.ndim - 1))
    total = values[weights.places[:, 0]] * share[:, 0]
    for tap in range(1, weights.places.shape[1]):
        total += values[weights.places[:, tap]] * share[:, tap]
    return total
