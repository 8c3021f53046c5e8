"""The pixel cache: decoded images as int16 rows of one memory-mapped file.

A row belongs to one file by path, SOPInstanceUID, size and time of change; the folder belongs to
one cohort rule and preprocessing. Rows are appended and synced before the table names them, so a
crash loses at most the images of the last batch and never shows a half-written one. Rows that
nothing names any more are removed: an image taken out of the archive leaves the cache as well.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround_client.pixels.decode import DecodedImage
from wardround_client.pixels.radiograph import SCALE
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database, sync_folder
from wardround_common.errors import StateError

_FORMAT = 1
_SCHEMA = (
    "CREATE TABLE entry (path BLOB NOT NULL, sop_instance_uid TEXT NOT NULL, "
    "size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, row INTEGER UNIQUE, sha256 TEXT, "
    "reason TEXT, PRIMARY KEY (path)) WITHOUT ROWID",
    "CREATE TABLE pixel_file (generation INTEGER NOT NULL, rows INTEGER NOT NULL)",
    "INSERT INTO pixel_file VALUES (0, 0)",
)
_RETRIED = frozenset({Reason.UNREADABLE, Reason.CHANGED, Reason.NO_DECODER})
"""Reasons that may be gone without any change of the file; they are not remembered."""
_COPY_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """What a cached image belongs to; any difference means that the file is decoded again."""

    path: bytes
    sop_instance_uid: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """What the cache knows of one file: a row of pixels, or why there is none."""

    row: int | None
    sha256: str
    reason: Reason | None


class CachedPixels:
    """The pixel file, memory-mapped for reading."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        """Opens the pixels of ``shape`` (rows, columns) for reading.

        Raises:
            StateError: The file is missing or cut short.
        """
        row_bytes = 2 * shape[0] * shape[1]
        try:
            count = path.stat().st_size // row_bytes
            mapped = np.memmap(path, np.int16, "r", shape=(count, row_bytes // 2))
        except (OSError, ValueError):
            raise StateError(f"{path}: missing or empty; prepare the site again") from None
        self._rows = mapped.view(np.ndarray)  # plain arrays are indexed faster
        self._shape = shape

    def __len__(self) -> int:
        """Number of images in the file."""
        return int(self._rows.shape[0])

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Reads images by row number: one take of int16, then one conversion.

        Returns:
            float32, shape (n, 1, rows, columns), standard deviations from the image's mean.
        """
        images = np.take(self._rows, rows, axis=0).astype(np.float32)
        images *= np.float32(1 / SCALE)  # a power of two: exact
        return images.reshape(len(rows), 1, *self._shape)


class PixelCache:
    """The cache while it is being filled; made by `open_pixel_cache`."""

    def __init__(self, folder: Path, shape: tuple[int, int], table: sqlite3.Connection) -> None:
        """Takes over an open table; bytes behind its last row are leftovers of a crash."""
        self._folder = folder
        self._row_values = shape[0] * shape[1]
        self._table = table
        self._generation, self._rows = table.execute("SELECT * FROM pixel_file").fetchone()
        committed_bytes = 2 * self._rows * self._row_values
        path = self.pixels_path
        if (path.stat().st_size if path.exists() else 0) < committed_bytes:
            table.execute("DELETE FROM entry")  # somebody cut the file: decode everything again
            self._compact([])
            table.commit()
        elif path.exists():
            os.truncate(path, committed_bytes)

    @property
    def pixels_path(self) -> Path:
        """The pixel file that the table's rows refer to."""
        return self._folder / f"pixels-{self._generation}.i16"

    def entries(self, keys: Collection[CacheKey]) -> dict[bytes, CacheEntry]:
        """Finds, by path, what is known of files that have not changed since."""
        wanted = {(k.path, k.sop_instance_uid, k.size_bytes, k.mtime_ns) for k in keys}
        found: dict[bytes, CacheEntry] = {}
        for path, *facts, row, sha256, reason in self._table.execute("SELECT * FROM entry"):
            if (path, *facts) in wanted:
                code = Reason(reason) if reason is not None else None
                found[path] = CacheEntry(row=row, sha256=sha256 or "", reason=code)
        return found

    def add(self, images: Sequence[tuple[CacheKey, DecodedImage | Reason]]) -> None:
        """Appends images, and remembers refusals; all of them or, after a crash, none."""
        values = [image.pixels for _, image in images if not isinstance(image, Reason)]
        with self.pixels_path.open("ab") as file:
            for pixels in values:
                if pixels.size != self._row_values or pixels.dtype != np.int16:
                    raise ValueError("an image of another shape or type than the cache's")
                file.write(np.ascontiguousarray(pixels).data)
            file.flush()
            os.fsync(file.fileno())
        for key, image in images:
            self._remember(key, image)
        self._table.execute("UPDATE pixel_file SET rows = ?", (self._rows,))
        self._table.commit()

    def keep_only(self, paths: Collection[bytes]) -> None:
        """Removes every other file's entry and pixels."""
        kept = set(paths)
        gone = [(p,) for (p,) in self._table.execute("SELECT path FROM entry") if p not in kept]
        self._table.executemany("DELETE FROM entry WHERE path = ?", gone)
        query = "SELECT path, row FROM entry WHERE row IS NOT NULL ORDER BY row"
        used = self._table.execute(query).fetchall()
        if len(used) < self._rows:
            self._compact(used)
        self._table.commit()

    def _remember(self, key: CacheKey, image: DecodedImage | Reason) -> None:
        known = (key.path, key.sop_instance_uid, key.size_bytes, key.mtime_ns)
        values: tuple[object, ...]
        if isinstance(image, Reason):
            if image in _RETRIED:
                return
            values = (*known, None, None, image.value)
        else:
            values = (*known, self._rows, image.sha256, None)
            self._rows += 1
        self._table.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def _compact(self, used: list[tuple[bytes, int]]) -> None:
        """Writes the used rows to a new file; the caller commits the table that points to it.

        Row numbers are never used twice in one file, so whoever still reads the old file by
        numbers of its time sees the right images.
        """
        old = self.pixels_path
        self._generation += 1
        with self.pixels_path.open("wb") as file:
            for start in range(0, len(used), _COPY_ROWS):
                source = np.memmap(old, np.int16, "r").reshape(-1, self._row_values)
                file.write(source[[row for _, row in used[start : start + _COPY_ROWS]]].data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)
        self._rows = len(used)
        self._table.execute("UPDATE entry SET row = -1 - row WHERE row IS NOT NULL")
        moved = [(row, path) for row, (path, _) in enumerate(used)]
        self._table.executemany("UPDATE entry SET row = ? WHERE path = ?", moved)
        state = (self._generation, self._rows)
        self._table.execute("UPDATE pixel_file SET generation = ?, rows = ?", state)

    def remove_old_files(self) -> None:
        """Removes pixel files of earlier generations, once nothing refers to them."""
        for path in self._folder.glob("pixels-*.i16"):
            if path != self.pixels_path:
                path.unlink()


@contextmanager
def open_pixel_cache(folder: Path, shape: tuple[int, int]) -> Iterator[PixelCache]:
    """Opens the cache in ``folder`` for filling, for this process alone.

    Raises:
        StateError: The cache's table is damaged or in use by another process.
    """
    with open_database(folder / "cache.sqlite", _FORMAT, _SCHEMA) as connection:
        yield PixelCache(folder, shape, connection)
