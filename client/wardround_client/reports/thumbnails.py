"""Small grey pictures of single images, for people at the site who check what an archive holds.

They show pixels of patients: they are drawn only into files of the private workspace. Images
whose header or kind says that text may be burned in are never drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wardround_client.cohort import exclusion
from wardround_client.index.header import Header
from wardround_client.index.reader import quiet, text_of
from wardround_client.pixels.decode import decode_frames, rescaled_frames
from wardround_client.pixels.luts import voi_values
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import CohortRule

DRAWN_MODALITIES = ("CR", "CT", "DX", "MG", "MR", "NM", "PT", "RF", "XA")
"""Those whose images carry no text of their own; ultrasound and captures do."""
_SIDE_PIXELS = 176
_PERCENTILES = (0.5, 99.5)
_RULE = CohortRule(modalities=DRAWN_MODALITIES, excluded_image_types=("SECONDARY",))


class Sample(NamedTuple):
    """One image to draw."""

    path: Path
    sop_instance_uid: str
    frame: int
    """Counted from 0."""


def may_be_drawn(header: Header) -> bool:
    """Tells whether an image is of a kind without burned-in text, and admits none."""
    admitted = {text.strip() for text in header.burned_in.upper().split("\\")} - {"", "NO"}
    return not admitted and exclusion(header, _RULE) is None


def middle_frame(header: Header) -> int:
    """Number of the middle frame, counted from 0."""
    return int(header.frames) // 2 if header.frames.isascii() and header.frames.isdigit() else 0


def draw_thumbnail(sample: Sample) -> bytes | Reason:
    """Draws one frame as PNG, or says why it cannot; made to run in a worker."""
    path, sop_instance_uid, frame = sample
    try:
        stored = decode_frames(path, sop_instance_uid=sop_instance_uid, frames=(frame,))
        rescaled = rescaled_frames(stored)
        with quiet(), np.errstate(all="ignore"):
            values = voi_values(stored.dataset, rescaled.values[0])
            inverted = text_of(stored.dataset, "PhotometricInterpretation") == "MONOCHROME1"
    except DicomError as error:
        return Reason(error.reason)
    valid = rescaled.valid[0]
    if not valid.any():
        return Reason.CONSTANT
    return _encode(_grey_levels(-values if inverted else values, valid))


def _grey_levels(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Maps all but the extreme values to 0 to 255; padding is black."""
    low, high = np.percentile(values[valid], _PERCENTILES)
    scaled = (values - low) * (255 / max(float(high - low), 1e-6))
    return np.where(valid, np.clip(scaled, 0, 255), 0).astype(np.uint8)


def _encode(image: NDArray[np.uint8]) -> bytes:
    rows, columns = image.shape
    factor = min(1.0, _SIDE_PIXELS / max(rows, columns))
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, png = cv2.imencode(".png", small)
    return png.tobytes()
