"""The site's durable memory of which sets it signed and which rounds it helped to open.

One file for each run, to which every save appends a record behind its length and checksum: one
flush to the disk instead of the three that replacing a file takes, on the way of every leg. A last
record that was cut off by a crash was never acted upon, so the one before it holds; any other
damage stops the run.
"""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

from wardround_common.errors import ProtocolError, StateError
from wardround_common.files import write_atomically
from wardround_common.secagg.records import Facts

_HEAD_BYTES = 8
_LARGEST_BYTES = 1 << 16


class FileLedger:
    """Facts by run in a private folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, run: bytes) -> Facts:
        """The facts last saved for ``run``, or new ones.

        Raises:
            StateError: The file is damaged; the run must not go on without it.
        """
        path = self._path(run)
        return _last(path.read_bytes()) if path.exists() else Facts()

    def save(self, run: bytes, facts: Facts) -> None:
        """Stores the facts; they survive a power cut once this returns.

        Raises:
            OSError: The disk is full or not writable; nothing may be sent then.
        """
        path, record = self._path(run), _record(facts)
        if not path.exists() or path.stat().st_size > _LARGEST_BYTES:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, record, mode=0o600)
            return
        whole = _whole_bytes(path.read_bytes())
        with path.open("r+b") as file:
            file.truncate(whole)
            file.seek(whole)
            file.write(record)
            file.flush()
            os.fsync(file.fileno())

    def _path(self, run: bytes) -> Path:
        return self._folder / f"{run.hex()}.facts"


def _record(facts: Facts) -> bytes:
    data = facts.to_bytes()
    return len(data).to_bytes(4, "big") + crc32(data).to_bytes(4, "big") + data


def _whole_bytes(data: bytes) -> int:
    """Bytes up to the end of the last record that is all there."""
    at = 0
    while at + _HEAD_BYTES <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + _HEAD_BYTES + size > len(data):
            break
        at += _HEAD_BYTES + size
    return at


def _last(data: bytes) -> Facts:
    at, found = 0, None
    whole = _whole_bytes(data)
    while at < whole:
        size = int.from_bytes(data[at : at + 4], "big")
        found = data[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        if crc32(found).to_bytes(4, "big") != data[at + 4 : at + _HEAD_BYTES]:
            found = None
            break
        at += _HEAD_BYTES + size
    if found is None:
        raise StateError("ledger: file is damaged; leave this run and start a new one")
    try:
        return Facts.from_bytes(found)
    except ProtocolError:
        raise StateError("ledger: file is of another version; start a new run") from None
