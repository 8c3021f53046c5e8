"""Where slices lie: texts of the header in, an ordered stack with its affine out; no I/O.

DICOM PS3.3 C.7.6.2.1.1: with ImagePositionPatient P, ImageOrientationPatient (X, Y) and
PixelSpacing (between rows, between columns), the voxel of row r and column c lies at
``P + r * spacing[0] * Y + c * spacing[1] * X``, mm, in the patient's system: x runs to the left,
y to the back, z to the head. Slices are ordered by P along the normal X x Y, and by nothing else:
InstanceNumber, SliceThickness, SpacingBetweenSlices and GantryDetectorTilt decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

Float = NDArray[np.float64]
Irregular = Literal["refuse", "resample"]

POSITION_TOLERANCE_MM = 0.01
"""What lies closer together counts as one place; no accepted voxel is further off than this."""
ORIENTATION_TOLERANCE = 1e-3
"""Of direction cosines: from unit length, from a right angle, and between slices of one stack."""
MINIMUM_SLICES = 3
"""Of two slices nobody can tell whether one between them is missing."""
_SPACING_TOLERANCE = 0.01
_TILT = 1e-3
"""Sideways shift for each mm along the normal, from which a stack counts as tilted (0.06
degrees). Less is rounding of the header's texts; the affine keeps it all the same."""
_WIDEST_STEP = 4.0
"""Of the median: a wider gap is never bridged, even where the study resamples."""
_FARTHEST_MM = 1e6
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """Where one slice lies."""

    axes: Float
    """float64, shape (2, 3): unit vectors of growing row and growing column index."""
    spacing_mm: tuple[float, float]
    """Between rows, between columns."""
    position_mm: Float
    """float64, shape (3,): centre of the voxel in row 0 and column 0."""

    @property
    def normal(self) -> Float:
        """Unit vector to which slices are ordered; completes a right-handed system."""
        return np.cross(self.axes[1], self.axes[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Slices in their order along the normal."""

    order: tuple[int, ...]
    """Places of the slices in the sequence that was given."""
    affine: Float
    """float64, shape (4, 4): (slice, row, column, 1) to mm. Exact within `POSITION_TOLERANCE_MM`
    where no flag says otherwise; a tilted stack has a sheared affine."""
    positions_mm: Float
    """float64, shape (slices, 3): true place of each slice's first voxel."""
    axes: Float
    spacing_mm: tuple[float, float, float]
    """Between slices (median, along the normal), rows and columns."""
    flags: tuple[str, ...]
    """``tilted``, ``uneven``, ``missing-slice``, ``rounded``: see `stack_planes`."""


def read_plane(*, orientation: str, position: str, pixel_spacing: str) -> Plane:
    r"""Reads one slice's place from ImageOrientationPatient, ImagePositionPatient, PixelSpacing.

    Args:
        orientation: Six direction cosines, joined by backslashes.
        position: Three coordinates, mm.
        pixel_spacing: Distance of rows and of columns, mm.

    Raises:
        DicomError: A text is missing, or cannot be what it says.
    """
    if not (orientation and position and pixel_spacing):
        raise DicomError(Reason.NO_GEOMETRY)
    along_columns, along_rows = _numbers(orientation, 6).reshape(2, 3)
    spacing = _numbers(pixel_spacing, 2)
    if not (spacing > 0).all():
        raise DicomError(Reason.BROKEN_GEOMETRY)
    return Plane(
        axes=_orthonormal(along_rows, along_columns),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        position_mm=_numbers(position, 3),
    )


def _numbers(text: str, count: int) -> Float:
    """Reads decimal strings; `float` alone would take ``nan``, ``1_0`` and Arabic digits."""
    parts = [part.strip() for part in text.split("\\")]
    if len(parts) != count or not all(p.isascii() and _DECIMAL.fullmatch(p) for p in parts):
        raise DicomError(Reason.BROKEN_GEOMETRY)
    numbers = np.array([float(part) for part in parts])
    if not (np.abs(numbers) <= _FARTHEST_MM).all():
        raise DicomError(Reason.BROKEN_GEOMETRY)
    return numbers


def _orthonormal(along_rows: Float, along_columns: Float) -> Float:
    """Takes rounding off two vectors that are orthonormal within the tolerance."""
    lengths = np.linalg.norm([along_rows, along_columns], axis=1)
    off = max(*np.abs(lengths - 1), abs(float(along_rows @ along_columns)))
    if not off <= ORIENTATION_TOLERANCE:
        raise DicomError(Reason.BROKEN_GEOMETRY)
    columns = along_columns / lengths[1]
    rows = along_rows - (along_rows @ columns) * columns
    return np.array([rows / np.linalg.norm(rows), columns])


def distances_mm(planes: Sequence[Plane]) -> Float:
    """Places of planes along the first one's normal, float64, shape (planes,)."""
    return np.array([plane.position_mm for plane in planes]) @ planes[0].normal


def stack_planes(
    planes: Sequence[Plane], *, rows: int, columns: int, irregular: Irregular
) -> Stack:
    """Orders parallel planes of one size and checks that they make a volume.

    Flags: ``tilted`` slices are shifted against each other and the affine is sheared; ``uneven``
    or ``missing-slice``: the distance varies, and only ``positions_mm`` are right; ``rounded``:
    it varies by less than 1 %, yet so much that the affine is off by more than 0.01 mm.

    Args:
        planes: One for each slice, in any order, no two at one place.
        rows: Rows of a slice.
        columns: Columns of a slice.
        irregular: Whether a stack that is tilted or uneven is refused.

    Raises:
        DicomError: They make none, or one that ``irregular`` refuses.
    """
    if len(planes) < MINIMUM_SLICES:
        raise DicomError(Reason.TOO_FEW_SLICES)
    _require_parallel(planes, rows=rows, columns=columns)
    order = np.argsort(distances_mm(planes), kind="stable")
    positions = np.array([planes[k].position_mm for k in order])
    steps = np.diff(positions @ planes[0].normal)
    if not (steps > POSITION_TOLERANCE_MM).all():
        raise DicomError(Reason.DUPLICATE_POSITION)
    affine = _affine(planes[0], positions)
    flags = _irregularities(positions, planes[0].normal, refuse=irregular == "refuse")
    off = np.linalg.norm(_slice_origins(affine, len(planes)) - positions, axis=1).max()
    if off > POSITION_TOLERANCE_MM and not {"uneven", "missing-slice"} & set(flags):
        flags = (*flags, "rounded")
    return Stack(
        order=tuple(int(k) for k in order),
        affine=affine,
        positions_mm=positions,
        axes=planes[0].axes,
        spacing_mm=(float(np.median(steps)), *planes[0].spacing_mm),
        flags=flags,
    )


def _require_parallel(planes: Sequence[Plane], *, rows: int, columns: int) -> None:
    """Refuses planes of which a corner would be misplaced by the first one's orientation."""
    corner = np.array([rows - 1, columns - 1])
    scale = np.array([plane.spacing_mm for plane in planes])[..., None]
    steps = np.array([plane.axes for plane in planes]) * scale
    off = np.linalg.norm(corner @ (steps - steps[0]), axis=-1)
    if not (off <= POSITION_TOLERANCE_MM).all():
        raise DicomError(Reason.BROKEN_GEOMETRY)


def _affine(plane: Plane, positions: Float) -> Float:
    affine = np.eye(4)
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 1:3] = (plane.axes * np.array(plane.spacing_mm)[:, None]).T
    affine[:3, 3] = positions[0]
    return affine


def _slice_origins(affine: Float, count: int) -> Float:
    return affine[:3, 3] + np.arange(count)[:, None] * affine[:3, 0]


def _irregularities(positions: Float, normal: Float, *, refuse: bool) -> tuple[str, ...]:
    """Names what is irregular about the positions.

    Raises:
        DicomError: Something is, and irregular stacks are refused.
    """
    moved = positions - positions[0]
    along = moved @ normal
    sideways = moved - along[:, None] * normal
    shear = sideways[-1] / along[-1]
    wander = np.linalg.norm(sideways - along[:, None] * shear, axis=1).max()
    gap = _has_gap(np.diff(along))
    uneven = not gap and not _is_even(np.diff(along))
    found = {
        Reason.MISSING_SLICE: gap,
        Reason.UNEVEN_SPACING: uneven or wander > POSITION_TOLERANCE_MM,
        Reason.TILTED: float(np.linalg.norm(shear)) > _TILT,
    }
    flags = {Reason.UNEVEN_SPACING: "uneven"}
    if refuse and any(found.values()):
        raise DicomError(next(reason for reason, holds in found.items() if holds))
    if np.diff(along).max() > _WIDEST_STEP * np.median(np.diff(along)):
        raise DicomError(Reason.MISSING_SLICE)
    return tuple(flags.get(reason, str(reason)) for reason, holds in found.items() if holds)


def _is_even(steps: Float) -> bool:
    middle = float(np.median(steps))
    tolerance = max(POSITION_TOLERANCE_MM, _SPACING_TOLERANCE * middle)
    return bool((np.abs(steps - middle) <= tolerance).all())


def _has_gap(steps: Float) -> bool:
    """Tells whether every step is a multiple of the smallest, one of them at least twice it."""
    times = np.rint(steps / steps.min())
    tolerance = np.maximum(POSITION_TOLERANCE_MM, _SPACING_TOLERANCE * steps)
    multiples = np.abs(steps - times * steps.min()) <= tolerance
    return bool(multiples.all() and times.max() >= 2)
