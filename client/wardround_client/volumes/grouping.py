"""Which frames of a series may lie in one volume at all.

A volume never mixes frames of reference, sizes, spacings, orientations, types of image, kernels,
or what gives MR images another meaning. Elements that scanners also count up from slice to slice,
such as AcquisitionNumber, are no such sign; see `wardround_client.volumes.passes`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from wardround_client.index.header import Header
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import ORIENTATION_TOLERANCE, Float, Plane, read_plane
from wardround_client.volumes.plan import MULTI_FRAME, SINGLE_FRAME, FrameGeometry, SliceRef
from wardround_common.errors import DicomError

Frame = tuple[SliceRef, FrameGeometry]
_Group = tuple[Hashable, Hashable, int]
"""What the frames of a group agree in: outline, meaning and orientation."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_CONTRAST = ("echo_time", "echo_number", "inversion_time", "flip_angle", "b_value", "gradient")
_CT_TYPE_VALUES = 3
"""What follows in ImageType is the maker's own (PS3.3 C.8.2.1.1.1) and changes within a stack."""
_SPACING_DECIMALS = 5
"""Less than 0.01 mm over 512 voxels."""


@dataclass(slots=True, eq=False)
class Member:
    """One frame of a group, with its place."""

    ref: SliceRef
    frame: FrameGeometry
    plane: Plane
    place: int = field(default=0)
    """Frames with one number lie at one place along the normal; set by `separate_passes`."""


def unfit(header: Header) -> Reason | None:
    """Says why an instance can hold no slice of a grey volume, or None."""
    modality = (SINGLE_FRAME | MULTI_FRAME).get(header.sop_class_uid)
    photometric = header.photometric.upper()
    several = header.frames not in ("", "1") and header.sop_class_uid in SINGLE_FRAME
    checks = (
        (Reason.SECONDARY_CAPTURE, _is_secondary_capture(header.sop_class_uid)),
        (Reason.NOT_A_VOLUME, modality is None),
        (Reason.OTHER_MODALITY, modality != header.modality),
        (Reason.COLOUR, header.samples not in ("", "1")),
        (Reason.COLOUR, not photometric.startswith("MONOCHROME")),
        (Reason.POLARITY, photometric != "MONOCHROME2"),
        (Reason.MULTI_FRAME, several),
        (Reason.BROKEN_HEADER, not (_is_size(header.rows) and _is_size(header.columns))),
    )
    return next((reason for reason, holds in checks if holds), None)


def group_frames(
    frames: Iterable[Frame], *, lost: Iterable[Frame]
) -> tuple[list[list[Member]], dict[bytes, Reason]]:
    """Groups the frames of one series.

    Args:
        frames: The frames.
        lost: Frames of the series that are known, and cannot be used.

    Returns:
        The groups, and the paths of instances of which a frame can be in none.
    """
    refused: dict[bytes, Reason] = {}
    groups: dict[_Group, list[Member]] = defaultdict(list)
    incomplete: set[Hashable] = set()
    orientations: list[Float] = []
    for ref, frame in frames:
        if _is_localizer(frame):
            refused.setdefault(ref.path, Reason.IMAGE_TYPE)
            continue
        outline = _outline(ref.instance.header, frame.image_type)
        try:
            plane = _plane_of(frame)
        except DicomError as error:
            refused.setdefault(ref.path, Reason(error.reason))
            incomplete.add(outline)
        else:
            meaning = _meaning(ref.instance.header, frame, plane)
            group = groups[outline, meaning, _number_of(plane.axes, orientations)]
            group.append(Member(ref, frame, plane))
    incomplete.update(_groups_that_miss(lost, orientations))
    # Without the lost slice the others may still look like a whole volume, only shorter.
    for key in [key for key in groups if key in incomplete or key[0] in incomplete]:
        for member in groups.pop(key):
            refused.setdefault(member.ref.path, Reason.MISSING_SLICE)
    return list(groups.values()), refused


def _groups_that_miss(lost: Iterable[Frame], orientations: list[Float]) -> Iterator[Hashable]:
    """Yields the group that each lost frame belongs to; without a place, its outline alone."""
    for ref, frame in lost:
        if _is_localizer(frame):
            continue
        header = ref.instance.header
        outline = _outline(header, frame.image_type)
        try:
            plane = _plane_of(frame)
        except DicomError:
            yield outline
        else:
            number = _number_of(plane.axes, orientations)
            yield outline, _meaning(header, frame, plane), number


def _is_localizer(frame: FrameGeometry) -> bool:
    return "LOCALIZER" in frame.image_type.split("\\")


def _plane_of(frame: FrameGeometry) -> Plane:
    return read_plane(
        orientation=frame.orientation,
        position=frame.position,
        pixel_spacing=frame.pixel_spacing,
    )


def _outline(header: Header, image_type: str) -> Hashable:
    """What even a slice without a place shares with the volume it comes from."""
    values = tuple(image_type.split("\\"))
    values = values[:_CT_TYPE_VALUES] if SINGLE_FRAME.get(header.sop_class_uid) == "CT" else values
    return header.sop_class_uid, header.rows, header.columns, values


def _meaning(header: Header, frame: FrameGeometry, plane: Plane) -> Hashable:
    spacing = tuple(round(mm, _SPACING_DECIMALS) for mm in plane.spacing_mm)
    contrast = tuple(_comparable(getattr(frame, name)) for name in _CONTRAST)
    times = frame.temporal_position, frame.stack_id
    return header.frame_of_reference_uid, spacing, frame.kernel, contrast, times


def _comparable(text: str) -> Hashable:
    r"""Numbers where the text holds numbers, so that ``4.2`` equals ``4.20``."""
    try:
        return tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return text


def _number_of(axes: Float, known: list[Float]) -> int:
    """Finds an orientation among known ones, within the tolerance; adds a new one."""
    for number, other in enumerate(known):
        if np.abs(axes - other).max() <= ORIENTATION_TOLERANCE:
            return number
    known.append(axes)
    return len(known) - 1


def _is_secondary_capture(sop_class_uid: str) -> bool:
    return f"{sop_class_uid}.".startswith(f"{_SECONDARY_CAPTURE}.")


def _is_size(text: str) -> bool:
    """Tells whether the text is a number of rows or columns that a volume can have."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) >= 2
