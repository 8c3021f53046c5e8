"""Reads segmentations (DICOM SEG: binary, fractional, label map) through highdicom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.labels.acquired import Corners, Source, plane_corners
from wardround_client.labels.codes import code_in, is_one_of
from wardround_client.labels.frames import require_frames, stored_frame
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import read_plane
from wardround_client.volumes.multiframe import items_of
from wardround_common.errors import DicomError
from wardround_common.intake_plan import LabelRule

_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
MASK_CLASSES = frozenset({SegmentationStorage, _LABEL_MAP})
ANY_FRAME = 0
"""Frame number of a reference that names a whole instance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskPlane:
    """One plane of a mask."""

    corners_mm: Corners | None
    """Shape (2, 2, 3); None where the segmentation gives no place."""
    sources: frozenset[Source]
    """Images that the segmentation says it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskFacts:
    """What a segmentation says of itself."""

    sop_instance_uid: str
    series_uids: frozenset[str]
    """Series of the images that it refers to."""
    patient: tuple[str, str]
    """PatientID and IssuerOfPatientID."""
    frame_of_reference_uid: str
    named: bool
    """Whether it has a wanted segment at all; an empty one is a statement, none is not."""
    rows: int
    columns: int
    planes: tuple[MaskPlane, ...]
    """Planes with at least one voxel in a wanted segment; where no plane has one, all: an empty
    segmentation as well speaks only for the images that it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """The wanted segments of one segmentation, joined."""

    facts: MaskFacts
    pixels: NDArray[np.bool_]
    """Shape (planes, rows, columns)."""


def read_mask(path: Path, rule: LabelRule) -> Mask | Reason:
    """Reads the wanted segments of one segmentation, or says why it cannot be read.

    A fraction counts from one half on; segments that overlap are joined.

    Args:
        path: The file.
        rule: With source ``seg``.
    """
    try:
        with quiet():
            dataset = open_dataset(path)
            if text_of(dataset, "SOPClassUID") not in MASK_CLASSES:
                return Reason.LABEL_UNREADABLE
            require_frames(dataset)
            return _mask_of(hd.seg.Segmentation.from_dataset(dataset, copy=False), rule)
    except DicomError as error:
        broken = error.reason == Reason.BROKEN_HEADER
        return Reason.LABEL_UNREADABLE if broken else Reason(error.reason)
    except MemoryError:  # the worker process has a reason of its own for it
        raise
    except Exception:  # highdicom raises in many ways, pydicom also lazily
        return Reason.LABEL_UNREADABLE


def _mask_of(seg: hd.seg.Segmentation, rule: LabelRule) -> Mask:
    wanted = [
        int(segment.SegmentNumber)
        for segment in seg.SegmentSequence
        if is_one_of(code_in(segment, "SegmentedPropertyTypeCodeSequence"), rule.segments)
    ]
    shape = int(seg.Rows), int(seg.Columns)
    planes: dict[object, MaskPlane] = {}
    joined: dict[object, NDArray[np.bool_]] = {}
    for number, groups in _frames_of(seg):
        if wanted and _may_hold(seg, groups, wanted):
            inside = _inside(seg, number, wanted)
            if inside.any():
                key = _add_plane(_plane_of(groups, shape), planes)
                joined[key] = inside | joined.get(key, False)
    pixels = np.array(list(joined.values()), np.bool_).reshape(-1, *shape)
    if wanted and not planes:
        for _, groups in _frames_of(seg):
            _add_plane(_plane_of(groups, shape), planes)
        pixels = np.zeros((len(planes), *shape), np.bool_)
    facts = MaskFacts(
        sop_instance_uid=text_of(seg, "SOPInstanceUID"),
        series_uids=frozenset(_series_of(seg)) - {""},
        patient=(text_of(seg, "PatientID"), text_of(seg, "IssuerOfPatientID")),
        frame_of_reference_uid=text_of(seg, "FrameOfReferenceUID"),
        named=bool(wanted),
        rows=shape[0],
        columns=shape[1],
        planes=tuple(planes.values()),
    )
    return Mask(facts=facts, pixels=pixels)


def _add_plane(plane: MaskPlane, planes: dict[object, MaskPlane]) -> object:
    """Adds a plane to those at other places, or joins it with the one at its place."""
    key = plane.sources if plane.corners_mm is None else plane.corners_mm.tobytes()
    known = planes.get(key, plane)
    planes[key] = replace(plane, sources=plane.sources | known.sources)
    return key


def _frames_of(seg: Dataset) -> Iterator[tuple[int, tuple[Dataset, Dataset]]]:
    """Yields number and functional groups, own then shared, of every frame."""
    shared = next(iter(items_of(seg, "SharedFunctionalGroupsSequence")), Dataset())
    for number, own in enumerate(items_of(seg, "PerFrameFunctionalGroupsSequence"), start=1):
        yield number, (own, shared)


def _may_hold(seg: Dataset, groups: tuple[Dataset, Dataset], wanted: Sequence[int]) -> bool:
    """Tells whether a frame is of a wanted segment; a label map's frames are of all."""
    segment = text_of(_macro(groups, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
    labelled = text_of(seg, "SegmentationType").upper() == "LABELMAP"
    return labelled or segment in map(str, wanted)


def _macro(groups: tuple[Dataset, Dataset], keyword: str) -> Dataset:
    found = (item for group in groups for item in items_of(group, keyword))
    return next(found, Dataset())


def _plane_of(groups: tuple[Dataset, Dataset], shape: tuple[int, int]) -> MaskPlane:
    """Reads one frame's place.

    Raises:
        DicomError: It is there and cannot be what it says.
    """
    texts = {
        "orientation": text_of(
            _macro(groups, "PlaneOrientationSequence"), "ImageOrientationPatient"
        ),
        "position": text_of(_macro(groups, "PlanePositionSequence"), "ImagePositionPatient"),
        "pixel_spacing": text_of(_macro(groups, "PixelMeasuresSequence"), "PixelSpacing"),
    }
    placed = bool(texts["position"] or texts["orientation"])
    corners = plane_corners([read_plane(**texts)], shape)[0] if placed else None
    return MaskPlane(corners_mm=corners, sources=frozenset(_sources_of(groups)))


def _sources_of(groups: tuple[Dataset, Dataset]) -> Iterator[Source]:
    found = (items_of(group, "DerivationImageSequence") for group in groups)
    for derivation in next(filter(None, found), ()):
        for source in items_of(derivation, "SourceImageSequence"):
            numbers = text_of(source, "ReferencedFrameNumber") or str(ANY_FRAME)
            for number in numbers.split("\\"):
                yield text_of(source, "ReferencedSOPInstanceUID"), int(number)


def _inside(seg: hd.seg.Segmentation, number: int, wanted: Sequence[int]) -> NDArray[np.bool_]:
    """Which pixels of a frame belong to the wanted segments, shape (rows, columns)."""
    stored = stored_frame(seg, number)
    kind = text_of(seg, "SegmentationType").upper()
    if kind == "LABELMAP":
        inside = np.isin(stored, wanted)
    elif kind == "BINARY":
        inside = np.not_equal(stored, 0)
    elif kind == "FRACTIONAL":
        inside = 2 * stored.astype(np.int64) >= int(seg.MaximumFractionalValue)
    else:
        raise DicomError(Reason.LABEL_UNREADABLE)
    return np.asarray(inside, np.bool_)


def _series_of(seg: Dataset) -> Iterator[str]:
    others = items_of(seg, "StudiesContainingOtherReferencedInstancesSequence")
    for study in (seg, *others):
        for series in items_of(study, "ReferencedSeriesSequence"):
            yield text_of(series, "SeriesInstanceUID")
