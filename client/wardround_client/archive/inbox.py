"""Takes in what arrives by C-STORE: only what is awaited, straight to disk, within bounds."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from io import BytesIO

from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event

from wardround_client.archive.store import Part, Store
from wardround_common.errors import WardroundError

_CHUNK_BYTES = 1 << 20
_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_NOT_AWAITED = 0xA900


class Inbox:
    """C-STORE requests of one association or many become parts; in whichever thread."""

    def __init__(self) -> None:
        self._awaited: frozenset[str] = frozenset()
        self._into: Store | None = None
        self._arrived: queue.SimpleQueue[Part] = queue.SimpleQueue()
        self._failure: WardroundError | None = None

    def expect(self, sop_uids: Iterable[str], into: Store) -> None:
        """From now on takes in these instances and no others."""
        self._awaited, self._into, self._failure = frozenset(sop_uids), into, None

    def close(self) -> None:
        """Takes in nothing any more, and discards what nobody asked for."""
        self._awaited, self._into = frozenset(), None
        for part in self.arrived():
            part.discard()

    def arrived(self, *, wait_s: float = 0.0) -> Iterator[Part]:
        """Yields what is there, waiting up to ``wait_s`` for the first.

        Raises:
            DicomError: An instance was too large, or the store too small.
            ArchiveError: The disk refused.
        """
        while True:
            try:
                part = self._arrived.get(timeout=wait_s) if wait_s else self._arrived.get_nowait()
            except queue.Empty:
                break
            wait_s = 0.0
            yield part
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def store(self, event: Event) -> int:
        """Handles EVT_C_STORE; returns the status of the answer."""
        into, request = self._into, event.request
        awaited = (
            isinstance(request, C_STORE) and str(request.AffectedSOPInstanceUID) in self._awaited
        )
        if into is None or not awaited:
            return _NOT_AWAITED
        part = None
        try:
            part = into.new_part()
            _write(event, part)
        except WardroundError as error:
            self._failure = error
            if part is not None:
                part.discard()
            return _OUT_OF_RESOURCES
        self._arrived.put(part)
        return _SUCCESS


def _write(event: Event, part: Part) -> None:
    """Writes the dataset's bytes as sent, behind file meta information of our own."""
    part.write(bytes(128) + b"DICM" + encode_file_meta(event.file_meta))
    request = event.request
    if not isinstance(request, C_STORE) or not isinstance(request.DataSet, BytesIO):
        return  # without a dataset; whoever checks the part will refuse it
    with request.DataSet.getbuffer() as dataset:
        for start in range(0, len(dataset), _CHUNK_BYTES):
            part.write(dataset[start : start + _CHUNK_BYTES])
