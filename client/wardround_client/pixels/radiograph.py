"""From stored values to the model's input: LUTs, polarity, size, standardisation, int16.

Order as in DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT, VOI LUT, then the inversion of
MONOCHROME1, exactly once. Padding pixels take no part in any statistic and end up as 0, the mean.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import ExplicitVRBigEndian

from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

SCALE = 4096
"""Steps of the int16 form for one standard deviation; what lies beyond 8 of them is clipped."""
_LEAST_DEVIATION = 1e-6
"""Of the largest value; less is rounding, no image."""
_LUT_BITS = range(8, 17)


def model_pixels(
    dataset: FileDataset, stored: NDArray[np.int32], preprocessing: Preprocessing
) -> NDArray[np.int16]:
    """Prepares one grey image for the model.

    Args:
        dataset: The file's header.
        stored: int32, shape (Rows, Columns), stored values.
        preprocessing: Size and fit.

    Returns:
        int16, shape (rows, columns) of ``preprocessing``; mean 0, standard deviation `SCALE`.

    Raises:
        DicomError: A LUT is broken, or the image shows nothing.
    """
    valid = ~_padding(dataset, stored)
    try:
        shown = _apply_luts(dataset, stored)
    except Exception:  # pydicom raises in many ways on wrong LUTs, also lazily
        raise DicomError(Reason.BROKEN_LUT) from None
    if not valid.any():
        raise DicomError(Reason.CONSTANT)
    if not np.isfinite(shown).all():
        raise DicomError(Reason.BROKEN_LUT)
    if dataset.PhotometricInterpretation.strip().upper() == "MONOCHROME1":
        shown = -shown
    return standardise(shown, valid, preprocessing)


def standardise(
    image: NDArray[np.float32], valid: NDArray[np.bool_], preprocessing: Preprocessing
) -> NDArray[np.int16]:
    """Fits, resizes and standardises an image.

    Args:
        image: float32, shape (rows, columns).
        valid: bool, same shape; False marks padding, which counts nowhere.
        preprocessing: Size and fit.

    Raises:
        DicomError: Every valid pixel is equal.
    """
    size = _fitted_size(image.shape, preprocessing)
    weight = _resized(valid.astype(np.float32), size)
    # Averages over valid pixels only: a border pixel must not be darkened by its padding.
    total = _resized(np.where(valid, image, np.float32(0)), size)
    kept = weight >= 0.5
    values = (total[kept] / weight[kept]).astype(np.float64)
    spread = float(values.std()) if values.size else 0.0
    if not spread > _LEAST_DEVIATION * float(np.abs(values).max(initial=0.0)):
        raise DicomError(Reason.CONSTANT)
    small = np.zeros(size, np.int16)
    limits = np.iinfo(np.int16)
    scaled = np.rint((values - values.mean()) * (SCALE / spread))
    small[kept] = np.clip(scaled, limits.min, limits.max).astype(np.int16)
    return _centred(small, preprocessing)


def _padding(dataset: Dataset, stored: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Marks the stored values that PixelPaddingValue and its range limit name.

    Raises:
        DicomError: They are there and cannot be read.
    """
    try:
        value = dataset.get("PixelPaddingValue")
        if value is None:
            return np.zeros(stored.shape, np.bool_)
        limit = dataset.get("PixelPaddingRangeLimit")
        ends = [int(value), int(value if limit is None else limit)]
    except Exception:  # wrong VRs raise here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    padding: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return padding


def _apply_luts(dataset: FileDataset, stored: NDArray[np.int32]) -> NDArray[np.float32]:
    """Applies modality LUT or rescale, then VOI LUT or window, where the header has one."""
    values: NDArray[Any] = stored
    if dataset.get("ModalityLUTSequence"):
        values = _look_up(dataset, dataset.ModalityLUTSequence[0], values)
    elif dataset.get("RescaleSlope") is not None or dataset.get("RescaleIntercept") is not None:
        if float(dataset.RescaleSlope) == 0.0:
            raise ValueError("rescale slope is 0")
        values = values * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    if dataset.get("VOILUTSequence"):
        values = _look_up(dataset, dataset.VOILUTSequence[0], values)
    elif dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        values = apply_windowing(values, dataset)
    return values.astype(np.float32)


def _look_up(dataset: FileDataset, item: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Maps values through one LUT item; what lies outside takes the first or last entry.

    pydicom's own functions keep the index in the table's type, where 4096 entries of 8 bits wrap.

    Raises:
        ValueError: The table is not what its descriptor says.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">" if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
        words = len(data) >= 2 * entries
        table = np.frombuffer(data, f"{order}u2" if words else "u1")
    else:
        table = np.atleast_1d(np.asarray(data, np.int64))
    if bits not in _LUT_BITS or not entries <= table.size <= entries + 1:
        raise ValueError("the table differs from its descriptor")
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    looked_up: NDArray[Any] = table[index]
    return looked_up


def _fitted_size(shape: tuple[int, ...], preprocessing: Preprocessing) -> tuple[int, int]:
    """Rows and columns of the image within the model's input."""
    rows, columns = preprocessing.rows, preprocessing.columns
    if preprocessing.fit == "stretch":
        return rows, columns
    factor = min(rows / shape[0], columns / shape[1])
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _resized(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Area average when shrinking; bilinear when enlarging, where area would make blocks."""
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=method), np.float32)


def _centred(image: NDArray[np.int16], preprocessing: Preprocessing) -> NDArray[np.int16]:
    """Puts an image into the middle of the model's input; the border is 0, the mean."""
    canvas = np.zeros((preprocessing.rows, preprocessing.columns), np.int16)
    top = (canvas.shape[0] - image.shape[0]) // 2
    left = (canvas.shape[1] - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
