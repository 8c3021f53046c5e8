"""Takes the parts out of a multipart/related answer as it streams in (RFC 2046, section 5.1).

Only one chunk and a boundary's length are held in memory, whatever the size of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from email.message import Message

from wardround_client.archive.pacs import TransientError
from wardround_client.archive.store import Part
from wardround_common.errors import ArchiveError

_MAXIMUM_HEAD_BYTES = 1 << 14
_MAXIMUM_BOUNDARY = 200  # RFC 2046 allows 70; some servers take more


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names, or nothing if it is no multipart/related.

    Raises:
        ArchiveError: It is multipart and names no usable boundary.
    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != "multipart/related":
        return b""
    boundary = message.get_boundary() or ""
    if not boundary or not boundary.isascii() or len(boundary) > _MAXIMUM_BOUNDARY:
        raise ArchiveError("dicomweb: got an answer without a boundary between its parts")
    return boundary.encode()


def read_parts(
    chunks: Iterator[bytes], boundary: bytes, new_part: Callable[[], Part]
) -> Generator[Part, None, None]:
    """Yields the parts, each complete; one that breaks off is discarded.

    Raises:
        TransientError: The answer ended before its closing boundary.
        DicomError: A part is too large.
    """
    stream = _Stream(chunks)
    stream.unread(b"\r\n")  # the first boundary may open the body, without a line before it
    delimiter = b"\r\n--" + boundary
    _skip(stream, delimiter)  # the preamble says nothing
    while not _is_last(stream):
        stream.unread(b"\r\n")  # a part without header lines has one empty line only
        _skip(stream, b"\r\n\r\n")
        part = new_part()
        try:
            for piece in stream.until(delimiter):
                part.write(piece)
        except BaseException:
            part.discard()
            raise
        yield part


def _is_last(stream: _Stream) -> bool:
    """Tells whether the boundary just passed closes the answer."""
    end = stream.take(2)
    if end not in (b"--", b"\r\n"):
        raise ArchiveError("dicomweb: got a boundary between parts that does not end")
    return end == b"--"


def _skip(stream: _Stream, mark: bytes) -> None:
    """Goes behind ``mark``, which is not far."""
    size = 0
    for piece in stream.until(mark):
        size += len(piece)
        if size > _MAXIMUM_HEAD_BYTES:
            raise ArchiveError("dicomweb: got a header between parts that does not end")


class _Stream:
    """Bytes that arrive in chunks, read up to a mark."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def unread(self, data: bytes) -> None:
        """Puts bytes back in front."""
        self._rest = data + self._rest

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self._rest) < size:
            self._rest += self._next()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def until(self, mark: bytes) -> Iterator[memoryview]:
        """Yields the bytes before ``mark``, and goes behind it."""
        while True:
            found = self._rest.find(mark)
            if found >= 0:
                yield memoryview(self._rest)[:found]
                self._rest = self._rest[found + len(mark) :]
                return
            safe = max(0, len(self._rest) - len(mark) + 1)  # the mark may have begun behind it
            yield memoryview(self._rest)[:safe]
            self._rest = self._rest[safe:] + self._next()

    def _next(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                return chunk
        raise TransientError("dicomweb: the PACS broke off in the middle of an answer")
