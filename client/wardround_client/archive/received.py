"""Who an instance says it is: checked before anything that arrived is stored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wardround_client.index.reader import open_dataset, quiet, read_header, text_of
from wardround_common.errors import DicomError

_KEYWORDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


class Identity(NamedTuple):
    """The UIDs inside a file."""

    study_uid: str
    series_uid: str
    sop_uid: str


def identify(path: Path) -> Identity:
    """Reads the UIDs of a DICOM file; a header that is broken elsewhere does not matter here.

    Raises:
        DicomError: The file is no DICOM, or its UIDs cannot be read.
    """
    try:
        header = read_header(path)
        return Identity(header.study_uid, header.series_uid, header.sop_instance_uid)
    except DicomError:
        with quiet():
            dataset = open_dataset(path, tags=_KEYWORDS)
            return Identity(*(text_of(dataset, keyword) for keyword in _KEYWORDS))
