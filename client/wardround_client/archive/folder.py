"""Walks a folder archive: every file once, in the same order everywhere, following no link.

The files of one folder come together and in order of their names, then those of the folders in
it; only the names of one folder are held at a time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from wardround_client.archive.files import ArchiveFile
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError

_LARGEST = (1 << 63) - 1
"""Of what SQLite takes for a number; some file systems number their files above that."""


def walk_archive(root: Path) -> Iterator[ArchiveFile]:
    """Yields every file below ``root``; links and unreadable folders come with their reason.

    An unreadable folder comes as a file without a name: its path ends with a slash.

    Raises:
        ArchiveError: ``root`` is missing, no folder, or cannot be read.
    """
    require_folder(root)
    start, waiting = os.fsencode(root), [b""]
    while waiting:
        below: list[bytes] = []
        yield from _files_of(start, waiting.pop(), below)
        waiting += reversed(below)


def require_folder(root: Path) -> None:
    """Raises ArchiveError unless ``root`` is a folder that can be listed."""
    if not root.is_dir():
        raise ArchiveError(f"archive {root}: got no folder there, expected one; check the path")
    try:
        os.scandir(root).close()
    except OSError:
        hint = "give this account the right to read it"
        raise ArchiveError(f"archive {root}: got no permission to list it; {hint}") from None


def _files_of(root: bytes, folder: bytes, below: list[bytes]) -> Iterator[ArchiveFile]:
    """Yields the files of one folder and adds the folders in it to ``below``."""
    prefix = folder + b"/" if folder else b""
    try:
        handle = _open_folder(root, folder)
    except OSError:
        yield ArchiveFile(path=prefix, size_bytes=0, mtime_ns=0, reason=Reason.UNREADABLE)
        return
    try:
        names = os.listdir(handle)  # noqa: PTH208  (by handle: no longer path is followed again)
        for name in sorted(map(os.fsencode, names)):
            file = _describe(handle, name, prefix)
            if isinstance(file, ArchiveFile):
                yield file
            elif file:
                below.append(prefix + name)
    except OSError:
        yield ArchiveFile(path=prefix, size_bytes=0, mtime_ns=0, reason=Reason.UNREADABLE)
    finally:
        os.close(handle)


def _open_folder(root: bytes, folder: bytes) -> int:
    """Opens a folder below ``root``, which alone may be a link."""
    path = os.path.join(root, folder)  # noqa: PTH118  (bytes)
    follow = os.O_NOFOLLOW if folder else 0
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow)


def _describe(folder: int, name: bytes, prefix: bytes) -> ArchiveFile | bool:
    """Describes one entry of an open folder; True for a folder, False for what is gone."""
    path = prefix + name
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return ArchiveFile(path=path, size_bytes=0, mtime_ns=0, reason=Reason.UNREADABLE)
    if stat.S_ISDIR(status.st_mode):
        return True
    reason = None if stat.S_ISREG(status.st_mode) else Reason.NOT_REGULAR
    inode = status.st_ino & _LARGEST
    mtime_ns = max(-_LARGEST, min(status.st_mtime_ns, _LARGEST))
    return ArchiveFile(path, status.st_size, mtime_ns, inode, reason)
