"""The bounded store of fetched files: least recently used series go first, never a pinned one.

Layout: ``<study>/<series>/<instance>.dcm``, each name a hash of a UID, so that a PACS chooses no
path. What arrives is written in ``incoming``, flushed, checked by the caller and renamed: a file
below its final name is complete, whatever was killed when. The files themselves are the record of
what is there; the time of a series' folder says when it was last used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from wardround_client.quarantine import Reason
from wardround_client.storage import make_private_folder, sync_folder
from wardround_common.errors import ArchiveError, DicomError

MAXIMUM_INSTANCE_BYTES = 1 << 30
_INCOMING = "incoming"
_SUFFIX = ".dcm"


class Facts(NamedTuple):
    """By what a stored file is known again."""

    size_bytes: int
    mtime_ns: int
    """Taken from the content's hash: fetching the same bytes again gives the same time."""


class Part:
    """One file that is arriving; give it to `Store.keep` or `discard` it."""

    def __init__(self, path: Path, claim: Callable[[int], None]) -> None:
        self.path = path
        self.size_bytes = 0
        self._claim = claim
        self._digest = hashlib.sha256()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb", buffering=0)

    def write(self, chunk: bytes | memoryview) -> None:
        """Appends ``chunk``.

        Raises:
            DicomError: The instance is too large, or the series larger than the store.
            ArchiveError: The disk is full.
        """
        if self.size_bytes + len(chunk) > MAXIMUM_INSTANCE_BYTES:
            raise DicomError(Reason.TOO_LARGE)
        self._claim(len(chunk))
        self.size_bytes += len(chunk)
        self._digest.update(chunk)
        with _disk():
            self._file.write(chunk)

    def finish(self) -> Facts:
        """Ends the file and dates it by its content; it is not yet flushed to the disk."""
        seconds = int.from_bytes(self._digest.digest()[:4]) >> 1  # whole: any file system keeps it
        facts = Facts(self.size_bytes, seconds * 1_000_000_000)
        with _disk():
            os.utime(self._file.fileno(), ns=(facts.mtime_ns, facts.mtime_ns))
        self._file.close()
        return facts

    def discard(self) -> None:
        """Removes the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._claim(-self.size_bytes)
        self.size_bytes = 0


class Store:
    """Files on disk within a bound; parts may arrive in any thread.

    Args:
        folder: Where the store is; made if need be, readable by its owner only.
        limit_bytes: Most bytes that all files together take at any moment.
        is_known: Whether a path with these facts belongs to the store; others are removed.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int, is_known: Callable[[bytes, Facts], bool]
    ) -> None:
        self.root = folder
        self._limit_bytes = limit_bytes
        self._lock = threading.RLock()
        self._pins: Counter[bytes] = Counter()
        self._taken = 0
        self._parts = 0
        self._kept: list[tuple[Part, bytes]] = []
        shutil.rmtree(folder / _INCOMING, ignore_errors=True)
        make_private_folder(folder / _INCOMING)
        self._series = self._take_stock(is_known)
        self._claim(0)  # the bound may be smaller than last time

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, those arriving included."""
        return self._taken

    def new_part(self) -> Part:
        """A file to write what arrives."""
        with self._lock:
            self._parts += 1
            return Part(self.root / _INCOMING / str(self._parts), self._claim)

    def keep(self, part: Part, path: bytes) -> Facts:
        """Takes a complete part for ``path``; it is there, and durable, after the next `flush`."""
        facts = part.finish()
        self._kept.append((part, path))
        return facts

    def flush(self) -> None:
        """Moves what was kept to its place; all at once, since a disk flushes many like one."""
        with self._lock, _disk():
            for part, _ in self._kept:
                _sync(part.path)
            folders = {self._move(part, path) for part, path in self._kept}
            for folder in folders:
                sync_folder(folder)
        self._kept.clear()

    def _move(self, part: Part, path: bytes) -> Path:
        target = self.root / os.fsdecode(path)
        make_private_folder(target.parent)
        replaced = _size_of(target)
        part.path.replace(target)
        series = series_of(path)
        self._taken -= replaced
        self._series[series] = self._series.pop(series, 0) + part.size_bytes - replaced
        return target.parent

    def find(self, path: bytes, facts: Facts) -> Path | None:
        """The file, or None if it was evicted or is another one."""
        file = self.root / os.fsdecode(path)
        try:
            status = file.stat()
        except OSError:
            return None
        return file if facts == (status.st_size, status.st_mtime_ns) else None

    @contextmanager
    def pinned(self, series: bytes) -> Iterator[None]:
        """Keeps the files of ``series`` from eviction, and counts as its use."""
        with self._lock:
            self._pins[series] += 1
            if series in self._series:
                self._series.move_to_end(series)
                os.utime(self.root / os.fsdecode(series))
        try:
            yield
        finally:
            with self._lock:
                self._pins[series] -= 1
                if not self._pins[series]:
                    del self._pins[series]

    def drop(self, path: bytes) -> None:
        """Removes one file, if it is there."""
        file = self.root / os.fsdecode(path)
        with self._lock:
            size = _size_of(file)
            file.unlink(missing_ok=True)
            series = series_of(path)
            if series in self._series:
                self._series[series] -= size
                self._taken -= size
            if self._series.get(series) == 0:
                self._evict(series)

    def _claim(self, size: int) -> None:
        """Takes room for ``size`` more bytes, evicting as needed; negative gives room back."""
        with self._lock:
            while size >= 0 and self._taken + size > self._limit_bytes:
                oldest = next((s for s in self._series if s not in self._pins), None)
                if oldest is None:
                    raise DicomError(Reason.STORE_TOO_SMALL)
                self._evict(oldest)
            self._taken += size

    def _evict(self, series: bytes) -> None:
        folder = self.root / os.fsdecode(series)
        with _disk():
            shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
        self._taken -= self._series.pop(series)

    def _take_stock(self, is_known: Callable[[bytes, Facts], bool]) -> OrderedDict[bytes, int]:
        """Measures what is there, oldest use first; removes what nobody knows of."""
        used: list[tuple[int, bytes, int]] = []
        for folder in sorted(self.root.glob("*/*/")):
            series = os.fsencode(folder.relative_to(self.root))
            last_used = folder.stat().st_mtime_ns
            size = 0
            for file in list(folder.iterdir()):
                status = file.stat()
                facts = Facts(status.st_size, status.st_mtime_ns)
                if is_known(series + b"/" + os.fsencode(file.name), facts):
                    size += facts.size_bytes
                else:
                    file.unlink()
            os.utime(folder, ns=(last_used, last_used))
            used.append((last_used, series, size))
            self._taken += size
        return OrderedDict((series, size) for _, series, size in sorted(used))


def path_of(study_uid: str, series_uid: str, sop_uid: str) -> bytes:
    """Where the store keeps an instance; depends on the three UIDs alone."""
    names = (_name_of(uid) for uid in (study_uid, series_uid, sop_uid))
    return ("/".join(names) + _SUFFIX).encode()


def series_path(study_uid: str, series_uid: str) -> bytes:
    """Where the store keeps the files of a series."""
    return f"{_name_of(study_uid)}/{_name_of(series_uid)}".encode()


def series_of(path: bytes) -> bytes:
    """The series' part of an instance's path."""
    return path.rpartition(b"/")[0]


def _name_of(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]  # 128 bits: no two UIDs meet


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


@contextmanager
def _disk() -> Iterator[None]:
    """Turns what the disk refuses into one clear line that names the store alone."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or "an input/output error"
        hint = "check the disk's space and rights, or lower intake.store_gb"
        raise ArchiveError(f"workspace's store: the disk refused ({problem}); {hint}") from None
