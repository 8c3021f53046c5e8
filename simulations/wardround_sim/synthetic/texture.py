"""Smooth random fields and blurs, by plain array sums.

No matrix product of a linear algebra library is used: its result may change with the number of
threads, and equal seeds must give equal bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
"""Float32, shape (rows, columns); the wider type is what arithmetic with plain floats has."""


def smooth_noise(draw: np.random.Generator, shape: tuple[int, int], cells: int) -> Plane:
    """Smooth random field, float32, of ``shape`` (rows, columns), mean about 0, deviation about 1.

    Args:
        draw: Where the random numbers come from.
        shape: Rows and columns.
        cells: Number of bumps along a side.
    """
    grid = draw.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    rows = _spline_weights(shape[0], cells)
    columns = _spline_weights(shape[1], cells)
    coarse = np.einsum("rg,gh->rh", rows, grid)
    result: Plane = 2.1 * np.einsum("rh,ch->rc", coarse, columns)
    return result


def box_blur(image: Plane, radius: int) -> Plane:
    """Mean over a square of ``2 * radius + 1`` pixels, edges repeated; float32, same shape."""
    blurred = image
    for axis in (0, 1):
        blurred = _running_mean(blurred, radius, axis)
    return blurred


def smoothstep(value: Plane) -> Plane:
    """0 below 0, 1 above 1, smooth in between; float32, same shape."""
    clipped = np.clip(value, 0, 1)
    result = -2 * clipped
    result += 3
    result *= clipped
    result *= clipped
    return result


def _running_mean(image: Plane, radius: int, axis: int) -> Plane:
    widths = [(0, 0), (0, 0)]
    widths[axis] = (radius + 1, radius)
    padded = np.pad(image, widths, mode="edge")
    total = np.cumsum(padded, axis=axis, dtype=np.float32)
    width = 2 * radius + 1
    upper, lower = (
        (total[width:], total[:-width]) if axis == 0 else (total[:, width:], total[:, :-width])
    )
    return np.asarray((upper - lower) / width, dtype=np.float32)


@lru_cache(maxsize=64)
def _spline_weights(length: int, cells: int) -> Plane:
    # Uniform cubic B-spline: each pixel mixes the four nearest grid values.
    position = np.linspace(0, cells, length, endpoint=False, dtype=np.float32)
    distance = np.abs(position[:, None] - np.arange(-1, cells + 2, dtype=np.float32)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    result: Plane = np.where(distance < 1, near, far).astype(np.float32)
    return result
