"""Who an instance says it is: checked before anything that arrived is stored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wardround_client.index.header import Header
from wardround_client.index.reader import open_dataset, quiet, read_header, text_of
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

_KEYWORDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


class Received(NamedTuple):
    """The UIDs inside a file, and all that the index wants to know of it."""

    study_uid: str
    series_uid: str
    sop_uid: str
    header: Header | Reason


def identify(path: Path) -> Received:
    """Reads the UIDs of a DICOM file; a header that is broken elsewhere does not matter here.

    Raises:
        DicomError: The file is no DICOM, or its UIDs cannot be read.
    """
    try:
        header = read_header(path)
        return Received(header.study_uid, header.series_uid, header.sop_instance_uid, header)
    except DicomError as error:
        with quiet():
            dataset = open_dataset(path, tags=_KEYWORDS)
            uids = [text_of(dataset, keyword) for keyword in _KEYWORDS]
        return Received(uids[0], uids[1], uids[2], Reason(error.reason))
