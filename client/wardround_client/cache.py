"""The pixel cache: images or volumes as int16 rows of one memory-mapped file.

An entry belongs to one example by its name and by what it was made from; the folder belongs to
one cohort rule and preprocessing. Rows are appended and synced before the table names them, so a
crash loses at most the images of the last batch and never shows a half-written one. Rows that
nothing names any more are removed: an image taken out of the archive leaves the cache as well.

It is one file, not many: reading a batch is then one address calculation a row, there is nothing
to keep in step but the table, and file systems hold files of terabytes. The price is paid where
it is rare: after images were removed, the file is copied once without them.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wardround_client.index.header import Instance
from wardround_client.pixels.decode import DecodedImage
from wardround_client.pixels.radiograph import SCALE
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database, sync_folder
from wardround_common.errors import StateError

_FORMAT = 3
_SCHEMA = (
    "CREATE TABLE entry (name BLOB NOT NULL, facts TEXT NOT NULL, row INTEGER UNIQUE, "
    "digest TEXT NOT NULL, reason TEXT, PRIMARY KEY (name)) WITHOUT ROWID",
    "CREATE TABLE pixel_file (generation INTEGER NOT NULL, rows INTEGER NOT NULL)",
    "INSERT INTO pixel_file VALUES (0, 0)",
)
_RETRIED = frozenset(
    {
        Reason.READ_FAILED,
        Reason.UNREADABLE,
        Reason.CHANGED,
        Reason.NO_DECODER,
        Reason.DECODER_CRASHED,
        Reason.DECODER_TIMEOUT,
        Reason.DECODER_MEMORY,
        Reason.NOT_RETRIEVED,
    }
)
"""Reasons that may be gone without any change of the file; they are not remembered."""
_COPY_BYTES = 1 << 24
_LARGE_ROW_BYTES = 1 << 16
_CACHED_BYTES = 1 << 20
"""What stays in the processor's own cache between two passes over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """What an entry belongs to; where the facts differ, the example is decoded again."""

    name: bytes
    """Tells the example from others: path of an image, key of a volume."""
    facts: str
    """Text that changes with anything the pixels were made from."""

    @classmethod
    def of_image(cls, instance: Instance) -> CacheKey:
        """The key of a single image: its path, identity, size, time of change and inode.

        A file that is put into another's place may well have its size and time.
        """
        file, uid = instance.file, instance.header.sop_instance_uid
        content = f"{uid} {file.size_bytes} {file.mtime_ns} {file.inode}".encode()
        return cls(name=instance.path, facts=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """What the cache knows of one example: a row of pixels, or why there is none."""

    row: int | None
    digest: str
    reason: Reason | None


class CachedPixels:
    """The pixel file, memory-mapped for reading."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Opens images or volumes of ``shape`` for reading.

        Raises:
            StateError: The file is missing or cut short.
        """
        values = math.prod(shape)
        try:
            count = path.stat().st_size // (2 * values)
            mapped = np.memmap(path, np.int16, "r", shape=(count, values))
        except (OSError, ValueError):
            raise StateError(f"{path}: missing or empty; prepare the site again") from None
        self._rows = mapped.view(np.ndarray)  # plain arrays are indexed faster
        self._shape = shape

    def __len__(self) -> int:
        """Number of images or volumes in the file."""
        return int(self._rows.shape[0])

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Reads images or volumes by row number.

        Each piece is converted and scaled while the processor still has it at hand.

        Returns:
            float32, shape (n, 1, ...), in the model's unit (radiographs: standard deviations).
        """
        found = np.empty((len(rows), self._rows.shape[1]), np.float32)
        scale = np.float32(1 / SCALE)  # a power of two: exact
        row_bytes = 2 * self._rows.shape[1]
        if row_bytes >= _LARGE_ROW_BYTES:
            for place, row in enumerate(rows.tolist()):
                found[place] = self._rows[row]
                found[place] *= scale
        else:
            step = _CACHED_BYTES // row_bytes
            for start in range(0, len(rows), step):
                part = found[start : start + step]
                part[...] = np.take(self._rows, rows[start : start + step], axis=0)
                part *= scale
        return found.reshape(len(rows), 1, *self._shape)


class PixelCache:
    """The cache while it is being filled; made by `open_pixel_cache`."""

    def __init__(self, folder: Path, shape: tuple[int, ...], table: sqlite3.Connection) -> None:
        """Takes over an open table; bytes behind its last row are leftovers of a crash."""
        self._folder = folder
        self._shape = shape
        self._row_bytes = 2 * math.prod(shape)
        self._table = table
        self._generation, self._rows = table.execute("SELECT * FROM pixel_file").fetchone()
        path, committed_bytes = self.pixels_path, self._rows * self._row_bytes
        if (path.stat().st_size if path.exists() else 0) < committed_bytes:
            table.execute("DELETE FROM entry")  # somebody cut the file: decode everything again
            self._compact()
            table.commit()

    @property
    def pixels_path(self) -> Path:
        """The pixel file that the table's rows refer to."""
        return self._folder / f"pixels-{self._generation}.i16"

    def find(self, key: CacheKey) -> CacheEntry | None:
        """What is known of one example, unless it has changed since."""
        query = "SELECT row, digest, reason FROM entry WHERE name = ? AND facts = ?"
        found = self._table.execute(query, (key.name, key.facts)).fetchone()
        if found is None:
            return None
        row, digest, reason = found
        return CacheEntry(row=row, digest=digest, reason=Reason(reason) if reason else None)

    def row_of(self, key: CacheKey) -> int:
        """Row of an example that is in the cache.

        Raises:
            RuntimeError: It is not.
        """
        entry = self.find(key)
        if entry is None or entry.row is None:
            raise RuntimeError("the cache was asked for an example that it does not have")
        return entry.row

    def add(self, images: Iterable[tuple[CacheKey, DecodedImage | Reason]]) -> None:
        """Appends images, and remembers refusals; all of them or, after a crash, none.

        Args:
            images: Taken one by one; no more than one is held.
        """
        rows = self._rows
        try:
            with _open_at(self.pixels_path, rows * self._row_bytes) as file:
                for key, image in images:
                    self._remember(key, image, rows)
                    if isinstance(image, DecodedImage):
                        self._write(file, image.pixels)
                        rows += 1
                file.flush()
                os.fsync(file.fileno())
            self._table.execute("UPDATE pixel_file SET rows = ?", (rows,))
            self._table.commit()
        except BaseException:
            self._table.rollback()
            raise
        self._rows = rows

    def keep_only(self, names: Iterable[bytes]) -> None:
        """Removes every other example's entry and pixels."""
        self._table.execute("CREATE TEMP TABLE kept (name BLOB PRIMARY KEY) WITHOUT ROWID")
        self._table.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((n,) for n in names))
        self._table.execute("DELETE FROM entry WHERE name NOT IN (SELECT name FROM kept)")
        self._table.execute("DROP TABLE kept")
        (used,) = self._table.execute("SELECT COUNT(row) FROM entry").fetchone()
        if used < self._rows:
            self._compact()
        self._table.commit()

    def remove_old_files(self) -> None:
        """Removes pixel files of earlier generations, once nothing refers to them."""
        for path in self._folder.glob("pixels-*.i16"):
            if path != self.pixels_path:
                path.unlink()

    def _remember(self, key: CacheKey, image: DecodedImage | Reason, row: int) -> None:
        values: tuple[object, ...] = (key.name, key.facts)
        if isinstance(image, DecodedImage):
            values += (row, image.digest, None)
        elif image in _RETRIED:
            self._table.execute("DELETE FROM entry WHERE name = ?", (key.name,))
            return
        else:
            values += (None, "", image.value)
        self._table.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?)", values)

    def _write(self, file: BinaryIO, pixels: NDArray[np.int16]) -> None:
        if pixels.shape != self._shape or pixels.dtype != np.int16:
            raise ValueError("pixels of another shape or type than the cache's")
        file.write(np.ascontiguousarray(pixels).data)

    def _compact(self) -> None:
        """Copies the used rows to a new file; the caller commits the table that points to it.

        Row numbers are never used twice in one file, so whoever still reads the old file by
        numbers of its time sees the right images.
        """
        old = self.pixels_path
        self._generation += 1
        query = "SELECT row FROM entry WHERE row IS NOT NULL ORDER BY row"
        with _open_at(self.pixels_path, 0) as file:
            if old.exists():
                with old.open("rb") as source:
                    self._rows = self._copy(source, file, self._table.execute(query))
            else:
                self._rows = 0
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)
        # Numbers stay unique while they change: first below zero, in the same order, then up.
        self._table.execute("UPDATE entry SET row = -1 - row WHERE row IS NOT NULL")
        self._table.execute(
            "UPDATE entry SET row = new FROM (SELECT name AS moved, "
            "ROW_NUMBER() OVER (ORDER BY row DESC) - 1 AS new FROM entry WHERE row IS NOT NULL) "
            "WHERE name = moved"
        )
        state = (self._generation, self._rows)
        self._table.execute("UPDATE pixel_file SET generation = ?, rows = ?", state)

    def _copy(self, source: BinaryIO, file: BinaryIO, rows: Iterable[tuple[int]]) -> int:
        """Copies rows by number, neighbours together, and returns how many there were."""
        count = start = end = 0
        for (row,) in rows:
            count += 1
            if row != end:
                self._copy_run(source, file, start, end)
                start = row
            end = row + 1
        self._copy_run(source, file, start, end)
        return count

    def _copy_run(self, source: BinaryIO, file: BinaryIO, start: int, end: int) -> None:
        source.seek(start * self._row_bytes)
        left = (end - start) * self._row_bytes
        while left:
            piece = source.read(min(left, _COPY_BYTES))
            if not piece:
                raise StateError(f"{self._folder}: the pixel file is cut short; prepare again")
            file.write(piece)
            left -= len(piece)


def _open_at(path: Path, position: int) -> BinaryIO:
    """Opens a private file for writing at a position; whatever lies behind it is cut off."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    file.truncate(position)
    file.seek(position)
    return file


@contextmanager
def open_pixel_cache(folder: Path, shape: tuple[int, ...]) -> Iterator[PixelCache]:
    """Opens the cache in ``folder`` for filling, for this process alone.

    Raises:
        StateError: The cache's table is damaged or in use by another process.
    """
    with open_database(folder / "cache.sqlite", _FORMAT, _SCHEMA) as connection:
        yield PixelCache(folder, shape, connection)
