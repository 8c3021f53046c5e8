"""Rebuilds lookup tables: only what rises or falls throughout, which no text does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

_BITS = range(8, 17)
_TYPES = frozenset({"HU", "OD", "US", "MGML"})


def rebuilt_tables(source: Dataset, keyword: str, *, big_endian: bool) -> list[Dataset]:
    """Builds the items of a Modality LUT or VOI LUT sequence anew.

    Args:
        source: The original header.
        keyword: Of the sequence.
        big_endian: Byte order of the original file.

    Raises:
        DicomError: A table is not what its descriptor says, or goes up and down.
    """
    try:
        return [_table(item, big_endian=big_endian) for item in source.get(keyword) or ()]
    except (MemoryError, DicomError):
        raise
    except Exception:  # wrong elements raise in many ways, also lazily
        raise DicomError(Reason.BROKEN_LUT) from None


def _table(item: Dataset, *, big_endian: bool) -> Dataset:
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    values, packed = _values(item.LUTData, entries, big_endian=big_endian)
    steps = np.diff(values)
    straight = bool((steps >= 0).all() or (steps <= 0).all())
    if bits not in _BITS or values.size != entries or not straight or int(values.max()) >> bits:
        raise DicomError(Reason.BROKEN_LUT)
    made = Dataset()
    vr = "SS" if first < 0 else "US"
    made.add_new("LUTDescriptor", vr, [entries % (1 << 16), first, bits])
    made.add_new("LUTData", "OW", values.astype("u1" if packed else "<u2").tobytes())
    if "ModalityLUTType" in item:
        kind = str(item.ModalityLUTType)
        made.ModalityLUTType = kind if kind in _TYPES else "US"
    return made


def _values(data: object, entries: int, *, big_endian: bool) -> tuple[NDArray[np.int64], bool]:
    """The table's entries, and whether each takes one byte instead of two."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, np.int64)), False
    words = len(data) >= 2 * entries
    kind = (">u2" if big_endian else "<u2") if words else "u1"
    return np.frombuffer(data, kind, entries).astype(np.int64), not words
