"""Reads the frames of enhanced CT, MR and PET instances from their functional groups.

DICOM PS3.3 C.7.6.16: a macro is in the shared groups, where it holds for every frame, or in each
frame's own. What the shared groups say holds for frames that do not say it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from wardround_client.index.header import Instance
from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.quarantine import Reason
from wardround_client.volumes.plan import FrameGeometry
from wardround_common.errors import DicomError

_TAGS = [
    "SOPInstanceUID",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_MAXIMUM_FRAMES = 1 << 16
_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
_DIRECTION = "DiffusionGradientDirectionSequence"
_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "orientation": (("PlaneOrientationSequence", "ImageOrientationPatient"),),
    "position": (("PlanePositionSequence", "ImagePositionPatient"),),
    "pixel_spacing": (("PixelMeasuresSequence", "PixelSpacing"),),
    "image_type": tuple((sequence, "FrameType") for sequence in _TYPES),
    "kernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "stack_id": (("FrameContentSequence", "StackID"),),
    "temporal_position": (("FrameContentSequence", "TemporalPositionIndex"),),
    "acquisition_number": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "acquisition_time": (("FrameContentSequence", "FrameAcquisitionDateTime"),),
    "content_time": (("FrameContentSequence", "FrameReferenceDateTime"),),
    "trigger_time": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "echo_time": (("MREchoSequence", "EffectiveEchoTime"),),
    "inversion_time": (("MRModifierSequence", "InversionTimes"),),
    "flip_angle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
    "b_value": (("MRDiffusionSequence", "DiffusionBValue"),),
    "gradient": (("MRDiffusionSequence", _DIRECTION, "DiffusionGradientOrientation"),),
}
"""Sequences and element of each field of `FrameGeometry`; the first that is there counts."""


def read_frames(
    instance: Instance, open_file: Callable[[bytes], Path]
) -> tuple[FrameGeometry, ...] | Reason:
    """Reads place and stack of every frame of one multi-frame instance, or says why it cannot.

    Args:
        instance: The instance.
        open_file: Gives the file of a path below the archive's root.
    """
    try:
        with quiet():
            dataset = open_dataset(open_file(instance.path), tags=_TAGS)
            if text_of(dataset, "SOPInstanceUID") != instance.header.sop_instance_uid:
                return Reason.CHANGED
            header = instance.header
            return _frames_of(dataset, {"image_type": header.image_type, "kernel": header.kernel})
    except DicomError as error:
        return Reason(error.reason)


def _frames_of(dataset: Dataset, stated: dict[str, str]) -> tuple[FrameGeometry, ...]:
    """Reads the functional groups; what they leave open is as ``stated`` for the instance.

    Raises:
        DicomError: They are broken, or not one for each frame.
    """
    count = text_of(dataset, "NumberOfFrames") or "1"
    shared = items_of(dataset, "SharedFunctionalGroupsSequence")
    groups = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    if not groups:
        raise DicomError(Reason.NO_GEOMETRY)
    if str(len(groups)) != count or len(shared) > 1 or len(groups) > _MAXIMUM_FRAMES:
        raise DicomError(Reason.BROKEN_HEADER)
    defaults = _texts(shared[0]) if shared else {}
    return tuple(
        _frame(number, stated | defaults | _texts(group))
        for number, group in enumerate(groups, start=1)
    )


def _frame(number: int, texts: dict[str, str]) -> FrameGeometry:
    known = dict.fromkeys(("orientation", "position", "pixel_spacing"), "") | texts
    image_type, kernel = known.pop("image_type").upper(), known.pop("kernel").upper()
    return FrameGeometry(number=number, image_type=image_type, kernel=kernel, **known)


def _texts(group: Dataset) -> dict[str, str]:
    """Reads what one group of macros says, by the names of `FrameGeometry`."""
    found = {name: _first(group, paths) for name, paths in _PATHS.items()}
    return {name: text for name, text in found.items() if text}


def _first(group: Dataset, paths: tuple[tuple[str, ...], ...]) -> str:
    for *sequences, keyword in paths:
        item: Dataset | None = group
        for sequence in sequences:
            inner = items_of(item, sequence) if item is not None else ()
            item = inner[0] if inner else None
        text = text_of(item, keyword) if item is not None else ""
        if text:
            return text
    return ""


def items_of(dataset: Dataset, keyword: str) -> Sequence[Any]:
    """The items of a sequence; none where it is absent.

    Raises:
        DicomError: The element is no sequence, or cannot be read.
    """
    try:
        items = dataset.get(keyword)
        return () if items is None else [item for item in items if isinstance(item, Dataset)]
    except Exception:  # wrong VRs raise here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
