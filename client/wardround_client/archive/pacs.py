"""What a PACS is to intake: it answers queries and hands over instances, over either protocol.

A PACS is trusted with the images and with nothing else: its counts are hints, its identifiers are
checked before use, and what it sends is stored only if it is what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from wardround_client.archive.store import Part, Store
from wardround_common.errors import ArchiveError

Level = Literal["STUDY", "SERIES", "IMAGE"]
"""Level of a query, in DICOM's words."""

# Leading zeros are against the rules and common; letters and wildcards must not get through.
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


class TransientError(ArchiveError):
    """The PACS did not answer, or broke off; the same question may succeed in a moment."""


class RemoteInstance(NamedTuple):
    """One instance that the PACS lists."""

    sop_uid: str
    sop_class_uid: str
    """Empty where the PACS does not tell."""


class RemoteSeries(NamedTuple):
    """One series that the PACS lists."""

    study_uid: str
    series_uid: str
    modality: str
    instances: int = 0
    """What the PACS says it holds; for the progress display only."""


class Pacs(Protocol):
    """One way to talk to a PACS; used by one thread at a time."""

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Queries by DICOM keywords; an empty value asks for the element to be returned.

        Yields:
            For each match the text of every keyword in ``keys``, empty where absent.

        Raises:
            TransientError: The PACS cannot be reached just now.
            ArchiveError: It refuses, or does not speak the protocol.
        """
        ...

    def fetch(
        self, series: RemoteSeries, instances: Sequence[RemoteInstance], *, into: Store
    ) -> Generator[Part, None, None]:
        """Retrieves instances; yields each as it arrives, unchecked.

        Args:
            series: The series.
            instances: Its instances, or some of them.
            into: Where parts are written.

        Raises:
            TransientError: The connection failed or broke off; what was yielded is complete.
            DicomError: The PACS refused this request; others may succeed.
            ArchiveError: It refuses altogether.
        """
        ...

    def close(self) -> None:
        """Ends every connection."""
        ...


def is_uid(text: str) -> bool:
    """Tells whether ``text`` may be used as a UID in queries."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None
