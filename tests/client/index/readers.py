"""Header readers for scans in other processes, which import them from here."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from wardround_client.archive.folder import walk_archive
from wardround_client.index.header import Header
from wardround_client.index.pending import HeaderReading
from wardround_client.index.reader import read_below
from wardround_client.index.scan import open_index
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits

LIMITS = Limits(seconds=60, memory_bytes=1 << 31)


def read_or_end(root: bytes, path: bytes) -> Header | Reason:
    """Ends its process where the file's name asks for that."""
    if b"crash" in path:
        os._exit(1)
    return read_below(root, path)


def read_slowly(root: bytes, log: str, path: bytes) -> Header | Reason:
    """Notes what it reads."""
    with Path(log).open("ab") as file:
        file.write(path + b"\n")
    time.sleep(0.001)
    return read_below(root, path)


def scan_slowly(archive: str, database: str, log: str, processes: str) -> None:
    """A scan that a test can kill."""
    read = partial(read_slowly, os.fsencode(archive), log)
    reading = HeaderReading(read=read, processes=int(processes), limits=LIMITS)
    with open_index(Path(database), archive=os.fsencode(archive)) as index:
        index.scan(walk_archive(Path(archive)), reading)
