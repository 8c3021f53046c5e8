"""Reads the headers of pending files, in worker processes, and keeps what they say."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from wardround_client.index.header import Header
from wardround_client.index.schema import join_path
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits, run_guarded

ReadHeader = Callable[[bytes], Header | Reason]
"""Reads the header of the file at a path below the archive's root; one that can be pickled."""

_Batch = tuple[tuple[int, bytes], ...]
"""Some pending files: number and path."""

_BATCH = 128
_NEXT = """
    SELECT pending.id, folder.path, file.name FROM pending
    JOIN file ON file.id = pending.id JOIN folder ON folder.id = file.folder
    WHERE pending.id > ? ORDER BY pending.id LIMIT ?
"""
_KEEP = f"INSERT INTO header VALUES ({', '.join('?' * (1 + len(Header._fields)))})"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderReading:
    """How pending headers are read."""

    read: ReadHeader
    processes: int
    """Number of worker processes; 0 reads in this process, unguarded."""
    limits: Limits
    """For one batch of files, or one file where its batch failed."""

    def run(
        self, connection: sqlite3.Connection, on_read: Callable[[int], None] | None = None
    ) -> None:
        """Reads whatever is pending, and commits batch by batch.

        Args:
            connection: The index.
            on_read: Called with the number of files of each batch that is done.
        """
        # What is left after the first pass fell with its batch: each is tried alone.
        for size in (_BATCH, 1):
            if not count_pending(connection):
                return
            batches = _batches(connection, size)
            function = partial(_read_batch, self.read)
            for batch, found in run_guarded(
                function, batches, processes=self.processes, limits=self.limits
            ):
                if isinstance(found, Reason) and size > 1:
                    continue
                _keep(connection, batch, [found] if isinstance(found, Reason) else found)
                if on_read is not None:
                    on_read(len(batch))


def count_pending(connection: sqlite3.Connection) -> int:
    """Number of files whose header is yet to be read."""
    (count,) = connection.execute("SELECT count(*) FROM pending").fetchone()
    return int(count)


def _batches(connection: sqlite3.Connection, size: int) -> Iterator[_Batch]:
    """Yields pending files in order of their numbers, which is that of the walk."""
    last = 0
    while rows := connection.execute(_NEXT, (last, size)).fetchall():
        last = rows[-1][0]
        yield tuple((number, join_path(folder, name)) for number, folder, name in rows)


def _read_batch(read: ReadHeader, batch: _Batch) -> list[Header | Reason]:
    return [read(path) for _, path in batch]


def _keep(connection: sqlite3.Connection, batch: _Batch, found: list[Header | Reason]) -> None:
    headers, refused = [], []
    for (number, _), header in zip(batch, found, strict=True):
        if isinstance(header, Reason):
            refused.append((header.value, number))
        else:
            headers.append((number, *header))
    connection.executemany(_KEEP, headers)
    connection.executemany("UPDATE file SET reason = ? WHERE id = ?", refused)
    connection.executemany("DELETE FROM pending WHERE id = ?", [(number,) for number, _ in batch])
    connection.commit()
