"""From a decoder's or file's integers to stored values: BitsStored, HighBit, sign, padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from wardround_client.pixels.layout import Layout
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError


def packed_values(raw: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Takes the stored values out of containers of BitsAllocated bits.

    They end at HighBit. Bits around them, where older devices kept overlays, are removed.

    Args:
        raw: Unsigned integers of BitsAllocated bits, any shape.
        layout: Of the image.

    Returns:
        Integers of BitsAllocated bits, signed if the layout is.

    Raises:
        DicomError: A value is larger than intake's integers.
    """
    bits, kept = layout.bits_allocated, layout.bits_stored
    signed = raw.view(np.dtype(f"i{bits // 8}")) if layout.signed else raw
    above = bits - 1 - layout.high_bit
    clean = not layout.signed and above == bits - kept and int(raw.max(initial=0)) >> kept == 0
    if kept < bits and not clean:
        kind = signed.dtype.type
        signed = (signed << kind(above)) >> kind(bits - kept)
    if signed.dtype == np.uint32 and int(signed.max(initial=0)) > np.iinfo(np.int32).max:
        raise DicomError(Reason.TOO_LARGE)
    return signed


def codec_values(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Checks that a codec's values, right-aligned whatever HighBit says, fit BitsStored.

    Some codecs leave the sign's extension to the reader: such values are not negative yet.

    Raises:
        DicomError: A value needs more bits than the header allows.
    """
    least, most = int(array.min()), int(array.max())
    bits = layout.bits_stored
    low, high = (-1 << (bits - 1), 1 << (bits - 1)) if layout.signed else (0, 1 << bits)
    if low <= least and most < high:
        if most > np.iinfo(np.int32).max:
            raise DicomError(Reason.TOO_LARGE)
        return array
    if not layout.signed or least < 0 or most >= 1 << bits:
        raise DicomError(Reason.SIZE_MISMATCH)
    wide = array.astype(np.int64)
    extended: NDArray[Any] = np.where(wide >= high, wide - (1 << bits), wide).astype(np.int32)
    return extended


def valid_mask(
    dataset: FileDataset, layout: Layout, stored: NDArray[Any], raw: NDArray[Any] | None
) -> NDArray[np.bool_] | None:
    """Tells padding from pixels, by PixelPaddingValue and PixelPaddingRangeLimit.

    Args:
        dataset: The header.
        layout: Of the image.
        stored: Stored values.
        raw: Their containers if they are packed; older devices pad beyond BitsStored.

    Returns:
        bool, shape of ``stored``, False for padding; None where the header names none.

    Raises:
        DicomError: The elements are there and cannot be read.
    """
    try:
        value = dataset.get("PixelPaddingValue")
        if value is None:
            return None
        limit = dataset.get("PixelPaddingRangeLimit")
        bits = layout.bits_allocated
        ends = [_signed(int(v), bits, layout) for v in (value, value if limit is None else limit)]
    except MemoryError:
        raise
    except Exception:  # wrong VRs raise here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    least = -1 << (layout.bits_stored - 1) if layout.signed else 0
    beyond = min(ends) < least or max(ends) >= least + (1 << layout.bits_stored)
    values = stored
    if beyond and raw is not None:
        values = raw.view(np.dtype(f"i{bits // 8}")) if layout.signed else raw
    valid: NDArray[np.bool_] = (values < min(ends)) | (values > max(ends))
    return valid


def _signed(value: int, bits: int, layout: Layout) -> int:
    """Reads a number as the pixels' type does: its VR may be US where the pixels are signed."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if layout.signed and value >> (bits - 1) else value
