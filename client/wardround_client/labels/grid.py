"""Where the pixels of an image or a volume lie in the patient, as far as a mask needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Source: TypeAlias = tuple[str, int]
"""SOPInstanceUID and frame number, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The acquired grid of a volume, or of one plane: no resampling, no reordering."""

    series_uid: str
    frame_of_reference_uid: str
    corners_mm: NDArray[np.float64]
    """Shape (slices, 3, 3): for each slice the centres of its first pixel, of the last pixel of
    its first row and of the last pixel of its first column; patient coordinates (LPS)."""
    rows: int
    columns: int
    sources: tuple[Source, ...]
    """Where the pixels of each slice come from."""

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel."""
        along_row, along_column = _edges(self.corners_mm[0])
        steps = max(1, self.columns - 1) * max(1, self.rows - 1)
        return float(np.linalg.norm(np.cross(along_row, along_column)) / steps)

    @property
    def depths_mm(self) -> NDArray[np.float64]:
        """How far each slice reaches along the normal: halfway to its neighbours, (slices,).

        A first or last slice reaches as far outward as inward.
        """
        along_row, along_column = _edges(self.corners_mm[0])
        normal = np.cross(along_row, along_column)
        heights = self.corners_mm[:, 0] @ (normal / np.linalg.norm(normal))
        gaps = np.abs(np.diff(heights))
        padded = np.concatenate([gaps[:1], gaps, gaps[-1:]])
        depths: NDArray[np.float64] = (padded[:-1] + padded[1:]) / 2
        return depths


def plane_corners(
    position_mm: NDArray[np.float64],
    orientation: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Corners of planes, shape (planes, 3, 3); see `Grid.corners_mm`.

    Args:
        position_mm: ImagePositionPatient, shape (planes, 3).
        orientation: ImageOrientationPatient, shape (planes, 6).
        spacing_mm: PixelSpacing, shape (planes, 2): between rows, between columns.
        shape: Rows and columns.
    """
    rows, columns = shape
    along_row = orientation[:, :3] * spacing_mm[:, 1:] * (columns - 1)
    along_column = orientation[:, 3:] * spacing_mm[:, :1] * (rows - 1)
    return np.stack([position_mm, position_mm + along_row, position_mm + along_column], axis=1)


def _edges(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return corners[1] - corners[0], corners[2] - corners[0]
