"""From a volume to the model's grid: every voxel of the grid from the slices' true positions.

Between slices and voxels the volume is interpolated linearly. Where the grid is coarser than the
volume, the interpolated volume is averaged over a box as wide as the two spacings differ, so that
fine detail does not turn into false coarse detail. Interpolation, average and uneven spacing
together keep linear functions of position exact; so a position error of the grid would show as an
error of value, which is how the tests measure it. Nothing is extrapolated: a grid voxel whose box
leaves the volume, or touches padding, is filled.

1. Each slice is reduced on its own to a common in-plane grid, each from its own true place: a
   tilted stack is straight afterwards.
2. Grids along the slices' own axes are finished by the same step between the slices; others are
   read off at their points.

Sums are made in a fixed order without a linear algebra library, for the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround_client.pixels.radiograph import SCALE
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Float
from wardround_client.volumes.grid import Grid, make_grid, own_axes
from wardround_client.volumes.plan import Volume
from wardround_client.volumes.weights import Weights, box_weights, weighted
from wardround_common.errors import DicomError
from wardround_common.intake_plan import VolumePreprocessing

_ALIGNED = 1e-5
"""Cosines that differ less move no voxel of a grid by 0.01 mm."""
_LEAST_DEVIATION = 1e-6
"""Of the largest value; less is rounding, no image."""
_COVERED = 1 - 1e-5
"""Share of known voxels from which a result counts as known: less than 1 by rounding only, for
what is not known counts as 0."""

Values = NDArray[np.float32]
Inside = NDArray[np.bool_]


def prepare_volume(volume: Volume, preprocessing: VolumePreprocessing) -> NDArray[np.int16]:
    """Resamples a volume to the model's grid and scales its values for the cache.

    Returns:
        int16, ``preprocessing.shape``; a window's ends are plus and minus `SCALE` and what lies
        outside the volume is as dark as its lower end. Without a window, mean 0 and standard
        deviation `SCALE` over what lies inside, and 0 outside.

    Raises:
        DicomError: Nothing of the volume lies in the grid, or it is constant there.
    """
    grid = make_grid(volume, preprocessing)
    values, inside = resample(volume, grid)
    if not inside.any():
        raise DicomError(Reason.CONSTANT)
    if preprocessing.window is not None:
        return _windowed(values, inside, preprocessing.window)
    return _standardised(values, inside)


class _Axis(NamedTuple):
    """Where along one of the volume's own axes it is read off."""

    points_mm: Float
    box_mm: float
    """Width of the average around each point."""


def resample(volume: Volume, grid: Grid) -> tuple[Values, Inside]:
    """Reads a volume off at the voxels of a grid.

    Returns:
        float32 and bool, shape of the grid: values, and whether the voxel lies inside. Outside,
        values are 0.
    """
    own = own_axes(volume)
    turn = own @ grid.axes.T  # column j: the grid's axis j along the volume's own axes
    match = np.abs(turn).argmax(axis=0)
    straight = np.zeros((3, 3))
    straight[match, range(3)] = np.sign(turn[match, range(3)])
    if np.abs(turn - straight).max() <= _ALIGNED:
        axes = [_aligned_axis(volume, grid, own, straight, axis=axis) for axis in range(3)]
        values, inside = _reduce(volume, own, axes)
        return values.transpose(match), inside.transpose(match)
    axes = [_covering_axis(volume, grid, own, turn, axis=axis) for axis in range(3)]
    values, inside = _reduce(volume, own, axes)
    return _read_off(values, inside, axes, grid, own)


def _aligned_axis(volume: Volume, grid: Grid, own: Float, straight: Float, *, axis: int) -> _Axis:
    """The grid's own places along an axis of the volume."""
    other = int(np.abs(straight[axis]).argmax())
    points = own[axis] @ grid.centre_mm + straight[axis, other] * grid.offsets_mm(other)
    return _Axis(points, max(0.0, grid.spacing_mm[other] - volume.spacing_mm[axis]))


def _covering_axis(volume: Volume, grid: Grid, own: Float, turn: Float, *, axis: int) -> _Axis:
    """Places along an axis of the volume that cover a grid lying askew.

    They are the volume's own, or twice as dense as the grid if that is coarser: reading off
    between them then blurs little.
    """
    coarse = float(np.linalg.norm(turn[axis] * grid.spacing_mm))
    step = volume.spacing_mm[axis]
    box = max(0.0, coarse - step)
    first = volume.positions_mm @ own[axis]
    if axis == 0 and coarse <= 2 * step:
        return _Axis(first, box)
    step = max(step, coarse / 2)
    reach = float(np.abs(turn[axis]) @ [np.abs(grid.offsets_mm(k)).max() for k in range(3)])
    middle = own[axis] @ grid.centre_mm - first[0]
    ends = np.floor((middle - reach) / step), np.ceil((middle + reach) / step)
    return _Axis(first[0] + np.arange(ends[0], ends[1] + 1) * step, box)


def _reduce(volume: Volume, own: Float, axes: Sequence[_Axis]) -> tuple[Values, Inside]:
    """Reads a volume off at places along its own axes, straightening a tilted one.

    Returns:
        float32 and bool, one axis for each of ``axes``.
    """
    origins = volume.positions_mm @ own.T
    between = box_weights(origins[:, 0], axes[0].points_mm, axes[0].box_mm)
    values = np.zeros((len(origins), len(axes[1].points_mm), len(axes[2].points_mm)), np.float32)
    inside = np.zeros(values.shape, np.bool_)
    known: dict[bytes, tuple[Weights, Weights]] = {}
    for number in np.unique(between.places[between.weight != 0]):
        origin = origins[number, 1:]
        if origin.tobytes() not in known:
            known = {origin.tobytes(): _in_plane(volume, origin, axes)}
        weights = known[origin.tobytes()]
        values[number], inside[number] = _reduce_slice(
            volume.values[number], volume.valid[number], *weights
        )
    covered = weighted(between, inside.astype(np.float32)) >= _COVERED
    return weighted(between, values) * covered, covered


def _in_plane(volume: Volume, origin: Float, axes: Sequence[_Axis]) -> tuple[Weights, Weights]:
    rows, columns = (
        box_weights(start + np.arange(count) * step, axis.points_mm, axis.box_mm)
        for start, count, step, axis in zip(
            origin, volume.values.shape[1:], volume.spacing_mm[1:], axes[1:], strict=True
        )
    )
    return rows, columns


def _reduce_slice(
    values: Values, valid: Inside, rows: Weights, columns: Weights
) -> tuple[Values, Inside]:
    if valid.all():
        return _both(values, rows, columns), np.outer(rows.inside, columns.inside)
    known = _both(valid.astype(np.float32), rows, columns)
    return _both(np.where(valid, values, np.float32(0)), rows, columns), known >= _COVERED


def _both(values: Values, rows: Weights, columns: Weights) -> Values:
    by_row = np.ascontiguousarray(weighted(rows, values).T)
    return weighted(columns, by_row).T


def _read_off(
    values: Values, inside: Inside, axes: Sequence[_Axis], grid: Grid, own: Float
) -> tuple[Values, Inside]:
    """Interpolates between the places of ``axes`` at the voxels of a grid that lies askew."""
    found = np.zeros(grid.shape, np.float32)
    covered = np.zeros(grid.shape, np.bool_)
    shares = inside.astype(np.float32)
    turn = own @ grid.axes.T
    rows, columns = grid.offsets_mm(1), grid.offsets_mm(2)
    plane = turn[:, 1, None, None] * rows[:, None] + turn[:, 2, None, None] * columns
    for number, offset in enumerate(grid.offsets_mm(0)):
        places = plane + (own @ grid.centre_mm + turn[:, 0] * offset)[:, None, None]
        corners = list(_corners(places, axes))
        share = sum(weight * shares[index] for index, weight in corners)
        covered[number] = share >= _COVERED
        found[number] = sum(weight * values[index] for index, weight in corners)
    return found * covered, covered


def _corners(
    places: Float, axes: Sequence[_Axis]
) -> Iterator[tuple[tuple[NDArray[np.intp], ...], Values]]:
    """Yields the eight neighbours of each place, with their weights; 0 for places outside."""
    lefts, parts = [], []
    for place, axis in zip(places, axes, strict=True):
        points = axis.points_mm
        left = np.clip(np.searchsorted(points, place, side="right") - 1, 0, len(points) - 2)
        lefts.append(left)
        parts.append((place - points[left]) / (points[left + 1] - points[left]))
    within = np.all([(part >= 0) & (part <= 1) for part in parts], axis=0)
    for corner in product((0, 1), repeat=3):
        sides = [part if side else 1 - part for part, side in zip(parts, corner, strict=True)]
        weight = (sides[0] * sides[1] * sides[2] * within).astype(np.float32)
        yield tuple(left + side for left, side in zip(lefts, corner, strict=True)), weight


def _windowed(values: Values, inside: Inside, window: tuple[float, float]) -> NDArray[np.int16]:
    """Maps a window to minus and plus `SCALE`.

    Raises:
        DicomError: All of the volume looks the same in it.
    """
    low, high = window
    shown = np.clip((values.astype(np.float64) - low) * (2 / (high - low)) - 1, -1, 1)
    pixels: NDArray[np.int16] = np.rint(np.where(inside, shown, -1.0) * SCALE).astype(np.int16)
    if pixels[inside].min() == pixels[inside].max():
        raise DicomError(Reason.CONSTANT)
    return pixels


def _standardised(values: Values, inside: Inside) -> NDArray[np.int16]:
    """Gives a volume mean 0 and standard deviation `SCALE`.

    Raises:
        DicomError: It hardly varies.
    """
    known = values[inside].astype(np.float64)
    spread = float(known.std())
    if not spread > _LEAST_DEVIATION * float(np.abs(known).max()):
        raise DicomError(Reason.CONSTANT)
    limits = np.iinfo(np.int16)
    scaled = np.rint((known - known.mean()) * (SCALE / spread))
    pixels = np.zeros(values.shape, np.int16)
    pixels[inside] = np.clip(scaled, limits.min, limits.max).astype(np.int16)
    return pixels
