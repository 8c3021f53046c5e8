"""Decodes the frames of a segmentation, with its sizes checked before any decoder runs."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset

from wardround_client.index.reader import text_of
from wardround_client.pixels.codestream import coded_size
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

MAXIMUM_VOXELS = 1 << 30
MAXIMUM_FRAMES = 100_000
_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
_CODED = frozenset({uid.JPEGLSLossless, uid.JPEG2000Lossless})
"""Lossless only: a mask that a codec may change is none."""


def require_frames(dataset: FileDataset) -> None:
    """Checks that the frames are as many and as large as the header says.

    Raises:
        DicomError: They are not, or are packed in a way that intake does not take.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in _NATIVE | _CODED | {uid.RLELossless}:
        raise DicomError(Reason.NO_DECODER)
    names = ("NumberOfFrames", "Rows", "Columns", "BitsAllocated")
    try:
        frames, rows, columns, bits = (int(text_of(dataset, name)) for name in names)
    except ValueError:
        raise DicomError(Reason.LABEL_UNREADABLE) from None
    voxels = frames * rows * columns
    if not min(frames, rows, columns) >= 1 or bits not in (1, 8, 16):
        raise DicomError(Reason.LABEL_UNREADABLE)
    if voxels > MAXIMUM_VOXELS or frames > MAXIMUM_FRAMES:
        raise DicomError(Reason.TOO_LARGE)
    if len(dataset.PerFrameFunctionalGroupsSequence) != frames:
        raise DicomError(Reason.LABEL_UNREADABLE)
    if syntax in _NATIVE and 8 * len(dataset.PixelData) < voxels * bits:
        raise DicomError(Reason.TRUNCATED)


def stored_frame(seg: hd.seg.Segmentation, number: int) -> NDArray[np.generic]:
    """Decodes one frame, shape (rows, columns).

    Args:
        seg: A segmentation that `require_frames` took.
        number: Counted from 1.

    Raises:
        DicomError: The frame's own size differs from the header's.
    """
    if seg.file_meta.TransferSyntaxUID in _CODED:
        coded = coded_size(seg.get_raw_frame(number))
        if coded is None or (coded.rows, coded.columns) != (seg.Rows, seg.Columns):
            raise DicomError(Reason.SIZE_MISMATCH)
    frame: NDArray[Any] = seg.get_stored_frame(number)
    return frame
