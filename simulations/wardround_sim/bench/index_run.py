"""One scan of an archive in a process of its own, for `index` to watch its memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from wardround_client.archive.folder import walk_archive
from wardround_client.index.scan import open_index, read_folder
from wardround_client.index.update import ScanCounts
from wardround_client.workers import Limits
from wardround_sim.memory import MemoryWatch

_LIMITS = Limits(seconds=60, memory_bytes=4 << 30)


def scan(archive: Path, database: Path, *, processes: int) -> ScanCounts:
    """Brings the index of ``archive`` up to date."""
    reading = read_folder(archive, processes=processes, limits=_LIMITS)
    with open_index(database, archive=os.fsencode(archive)) as index:
        return index.scan(walk_archive(archive), reading)


def main(archive: str, database: str, processes: str) -> None:
    """Scans and prints the peak of memory, this process and its workers together, in bytes."""
    with MemoryWatch() as watch:
        scan(Path(archive), Path(database), processes=int(processes))
    # A scan of a few files ends before the watch looks for the first time.
    print(max(watch.peak_bytes, psutil.Process().memory_info().rss))


if __name__ == "__main__":
    main(*sys.argv[1:])
