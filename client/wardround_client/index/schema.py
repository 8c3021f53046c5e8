"""The index's tables.

One row of ``file`` for each file of the archive, narrow, for each scan reads them all; then one
row of ``header``, or of ``pending`` while the header is yet to be read, or a reason in ``file``.
Nothing more is indexed over all files: questions over the whole archive are rare and sort once,
while every further index would slow each file's insertion.
"""

from __future__ import annotations

from wardround_client.index.header import Header

VERSION = 4
TABLES = (
    "CREATE TABLE source (archive BLOB NOT NULL)",
    "CREATE TABLE folder (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE)",
    "CREATE TABLE file (id INTEGER PRIMARY KEY, folder INTEGER NOT NULL, name BLOB NOT NULL,"
    " size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " reason TEXT, UNIQUE (folder, name))",
    "CREATE INDEX refused ON file (reason) WHERE reason IS NOT NULL",
    f"CREATE TABLE header (id INTEGER PRIMARY KEY, {', '.join(Header._fields)})",
    "CREATE TABLE pending (id INTEGER PRIMARY KEY, is_new INTEGER NOT NULL)",
)
TEMPORARY_TABLES = {
    "seen": "folder INTEGER PRIMARY KEY",
    "gone": "id INTEGER PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, inode INTEGER",
    "moved": "old INTEGER PRIMARY KEY, new INTEGER UNIQUE, folder INTEGER, name BLOB",
}
"""What one scan notes."""


def join_path(folder: bytes, name: bytes) -> bytes:
    """Path of a file below the archive's root."""
    return folder + b"/" + name if folder else name


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """Folder and name of a file; the inverse of `join_path`."""
    folder, _, name = path.rpartition(b"/")
    return folder, name
