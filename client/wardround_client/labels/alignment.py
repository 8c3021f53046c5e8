"""Lays a mask onto the grid of the images it belongs to, by geometry alone.

Both have the same frame of reference, and every plane of the mask coincides, corner by corner
within 0.01 mm, with exactly one slice, in any order, turned by quarters or flipped. Nothing is
interpolated; what does not fit is refused. References to source images must not contradict; they
stand in for geometry only where an image has none, as radiographs.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround_client.labels.acquired import AcquiredGrid, Corners, Source
from wardround_client.labels.masks import ANY_FRAME, MaskFacts, MaskPlane
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import POSITION_TOLERANCE_MM

Turn: TypeAlias = tuple[bool, ...]
"""Whether rows and columns change places; then, whether rows, and columns, are reversed."""
_TURNS: tuple[Turn, ...] = tuple(itertools.product((False, True), repeat=3))
_AS_IT_IS = _TURNS[0]


def match_planes(mask: MaskFacts, grid: AcquiredGrid) -> list[tuple[int, Turn]] | Reason:
    """Finds the slice of each plane and how its pixels are turned, or says why there is none."""
    if not mask.planes:
        return Reason.LABEL_UNANCHORED
    if mask.frame_of_reference_uid != grid.frame_of_reference_uid:
        return Reason.LABEL_MISALIGNED
    places = [_place_of(plane, (mask.rows, mask.columns), grid) for plane in mask.planes]
    found = [place for place in places if place is not None]
    if len({number for number, _ in found}) < len(places):  # none, or one slice for two planes
        return Reason.LABEL_MISALIGNED
    return found


def _place_of(
    plane: MaskPlane, shape: tuple[int, int], grid: AcquiredGrid
) -> tuple[int, Turn] | None:
    if plane.corners_mm is None:
        # Without a place in the patient, the one image that it was made from has to do.
        alone = len(grid.sources) == len(plane.sources) == 1 and shape == (grid.rows, grid.columns)
        return (0, _AS_IT_IS) if alone and _agrees(plane, grid.sources[0]) else None
    if grid.corners_mm is None:
        return None
    found = [
        (int(number), turn)
        for turn in _TURNS
        if (shape[::-1] if turn[0] else shape) == (grid.rows, grid.columns)
        for number in np.flatnonzero(_coincide(_turned(plane.corners_mm, turn), grid.corners_mm))
    ]
    fits = len(found) == 1 and (not plane.sources or _agrees(plane, grid.sources[found[0][0]]))
    return found[0] if fits else None


def _coincide(plane: Corners, slices: Corners) -> NDArray[np.bool_]:
    distances = np.linalg.norm(slices - plane, axis=-1)
    close: NDArray[np.bool_] = (distances <= POSITION_TOLERANCE_MM).all(axis=(1, 2))
    return close


def _agrees(plane: MaskPlane, source: Source) -> bool:
    return source in plane.sources or (source[0], ANY_FRAME) in plane.sources


def _turned(corners: Corners, turn: Turn) -> Corners:
    """Turns rows and columns of one plane's corners as its pixels would be turned."""
    swap, reverse_rows, reverse_columns = turn
    corners = corners.swapaxes(0, 1) if swap else corners
    return corners[:: -1 if reverse_rows else 1, :: -1 if reverse_columns else 1]
