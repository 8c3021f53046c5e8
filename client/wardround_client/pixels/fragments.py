"""Finds the frames in encapsulated pixel data (DICOM PS3.5 A.4), or refuses to guess.

Where neither an offset table nor the number of fragments tells which fragments make a frame,
libraries look for what may be the end of a codestream. Here such pixels are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from pydicom.dataset import FileDataset

from wardround_client.pixels.layout import pixel_bytes
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, slots=True)
class _Fragment:
    """Where an item of encapsulated pixel data lies."""

    item: int
    """First byte of its tag, counted from the end of the offset table."""
    start: int
    end: int


def split_frames(dataset: FileDataset, frames: int) -> list[bytes]:
    """Cuts encapsulated pixel data into the codestreams of its frames.

    Raises:
        DicomError: The bytes end early, or frames and fragments do not fit each other.
    """
    data = bytes(pixel_bytes(dataset))
    table, *fragments = _items(data)
    starts = _starts(dataset, data[table.start : table.end], frames, fragments)
    place = {fragment.item: number for number, fragment in enumerate(fragments)}
    try:
        first = [place[start] for start in starts]
    except KeyError:
        raise DicomError(Reason.FRAMES_UNCLEAR) from None
    if first[:1] != [0] or any(a >= b for a, b in pairwise(first)):
        raise DicomError(Reason.FRAMES_UNCLEAR)
    bounds = pairwise([*first, len(fragments)])
    return [b"".join(data[f.start : f.end] for f in fragments[a:b]) for a, b in bounds]


def _items(data: bytes) -> list[_Fragment]:
    """The offset table's item, and every fragment after it."""
    items: list[_Fragment] = []
    position = 0
    while data[position : position + 4] == _ITEM:
        (length,) = struct.unpack_from("<I", data, position + 4)
        start, end = position + 8, position + 8 + length
        if end > len(data):
            raise DicomError(Reason.TRUNCATED)
        base = items[0].end if items else position
        items.append(_Fragment(position - base, start, end))
        position = end
    rest = data[position : position + 4]
    if not items or (rest and rest != _DELIMITER):
        raise DicomError(Reason.DECODE_FAILED)
    if len(items) == 1:
        raise DicomError(Reason.TRUNCATED)
    return items


def _starts(
    dataset: FileDataset, table: bytes, frames: int, fragments: list[_Fragment]
) -> list[int]:
    """Where the first fragment of each frame lies."""
    if frames == 1:
        return [0]
    try:
        extended = dataset.get("ExtendedOffsetTable")
    except MemoryError:
        raise
    except Exception:  # a wrong VR raises here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    if extended:
        starts = _numbers(extended, "Q", frames)
    elif table:
        starts = _numbers(table, "I", frames)
    elif len(fragments) == frames:
        starts = [fragment.item for fragment in fragments]
    else:
        raise DicomError(Reason.FRAMES_UNCLEAR)
    return starts


def _numbers(table: object, code: str, count: int) -> list[int]:
    if not isinstance(table, bytes) or len(table) != count * struct.calcsize(code):
        raise DicomError(Reason.FRAMES_UNCLEAR)
    return list(struct.unpack(f"<{count}{code}", table))
