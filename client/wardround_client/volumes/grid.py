"""Where the model's grid lies in a volume: its axes, its middle, its spacing and shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Float
from wardround_client.volumes.plan import Volume
from wardround_common.errors import DicomError
from wardround_common.intake_plan import VolumePreprocessing

_PATIENT_AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Slices run to the head, rows to the back, columns to the left, in LPS coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Where the model's voxels lie in the patient."""

    axes: Float
    """float64, shape (3, 3): unit vectors of growing slice, row and column index."""
    centre_mm: Float
    """float64, shape (3,): middle of the grid."""
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    def offsets_mm(self, axis: int) -> Float:
        """Places of the voxels along one axis, from the middle."""
        count = self.shape[axis]
        places: Float = np.arange(count, dtype=np.float64) - (count - 1) / 2
        return places * self.spacing_mm[axis]


def make_grid(volume: Volume, preprocessing: VolumePreprocessing) -> Grid:
    """Places the model's grid in a volume.

    Raises:
        DicomError: It is to lie around the foreground, and there is none.
    """
    axes = _PATIENT_AXES
    if preprocessing.orientation == "acquired":
        axes = _nearestown_axes(own_axes(volume))
    placed = _middle if preprocessing.placement == "centre" else _foreground_middle
    return Grid(
        axes=axes,
        centre_mm=placed(volume, preprocessing.foreground_above),
        spacing_mm=preprocessing.spacing_mm,
        shape=preprocessing.shape,
    )


def own_axes(volume: Volume) -> Float:
    """Unit vectors along the normal and of growing row and column, float64, shape (3, 3)."""
    return np.array([np.cross(volume.axes[1], volume.axes[0]), *volume.axes])


def _nearestown_axes(own: Float) -> Float:
    """Takes for each patient axis the own axis nearest to it, pointing the same way.

    The most certain pair is matched first, so that no own axis is used twice.
    """
    cosines = _PATIENT_AXES @ own.T
    axes: Float = np.zeros((3, 3))
    left = np.abs(cosines)
    for _ in range(3):
        patient, nearest = np.unravel_index(int(left.argmax()), left.shape)
        axes[patient] = own[nearest] * np.sign(cosines[patient, nearest])
        left[patient, :] = left[:, nearest] = -1
    return axes


def _middle(volume: Volume, _: float) -> Float:
    last = np.array(volume.values.shape[1:]) - 1
    ends = (volume.positions_mm[0] + volume.positions_mm[-1]) / 2
    middle: Float = ends + (last * volume.spacing_mm[1:] / 2) @ volume.axes
    return middle


def _foreground_middle(volume: Volume, above: float) -> Float:
    """Mean place of the voxels above a value, each weighted by the space it stands for."""
    rows, columns = (np.arange(n, dtype=np.float64) for n in volume.values.shape[1:])
    thickness = np.gradient(volume.positions_mm @ own_axes(volume)[0])
    total, places = 0.0, np.zeros(3)
    for number, weight in enumerate(thickness):
        shown = (volume.values[number] > above) & volume.valid[number]
        by_row, by_column = shown.sum(1), shown.sum(0)
        moments = np.array([(by_row * rows).sum(), (by_column * columns).sum()])
        count = float(by_row.sum())
        in_plane = (moments * volume.spacing_mm[1:]) @ volume.axes
        places += weight * (count * volume.positions_mm[number] + in_plane)
        total += weight * count
    if not total > 0:
        raise DicomError(Reason.CONSTANT)
    return places / total
