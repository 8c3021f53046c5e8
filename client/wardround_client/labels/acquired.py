"""Where the pixels of an image or a volume lie in the patient, as far as a mask needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Plane, read_plane
from wardround_client.volumes.plan import VolumePlan
from wardround_common.errors import DicomError

Source: TypeAlias = tuple[str, int]
"""SOPInstanceUID and frame number, counted from 1."""
Corners: TypeAlias = NDArray[np.float64]
"""Shape (..., 2, 2, 3): centres of the four corner pixels by first or last row, first or last
column; patient coordinates (LPS), mm. What turns or flips pixels turns or flips these alike."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AcquiredGrid:
    """The acquired grid of a volume or of a single image."""

    series_uid: str
    frame_of_reference_uid: str
    rows: int
    columns: int
    sources: tuple[Source, ...]
    """Where the pixels of each slice come from."""
    corners_mm: Corners | None
    """Of each slice, shape (slices, 2, 2, 3); None for an image without a place."""

    @property
    def voxels_ml(self) -> NDArray[np.float64] | None:
        """Volume of a voxel of each slice, shape (slices,); None where one slice is all.

        A slice reaches halfway to its neighbours; the first and last as far outward as inward.
        """
        if self.corners_mm is None or len(self.corners_mm) < 2:
            return None
        first = self.corners_mm[0]
        normal = np.cross(first[0, 1] - first[0, 0], first[1, 0] - first[0, 0])
        area = np.linalg.norm(normal) / ((self.rows - 1) * (self.columns - 1))
        gaps = np.abs(np.diff(self.corners_mm[:, 0, 0] @ (normal / np.linalg.norm(normal))))
        padded = np.concatenate([gaps[:1], gaps, gaps[-1:]])
        volumes: NDArray[np.float64] = area * (padded[:-1] + padded[1:]) / 2 / 1000
        return volumes


def volume_grid(plan: VolumePlan) -> AcquiredGrid:
    """The grid of a planned volume, as acquired."""
    header = plan.slices[0].instance.header
    steps = plan.axes * np.array(plan.spacing_mm[1:])[:, None]
    shape = (plan.rows, plan.columns)
    return AcquiredGrid(
        series_uid=header.series_uid,
        frame_of_reference_uid=header.frame_of_reference_uid,
        rows=plan.rows,
        columns=plan.columns,
        sources=tuple((ref.sop_instance_uid, ref.frame) for ref in plan.slices),
        corners_mm=corners_mm(plan.positions_mm, steps, shape),
    )


def image_grid(image: Instance) -> AcquiredGrid:
    """The grid of a single image; a radiograph has no place in the patient.

    Raises:
        DicomError: Rows or Columns are no numbers.
    """
    header = image.header
    try:
        shape = int(header.rows), int(header.columns)
    except ValueError:
        raise DicomError(Reason.BROKEN_HEADER) from None
    try:
        plane = read_plane(
            orientation=header.orientation,
            position=header.position,
            pixel_spacing=header.pixel_spacing,
        )
        corners = plane_corners([plane], shape)
    except DicomError:
        corners = None
    return AcquiredGrid(
        series_uid=header.series_uid,
        frame_of_reference_uid=header.frame_of_reference_uid,
        rows=shape[0],
        columns=shape[1],
        sources=((header.sop_instance_uid, 1),),
        corners_mm=corners,
    )


def plane_corners(planes: Sequence[Plane], shape: tuple[int, int]) -> Corners:
    """Corners of planes, shape (planes, 2, 2, 3).

    Args:
        planes: Where they lie.
        shape: Rows and columns of each.
    """
    each = [
        corners_mm(p.position_mm[None], p.axes * np.array(p.spacing_mm)[:, None], shape)
        for p in planes
    ]
    return np.concatenate(each)


def corners_mm(
    positions: NDArray[np.float64], steps: NDArray[np.float64], shape: tuple[int, int]
) -> Corners:
    """Corners of parallel planes.

    Args:
        positions: Centres of the first pixels, shape (planes, 3), mm.
        steps: From row to row and from column to column, shape (2, 3), mm.
        shape: Rows and columns.
    """
    down, right = (shape[0] - 1) * steps[0], (shape[1] - 1) * steps[1]
    offsets = np.array([[np.zeros(3), right], [down, down + right]])
    corners: Corners = positions[:, None, None, :] + offsets
    return corners
