"""From stored values to the model's input: LUTs, polarity, size, standardisation, int16.

Order as in DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT, VOI LUT, then the inversion of
MONOCHROME1, exactly once. Padding pixels take no part in any statistic and end up as 0, the mean.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from wardround_client.index.reader import text_of
from wardround_client.pixels.luts import modality_values, voi_values
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

SCALE = 4096
"""Steps of the int16 form for one standard deviation; what lies beyond 8 of them is clipped."""
_LEAST_DEVIATION = 1e-6
"""Of the largest value; less is rounding, no image."""


def model_pixels(
    dataset: FileDataset,
    stored: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    preprocessing: Preprocessing,
) -> NDArray[np.int16]:
    """Prepares one grey image for the model.

    Args:
        dataset: The file's header.
        stored: Integers, shape (Rows, Columns), stored values.
        valid: bool, same shape, False marks padding; None where there is none.
        preprocessing: Size and fit.

    Returns:
        int16, shape (rows, columns) of ``preprocessing``; mean 0, standard deviation `SCALE`.

    Raises:
        DicomError: A LUT is broken, or the image shows nothing.
    """
    shown = voi_values(dataset, modality_values(dataset, stored))
    if text_of(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1":
        np.negative(shown, out=shown)
    return standardise(shown, valid, preprocessing)


def standardise(
    image: NDArray[np.float32], valid: NDArray[np.bool_] | None, preprocessing: Preprocessing
) -> NDArray[np.int16]:
    """Fits, resizes and standardises an image.

    Args:
        image: float32, shape (rows, columns).
        valid: bool, same shape; False marks padding, which counts nowhere. None: no padding.
        preprocessing: Size and fit.

    Raises:
        DicomError: Every valid pixel is equal.
    """
    size = _fitted_size(image.shape, preprocessing)
    if valid is None or valid.all():
        return _centred(_steps(_resized(image, size)), preprocessing)
    weight = _resized(valid.astype(np.float32), size)
    # Averages over valid pixels only: a border pixel must not be darkened by its padding.
    total = _resized(np.where(valid, image, np.float32(0)), size)
    kept = weight >= 0.5
    small = np.zeros(size, np.int16)
    small[kept] = _steps(total[kept] / weight[kept])
    return _centred(small, preprocessing)


def _steps(values: NDArray[np.float32]) -> NDArray[np.int16]:
    """Mean 0, standard deviation `SCALE`, rounded and clipped.

    Raises:
        DicomError: Every value is equal, or there is none.
    """
    if not values.size:
        raise DicomError(Reason.CONSTANT)
    # Sums in double precision, like numpy's, in a quarter of the time.
    scaled = values - np.float32(cv2.mean(values)[0])
    spread = math.sqrt(cv2.norm(scaled, cv2.NORM_L2SQR) / scaled.size)
    if not spread > _LEAST_DEVIATION * max(abs(float(values.min())), abs(float(values.max()))):
        raise DicomError(Reason.CONSTANT)
    scaled *= np.float32(SCALE / spread)
    limits = np.iinfo(np.int16)
    np.clip(np.rint(scaled, out=scaled), limits.min, limits.max, out=scaled)
    return scaled.astype(np.int16)


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
