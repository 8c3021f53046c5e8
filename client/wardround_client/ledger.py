"""The site's durable memory of which sets it signed and which rounds it helped to open.

One file for each run, to which every save appends a record behind its length and checksums: one
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

_HEAD_BYTES = 12
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
        return _last(path.read_bytes())[0] if path.exists() else Facts()

    def save(self, run: bytes, facts: Facts) -> None:
        """Stores the facts; they survive a power cut once this returns.

        Raises:
            OSError: The disk is full or not writable; nothing may be sent then.
            StateError: The file is damaged.
        """
        path, record = self._path(run), _record(facts)
        if not path.exists() or path.stat().st_size > _LARGEST_BYTES:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, record, mode=0o600)
            return
        _, whole = _last(path.read_bytes())
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
    size = len(data).to_bytes(4, "big")
    return size + _checksum(size) + _checksum(data) + data


def _last(data: bytes) -> tuple[Facts, int]:
    """The facts of the last record that is all there, and where it ends."""
    at, found = 0, b""
    while at + _HEAD_BYTES <= len(data):
        size, size_sum, sum_ = (data[at + k : at + k + 4] for k in (0, 4, 8))
        end = at + _HEAD_BYTES + int.from_bytes(size, "big")
        if _checksum(size) != size_sum:
            raise _damaged()
        if end > len(data):
            break  # cut off by a crash
        found = data[at + _HEAD_BYTES : end]
        if _checksum(found) != sum_:
            raise _damaged()
        at = end
    if not at:
        raise _damaged()
    try:
        return Facts.from_bytes(found), at
    except ProtocolError:
        raise StateError("ledger: file is of another version; start a new run") from None


def _checksum(data: bytes) -> bytes:
    return crc32(data, 1).to_bytes(4, "big")  # from 1, so that zeros do not check


def _damaged() -> StateError:
    return StateError("ledger: file is damaged; leave this run and start a new one")
