"""A file of the archive, whatever source it comes from."""

from __future__ import annotations

from typing import NamedTuple

from wardround_client.quarantine import Reason


class ArchiveFile(NamedTuple):
    """One entry of the archive, by the facts that tell whether it changed."""

    path: bytes
    """Path below the archive's root, as the file system spells it."""
    size_bytes: int
    """Size of the file."""
    mtime_ns: int
    """Time of the last change, nanoseconds."""
    inode: int = 0
    """Number of the file in its file system; finds a file again that was moved or renamed."""
    reason: Reason | None = None
    """Why the entry cannot be read at all, if so."""
