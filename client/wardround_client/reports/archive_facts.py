"""Questions of a report to the index: what the archive holds, series by series.

The database counts and sorts; memory does not grow with the archive.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from wardround_client.archive.files import ArchiveFile
from wardround_client.index import schema
from wardround_client.index.header import Header, Instance
from wardround_client.index.refresh import INDEX_FILE, archive_name
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database
from wardround_common.errors import StateError
from wardround_common.site_config import SiteConfig

_SIZES = (1, 2, 10, 50, 200, 500, 1000)
SIZE_NAMES = ("1", "2 to 9", "10 to 49", "50 to 199", "200 to 499", "500 to 999", "1000 and more")
"""Bands of the number of instances in a series, smallest first."""
_KINDS = """
    SELECT modality, manufacturer, model_name, sop_class_uid, transfer_syntax, count(*)
    FROM header GROUP BY modality, manufacturer, model_name, sop_class_uid, transfer_syntax
"""
_INSTANCES = """
    SELECT folder.path, file.name, size_bytes, mtime_ns, inode, header.* FROM header
    JOIN file ON file.id = header.id JOIN folder ON folder.id = file.folder
"""
_LARGEST = """
    SELECT modality, manufacturer, model_name, series_uid, max(n) FROM (
        SELECT modality, manufacturer, model_name, series_uid, count(*) AS n
        FROM header WHERE modality IN ({}) GROUP BY modality, manufacturer, model_name, series_uid
    ) GROUP BY modality, manufacturer, model_name ORDER BY sum(n) DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFacts:
    """Counts of an index; no identifier is among them."""

    files: int
    size_bytes: int
    instances: int
    pending: int
    """Files whose headers are still to be read: an index run was interrupted."""
    imaging_studies: int
    series: int
    patients: int
    modalities: Mapping[str, int]
    """This and the next three: value of the header element to instances, most frequent first."""
    devices: Mapping[tuple[str, str], int]
    """Manufacturer and ManufacturerModelName."""
    sop_classes: Mapping[str, int]
    transfer_syntaxes: Mapping[str, int]
    series_sizes: Mapping[str, int]
    """Band of `SIZE_NAMES` to the number of series."""
    refused: Mapping[Reason, int]
    """Reason to the number of files that could not be indexed."""


def count_archive(index: sqlite3.Connection) -> ArchiveFacts:
    """Counts what the index knows."""
    modalities: Counter[str] = Counter()
    devices: Counter[tuple[str, str]] = Counter()
    classes: Counter[str] = Counter()
    syntaxes: Counter[str] = Counter()
    for modality, maker, model, sop_class, syntax, number in index.execute(_KINDS):
        modalities[modality] += number
        devices[maker, model] += number
        classes[sop_class] += number
        syntaxes[syntax] += number
    files, size_bytes = _one(index, "SELECT count(*), coalesce(sum(size_bytes), 0) FROM file")
    reasons = index.execute(
        "SELECT reason, count(*) FROM file WHERE reason IS NOT NULL GROUP BY reason"
    )
    sizes = _series_sizes(index)
    return ArchiveFacts(
        files=files,
        size_bytes=size_bytes,
        instances=modalities.total(),
        pending=_one(index, "SELECT count(*) FROM pending")[0],
        imaging_studies=_one(index, "SELECT count(DISTINCT study_uid) FROM header")[0],
        series=sum(sizes.values()),
        patients=_one(
            index,
            "SELECT count(*) FROM (SELECT DISTINCT patient_id, issuer FROM header"
            " WHERE patient_id != '')",
        )[0],
        modalities=dict(modalities.most_common()),
        devices=dict(devices.most_common()),
        sop_classes=dict(classes.most_common()),
        transfer_syntaxes=dict(syntaxes.most_common()),
        series_sizes=sizes,
        refused={Reason(code): number for code, number in reasons},
    )


@contextmanager
def open_for_questions(config: SiteConfig) -> Iterator[sqlite3.Connection]:
    """Opens a site's index as it is, for this process alone.

    Raises:
        StateError: There is none of this archive, it is damaged or in use by another process.
    """
    path = config.workspace / INDEX_FILE
    missing = f"site {config.site}: got no index of its archive; run wardround-site index first"
    if not path.is_file():
        raise StateError(missing)
    with open_database(path, schema.VERSION, schema.TABLES) as index:
        if index.execute("SELECT archive FROM source").fetchone() != (archive_name(config),):
            raise StateError(missing)
        yield index


def count_series(index: sqlite3.Connection, modalities: Sequence[str]) -> int:
    """Number of series of some modalities."""
    marks = ", ".join("?" * len(modalities))
    query = f"SELECT count(DISTINCT series_uid) FROM header WHERE modality IN ({marks})"  # noqa: S608
    (number,) = index.execute(query, tuple(modalities)).fetchone()
    return int(number)


def iterate_series(
    index: sqlite3.Connection, modalities: Sequence[str]
) -> Iterator[list[Instance]]:
    """Yields the instances of one series after the other."""
    marks = ", ".join("?" * len(modalities))
    query = f"{_INSTANCES} WHERE modality IN ({marks}) ORDER BY series_uid"
    return _by_series(index.execute(query, tuple(modalities)))


def find_series(index: sqlite3.Connection, series_uid: str) -> list[Instance]:
    """The instances of one series."""
    query = f"{_INSTANCES} WHERE series_uid = ?"
    return [_instance(row) for row in index.execute(query, (series_uid,))]


def largest_series(
    index: sqlite3.Connection, modalities: Sequence[str], limit: int
) -> list[list[Instance]]:
    """The largest series of each modality, manufacturer and model, of the most frequent ones."""
    query = _LARGEST.format(", ".join("?" * len(modalities)))
    chosen = [row[3] for row in index.execute(query, (*modalities, limit))]
    marks = ", ".join("?" * len(chosen))
    members = f"{_INSTANCES} WHERE series_uid IN ({marks}) ORDER BY series_uid"
    found = _by_series(index.execute(members, chosen))
    return sorted(found, key=lambda series: chosen.index(series[0].header.series_uid))


def _by_series(rows: Iterable[Sequence[Any]]) -> Iterator[list[Instance]]:
    """Groups rows of `_INSTANCES` that come in order of their series."""
    found = map(_instance, rows)
    for _, members in groupby(found, key=lambda instance: instance.header.series_uid):
        yield list(members)


def _instance(row: Sequence[Any]) -> Instance:
    folder, name, size_bytes, mtime_ns, inode, _, *header = row
    path = schema.join_path(folder, name)
    file = ArchiveFile(path=path, size_bytes=size_bytes, mtime_ns=mtime_ns, inode=inode)
    return Instance(file, Header._make(header))


def _series_sizes(index: sqlite3.Connection) -> dict[str, int]:
    sizes = dict.fromkeys(SIZE_NAMES, 0)
    query = "SELECT n, count(*) FROM (SELECT count(*) AS n FROM header GROUP BY series_uid)"
    for size, number in index.execute(f"{query} GROUP BY n"):
        sizes[SIZE_NAMES[bisect_right(_SIZES, size) - 1]] += number
    return sizes


def _one(index: sqlite3.Connection, query: str) -> tuple[int, ...]:
    found: tuple[int, ...] = index.execute(query).fetchone()
    return found
