"""What every source of a site's files can do: say what the archive holds, and hand over a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.header import Header
from wardround_client.quarantine import Reason

Progress = Callable[[str, int, int], None]
"""Called with the phase's name, what is done, and the total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What intake can use; a PACS is asked for nothing else, a folder is walked in full.

    Where imaging studies are named, by UID or accession number, only those are asked for;
    otherwise all from ``studies_from`` on.
    """

    modalities: tuple[str, ...]
    """DICOM Modality of the series to fetch: the cohort's, and SR or SEG where labels are read
    from them."""
    study_uids: frozenset[str] = frozenset()
    """StudyInstanceUIDs of the label file."""
    accessions: frozenset[str] = frozenset()
    """AccessionNumbers of label file rows that name no StudyInstanceUID."""
    studies_from: str = ""
    """First day of the imaging studies, YYYY-MM-DD."""


class Source(Protocol):
    """Where a site's files come from; every path is below the archive's root or the store's."""

    @property
    def root(self) -> Path:
        """Folder below which the paths lie."""
        ...

    def refresh(
        self, wanted: Wanted, *, on_progress: Progress | None = None
    ) -> Iterator[ArchiveFile]:
        """Yields every file the archive holds now, each once, always in the same order.

        A network source fetches what it has not had yet while the caller iterates, reporting
        phases ``"query"`` (imaging studies) and ``"fetch"`` (instances). A file that was yielded
        may be evicted before it is read: open it through `local` only. Stopping early loses
        nothing; the next refresh continues.

        Raises:
            ArchiveError: The archive cannot be reached, listed or stored.
        """
        ...

    def header(self, path: bytes) -> Header | Reason:
        """What the index wants to know of a file that `refresh` yielded, or why nothing is known.

        A network source remembers it from the file's arrival, so that an archive larger than the
        store is fetched once only.

        Raises:
            ArchiveError: The archive cannot be reached, where the file must be read anew.
        """
        ...

    def local(self, path: bytes) -> AbstractContextManager[Path]:
        """The file on this machine's disk, which stays there until the context ends.

        Raises:
            ArchiveError: The archive cannot be reached.
            DicomError: The file was evicted and is no longer to be had as it was
                (``not-retrieved``, ``changed-meanwhile``).
        """
        ...
