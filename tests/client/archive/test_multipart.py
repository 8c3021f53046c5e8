"""A multipart answer is taken apart the same way, wherever its chunks end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_client.archive.multipart import boundary_of, read_parts
from wardround_client.archive.pacs import TransientError
from wardround_client.archive.store import Store
from wardround_common.errors import ArchiveError, WardroundError

BOUNDARY = b"edge"


def body(parts: list[bytes], *, head: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    """What RFC 2046 writes for these parts."""
    framed = b"".join(b"--edge\r\n" + head + b"\r\n" + part + b"\r\n" for part in parts)
    return framed + b"--edge--\r\n"


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(data: bytes, size: int, store: Store) -> list[bytes]:
    found = []
    for part in read_parts(chunked(data, size), BOUNDARY, store.new_part):
        found.append(part.path.read_bytes())
        part.discard()
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    return Store(folder, limit_bytes=1 << 20, is_known=lambda path, facts: False)


awkward = st.binary(max_size=40) | st.sampled_from([b"\r\n--edg", b"\r\n", b"--edge", b"-\r\n-"])


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(awkward, max_size=4), size=st.integers(1, 30))
def test_parts_come_out_as_they_went_in(store: Store, parts: list[bytes], size: int) -> None:
    assert read(body(parts), size, store) == parts
    assert read(body(parts, head=b""), size, store) == parts
    assert read(b"preamble\r\n" + body(parts), size, store) == parts


@settings(max_examples=200, deadline=None)
@given(data=st.data(), parts=st.lists(awkward, min_size=1, max_size=3))
def test_an_answer_that_breaks_off_is_told_and_leaves_nothing(
    store: Store, data: st.DataObject, parts: list[bytes]
) -> None:
    whole = body(parts)
    end = data.draw(st.integers(0, len(whole) - 5))  # before the two last dashes
    with pytest.raises(TransientError):
        read(whole[:end], 7, store)
    assert store.size_bytes == 0
    assert not any((store.root / "incoming").iterdir())


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=80), size=st.integers(1, 20))
def test_any_bytes_give_our_error_or_parts(store: Store, noise: bytes, size: int) -> None:
    try:
        read(b"--edge\r\n" + noise, size, store)
    except WardroundError:
        assert store.size_bytes == 0


def test_an_endless_header_is_refused(store: Store) -> None:
    with pytest.raises(ArchiveError, match="does not end"):
        read(b"--edge\r\n" + b"x" * 100_000, 4096, store)


def test_the_boundary_is_read_with_and_without_quotes() -> None:
    assert boundary_of('multipart/related; type="application/dicom"; boundary=edge') == b"edge"
    assert boundary_of('Multipart/Related; boundary="ed ge"; type=x') == b"ed ge"
    assert boundary_of("application/dicom") == b""
    with pytest.raises(ArchiveError, match="without a boundary"):
        boundary_of("multipart/related")
    with pytest.raises(ArchiveError, match="without a boundary"):
        boundary_of("multipart/related; boundary=" + "x" * 300)
