from __future__ import annotations

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
