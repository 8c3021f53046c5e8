"""What a network source knows of the PACS: one SQLite row for each instance it ever fetched.

The files themselves may have been evicted since; the row still says what they were, so that an
index need not read them again, and by which UIDs they can be had again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from wardround_client.archive.pacs import RemoteInstance, RemoteSeries
from wardround_client.archive.store import Facts, path_of, series_of
from wardround_client.index.header import Header
from wardround_client.quarantine import Reason

FORMAT = 2
SCHEMA = (
    "CREATE TABLE instance (path BLOB PRIMARY KEY, series BLOB NOT NULL, study_uid, series_uid, "
    "modality, sop_uid, sop_class_uid, size_bytes, mtime_ns, refresh, header) WITHOUT ROWID",
    "CREATE INDEX by_series ON instance (series)",
)


class Known(NamedTuple):
    """One instance that was fetched once."""

    series: RemoteSeries
    instance: RemoteInstance
    facts: Facts


class Catalogue:
    """Rows of fetched instances; used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (last,) = connection.execute("SELECT max(refresh) FROM instance").fetchone()
        self._refresh = last or 0

    def begin_refresh(self) -> None:
        """From here on `note` marks what is seen."""
        self._refresh += 1

    def note(self, path: bytes, known: Known, header: Header | Reason) -> None:
        """Records an instance as seen in this refresh."""
        told = (self._refresh, json.dumps(header))
        row = (path, series_of(path), *known.series[:3], *known.instance, *known.facts, *told)
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT OR REPLACE INTO instance VALUES ({marks})", row)  # noqa: S608  (only question marks)

    def see(self, paths: Iterable[bytes]) -> None:
        """Marks known instances as seen in this refresh."""
        rows = ((self._refresh, path) for path in paths)
        self._connection.executemany("UPDATE instance SET refresh = ? WHERE path = ?", rows)

    def commit(self) -> None:
        """Makes what was noted durable."""
        self._connection.commit()

    def forget(self, path: bytes) -> None:
        """Removes one row."""
        self._connection.execute("DELETE FROM instance WHERE path = ?", (path,))

    def forget_unseen(self) -> list[bytes]:
        """Removes every row that this refresh did not see; returns their paths."""
        unseen = (self._refresh,)
        rows = self._connection.execute("SELECT path FROM instance WHERE refresh <> ?", unseen)
        paths: list[bytes] = [path for (path,) in rows]
        self._connection.execute("DELETE FROM instance WHERE refresh <> ?", unseen)
        self._connection.commit()
        return paths

    def get(self, path: bytes) -> Known | None:
        """One known instance."""
        return next(self._select("path", path), None)

    def of_series(self, series: bytes) -> dict[bytes, Known]:
        """The known instances of one series, by path."""
        rows = self._select("series", series)
        return {path_of(*k.series[:2], k.instance.sop_uid): k for k in rows}

    def header(self, path: bytes) -> Header | Reason | None:
        """The header of a known instance, or why it has none; None if that is to be read anew."""
        query = "SELECT header FROM instance WHERE path = ?"
        row = self._connection.execute(query, (path,)).fetchone()
        told = json.loads(row[0]) if row else ()
        if isinstance(told, str):
            return Reason(told)
        complete = len(told) == len(Header._fields)  # one of another version is not
        return Header._make(told) if complete else None

    def is_known(self, path: bytes, facts: Facts) -> bool:
        """Tells whether a file with these facts was noted under ``path``."""
        query = "SELECT size_bytes, mtime_ns FROM instance WHERE path = ?"
        row = self._connection.execute(query, (path,)).fetchone()
        return row is not None and tuple(row) == facts

    def _select(self, column: Literal["path", "series"], value: bytes) -> Iterator[Known]:
        columns = "study_uid, series_uid, modality, sop_uid, sop_class_uid, size_bytes, mtime_ns"
        query = f"SELECT {columns} FROM instance WHERE {column} = ?"  # noqa: S608  (our own names)
        for row in self._connection.execute(query, (value,)):
            yield Known(RemoteSeries(*row[:3]), RemoteInstance(*row[3:5]), Facts(*row[5:]))
