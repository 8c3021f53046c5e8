"""Reads the size of a compressed image from its own first bytes, before any decoder sees it.

A header of 224 x 224 pixels may wrap a codestream of 60 000 x 60 000; decoders believe the
latter. Markers follow ISO 10918-1 (JPEG), ISO 14495-1 (JPEG-LS) and ISO 15444-1 (JPEG 2000).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_JPEG_START = b"\xff\xd8"
_JPEG2000_START = b"\xff\x4f\xff\x51"
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG2000_SIZE, _JPEG2000_TILE, _JPEG2000_END = 0xFF51, 0xFF90, 0xFFD9
_JPEG2000_LEAST_PART = 14
"""Bytes of the two markers of a tile's part, with nothing in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedSize:
    """What a codestream says of itself."""

    rows: int
    columns: int
    bits: int
    """Bits of one sample, the sign included."""
    components: int
    whole: bool = True
    """JPEG 2000: whether every tile that the size asks for is there."""


def coded_size(stream: bytes) -> CodedSize | None:
    """Finds size and depth of a JPEG, JPEG-LS or JPEG 2000 codestream; None if it has none."""
    try:
        if stream[:2] == _JPEG_START:
            return _jpeg_size(stream)
        start = stream.find(_JPEG2000_START, 0, 1 << 12)
        return _jpeg2000_size(stream, start + 4) if start >= 0 else None
    except (struct.error, IndexError):
        return None


def _jpeg_size(stream: bytes) -> CodedSize | None:
    """Walks the marker segments up to the frame header."""
    position = 2
    while stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF or marker in _JPEG_STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in (_JPEG_SCAN, _JPEG_END):
            return None
        if marker in _JPEG_FRAMES:
            bits, rows, columns, parts = struct.unpack_from(">BHHB", stream, position + 4)
            return CodedSize(rows=rows, columns=columns, bits=bits, components=parts)
        position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    return None


def _jpeg2000_size(stream: bytes, start: int) -> CodedSize:
    """Reads the SIZ segment, which always comes first; ``start`` is that of its length."""
    right, bottom, left, top, *tiles = struct.unpack_from(">8I", stream, start + 4)
    (components,) = struct.unpack_from(">H", stream, start + 36)
    tile_columns, tile_rows, tile_left, tile_top = tiles
    across, down = right - tile_left, bottom - tile_top
    wanted = -(-across // max(1, tile_columns)) * -(-down // max(1, tile_rows))
    return CodedSize(
        rows=bottom - top,
        columns=right - left,
        bits=(stream[start + 38] & 0x7F) + 1,
        components=components,
        whole=_jpeg2000_tiles(stream, start) == wanted,
    )


def _jpeg2000_tiles(stream: bytes, position: int) -> int:
    """Counts the tiles whose parts are there to their ends; decoders paint lost ones grey.

    Args:
        stream: The codestream.
        position: Of the length of its first marker segment.
    """
    marker, found = _JPEG2000_SIZE, set()
    while marker not in (_JPEG2000_END, _JPEG2000_TILE):
        position += struct.unpack_from(">H", stream, position)[0]
        (marker,) = struct.unpack_from(">H", stream, position)
        position += 2
    while marker == _JPEG2000_TILE:
        _, tile, length = struct.unpack_from(">HHI", stream, position)
        found.add(tile)
        if length == 0:  # the last part, up to the end of the stream
            break
        position += length
        if length < _JPEG2000_LEAST_PART or position > len(stream):
            return 0
        (marker,) = struct.unpack_from(">H", stream, position - 2)
    return len(found)
