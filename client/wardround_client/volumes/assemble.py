"""Decodes the slices of a planned volume and puts them into one array, each by its own rescale.

The header that the plan was made from is compared with what the files say now.
CT must state its rescale to Hounsfield units and PET its rescale to Units; a reader that takes
stored values instead is off by a thousand without any sign of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from xxhash import xxh3_128

from wardround_client.index.reader import quiet, read_header, text_of
from wardround_client.pixels.decode import DecodedImage, decode_frames, rescaled_frames
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import items_of
from wardround_client.volumes.plan import SliceRef, Volume, VolumePlan
from wardround_client.volumes.resample import prepare_volume
from wardround_common.errors import DicomError
from wardround_common.intake_plan import VolumePreprocessing

OpenFile = Callable[[bytes], Path]
"""Gives the file of a path below the archive's root."""

_CALIBRATED = ("CT", "PT")
_HOUNSFIELD = ("", "HU", "US")
"""RescaleType of CT (PS3.3 C.11.1.1.2) whose values are taken for Hounsfield units. ``US``, not
specified, is what GDCM writes into every slice that it transcodes; others, such as ``HU_MOD`` or
``Z_EFF``, say that the values are something else."""
_HOUNSFIELD_ENHANCED = ("HU",)
"""Enhanced CT has to name its units; perfusion maps say ``US``."""
_TRANSFORMATION = "PixelValueTransformationSequence"
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def decode_volume(
    plan: VolumePlan, open_file: OpenFile, preprocessing: VolumePreprocessing
) -> DecodedImage | Reason:
    """Decodes one volume and prepares it for the model, or says why it cannot."""
    try:
        volume = read_volume(plan, open_file)
        pixels = prepare_volume(volume, preprocessing)
    except DicomError as error:
        return Reason(error.reason)
    return DecodedImage(pixels=pixels, digest=volume.digest)


def read_volume(plan: VolumePlan, open_file: OpenFile) -> Volume:
    """Decodes the slices of a volume.

    Raises:
        DicomError: One of them cannot be read with certainty, or changed since the plan was made.
    """
    values = np.zeros((len(plan.slices), plan.rows, plan.columns), np.float32)
    valid = np.zeros(values.shape, np.bool_)
    with quiet(), np.errstate(all="ignore"):
        for numbers, refs in _by_file(enumerate(plan.slices)):
            values[numbers], valid[numbers] = _read_slices(refs, open_file, plan)
        for numbers, refs in _by_file(plan.copies):
            _require_equal(refs, plan, numbers, (values, valid), open_file)
    if not valid.any():
        raise DicomError(Reason.CONSTANT)
    return Volume(
        values=values,
        valid=valid,
        affine=plan.affine,
        positions_mm=plan.positions_mm,
        axes=plan.axes,
        spacing_mm=plan.spacing_mm,
        flags=plan.flags,
        digest=_digest(values, valid),
    )


def _by_file(
    numbered: Iterable[tuple[int, SliceRef]],
) -> list[tuple[list[int], list[SliceRef]]]:
    """Puts the slices of one file together: places in the volume, and slices."""
    files: dict[bytes, tuple[list[int], list[SliceRef]]] = defaultdict(lambda: ([], []))
    for number, ref in numbered:
        numbers, refs = files[ref.path]
        numbers.append(number)
        refs.append(ref)
    return list(files.values())


def _read_slices(
    refs: Sequence[SliceRef], open_file: OpenFile, plan: VolumePlan
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Decodes slices of one file: values and validity, shape (slices, rows, columns).

    Raises:
        DicomError: They cannot be read, or differ from the plan.
    """
    header, path = refs[0].instance.header, open_file(refs[0].path)
    frames = [ref.frame - 1 for ref in refs]
    stored = decode_frames(path, sop_instance_uid=header.sop_instance_uid, frames=frames)
    if read_header(path) != header:
        raise DicomError(Reason.CHANGED)
    _require_calibrated(stored.dataset, header.modality)
    if stored.values.shape != (len(refs), plan.rows, plan.columns):
        raise DicomError(Reason.CHANGED)
    rescaled = rescaled_frames(stored)
    return rescaled.values, rescaled.valid


def _require_calibrated(dataset: Dataset, modality: str) -> None:
    """Requires that a file says how stored values become Hounsfield units or PET's Units.

    Raises:
        DicomError: It does not, or not for every frame, or CT's units are not Hounsfield's.
    """
    units = _HOUNSFIELD_ENHANCED if items_of(dataset, _GROUPS[1]) else _HOUNSFIELD
    for holder in _rescales(dataset):
        stated = [bool(text_of(holder, f"Rescale{part}")) for part in ("Slope", "Intercept")]
        if not all(stated) and (modality in _CALIBRATED or any(stated)):
            raise DicomError(Reason.BROKEN_LUT)
        if modality == "CT" and text_of(holder, "RescaleType").upper() not in units:
            raise DicomError(Reason.BROKEN_LUT)


def _rescales(dataset: Dataset) -> list[Dataset]:
    """What holds the rescale: the header, the shared groups, or the groups of every frame.

    Raises:
        DicomError: Some frames have one and others not.
    """
    shared, groups = (items_of(dataset, name) for name in _GROUPS)
    for group in shared:
        if found := items_of(group, _TRANSFORMATION):
            return list(found[:1])
    each = [item for group in groups for item in items_of(group, _TRANSFORMATION)[:1]]
    if each and len(each) != len(groups):
        raise DicomError(Reason.BROKEN_LUT)
    return each or [dataset]


def _require_equal(
    refs: Sequence[SliceRef],
    plan: VolumePlan,
    numbers: Sequence[int],
    known: tuple[NDArray[np.float32], NDArray[np.bool_]],
    open_file: OpenFile,
) -> None:
    """Requires that frames at the places of others show the same.

    Raises:
        DicomError: They do not, so nobody knows which ones are right.
    """
    again = _read_slices(refs, open_file, plan)
    for number, ref, values, valid in zip(numbers, refs, *again, strict=True):
        kept = known[1][number]
        if np.array_equal(valid, kept) and np.array_equal(values[kept], known[0][number][kept]):
            continue
        same_uid = ref.sop_instance_uid == plan.slices[number].sop_instance_uid
        raise DicomError(Reason.DUPLICATE_CONFLICT if same_uid else Reason.DUPLICATE_POSITION)


def _digest(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> str:
    """Digest of what the volume shows; padding counts as one value."""
    content = xxh3_128(repr(values.shape).encode())
    for one, known in zip(values, valid, strict=True):
        content.update(np.where(known, one, np.float32(0)).tobytes())
        content.update(np.packbits(known).tobytes())
    return content.hexdigest()
