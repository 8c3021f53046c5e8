"""The site's index of its archive: what every file's header says, brought up to date by scans.

The index holds what identifies patients, for results must refer to the originals; it therefore
stays in the private workspace, readable by its owner only, and one process at a time has it open.
It can be deleted at any time: the next scan makes it anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from wardround_client.archive.files import ArchiveFile
from wardround_client.index import schema
from wardround_client.index.header import Header, Instance
from wardround_client.index.pending import HeaderReading
from wardround_client.index.reader import read_below
from wardround_client.index.schema import join_path, split_path
from wardround_client.index.update import Progress, ScanCounts, update_index
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database
from wardround_client.workers import Limits

_FACTS = tuple(field for field in Header._fields if field != "transfer_syntax")
"""What copies of one instance have in common, however they are compressed."""

_FILES = "folder CROSS JOIN file ON file.folder = folder.id LEFT JOIN header ON header.id = file.id"
"""In this order, so that rows come in order of their paths and nothing has to be sorted."""

_COLUMNS = "folder.path, file.name, size_bytes, mtime_ns, inode, reason, header.*"
_WITH_AND_WITHOUT_ISSUER = """
    SELECT patient_id, max(issuer) FROM header WHERE patient_id != '' GROUP BY patient_id
    HAVING min(issuer) = ''
"""


class ArchiveIndex:
    """An open index; see `open_index`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def scan(
        self,
        files: Iterable[ArchiveFile],
        reading: HeaderReading,
        *,
        on_progress: Progress | None = None,
    ) -> ScanCounts:
        """Brings the index in step with the archive; see `wardround_client.index.update`.

        Args:
            files: All files of the archive; those of one folder together, in order of their names.
            reading: How headers are read.
            on_progress: Called with phase, files done, files in all: first ``"walk"``, whose total
                is 0 until it is known, then ``"scan"`` for the headers to read.

        Raises:
            ArchiveError: The archive is missing or cannot be listed.
            StateError: The index is damaged, or no worker process could be started.
        """
        return update_index(self._connection, files, reading, on_progress)

    def instances(
        self,
        modalities: Collection[str] | None = None,
        *,
        sop_classes: Collection[str] | None = None,
    ) -> Iterator[Instance]:
        """Yields the readable instances in order of their folders and names.

        Args:
            modalities: Only of these, in capitals.
            sop_classes: Only of these UIDs.
        """
        conditions = {"modality": modalities, "sop_class_uid": sop_classes}
        where, values = ["header.id IS NOT NULL"], []
        for column, wanted in conditions.items():
            if wanted is not None:
                where.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += sorted(wanted)
        select = f"SELECT {_COLUMNS} FROM {_FILES} WHERE {' AND '.join(where)}"  # noqa: S608
        order = "ORDER BY folder.path, file.name"
        yield from map(_instance, self._connection.execute(f"{select} {order}", values))

    def imaging_studies(self, modalities: Collection[str]) -> Iterator[list[Instance]]:
        """Yields the readable instances of ``modalities``, imaging study by imaging study.

        Those of one imaging study come in order of their folders and names.
        """
        marks = ", ".join("?" * len(modalities))
        select = f"SELECT {_COLUMNS} FROM {_FILES} WHERE modality IN ({marks})"  # noqa: S608
        order = "ORDER BY study_uid, folder.path, file.name"
        rows = self._connection.execute(f"{select} {order}", sorted(modalities))
        for _, group in groupby(map(_instance, rows), key=lambda i: i.header.study_uid):
            yield list(group)

    def kinds(self) -> dict[tuple[str, str], int]:
        """Number of readable instances by modality and SOP class UID."""
        select = "SELECT modality, sop_class_uid, count(*) FROM header GROUP BY 1, 2"
        rows = self._connection.execute(select)
        return {(modality, sop_class): count for modality, sop_class, count in rows}

    def find(self, path: bytes) -> Instance | Reason | None:
        """Looks up one file: what its header says, or why it is refused; None if unknown."""
        select = f"SELECT {_COLUMNS} FROM {_FILES} WHERE folder.path = ? AND file.name = ?"  # noqa: S608
        row = self._connection.execute(select, split_path(path)).fetchone()
        if row is None:
            return None
        if row[5] is not None:
            return Reason(row[5])
        return None if row[6] is None else _instance(row)

    def count(self) -> int:
        """Number of files, whatever they are."""
        (count,) = self._connection.execute("SELECT count(*) FROM file").fetchone()
        return int(count)

    def refused(self) -> dict[Reason, int]:
        """Number of files by the reason for which their header is not in the index."""
        select = "SELECT reason, count(*) FROM file WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 1"
        return {Reason(code): count for code, count in self._connection.execute(select)}

    def refused_paths(self, reason: Reason, limit: int = -1) -> Iterator[bytes]:
        """Yields the paths refused for one reason, at most ``limit`` where that is given."""
        files = "SELECT path, name FROM file JOIN folder ON folder.id = folder"
        select = f"{files} WHERE reason = ? ORDER BY path, name LIMIT ?"
        for folder, name in self._connection.execute(select, (reason.value, limit)):
            yield join_path(folder, name)

    def shared_accessions(self) -> frozenset[str]:
        """AccessionNumbers that several imaging studies have."""
        studies = "SELECT DISTINCT accession, study_uid FROM header WHERE accession != ''"
        return self._repeated("accession", studies)

    def studies_with_many_patients(self) -> frozenset[str]:
        """StudyInstanceUIDs whose instances name several patients."""
        patients = "SELECT DISTINCT study_uid, patient_id, issuer FROM header"
        return self._repeated("study_uid", patients)

    def issuers(self) -> dict[str, str]:
        """Whose PatientIDs stand both alone and with one IssuerOfPatientID: ID to issuer.

        The same device may name the issuer or not, and the patient is one.
        """
        one = f"{_WITH_AND_WITHOUT_ISSUER} AND min(nullif(issuer, '')) = max(issuer)"
        return dict(self._connection.execute(one).fetchall())

    def ambiguous_patients(self) -> frozenset[str]:
        """PatientIDs that stand alone and with several issuers: nobody knows whose they are."""
        several = f"{_WITH_AND_WITHOUT_ISSUER} AND min(nullif(issuer, '')) < max(issuer)"
        return frozenset(patient for patient, _ in self._connection.execute(several))

    def disputed_uids(self) -> frozenset[str]:
        """SOPInstanceUIDs of which several files have different headers."""
        several = "SELECT sop_instance_uid FROM header GROUP BY 1 HAVING count(*) > 1"
        facts = f"SELECT DISTINCT {', '.join(_FACTS)} FROM header"  # noqa: S608  (our own names)
        copies = f"{facts} WHERE sop_instance_uid IN ({several})"
        return self._repeated("sop_instance_uid", copies)

    def _repeated(self, column: str, rows: str) -> frozenset[str]:
        """Values of a column that several of ``rows`` have."""
        select = f"SELECT {column} FROM ({rows}) GROUP BY 1 HAVING count(*) > 1"  # noqa: S608
        return frozenset(text for (text,) in self._connection.execute(select))


@contextmanager
def open_index(path: Path, *, archive: bytes | None = None) -> Iterator[ArchiveIndex]:
    """Opens the index for this process alone.

    Args:
        path: The database, made if absent.
        archive: Name of the archive it has to be of, such as a folder's absolute path or a PACS's
            address; an index of another one is emptied, for equal paths mean nothing there.

    Raises:
        StateError: The index is damaged or in use by another process.
    """
    with open_database(path, schema.VERSION, schema.TABLES) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")  # a lost scan is made again
        if archive is not None:
            _forget_other_archive(connection, archive)
        yield ArchiveIndex(connection)


def read_folder(root: Path, *, processes: int, limits: Limits) -> HeaderReading:
    """How the headers of a folder archive are read."""
    read = partial(read_below, os.fsencode(root))
    return HeaderReading(read=read, processes=processes, limits=limits)


def _forget_other_archive(connection: sqlite3.Connection, archive: bytes) -> None:
    if connection.execute("SELECT archive FROM source").fetchone() == (archive,):
        return
    for table in ("source", "folder", "file", "header", "pending"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  (our own names)
    connection.execute("INSERT INTO source VALUES (?)", (archive,))
    connection.commit()


def _instance(row: tuple[Any, ...]) -> Instance:
    folder, name, size_bytes, mtime_ns, inode, _, _, *values = row
    file = ArchiveFile(join_path(folder, name), size_bytes, mtime_ns, inode)
    return Instance(file, Header._make(values))
