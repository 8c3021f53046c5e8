from __future__ import annotations

import csv
import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import numpy as np
import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from wardround_common.errors import ConfigError
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.synthetic.hospital import Dirt, SyntheticHospital, TransferSyntax
from wardround_sim.synthetic.roster import build_roster, planted_identifiers

SYNTAXES = get_args(TransferSyntax)
HOSPITAL = SyntheticHospital(name="aurora_general", patients=3, rows=64, columns=64)
DIRT = Dirt(
    not_dicom=1,
    secondary_capture=2,
    truncated=1,
    altered_copy=1,
    missing_label=1,
    ambiguous_label=1,
)


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_equal_seeds_give_equal_bytes(tmp_path: Path, syntax: TransferSyntax) -> None:
    spec = dataclasses.replace(HOSPITAL, transfer_syntax=syntax, dirt=DIRT)
    write_hospital(spec, tmp_path / "one", seed=7)
    write_hospital(spec, tmp_path / "two", seed=7)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_another_seed_gives_other_patients(tmp_path: Path) -> None:
    write_hospital(HOSPITAL, tmp_path / "one", seed=7)
    write_hospital(HOSPITAL, tmp_path / "two", seed=8)
    shared = all_bytes(tmp_path / "one").keys() & all_bytes(tmp_path / "two").keys()
    assert shared == {"labels.csv", "truth.csv"}
    assert not planted_identifiers(HOSPITAL, seed=7) & planted_identifiers(HOSPITAL, seed=8) - {
        "Phantom Institution aurora_general"
    }


@pytest.mark.parametrize("bits", [8, 11, 16])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_holds_the_same_pixels(
    tmp_path: Path, syntax: TransferSyntax, bits: int
) -> None:
    plain = dataclasses.replace(HOSPITAL, patients=1, studies_per_patient_max=1, bits_stored=bits)
    write_hospital(plain, tmp_path / "plain", seed=1)
    other = dataclasses.replace(plain, transfer_syntax=syntax)
    write_hospital(other, tmp_path / "other", seed=1)
    (expected,) = (pydicom.dcmread(path) for path in (tmp_path / "plain").rglob("*.dcm"))
    (found,) = (pydicom.dcmread(path) for path in (tmp_path / "other").rglob("*.dcm"))
    assert found.SOPInstanceUID == expected.SOPInstanceUID
    assert found.file_meta.MediaStorageSOPInstanceUID == expected.SOPInstanceUID
    assert found.BitsStored == bits
    np.testing.assert_array_equal(found.pixel_array, expected.pixel_array)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_the_planted_identifiers_are_exactly_those_in_the_files(
    tmp_path: Path, modality: str
) -> None:
    spec = dataclasses.replace(HOSPITAL, modality=modality, dirt=Dirt(secondary_capture=2))
    written = write_hospital(spec, tmp_path / "site", seed=2)
    found: set[str] = set()
    for path in written.archive.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        found |= {str(dataset.PatientName), dataset.PatientID, dataset.IssuerOfPatientID}
        found |= {dataset.AccessionNumber, dataset.InstitutionName}
        found |= {element.value for element in dataset if element.tag in UID_TAGS}
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert found == planted_identifiers(spec, seed=2)
    assert all(len(text) >= 8 for text in found)


UID_TAGS = (0x00080018, 0x0020000D, 0x0020000E)


def test_uids_are_valid_and_unique() -> None:
    spec = dataclasses.replace(HOSPITAL, patients=40, studies_per_patient_max=3)
    studies = [study for patient in build_roster(spec, seed=1) for study in patient.studies]
    uids = [u for s in studies for u in (s.study_uid, s.series_uid, s.instance_uid)]
    assert len(set(uids)) == len(uids)
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)
    assert all(int(uid.removeprefix("2.25.")) < 1 << 128 for uid in uids)


def test_each_kind_of_dirt_is_in_the_archive_as_described(tmp_path: Path) -> None:
    spec = dataclasses.replace(HOSPITAL, dirt=DIRT)
    written = write_hospital(spec, tmp_path / "site", seed=4)
    roster = build_roster(spec, seed=4)
    folders = {
        study.fault: written.archive / patient.patient_id / study.accession_number
        for patient in roster
        for study in patient.studies
    }
    cut = pydicom.dcmread(folders["truncated"] / "IM0001.dcm")
    assert len(cut.PixelData) < 64 * 64 * 2
    first, second = (pydicom.dcmread(p) for p in sorted(folders["altered_copy"].iterdir()))
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert (first.pixel_array != second.pixel_array).any()
    (text,) = written.archive.rglob("IM0008.dcm")
    with pytest.raises(InvalidDicomError):
        pydicom.dcmread(text)
    captures = [pydicom.dcmread(path) for path in written.archive.rglob("IM0009.dcm")]
    assert [capture.Modality for capture in captures] == ["OT", "OT"]
    assert captures[0].pixel_array.shape == (96, 128)


def test_the_label_file_lacks_and_doubles_what_the_dirt_says(tmp_path: Path) -> None:
    spec = dataclasses.replace(HOSPITAL, dirt=DIRT)
    written = write_hospital(spec, tmp_path / "site", seed=4)
    lines = lines_of(written.labels)
    assert list(lines[0]) == ["StudyInstanceUID", "AccessionNumber", "label", "finding"]
    for patient in build_roster(spec, seed=4):
        for study in patient.studies:
            mine = [line for line in lines if line["StudyInstanceUID"] == study.study_uid]
            expected = {"missing_label": [], "ambiguous_label": ["0", "1"]}
            truth = [str(int(study.abnormal))]
            assert [line["label"] for line in mine] == expected.get(study.fault, truth)
            assert all(line["AccessionNumber"] == study.accession_number for line in mine)


def test_the_truth_names_every_study_and_stays_right_where_labels_are_wrong(
    tmp_path: Path,
) -> None:
    spec = dataclasses.replace(HOSPITAL, patients=8, label_noise=0.5, dirt=DIRT)
    written = write_hospital(spec, tmp_path / "site", seed=4)
    lines = lines_of(written.truth)
    studies = [study for patient in build_roster(spec, seed=4) for study in patient.studies]
    assert {line["SOPInstanceUID"] for line in lines} == {s.instance_uid for s in studies}
    assert len(studies) == written.studies
    for study in studies:
        mine = [line for line in lines if line["SOPInstanceUID"] == study.instance_uid]
        assert {line["label"] for line in mine} == {str(int(study.abnormal))}
        assert [bool(line["row_px"]) for line in mine] == [study.abnormal] * len(mine)
    labels = {line["StudyInstanceUID"]: line["label"] for line in lines_of(written.labels)}
    assert any(labels.get(line["StudyInstanceUID"]) != line["label"] for line in lines)


def test_a_folder_with_contents_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(ConfigError, match="expected a new or empty one"):
        write_hospital(HOSPITAL, tmp_path, seed=1)
    assert all_bytes(tmp_path) == {"kept.txt": b"kept"}


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        write_hospital(HOSPITAL, tmp_path / "file" / "site", seed=1)
    assert "SYN" not in str(caught.value)


def test_progress_counts_every_study(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    written = write_hospital(
        HOSPITAL, tmp_path / "site", seed=1, on_progress=lambda *step: seen.append(step)
    )
    n = written.studies
    assert seen == [("aurora_general", done, n) for done in range(1, n + 1)]


@pytest.mark.parametrize("modality", ["CR", "DX"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dciodvfy_finds_no_error(tmp_path: Path, modality: str, photometric: str) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    spec = dataclasses.replace(
        HOSPITAL,
        modality=modality,
        photometric=photometric,
        patients=1,
        studies_per_patient_max=1,
        dirt=Dirt(secondary_capture=1),
    )
    written = write_hospital(spec, tmp_path / "site", seed=1)
    for path in written.archive.rglob("*.dcm"):
        result = subprocess.run(  # noqa: S603  # the path is ours
            [program, "-new", str(path)], capture_output=True, text=True, check=False
        )
        assert "Error" not in result.stderr + result.stdout
        assert "Image" in result.stderr + result.stdout
