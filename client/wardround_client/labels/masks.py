"""Reads segmentations (DICOM SEG: binary, fractional, label map) through highdicom."""

from __future__ import annotations

import logging
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
from wardround_client.labels.codes import code_in, is_one_of, items_of
from wardround_client.labels.frames import require_frames, stored_frame
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import read_plane
from wardround_common.errors import DicomError
from wardround_common.intake_plan import LabelRule

_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
MASK_CLASSES = frozenset({SegmentationStorage, _LABEL_MAP})
# highdicom logs what it finds odd, with values; `quiet` knows pydicom's loggers only.
logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
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
    """Planes with at least one voxel in a wanted segment."""


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
    for number, groups in _frames_of(seg, wanted):
        inside = _inside(seg, number, wanted)
        if not inside.any():
            continue
        plane = _plane_of(groups, shape)
        key = plane.sources if plane.corners_mm is None else plane.corners_mm.tobytes()
        if key in planes:
            inside |= joined[key]
            plane = replace(plane, sources=plane.sources | planes[key].sources)
        planes[key], joined[key] = plane, inside
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
    pixels = np.array(list(joined.values()), np.bool_).reshape(-1, *shape)
    return Mask(facts=facts, pixels=pixels)


def _frames_of(
    seg: Dataset, wanted: Sequence[int]
) -> Iterator[tuple[int, tuple[Dataset, Dataset]]]:
    """Yields number and functional groups, own then shared, of frames that may hold a segment."""
    shared = next(items_of(seg, "SharedFunctionalGroupsSequence"), Dataset())
    labelled = text_of(seg, "SegmentationType").upper() == "LABELMAP"
    for number, own in enumerate(items_of(seg, "PerFrameFunctionalGroupsSequence"), start=1):
        identified = _macro((own, shared), "SegmentIdentificationSequence")
        segment = text_of(identified, "ReferencedSegmentNumber")
        if wanted and (labelled or segment in map(str, wanted)):
            yield number, (own, shared)


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
    found = (list(items_of(group, "DerivationImageSequence")) for group in groups)
    for derivation in next(filter(None, found), []):
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
