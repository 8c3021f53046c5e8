"""A file is identified within limits, whatever it makes of itself."""

from __future__ import annotations

import resource
import time
import zlib
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian as Deflated
from tests.contracts.contents import Item, image

from wardround_client.archive import received
from wardround_client.archive.received import identify
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits
from wardround_common.errors import DicomError

USUAL = image("CT", (1, 1, 1), "explicit_little")
DEFLATED = image("CT", (1, 1, 2), "deflated")


def bomb(size: int) -> bytes:
    """A deflated file of empty elements (0009,0010), explicit LO."""
    meta = b"\x02\x00\x10\x00UI" + (len(Deflated)).to_bytes(2, "little") + Deflated.encode()
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = b"\x09\x00\x10\x00LO\x00\x00" * (1 << 17)
    data = b"".join(deflater.compress(block) for _ in range(size // len(block)))
    start = b"\x02\x00\x00\x00UL\x04\x00" + len(meta).to_bytes(4, "little")
    return bytes(128) + b"DICM" + start + meta + data + deflater.flush()


def test_a_bomb_costs_this_process_no_memory_and_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "LIMITS", Limits(seconds=2.0, memory_bytes=1 << 28))
    file = tmp_path / "bomb"
    file.write_bytes(bomb(1000 << 20))
    assert file.stat().st_size < 3 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(DicomError) as caught:
        identify(file)
    assert caught.value.reason == Reason.TOO_LARGE
    assert time.monotonic() - start < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.parametrize("item", [USUAL, DEFLATED])
def test_a_file_is_told_the_same_in_a_worker_and_here(tmp_path: Path, item: Item) -> None:
    file = tmp_path / "file"
    file.write_bytes(item.file)
    assert received.parse(file) == identify(file)
    assert identify(file).sop_uid == item.sop_uid


def test_a_large_plain_file_that_takes_pydicom_is_read_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(USUAL.file[132:])  # without prefix
    here = identify(file)
    monkeypatch.setattr(received, "_SMALL_BYTES", 10)
    assert identify(file) == here
    monkeypatch.setattr(received, "LIMITS", Limits(seconds=1e-6, memory_bytes=1 << 30))
    with pytest.raises(DicomError) as caught:
        identify(file)
    assert caught.value.reason == Reason.TOO_LARGE
