"""What the places of a series' slices say, in words and numbers; decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wardround_client.index.header import Instance
from wardround_client.volumes.geometry import Plane, distances_mm, read_plane
from wardround_client.volumes.plan import VolumePlan
from wardround_common.errors import DicomError

_SAME_PLACE_MM = 0.01
_NAMED_GAPS = 5
_GAP = 1.5
"""Of the median distance; a wider one is named."""


def describe_series(members: Sequence[Instance]) -> list[str]:
    """Describes where the single-frame instances of a series lie, as far as they say so."""
    planes = [plane for plane in map(_plane_of, members) if plane is not None]
    lines = [f"{len(members)} instances in the index, {len(planes)} of them with a place"]
    if len(planes) < 2:
        return lines
    parallel = [p for p in planes if abs(float(p.normal @ planes[0].normal)) > 0.999]
    if len(parallel) < len(planes):
        lines.append(f"{len(planes) - len(parallel)} of them are turned against the others")
    places = np.sort(distances_mm(parallel))
    steps = np.diff(places)
    same = int((steps <= _SAME_PLACE_MM).sum())
    if same:
        lines.append(f"{same} lie where another one lies")
    apart = steps[steps > _SAME_PLACE_MM]
    if apart.size:
        middle = float(np.median(apart))
        ends = f"{apart.min():.3f} to {apart.max():.3f} mm"
        lines.append(f"distance of neighbours: median {middle:.3f} mm, {ends}")
        lines += _gaps(steps, middle)
    return lines


def describe_volume(plan: VolumePlan) -> list[str]:
    """Describes a planned volume: size, spacing, tilt, flags."""
    between, rows, columns = plan.spacing_mm
    lines = [
        f"{len(plan.slices)} slices of {plan.rows} x {plan.columns} pixels",
        f"spacing {between:.3f} mm between slices, {rows:.3f} x {columns:.3f} mm in the slice",
    ]
    tilt = _tilt_degrees(plan)
    if "tilted" in plan.flags:
        lines.append(f"slices are shifted against each other by a tilt of {tilt:.1f} degrees")
    lines.append("flags: " + (", ".join(plan.flags) or "none"))
    return lines


def _plane_of(instance: Instance) -> Plane | None:
    header = instance.header
    try:
        return read_plane(
            orientation=header.orientation,
            position=header.position,
            pixel_spacing=header.pixel_spacing,
        )
    except DicomError:
        return None


def _gaps(steps: np.ndarray[tuple[int, ...], np.dtype[np.float64]], middle: float) -> list[str]:
    wide = np.flatnonzero(steps > _GAP * middle)
    named = [f"gap of {steps[k]:.3f} mm after slice {k + 1}" for k in wide[:_NAMED_GAPS]]
    more = len(wide) - len(named)
    return [*named, *([f"and {more} further gaps"] if more else [])]


def _tilt_degrees(plan: VolumePlan) -> float:
    """Angle between the way from slice to slice and the normal of the slices."""
    step = plan.affine[:3, 0]
    normal = np.cross(plan.axes[1], plan.axes[0])
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    return math.degrees(math.acos(min(1.0, cosine)))
