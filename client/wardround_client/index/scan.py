"""The site's index of its archive: one SQLite row a file, brought up to date by size and time.

The index holds what identifies patients, for results must refer to the originals; it therefore
stays in the private workspace, readable by its owner only. It can be deleted at any time: the
next scan makes it anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.folder import walk_archive
from wardround_client.index.header import Header, Instance
from wardround_client.index.reader import read_header
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database
from wardround_common.errors import DicomError

Progress = Callable[[str, int, int], None]
"""Called with the phase's name, what is done, and the total."""

_FORMAT = 2
_BATCH = 500
_HEADER_FIELDS = Header._fields
_COLUMNS = ("path", "size_bytes", "mtime_ns", "reason", *_HEADER_FIELDS)
_SCHEMA = (
    "CREATE TABLE source (archive BLOB NOT NULL)",
    f"CREATE TABLE file ({', '.join(_COLUMNS)}, PRIMARY KEY (path)) WITHOUT ROWID",
)
_INSERT = f"INSERT OR REPLACE INTO file VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  (our own names)
_RETRIED = frozenset({Reason.UNREADABLE.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveScan:
    """What the index knows of the archive; each file is in one of both."""

    instances: tuple[Instance, ...]
    """Readable instances in order of their paths."""
    refused: dict[bytes, Reason]
    """Path to the reason for every other file."""


def scan_archive(
    archive: Path, database: Path, *, on_progress: Progress | None = None
) -> ArchiveScan:
    """Brings the index up to date and returns what it knows.

    Unchanged files (same size and time) are not opened again; files that are gone leave the
    index.

    Raises:
        ArchiveError: The archive is missing or cannot be listed.
        StateError: The index is damaged or in use by another process.
    """
    files = list(walk_archive(archive))
    with open_database(database, _FORMAT, _SCHEMA) as connection:
        _forget_other_archive(connection, archive)
        known = _known_files(connection)
        stale = [file for file in files if known.get(file.path) != (file.size_bytes, file.mtime_ns)]
        _remove(connection, known.keys() - {file.path for file in files})
        for start in range(0, len(stale), _BATCH):
            rows = [_index(archive, file) for file in stale[start : start + _BATCH]]
            connection.executemany(_INSERT, rows)
            connection.commit()
            if on_progress is not None:
                on_progress("scan", start + len(rows), len(stale))
        return _read_scan(connection)


def _forget_other_archive(connection: sqlite3.Connection, archive: Path) -> None:
    """Empties the index if it belongs to another folder, where equal paths mean nothing."""
    here = os.fsencode(archive.resolve())
    if connection.execute("SELECT archive FROM source").fetchone() != (here,):
        connection.execute("DELETE FROM file")
        connection.execute("DELETE FROM source")
        connection.execute("INSERT INTO source VALUES (?)", (here,))


def _known_files(connection: sqlite3.Connection) -> dict[bytes, tuple[int, int]]:
    rows = connection.execute("SELECT path, size_bytes, mtime_ns, reason FROM file")
    return {path: (size, mtime) for path, size, mtime, reason in rows if reason not in _RETRIED}


def _remove(connection: sqlite3.Connection, paths: set[bytes]) -> None:
    connection.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in paths])


def _index(archive: Path, file: ArchiveFile) -> tuple[object, ...]:
    reason: str | None = file.reason
    values: tuple[object, ...] = (None,) * len(_HEADER_FIELDS)
    if reason is None:
        try:
            header = read_header(archive / os.fsdecode(file.path))
            values = tuple(header)
        except DicomError as error:
            reason = error.reason
    return (file.path, file.size_bytes, file.mtime_ns, reason, *values)


def _read_scan(connection: sqlite3.Connection) -> ArchiveScan:
    instances: list[Instance] = []
    refused: dict[bytes, Reason] = {}
    for path, size, mtime, reason, *values in connection.execute(
        "SELECT * FROM file ORDER BY path"
    ):
        if reason is not None:
            refused[path] = Reason(reason)
            continue
        header = Header(**dict(zip(_HEADER_FIELDS, values, strict=True)))
        file = ArchiveFile(path=path, size_bytes=size, mtime_ns=mtime)
        instances.append(Instance(file=file, header=header))
    return ArchiveScan(instances=tuple(instances), refused=refused)
