"""Private folders and SQLite files of a site, readable by their owner only."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from wardround_common.errors import StateError


def make_private_folder(path: Path) -> None:
    """Makes ``path`` and the folders above it; each new one is closed to other accounts."""
    if not path.is_dir():
        make_private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file, so that two processes of one site never answer at the same time."""
    make_private_folder(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # released with the handle, also after a crash
        yield
    finally:
        os.close(handle)


@contextmanager
def open_database(
    path: Path, version: int, schema: tuple[str, ...]
) -> Iterator[sqlite3.Connection]:
    """Opens a private SQLite file for this process alone; one of another version starts anew.

    Raises:
        StateError: The file is damaged or in use by another process.
    """
    try:
        make_private_folder(path.parent)
        # What SQLite sorts beyond memory stays in the workspace too, in files without a name.
        os.environ.setdefault("SQLITE_TMPDIR", str(path.parent.absolute()))
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(path, timeout=1.0)) as connection:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN EXCLUSIVE")
            _set_up(connection, version, schema)
            connection.commit()
            yield connection
            connection.commit()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise StateError(f"{path}: cannot be used; check the disk's space and rights") from None
        raise StateError(f"{path}: in use by another process; wait until it has ended") from None
    except sqlite3.DatabaseError:
        raise StateError(f"{path}: is damaged; delete it, the next scan makes it anew") from None


def _set_up(connection: sqlite3.Connection, version: int, schema: tuple[str, ...]) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == version:
        return
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (name,) in tables:
        connection.execute(f'DROP TABLE "{name}"')
    for statement in schema:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")


def sync_folder(folder: Path) -> None:
    """Makes the names in ``folder`` durable, as `os.fsync` does for a file's content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
