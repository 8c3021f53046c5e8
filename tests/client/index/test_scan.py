from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from wardround_client.index import scan as index
from wardround_client.index.scan import scan_archive
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database
from wardround_common.errors import StateError


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths whose headers were read."""
    paths: list[Path] = []
    read = index.read_header
    monkeypatch.setattr(index, "read_header", lambda path: (paths.append(path), read(path))[1])
    return paths


def test_only_new_and_changed_files_are_opened_again(hospital: Any, opened: list[Path]) -> None:
    hospital.fill(3)
    database = hospital.config.workspace / "index.sqlite"
    first = scan_archive(hospital.archive, database)
    assert len(opened) == len(first.instances) == 3
    assert scan_archive(hospital.archive, database) == first
    assert len(opened) == 3
    changed = hospital.add(1, PatientID="OTHER")
    os.utime(changed, ns=(1, 1))
    hospital.add(7)
    (hospital.archive / "000002.dcm").unlink()
    again = scan_archive(hospital.archive, database)
    assert [i.header.patient_id for i in again.instances] == [
        "MRNPHI000000",
        "OTHER",
        "MRNPHI000007",
    ]
    assert len(opened) == 5


def test_a_file_that_cannot_be_read_stops_no_other(hospital: Any) -> None:
    hospital.fill(2)
    (hospital.archive / "notes.txt").write_text("hello")
    scan = scan_archive(hospital.archive, hospital.config.workspace / "index.sqlite")
    assert len(scan.instances) == 2
    assert scan.refused == {b"notes.txt": Reason.NOT_DICOM}


def test_equal_paths_of_another_archive_are_read_anew(hospital: Any, opened: list[Path]) -> None:
    hospital.fill(1)
    database = hospital.config.workspace / "index.sqlite"
    scan_archive(hospital.archive, database)
    moved = hospital.archive.rename(hospital.archive.with_name("moved"))
    scan_archive(moved, database)
    assert len(opened) == 2


def test_the_index_is_private(hospital: Any) -> None:
    hospital.fill(1)
    database = hospital.config.workspace / "index.sqlite"
    scan_archive(hospital.archive, database)
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_a_damaged_index_says_what_to_do(hospital: Any) -> None:
    database = hospital.fill(1).config.workspace / "index.sqlite"
    database.parent.mkdir()
    database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match="delete it"):
        scan_archive(hospital.archive, database)


def test_two_processes_never_write_one_index(hospital: Any) -> None:
    database = hospital.fill(1).config.workspace / "index.sqlite"
    with (
        open_database(database, 1, ()),
        pytest.raises(StateError, match="in use by another process"),
    ):
        scan_archive(hospital.archive, database)


def test_an_index_of_another_version_is_made_anew(hospital: Any) -> None:
    database = hospital.fill(1).config.workspace / "index.sqlite"
    with open_database(database, 99, ("CREATE TABLE old (a)",)):
        pass
    assert len(scan_archive(hospital.archive, database).instances) == 1
