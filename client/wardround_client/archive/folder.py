"""Walks a folder archive: every file once, in the same order everywhere, following no link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from wardround_client.archive.files import ArchiveFile
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError


def walk_archive(root: Path) -> Iterator[ArchiveFile]:
    """Yields every file below ``root``; links and unreadable folders come with their reason.

    Raises:
        ArchiveError: ``root`` is missing, no folder, or cannot be read.
    """
    if not root.is_dir():
        raise ArchiveError(f"archive {root}: got no folder there, expected one; check the path")
    try:
        os.scandir(root).close()
    except OSError:
        hint = "give this account the right to read it"
        raise ArchiveError(f"archive {root}: got no permission to list it; {hint}") from None
    yield from _walk(os.fsencode(root), b"")


def _walk(root: bytes, folder: bytes) -> Iterator[ArchiveFile]:
    """Yields the files of ``folder`` in order of their names, then those of its folders."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118  (bytes)
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield ArchiveFile(path=folder, size_bytes=0, mtime_ns=0, reason=Reason.UNREADABLE)
        return
    folders = []
    for entry in ordered:
        path = os.path.join(folder, entry.name)  # noqa: PTH118  (bytes)
        if entry.is_dir(follow_symlinks=False):
            folders.append(path)
        else:
            yield _describe(entry, path)
    for path in folders:
        yield from _walk(root, path)


def _describe(entry: os.DirEntry[bytes], path: bytes) -> ArchiveFile:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return ArchiveFile(path=path, size_bytes=0, mtime_ns=0, reason=Reason.UNREADABLE)
    reason = None if entry.is_file(follow_symlinks=False) else Reason.NOT_REGULAR
    size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    return ArchiveFile(
        path=path, size_bytes=size_bytes, mtime_ns=mtime_ns, inode=status.st_ino, reason=reason
    )
