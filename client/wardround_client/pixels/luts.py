"""Modality and VOI transformations of grey values (DICOM PS3.3 C.11.1, C.11.2, C.7.6.16.2.9).

pydicom's own functions keep a LUT's index in the table's type, where 4096 entries of 8 bits wrap;
and a window after a negative slope inverts the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian

from wardround_client.index.reader import text_of
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

Floats = NDArray[np.float32]
_LUT_BITS = range(8, 17)


def modality_values(dataset: FileDataset, stored: NDArray[Any], *, frame: int = 0) -> Floats:
    """Applies the modality LUT or the rescale that holds for this frame.

    Args:
        dataset: The header.
        stored: Integers, any shape, stored values of the frame.
        frame: Number of the frame, counted from 0.

    Returns:
        float32, the same shape, such as Hounsfield units.

    Raises:
        DicomError: What the header says cannot be applied.
    """
    try:
        item = dataset.get("ModalityLUTSequence")
        if item:
            return _look_up(dataset, item[0], stored, signed=int(dataset.PixelRepresentation))
        slope, intercept = _rescale_of(dataset, frame)
    except (MemoryError, DicomError):
        raise
    except Exception:  # wrong elements raise in many ways, also lazily
        raise DicomError(Reason.BROKEN_LUT) from None
    return _rescaled(stored.astype(np.float32), slope, intercept)


def voi_values(dataset: FileDataset, values: Floats) -> Floats:
    """Applies the first VOI LUT or window of the header, if it has one.

    Returns:
        float32, the same shape, in which only order and relative distance mean something: a
        linear window just cuts off what lies outside. May be ``values`` itself, changed.

    Raises:
        DicomError: What the header says cannot be applied.
    """
    try:
        item = dataset.get("VOILUTSequence")
        if item:
            return _look_up(dataset, item[0], values, signed=0)
        if dataset.get("WindowWidth") is None or dataset.get("WindowCenter") is None:
            return values
        centre, width = (_first(dataset, f"Window{end}") for end in ("Center", "Width"))
        return _window(values, centre, width, text_of(dataset, "VOILUTFunction").upper())
    except (MemoryError, DicomError):
        raise
    except Exception:  # wrong elements raise in many ways, also lazily
        raise DicomError(Reason.BROKEN_LUT) from None


def _rescaled(values: Floats, slope: float, intercept: float) -> Floats:
    """Multiplies and adds in place; slope 1 and intercept 0 cost nothing."""
    if slope == 0.0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise DicomError(Reason.BROKEN_LUT)
    if slope != 1.0:
        values *= np.float32(slope)
    if intercept != 0.0:
        values += np.float32(intercept)
    if (slope, intercept) != (1.0, 0.0) and not np.isfinite(values).all():
        raise DicomError(Reason.BROKEN_LUT)
    return values


def _rescale_of(dataset: FileDataset, frame: int) -> tuple[float, float]:
    """Slope and intercept of one frame: its own, else those of all frames, else 1 and 0."""
    for group in _groups(dataset, frame):
        transformation = group.get("PixelValueTransformationSequence")
        if transformation:
            item = transformation[0]
            return float(item.RescaleSlope), float(item.RescaleIntercept)
    if dataset.get("RescaleSlope") is None and dataset.get("RescaleIntercept") is None:
        return 1.0, 0.0
    return float(dataset.RescaleSlope), float(dataset.RescaleIntercept)


def _groups(dataset: FileDataset, frame: int) -> Iterator[Dataset]:
    """Functional groups of one frame of an enhanced image, its own first."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame:
        yield per_frame[frame]
    shared = dataset.get("SharedFunctionalGroupsSequence")
    if shared:
        yield shared[0]


def _first(dataset: FileDataset, keyword: str) -> float:
    """The first value of a window's element; the others are alternatives."""
    number = float(text_of(dataset, keyword).split("\\")[0])
    if not math.isfinite(number):
        raise DicomError(Reason.BROKEN_LUT)
    return number


def _window(values: Floats, centre: float, width: float, function: str) -> Floats:
    """Applies a window (PS3.3 C.11.2.1.2 and C.11.2.1.3), up to slope and intercept."""
    if function == "SIGMOID" and width > 0:
        fallen: Floats = np.exp((np.float32(centre) - values) * np.float32(4 / width))
        risen: Floats = np.reciprocal(fallen + np.float32(1))
        return risen
    if function == "LINEAR_EXACT" and width > 0:
        low, high = centre - width / 2, centre + width / 2
    elif function in ("", "LINEAR") and width >= 1:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    else:
        raise DicomError(Reason.BROKEN_LUT)
    if low == high:
        return (values > np.float32(low)).astype(np.float32)
    return np.clip(values, np.float32(low), np.float32(high), out=values)


def _look_up(dataset: FileDataset, item: Dataset, values: NDArray[Any], *, signed: int) -> Floats:
    """Maps values through one LUT item; what lies outside takes the first or last entry.

    Raises:
        DicomError: The table is not what its descriptor says.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    if signed and first >= 1 << 15:  # its VR was US, though the pixels are signed
        first -= 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">" if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
        words = len(data) >= 2 * entries
        table = np.frombuffer(data, f"{order}u2" if words else "u1")
    else:
        table = np.atleast_1d(np.asarray(data, np.int64))
    if bits not in _LUT_BITS or not entries <= table.size <= entries + 1:
        raise DicomError(Reason.BROKEN_LUT)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    looked_up: Floats = table.astype(np.float32)[index]
    return looked_up
