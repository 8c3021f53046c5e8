"""Which series of a PACS intake wants, asked imaging study by imaging study.

A key that a PACS ignores costs time and never correctness: modality and accession number are
compared again here, and UIDs that are none are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta

from wardround_client.archive.pacs import Level, RemoteInstance, RemoteSeries, is_uid
from wardround_client.archive.source import Wanted
from wardround_client.archive.store import series_path
from wardround_common.errors import ArchiveError

Find = Callable[[Level, Mapping[str, str]], list[dict[str, str]]]
"""Answers of a PACS to one query; see `Pacs.find`."""

_WILDCARDS = frozenset("*?\\")


def find_studies(find: Find, wanted: Wanted, *, today: date) -> Iterator[str]:
    """Yields StudyInstanceUIDs that may hold something wanted, possibly twice.

    Raises:
        ArchiveError: Neither imaging studies nor a first day are given.
    """
    if wanted.study_uids or wanted.accessions:
        yield from (uid for uid in sorted(wanted.study_uids) if is_uid(uid))
        for accession in sorted(wanted.accessions):
            yield from _studies_of_accession(find, accession)
    elif wanted.studies_from:
        for day in _days(date.fromisoformat(wanted.studies_from), today):
            for modality in wanted.modalities:
                yield from _studies_of_day(find, day, modality)
    else:
        hint = "set intake.studies_from, or labels to a file that names them"
        raise ArchiveError(f"PACS: got no imaging studies to ask for, expected some; {hint}")


def find_series(find: Find, wanted: Wanted, study_uid: str) -> list[RemoteSeries]:
    """The wanted series of one imaging study, in order of their places in the store."""
    keys = {
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": "",
        "Modality": "",
        "NumberOfSeriesRelatedInstances": "",
    }
    series = {
        match["SeriesInstanceUID"]: RemoteSeries(
            study_uid,
            match["SeriesInstanceUID"],
            match["Modality"].upper(),
            _count(match["NumberOfSeriesRelatedInstances"]),
        )
        for match in find("SERIES", keys)
        if match["StudyInstanceUID"] in ("", study_uid)
        and is_uid(match["SeriesInstanceUID"])
        and match["Modality"].upper() in wanted.modalities
    }
    return sorted(series.values(), key=lambda s: series_path(s.study_uid, s.series_uid))


def find_instances(find: Find, series: RemoteSeries) -> list[RemoteInstance]:
    """Every instance that the PACS lists for a series, each once."""
    keys = {
        "StudyInstanceUID": series.study_uid,
        "SeriesInstanceUID": series.series_uid,
        "SOPInstanceUID": "",
        "SOPClassUID": "",
    }
    found = {}
    for match in find("IMAGE", keys):
        sop_class = match["SOPClassUID"] if is_uid(match["SOPClassUID"]) else ""
        here = match["SeriesInstanceUID"] in ("", series.series_uid)
        if here and is_uid(match["SOPInstanceUID"]):
            found[match["SOPInstanceUID"]] = RemoteInstance(match["SOPInstanceUID"], sop_class)
    return list(found.values())


def _studies_of_accession(find: Find, accession: str) -> Iterator[str]:
    if not accession or _WILDCARDS & set(accession):
        return  # would ask for other patients' studies too
    keys = {"StudyInstanceUID": "", "AccessionNumber": accession}
    for match in find("STUDY", keys):
        if match["AccessionNumber"] == accession and is_uid(match["StudyInstanceUID"]):
            yield match["StudyInstanceUID"]


def _studies_of_day(find: Find, day: date, modality: str) -> Iterator[str]:
    """Day by day, because many a PACS silently cuts long answers."""
    keys = {
        "StudyInstanceUID": "",
        "StudyDate": f"{day:%Y%m%d}",
        "ModalitiesInStudy": modality,
    }
    for match in find("STUDY", keys):
        if is_uid(match["StudyInstanceUID"]):
            yield match["StudyInstanceUID"]


def _days(first: date, last: date) -> Iterator[date]:
    for n in range((last - first).days + 1):
        yield first + timedelta(days=n)


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
