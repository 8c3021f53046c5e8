"""A folder of DICOM files as a source; the files are read where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.folder import require_folder, walk_archive
from wardround_client.archive.source import Progress, Wanted
from wardround_client.index.header import Header
from wardround_client.index.reader import read_header
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError


class FolderSource:
    """Hands over a folder as it is, whatever is wanted: looking costs less than asking."""

    def __init__(self, root: Path) -> None:
        """Takes the folder.

        Raises:
            ArchiveError: It is missing, no folder, or cannot be listed.
        """
        require_folder(root)
        self.root = root

    def refresh(
        self, wanted: Wanted, *, on_progress: Progress | None = None
    ) -> Iterator[ArchiveFile]:
        """Yields every file below the folder; see `walk_archive`."""
        del wanted, on_progress
        return walk_archive(self.root)

    def header(self, path: bytes) -> Header | Reason:
        """Read from the file; intake does the same in worker processes."""
        try:
            return read_header(self.root / os.fsdecode(path))
        except DicomError as error:
            return Reason(error.reason)

    @contextmanager
    def local(self, path: bytes) -> Iterator[Path]:
        """The file itself."""
        yield self.root / os.fsdecode(path)
