"""Who an instance says it is: checked before anything that arrived is stored.

Usual files are read here, by a walk that takes what it needs and no more. What that leaves to
pydicom may take it minutes and gigabytes, a small deflated file above all; unless it is small and
plain, a worker process reads it, within limits.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pydicom.uid import DeflatedExplicitVRLittleEndian

from wardround_client.index.header import Header
from wardround_client.index.reader import open_dataset, parse_header, quiet, text_of
from wardround_client.index.walker import walk_header
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits, run_guarded
from wardround_common.errors import DicomError

LIMITS = Limits(seconds=30.0, memory_bytes=1 << 30)
"""Of a worker that reads one header; a deflated image of 300 MB is within them."""
_SMALL_BYTES = 1 << 20
"""Of a plain file: 130 000 empty elements, which take pydicom less than a second."""
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_KEYWORDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
_BEYOND_LIMITS = (Reason.DECODER_TIMEOUT, Reason.DECODER_MEMORY)


class Received(NamedTuple):
    """The UIDs inside a file, and all that the index wants to know of it."""

    study_uid: str
    series_uid: str
    sop_uid: str
    header: Header | Reason


def identify(path: Path) -> Received:
    """Reads the UIDs of a DICOM file; a header that is broken elsewhere does not matter here.

    Raises:
        DicomError: The file is no DICOM, its UIDs cannot be read, or not within the limits.
        StateError: No worker process could be started.
    """
    header = walk_header(path)
    if header is not None:
        return _received(header)
    found = parse(path) if _is_harmless(path) else _parse_guarded(path)
    if isinstance(found, Reason):
        raise DicomError(found)
    return found


def parse(path: Path) -> Received | Reason:
    """Reads a file by pydicom, however long that takes."""
    try:
        return _received(parse_header(path))
    except DicomError as error:
        broken = Reason(error.reason)
    try:
        with quiet():
            dataset = open_dataset(path, tags=_KEYWORDS)
            uids = [text_of(dataset, keyword) for keyword in _KEYWORDS]
    except DicomError as error:
        return Reason(error.reason)
    return Received(uids[0], uids[1], uids[2], broken)


def _received(header: Header) -> Received:
    return Received(header.study_uid, header.series_uid, header.sop_instance_uid, header)


def _is_harmless(path: Path) -> bool:
    """Tells whether a file is small and not deflated; the syntax's UID stands in it in clear."""
    try:
        return path.stat().st_size <= _SMALL_BYTES and _DEFLATED not in path.read_bytes()
    except OSError:
        raise DicomError(Reason.UNREADABLE) from None


def _parse_guarded(path: Path) -> Received | Reason:
    with closing(run_guarded(parse, [path], processes=1, limits=LIMITS)) as results:
        ((_, found),) = results
    return Reason.TOO_LARGE if found in _BEYOND_LIMITS else found
