"""Brings the index in step with the archive: compares, moves, removes, then reads what is new.

1. The files, as they come from the archive, are merged with the index's rows folder by folder.
   An unchanged file costs nothing more; a new or changed one becomes *pending*.
2. A new file that has inode, size and time of one that is gone was moved: the row moves.
3. What is gone leaves the index.
4. Pending headers are read in batches, and each batch is committed.

Whatever is interrupted, even by ``kill -9``, goes on at the next scan, for pending files are rows
of the index as well. Memory does not grow with the archive: rows are compared page by page.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.pending import HeaderReading, count_pending
from wardround_client.index.schema import TEMPORARY_TABLES, join_path
from wardround_client.quarantine import Reason

Progress = Callable[[str, int, int], None]
"""Called with the phase's name, what is done, and the total, 0 where that is not known yet."""

_PAGE = 2000
_TELL_EVERY = 500
_RETRIED = frozenset(
    {
        Reason.NOT_REGULAR,
        Reason.UNREADABLE,
        Reason.CHANGED,
        Reason.DECODER_CRASHED,
        Reason.DECODER_TIMEOUT,
        Reason.DECODER_MEMORY,
        Reason.READ_FAILED,
        Reason.NOT_RETRIEVED,
    }
)
"""What may be otherwise the next time though the file is the same."""

_ROWS = """
    SELECT file.id, name, size_bytes, mtime_ns, inode, reason, is_new
    FROM file LEFT JOIN pending ON pending.id = file.id
    WHERE folder = ? AND name > ? ORDER BY name LIMIT ?
"""
_BEFORE_ALL_NAMES = 0
"""A number, for SQLite sorts all numbers before all bytes."""

_NOTE_GONE = "INSERT INTO gone SELECT id, size_bytes, mtime_ns, inode FROM file WHERE id = ?"
_NOTE_GONE_FOLDERS = """
    INSERT INTO gone SELECT id, size_bytes, mtime_ns, inode FROM file WHERE folder IN
    (SELECT id FROM folder WHERE id NOT IN (SELECT folder FROM seen))
"""
_FIND_MOVED = """
    INSERT OR IGNORE INTO moved SELECT gone.id, file.id, file.folder, file.name
    FROM pending CROSS JOIN file ON file.id = pending.id CROSS JOIN gone
    ON gone.inode = file.inode AND gone.size_bytes = file.size_bytes
    AND gone.mtime_ns = file.mtime_ns
    WHERE is_new AND file.inode != 0 AND gone.id NOT IN (SELECT id FROM pending)
    AND file.mtime_ns % 1000000000 != 0 AND gone.id NOT IN (SELECT id FROM file WHERE reason IN
    (SELECT value FROM json_each(?)))
"""
"""Whole seconds tell too little: an archive unpacked anew has many files of one size and time,
and inodes are used again. What is to be tried again is read at its new place as a new file."""

_MOVE = """
    UPDATE file SET (folder, name) = (SELECT folder, name FROM moved WHERE old = file.id)
    WHERE id IN (SELECT old FROM moved)
"""


@dataclass(slots=True, kw_only=True)
class ScanCounts:
    """What a scan found, in files."""

    new: int = 0
    changed: int = 0
    """Of another size, time or inode than before."""
    moved: int = 0
    """Moved or renamed; not opened again."""
    deleted: int = 0
    unchanged: int = 0
    refused: int = 0
    """Files that cannot be used, of all in the index."""


class _Row(NamedTuple):
    id: int
    name: bytes
    size_bytes: int
    mtime_ns: int
    inode: int
    reason: str | None
    is_new: int | None
    """Of a pending file; None of another."""


def update_index(
    connection: sqlite3.Connection,
    files: Iterable[ArchiveFile],
    reading: HeaderReading,
    on_progress: Progress | None = None,
) -> ScanCounts:
    """Brings the index in step with ``files``.

    Args:
        connection: The index.
        files: All files of the archive; those of one folder together, in order of their names.
        reading: How headers are read.
        on_progress: Called with ``"walk"``, first with a total of 0, then with ``"scan"``.

    Raises:
        RuntimeError: The files come in another order.
    """
    report = on_progress or _ignore
    comparison = _Comparison(connection)
    counted = _count(files, report)
    for folder, group in groupby(counted, key=lambda file: file.path.rpartition(b"/")[0]):
        comparison.compare(folder, group)
    counts = comparison.finish()
    total, done = count_pending(connection), 0

    def note(count: int) -> None:
        nonlocal done
        done += count
        report("scan", done, total)

    reading.run(connection, note)
    refused = "SELECT count(*) FROM file WHERE reason IS NOT NULL"
    (counts.refused,) = connection.execute(refused).fetchone()
    return counts


def _count(files: Iterable[ArchiveFile], report: Progress) -> Iterator[ArchiveFile]:
    """Hands on the files and tells now and then how many they are so far."""
    number = 0
    for number, file in enumerate(files, start=1):
        if number % _TELL_EVERY == 0:
            report("walk", number, 0)
        yield file
    report("walk", number, number)


class _Comparison:
    """The merge of the archive's files with the index's rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        for name, columns in TEMPORARY_TABLES.items():
            connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
            connection.execute(f"CREATE TEMP TABLE {name} ({columns})")
        connection.execute("CREATE INDEX temp.gone_by_inode ON gone (inode)")
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM file").fetchone()
        self._last_id: int = last
        self._added: list[tuple[Any, ...]] = []
        self._changed: list[tuple[Any, ...]] = []
        self._gone: list[tuple[int]] = []
        self._pending: list[tuple[int, bool]] = []
        self._counts = ScanCounts()

    def compare(self, folder: bytes, files: Iterable[ArchiveFile]) -> None:
        """Notes what is new, changed or gone in one folder; ``files`` are all that is there."""
        number = self._enter(folder)
        rows = self._rows(number)
        row = next(rows, None)
        previous, start = None, len(join_path(folder, b""))
        for file in files:
            name = file.path[start:]
            if previous is not None and name <= previous:
                raise RuntimeError("files of a folder must come in order of their names")
            previous = name
            while row is not None and row.name < name:
                self._gone.append((row.id,))
                row = next(rows, None)
            if row is not None and row.name == name:
                self._check(row, file)
                row = next(rows, None)
            else:
                self._add(number, name, file)
            if len(self._added) + len(self._changed) + len(self._gone) >= _PAGE:
                self.write()
        while row is not None:
            self._gone.append((row.id,))
            row = next(rows, None)

    def _enter(self, folder: bytes) -> int:
        """Number of a folder, which becomes known and seen."""
        find = "SELECT id FROM folder WHERE path = ?"
        found = self._connection.execute(find, (folder,)).fetchone()
        if found is None:
            insert = "INSERT INTO folder (path) VALUES (?)"
            found = (self._connection.execute(insert, (folder,)).lastrowid,)
        try:
            self._connection.execute("INSERT INTO seen VALUES (?)", found)
        except sqlite3.IntegrityError:
            raise RuntimeError("files of a folder must come together") from None
        return int(found[0])

    def _rows(self, folder: int) -> Iterator[_Row]:
        """Yields the rows of a folder in order of their names."""
        last: bytes | int = _BEFORE_ALL_NAMES
        while True:
            page = self._connection.execute(_ROWS, (folder, last, _PAGE)).fetchall()
            yield from map(_Row._make, page)
            if len(page) < _PAGE:
                return
            last = page[-1][1]

    def _add(self, folder: int, name: bytes, file: ArchiveFile) -> None:
        self._counts.new += 1
        self._last_id += 1
        self._added.append((self._last_id, folder, name, *file[1:]))
        self._read_later(self._last_id, file, is_new=True)

    def _check(self, row: _Row, file: ArchiveFile) -> None:
        """Compares a file with its row."""
        same = row[2:5] == file[1:4]
        if same and file.reason == row.reason:
            self._counts.new += row.is_new == 1
            self._counts.changed += row.is_new == 0
            self._counts.unchanged += row.is_new is None
        elif same and file.reason is None and row.reason not in _RETRIED:
            self._counts.unchanged += 1
        else:
            self._counts.unchanged += same
            self._counts.changed += not same
            self._changed.append((*file[1:], row.id))
            self._read_later(row.id, file, is_new=row.is_new == 1)

    def _read_later(self, number: int, file: ArchiveFile, *, is_new: bool) -> None:
        if file.reason is None:
            self._pending.append((number, is_new))

    def write(self) -> None:
        """Writes what was noted, so that an interrupted scan goes on from here."""
        many = self._connection.executemany
        many("INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", self._added)
        columns = "size_bytes = ?, mtime_ns = ?, inode = ?, reason = ?"
        many(f"UPDATE file SET {columns} WHERE id = ?", self._changed)  # noqa: S608  (our own names)
        changed = [(row[-1],) for row in self._changed]
        many("DELETE FROM header WHERE id = ?", changed)
        many("DELETE FROM pending WHERE id = ?", changed)
        many("INSERT INTO pending VALUES (?, ?)", self._pending)
        many(_NOTE_GONE, self._gone)
        self._connection.commit()
        for noted in (self._added, self._changed, self._pending, self._gone):
            noted.clear()

    def finish(self) -> ScanCounts:
        """Moves and removes rows, now that all files have been seen; returns the counts."""
        self.write()
        run = self._connection.execute
        run(_NOTE_GONE_FOLDERS)
        (gone,) = run("SELECT count(*) FROM gone").fetchone()
        moved = run(_FIND_MOVED, (json.dumps(sorted(_RETRIED)),)).rowcount if gone else 0
        for table in ("pending", "file"):
            run(f"DELETE FROM {table} WHERE id IN (SELECT new FROM moved)")  # noqa: S608
        run(_MOVE)
        run("DELETE FROM gone WHERE id IN (SELECT old FROM moved)")
        deleted = run("DELETE FROM file WHERE id IN (SELECT id FROM gone)").rowcount
        for table in ("pending", "header"):
            run(f"DELETE FROM {table} WHERE id IN (SELECT id FROM gone)")  # noqa: S608
        run("DELETE FROM folder WHERE id NOT IN (SELECT folder FROM seen)")
        self._connection.commit()
        self._counts.new -= moved
        self._counts.moved, self._counts.deleted = moved, deleted
        return self._counts


def _ignore(phase: str, done: int, total: int) -> None:
    """Tells nobody."""
