"""Scans one tiny hospital's archive, in this process, and notes which files were opened."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tests.client.index.readers import LIMITS

from wardround_client.archive.folder import walk_archive
from wardround_client.index.header import Header, Instance
from wardround_client.index.pending import HeaderReading
from wardround_client.index.reader import read_below
from wardround_client.index.scan import ArchiveIndex, open_index, read_folder
from wardround_client.quarantine import Reason


class Desk:
    """Scans one hospital's archive and notes which files were opened."""

    def __init__(self, hospital: Any) -> None:
        self.archive: Path = hospital.archive
        self.database: Path = hospital.config.workspace / "index.sqlite"
        self.opened: list[bytes] = []

    def read(self, path: bytes) -> Header | Reason:
        self.opened.append(path)
        return read_below(os.fsencode(self.archive), path)

    def scan(self, **reading: Any) -> dict[str, int]:
        """Counts other than 0."""
        self.opened.clear()
        with self.index() as index:
            given = {"read": self.read, "processes": 0, "limits": LIMITS} | reading
            counts = index.scan(walk_archive(self.archive), HeaderReading(**given))
        return {name: count for name, count in asdict(counts).items() if count}

    def index(self) -> AbstractContextManager[ArchiveIndex]:
        return open_index(self.database, archive=os.fsencode(self.archive))

    def content(self) -> tuple[list[Instance], dict[Reason, list[bytes]]]:
        with self.index() as index:
            refused = {reason: list(index.refused_paths(reason)) for reason in index.refused()}
            return list(index.instances()), refused


class Scan(NamedTuple):
    """What an index knows of an archive, in memory."""

    instances: tuple[Instance, ...]
    refused: dict[bytes, Reason]


def scan_archive(archive: Path, database: Path) -> Scan:
    """Scans an archive in this process; the index is that of `open_site_index`."""
    reading = read_folder(archive, processes=0, limits=LIMITS)
    with open_index(database, archive=os.fsencode(archive.resolve())) as index:
        index.scan(walk_archive(archive), reading)
        refused = {
            path: reason for reason in index.refused() for path in index.refused_paths(reason)
        }
        return Scan(tuple(index.instances()), refused)
