"""From an update to integers that can be masked and summed without overflow.

A site contributes q = rint(w * u * q_max / limit) with its weight w in (0, 1] and |u| <= limit,
then the word rint(w * q_max), then its metric counts. With q_max = floor((2^31 - 1) / n_max) the
sum over at most n_max sites stays inside the ring's signed range, so nothing wraps. Anything out
of range is refused at the site; nothing is clipped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround_common.errors import PolicyError, VerificationError
from wardround_common.masking import Words
from wardround_common.update import Floats

_RING_LIMIT = (1 << 31) - 1
_CHUNK = 1 << 16
_DOT_CHUNK = 1 << 13  # below the size at which BLAS wakes other threads, which costs more


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of float values that share one range."""

    name: str
    """``weights``, ``first_moment``, ``root_second_moment`` or ``buffers``."""
    size: int
    """Number of values."""
    limit: float
    """Bound on every value's magnitude, and on the L2 norm where ``bounded_norm``."""
    bounded_norm: bool
    """Whether the limit holds for the segment's L2 norm, not only for each value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPlan:
    """Layout of one site's vector: segments, the weight word, then count words."""

    segments: tuple[Segment, ...]
    counts: int
    """Number of count words at the end, such as the metrics' slots."""
    maximum_sites: int
    """n_max: the most sites whose vectors may ever be summed."""

    @property
    def q_max(self) -> int:
        """Largest integer one site may contribute to one word."""
        return _RING_LIMIT // self.maximum_sites

    @property
    def values(self) -> int:
        """Number of float values."""
        return sum(segment.size for segment in self.segments)

    @property
    def length(self) -> int:
        """Number of words."""
        return self.values + 1 + self.counts


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSum:
    """What an opened sum says: weighted means by segment, total weight, summed counts."""

    means: dict[str, NDArray[np.float64]]
    weight: float
    """Sum of the sites' weights."""
    counts: NDArray[np.int64]


def clip(values: Floats, limit: float) -> tuple[Floats, bool]:
    """Scales ``values`` down to L2 norm ``limit`` if it is larger; says whether it was.

    Raises:
        PolicyError: A value is not finite.
    """
    norm = float(np.sqrt(_sum_of_squares(values)))
    if not np.isfinite(norm):
        raise PolicyError(
            "update: got values that are not finite; training diverged, lower the rate"
        )
    if norm <= limit:
        return values, False
    return values * np.float32(limit / norm * (1 - 1e-6)), True


def encode(
    plan: VectorPlan, parts: dict[str, Floats], *, weight: float, counts: NDArray[np.int64]
) -> Words:
    """Quantises one site's contribution.

    Args:
        plan: The layout.
        parts: float32 vectors by segment name.
        weight: The site's weight, 0 < weight <= 1.
        counts: int64, shape (plan.counts,), each 0 to plan.q_max.

    Returns:
        uint32, shape (plan.length,).

    Raises:
        PolicyError: Something is out of range or not finite.
        ValueError: The parts do not fit the plan.
    """
    if not 0 < weight <= 1:
        raise PolicyError(f"weight: got {weight}, expected above 0 and at most 1")
    if counts.shape != (plan.counts,) or set(parts) != {s.name for s in plan.segments}:
        raise ValueError("parts and counts do not fit the plan")
    if counts.size and not (counts.min() >= 0 and counts.max() <= plan.q_max):
        raise PolicyError(f"counts: got one outside 0 to {plan.q_max}; split the evaluation set")
    vector, at = np.empty(plan.length, np.uint32), 0
    for segment in plan.segments:
        _quantise(parts[segment.name], segment, weight * plan.q_max, vector[at : at + segment.size])
        at += segment.size
    vector[at] = round(weight * plan.q_max)
    vector[at + 1 :] = counts
    return vector


def decode(plan: VectorPlan, vector: Words, *, sites: int) -> OpenedSum:
    """Turns an opened sum of ``sites`` vectors into means, checking every declared range.

    Raises:
        VerificationError: Some site left its range; who cannot be said.
        ValueError: The vector has another length.
    """
    if vector.shape != (plan.length,):
        raise ValueError(f"vector: got {vector.shape}, expected ({plan.length},)")
    weight_word = int(vector[plan.values])
    if not 0 < weight_word <= sites * plan.q_max:
        raise VerificationError("opened sum: weight out of range; a site sent garbage")
    means, at = {}, 0
    for segment in plan.segments:
        signed = vector[at : at + segment.size].view(np.int32)
        means[segment.name] = _mean(signed, segment, weight_word, sites)
        at += segment.size
    counts = vector[at + 1 :].astype(np.int64)
    if counts.size and counts.max() > sites * plan.q_max:
        raise VerificationError("opened sum: count out of range; a site sent garbage")
    return OpenedSum(means=means, weight=weight_word / plan.q_max, counts=counts)


def _quantise(values: Floats, segment: Segment, scale: float, out: Words) -> None:
    if values.shape != (segment.size,) or values.dtype != np.float32:
        raise ValueError(f"{segment.name}: got {values.dtype} {values.shape}")
    if segment.bounded_norm:
        largest = float(np.sqrt(_sum_of_squares(values)))
    else:
        largest = float(np.max(np.abs(values), initial=0.0))
    if not largest <= segment.limit:  # also true for NaN
        raise PolicyError(
            f"{segment.name}: got magnitude {largest:.6g}, expected at most {segment.limit:.6g}"
        )
    factor, signed = scale / segment.limit, out.view(np.int32)
    scratch = np.empty(min(_CHUNK, segment.size), np.float64)
    for start in range(0, segment.size, _CHUNK):
        part = values[start : start + _CHUNK]
        # In float64: single precision would round products up, beyond q_max, and wrap the sum.
        rounded = np.multiply(part, factor, out=scratch[: part.size], dtype=np.float64)
        np.rint(rounded, out=rounded)
        signed[start : start + part.size] = rounded


def _mean(
    signed: NDArray[np.int32], segment: Segment, weight_word: int, sites: int
) -> NDArray[np.float64]:
    bound = weight_word + sites  # each site adds at most w * q_max and half a word of rounding
    if signed.size and max(int(signed.max()), -int(signed.min())) > bound:
        raise VerificationError(f"opened sum: {segment.name} out of range; a site sent garbage")
    mean: NDArray[np.float64] = np.multiply(signed, segment.limit / weight_word)
    if segment.bounded_norm:
        norm = float(np.sqrt(np.dot(mean, mean)))
        rounding = sites / weight_word * (np.sqrt(segment.size) / 2 + 1)
        if norm > segment.limit * (1 + 1e-6 + rounding):
            raise VerificationError(f"opened sum: norm of {segment.name} above the study's limit")
    return mean


def _sum_of_squares(values: Floats) -> float:
    total = 0.0
    for start in range(0, values.size, _DOT_CHUNK):
        part = values[start : start + _DOT_CHUNK].astype(np.float64)
        total += float(np.dot(part, part))
    return total
