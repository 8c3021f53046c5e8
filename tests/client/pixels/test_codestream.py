from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround_client.pixels.codestream import coded_size


@pytest.mark.parametrize("suffix", [".jpg", ".jp2"])
def test_the_size_is_read_before_decoding(suffix: str) -> None:
    coded, stream = cv2.imencode(suffix, np.zeros((130, 150), np.uint8))
    size = coded_size(stream.tobytes())
    assert coded and size is not None
    assert (size.rows, size.columns, size.bits, size.components) == (130, 150, 8, 1)


@given(st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\x4f\xff\x51"]), st.binary())
def test_any_bytes_give_a_size_or_none(start: bytes, rest: bytes) -> None:
    coded_size(start + rest)


def _jpeg2000(tiles: tuple[int, ...], *, tile_columns: int = 75) -> bytes:
    """A codestream of 130 x 150 pixels whose tiles' parts are empty."""
    size = struct.pack(">HH8IHBBB", 41, 0, 150, 130, 0, 0, tile_columns, 130, 0, 0, 1, 11, 1, 1)
    parts = [struct.pack(">HHHIBBH", 0xFF90, 10, tile, 14, 0, 1, 0xFF93) for tile in tiles]
    return b"\xff\x4f\xff\x51" + size + b"".join(parts) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("stream", "whole"),
    [
        (_jpeg2000((0, 1)), True),
        (_jpeg2000((0, 1, 1)), True),
        (_jpeg2000((0,)), False),
        (_jpeg2000((0, 0)), False),
        (_jpeg2000((0, 1), tile_columns=1), False),
        (_jpeg2000((0, 1))[:-3], False),
        (_jpeg2000((0, 1)).replace(b"\0\0\0\x0e", b"\0\0\0\0"), False),
        (_jpeg2000((0,), tile_columns=150).replace(b"\0\0\0\x0e", b"\0\0\0\0"), True),
    ],
)
def test_every_tile_of_a_jpeg_2000_stream_must_be_there(stream: bytes, whole: bool) -> None:
    size = coded_size(stream)
    assert size is not None
    assert (size.rows, size.columns, size.bits) == (130, 150, 12)
    assert size.whole == whole


def test_a_real_stream_is_whole_until_its_tiles_are_said_to_be_more() -> None:
    _, coded = cv2.imencode(".jp2", np.zeros((130, 150), np.uint8))
    stream = coded.tobytes()
    start = stream.index(b"\xff\x4f\xff\x51")
    altered = stream[: start + 24] + struct.pack(">II", 1, 1) + stream[start + 32 :]
    for content, whole in ((stream, True), (altered, False)):
        size = coded_size(content)
        assert size is not None
        assert size.whole == whole
