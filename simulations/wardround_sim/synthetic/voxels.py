"""Voxels of a synthetic volume: where they lie, and how much of one a shape fills.

Edges are spread over about a voxel, as partial volume does; small shapes are sampled several
times within each voxel, so that their volume in millilitres is right on coarse grids too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Voxels = NDArray[np.floating[Any]]
"""Float32, shape (slices, rows, columns), or one that broadcasts to it."""

_SAMPLES = 3  # a voxel and axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """An affine map from slice, row and column to x, y, z in the patient, mm.

    Columns run along x; rows along y and, where the gantry is tilted, along z too; slices along z.
    """

    shape: tuple[int, int, int]
    """Slices, rows, columns."""
    origin_mm: tuple[float, float, float]
    """Middle of the first voxel."""
    column_mm: float
    """Step along x from one column to the next; negative if columns run to the right."""
    row_mm: tuple[float, float]
    """Step along y and z from one row to the next."""
    slice_mm: float
    """Step along z from one slice to the next; negative if slices run to the feet."""

    def coordinates(self) -> tuple[Voxels, Voxels, Voxels]:
        """x, y and z of the voxels, float32, each with as few elements as it depends on."""
        slices, rows, columns = np.ogrid[tuple(slice(n) for n in self.shape)]
        return self._at(slices, rows, columns)

    def position(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """x, y, z of one index (slice, row, column), which need not be whole; float64."""
        step, x0, y0, z0 = self.row_mm, *self.origin_mm
        z = z0 + index[0] * self.slice_mm + index[1] * step[1]
        return np.array([x0 + index[2] * self.column_mm, y0 + index[1] * step[0], z])

    @property
    def voxel_mm(self) -> float:
        """Side of a cube of a voxel's volume."""
        return float(abs(self.column_mm * self.row_mm[0] * self.slice_mm) ** (1 / 3))

    def near(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[slice, ...]:
        """The block of voxels that may touch the box from ``low`` to ``high`` (x, y, z)."""
        x, y, z = self.coordinates()
        margin = np.abs([self.column_mm, self.row_mm[0], self.slice_mm])
        block = []
        for axis, (values, k) in enumerate(((z, 2), (y, 1), (x, 0))):
            inside = (values > low[k] - margin[k]) & (values < high[k] + margin[k])
            others = tuple(other for other in range(3) if other != axis)
            found = np.flatnonzero(inside.any(axis=others))
            block.append(slice(found[0], found[-1] + 1) if found.size else slice(0, 0))
        return tuple(block)

    def within(self, block: tuple[slice, ...]) -> tuple[Voxels, Voxels, Voxels]:
        """x, y and z of samples within the voxels of a block; reduce by `average`."""
        finer = []
        for axis, part in enumerate(block):
            index = np.arange(part.start * _SAMPLES, part.stop * _SAMPLES, dtype=np.float32)
            along = (index + np.float32(0.5)) / _SAMPLES - np.float32(0.5)
            finer.append(along.reshape([-1 if other == axis else 1 for other in range(3)]))
        return self._at(*finer)

    def _at(
        self, slices: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]
    ) -> tuple[Voxels, Voxels, Voxels]:
        first, (along_y, along_z) = np.array(self.origin_mm, np.float32), self.row_mm
        x = first[0] + columns.astype(np.float32) * np.float32(self.column_mm)
        y = first[1] + rows.astype(np.float32) * np.float32(along_y)
        z = first[2] + slices.astype(np.float32) * np.float32(self.slice_mm)
        return x, y, z + rows.astype(np.float32) * np.float32(along_z) if along_z else z


@dataclass(frozen=True, slots=True)
class Capsule:
    """A round rod from one point (x, y, z) to another, whose radius may change on the way."""

    start_mm: tuple[float, float, float]
    end_mm: tuple[float, float, float]
    start_radius_mm: float
    end_radius_mm: float


def coverage(inside_mm: Voxels, grid: Grid) -> Voxels:
    """How much of a voxel is inside, 0 to 1, from its depth below the surface in mm."""
    covered: Voxels = np.clip(inside_mm / np.float32(grid.voxel_mm) + np.float32(0.5), 0, 1)
    return covered


def blend(volume: Voxels, part: Voxels, value: Voxels | float) -> None:
    """Replaces the covered ``part`` of each voxel by ``value``, in place."""
    volume += part * (np.float32(value) - volume)


def add(
    volume: Voxels, rod: Capsule, grid: Grid, *, value: float, within: Voxels | None = None
) -> None:
    """Draws a rod into ``volume``, in place; only where ``within`` is not 0, if given."""
    start, end = np.array(rod.start_mm), np.array(rod.end_mm)
    widest = max(rod.start_radius_mm, rod.end_radius_mm)
    block = grid.near(np.minimum(start, end) - widest, np.maximum(start, end) + widest)
    if volume[block].size == 0:
        return
    offsets = [axis - np.float32(p) for axis, p in zip(grid.within(block), start, strict=True)]
    way = (end - start).astype(np.float32)
    squared_length = float(np.square(way).sum()) or 1.0
    x, y, z = offsets
    along = np.clip((x * way[0] + y * way[1] + z * way[2]) / np.float32(squared_length), 0, 1)
    squared = (x - along * way[0]) ** 2 + (y - along * way[1]) ** 2 + (z - along * way[2]) ** 2
    radius = rod.start_radius_mm + (rod.end_radius_mm - rod.start_radius_mm) * along
    part = average(squared <= radius * radius)
    blend(volume[block], part if within is None else part * within[block], value)


def ellipsoid(
    grid: Grid, centre_mm: tuple[float, float, float], semi_axes_mm: tuple[float, float, float]
) -> tuple[tuple[slice, ...], Voxels]:
    """How much of each voxel an ellipsoid along the axes fills: a block of voxels and 0 to 1."""
    centre, axes = np.array(centre_mm), np.array(semi_axes_mm)
    block = grid.near(centre - axes, centre + axes)
    x, y, z = (
        (axis - np.float32(c)) / np.float32(a)
        for axis, c, a in zip(grid.within(block), centre, axes, strict=True)
    )
    return block, average(x * x + y * y + z * z <= 1)


def average(samples: NDArray[np.bool_]) -> Voxels:
    """Part of the samples of each voxel that are true, float32."""
    slices, rows, columns = (n // _SAMPLES for n in samples.shape)
    split = samples.reshape(slices, _SAMPLES, rows, _SAMPLES, columns, _SAMPLES)
    part: Voxels = split.mean(axis=(1, 3, 5), dtype=np.float32)
    return part
