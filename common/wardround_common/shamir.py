"""Shamir's secret sharing, bytewise over GF(2^8) with the AES polynomial x^8+x^4+x^3+x+1 (0x11b).

A. Shamir, "How to share a secret", CACM 22(11), 1979; field and form as in draft-mcgrew-tss-03.
All secrets of a dealer are shared together as one byte vector. Any ``threshold`` shares open it,
fewer tell nothing. Shares are not verifiable: whoever combines must check the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MAXIMUM_SHARES = 255

Bytes = NDArray[np.uint8]


def _multiplication_table() -> Bytes:
    exp, log, value = np.zeros(510, np.uint8), np.zeros(256, np.int64), 1
    for power in range(255):
        exp[power] = exp[power + 255] = value
        log[value] = power
        value ^= (value << 1) ^ (0x11B if value & 0x80 else 0)  # times the generator 3
        value &= 0xFF
    table: Bytes = exp[log[:, None] + log[None, :]]
    table[0, :] = table[:, 0] = 0
    return table


_TIMES = _multiplication_table()
_INVERSE = np.argmax(_TIMES == 1, axis=1).astype(np.uint8)


def split(
    secret: bytes, *, shares: int, threshold: int, random: Callable[[int], bytes]
) -> dict[int, bytes]:
    """Splits ``secret`` into shares at the points 1 … ``shares``.

    Args:
        secret: Any number of bytes.
        shares: How many shares, 1 to 255.
        threshold: How many of them open the secret.
        random: Source of secret random bytes, ``secrets.token_bytes``.

    Returns:
        Share bytes by point; each as long as the secret.

    Raises:
        ValueError: Unless 1 <= threshold <= shares <= 255.
    """
    if not 1 <= threshold <= shares <= MAXIMUM_SHARES:
        raise ValueError(f"shares: got {threshold} of {shares}, expected 1 <= t <= n <= 255")
    size = len(secret)
    drawn = np.frombuffer(random(size * (threshold - 1)), np.uint8)
    coefficients = drawn.reshape(threshold - 1, size)
    constant = np.frombuffer(secret, np.uint8)
    return {x: _evaluate(constant, coefficients, x) for x in range(1, shares + 1)}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Interpolates the shares at 0; the secret, if they are at least ``threshold`` true ones.

    Raises:
        ValueError: No share, shares of different sizes, or a point outside 1 … 255.
    """
    sizes = {len(share) for share in shares.values()}
    if len(sizes) != 1 or not all(1 <= x <= MAXIMUM_SHARES for x in shares):
        raise ValueError("shares: expected one size and points from 1 to 255")
    result = np.zeros(sizes.pop(), np.uint8)
    weights = _weights_at_zero(tuple(shares))
    for weight, share in zip(weights, shares.values(), strict=True):
        result ^= _TIMES[weight][np.frombuffer(share, np.uint8)]
    return result.tobytes()


@lru_cache(maxsize=64)
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's weights; many secrets are opened from the shares of the same sites."""
    weights = []
    for x in points:
        weight = 1
        for other in points:
            if other != x:
                weight = int(_TIMES[weight, _TIMES[other, _INVERSE[other ^ x]]])
        weights.append(weight)
    return tuple(weights)


def _evaluate(constant: Bytes, coefficients: Bytes, x: int) -> bytes:
    times_x, value = _TIMES[x], np.zeros_like(constant)
    for coefficient in coefficients[::-1]:
        value = times_x[value ^ coefficient]
    return (value ^ constant).tobytes()
