from __future__ import annotations

import os
import shutil
import stat
from typing import Any

import pydicom
import pytest
from pydicom.uid import RLELossless
from tests.client.index.desk import Desk

from wardround_client.index.header import Instance
from wardround_client.index.reader import read_below
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database
from wardround_common.errors import StateError


@pytest.fixture
def desk(hospital: Any) -> Desk:
    return Desk(hospital)


def test_one_file_is_looked_up_by_its_path(hospital: Any, desk: Desk) -> None:
    hospital.fill(2)
    (hospital.archive / "notes.txt").write_text("hello")
    desk.scan()
    with desk.index() as index:
        found = index.find(b"000001.dcm")
        assert isinstance(found, Instance)
        assert found.header == read_below(os.fsencode(hospital.archive), b"000001.dcm")
        assert found.file.size_bytes == (hospital.archive / "000001.dcm").stat().st_size
        assert index.find(b"notes.txt") is Reason.NOT_DICOM
        assert index.find(b"absent") is None
        assert index.count() == 3


def test_instances_come_by_modality_and_class(hospital: Any, desk: Desk) -> None:
    hospital.add(1, Modality="CT")
    hospital.add(2, Modality="MR")
    hospital.add(3, Modality="CR", SOPClassUID="1.2.3")
    desk.scan()

    def paths(*given: Any, **named: Any) -> list[bytes]:
        with desk.index() as index:
            return [instance.path for instance in index.instances(*given, **named)]

    assert paths(("CT", "MR")) == [b"000001.dcm", b"000002.dcm"]
    assert paths(("CT", "CR"), sop_classes=["1.2.3"]) == [b"000003.dcm"]
    assert paths([]) == []
    assert len(paths()) == 3


def test_instances_of_an_imaging_study_come_together_from_all_folders(
    hospital: Any, desk: Desk
) -> None:
    for number, study in enumerate(("2.25.7", "2.25.8", "2.25.7", "2.25.8", "2.25.9")):
        path = hospital.add(number, StudyInstanceUID=study, Modality="MR" if number == 4 else "CT")
        path.parent.joinpath(f"{number % 3}").mkdir(exist_ok=True)
        path.rename(path.parent / f"{number % 3}" / path.name)
    desk.scan()
    with desk.index() as index:
        found = [[i.path for i in study] for study in index.imaging_studies(["CT"])]
        kinds = index.kinds()
    assert found == [[b"0/000000.dcm", b"2/000002.dcm"], [b"0/000003.dcm", b"1/000001.dcm"]]
    assert {modality: count for (modality, _), count in kinds.items()} == {"CT": 4, "MR": 1}


def test_refused_files_are_counted_and_named(hospital: Any, desk: Desk) -> None:
    for name in "cab":
        (hospital.archive / name).write_text("hello")
    desk.scan()
    with desk.index() as index:
        assert index.refused() == {Reason.NOT_DICOM: 3}
        assert list(index.refused_paths(Reason.NOT_DICOM, 2)) == [b"a", b"b"]
        assert list(index.refused_paths(Reason.UNREADABLE)) == []


def test_contradictions_are_found_over_the_whole_archive(hospital: Any, desk: Desk) -> None:
    hospital.add(1, AccessionNumber="SHARED")
    hospital.add(2, AccessionNumber="SHARED")
    hospital.add(3, AccessionNumber="")
    hospital.add(4, AccessionNumber="")
    hospital.add(5, StudyInstanceUID="2.25.7", IssuerOfPatientID="A", PatientID="P")
    hospital.add(6, StudyInstanceUID="2.25.7", IssuerOfPatientID="B", PatientID="P")
    hospital.add(7, SOPInstanceUID="2.25.8", StudyInstanceUID="2.25.9", PatientID="P")
    again = hospital.add(8, SOPInstanceUID="2.25.8", StudyInstanceUID="2.25.9", PatientID="P")
    shutil.copy(hospital.add(9), hospital.archive / "copy")
    desk.scan()
    with desk.index() as index:
        assert index.shared_accessions() == {"SHARED"}
        assert index.studies_with_many_patients() == {"2.25.7"}
        assert index.disputed_uids() == {"2.25.8"}  # for their accession numbers differ
    again.unlink()
    desk.scan()
    with desk.index() as index:
        assert index.disputed_uids() == frozenset()


def test_the_issuer_of_a_patient_number_that_also_stands_alone_is_found(
    hospital: Any, desk: Desk
) -> None:
    named = [("ONE", ""), ("ONE", "A"), ("ONE", "A"), ("TWO", ""), ("TWO", "A"), ("TWO", "B")]
    named += [("APART", "A"), ("APART", "B"), ("ALONE", ""), ("ISSUED", "A"), ("", ""), ("", "A")]
    for number, (patient, issuer) in enumerate(named):
        hospital.add(number, PatientID=patient, IssuerOfPatientID=issuer)
    desk.scan()
    with desk.index() as index:
        assert index.issuers() == {"ONE": "A"}
        assert index.ambiguous_patients() == {"TWO"}


def test_equal_paths_of_another_archive_are_read_anew(hospital: Any) -> None:
    hospital.fill(1)
    desk = Desk(hospital)
    desk.scan()
    desk.archive = desk.archive.rename(desk.archive.with_name("moved"))
    assert desk.scan() == {"new": 1}
    assert len(desk.opened) == 1


def test_the_index_is_private(hospital: Any, desk: Desk) -> None:
    hospital.fill(1)
    desk.scan()
    with desk.index():
        for path in desk.database.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.database.parent.stat().st_mode) == 0o700


def test_a_damaged_index_says_what_to_do(desk: Desk) -> None:
    desk.database.parent.mkdir()
    desk.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match="delete it"):
        desk.scan()


def test_two_processes_never_write_one_index(desk: Desk) -> None:
    with (
        open_database(desk.database, 1, ()),
        pytest.raises(StateError, match="in use by another process"),
    ):
        desk.scan()


def test_an_index_of_another_version_is_made_anew(hospital: Any, desk: Desk) -> None:
    hospital.fill(1)
    with open_database(desk.database, 99, ("CREATE TABLE old (a)",)):
        pass
    assert desk.scan() == {"new": 1}


def test_copies_of_one_instance_may_be_compressed_in_different_ways(
    hospital: Any, desk: Desk
) -> None:
    path = hospital.add(1)
    other = pydicom.dcmread(path)
    other.compress(RLELossless, generate_instance_uid=False)
    other.save_as(hospital.archive / "copy.dcm")
    desk.scan()
    with desk.index() as index:
        assert {i.header.transfer_syntax for i in index.instances()} > {RLELossless}
        assert not index.disputed_uids()
