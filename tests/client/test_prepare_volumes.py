"""Volumes and labels of the archive on their whole way: files, volume, label, cache, examples."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from tests.client.labels.objects import LESION, ct_series, segmentation
from tests.client.labels.test_reports import finding, references, report

from wardround_client import intake
from wardround_client.examples import open_examples, read_example_facts
from wardround_client.prepare import prepare_site
from wardround_client.quarantine import Reason
from wardround_common.errors import ConfigError
from wardround_common.intake_plan import (
    CohortRule,
    LabelRule,
    Preprocessing,
    VolumePreprocessing,
)
from wardround_common.site_config import DicomWeb, Intake, SiteConfig
from wardround_common.study import Study
from wardround_sim.traps import enhanced

NewStudy = Callable[..., Study]
GRID = VolumePreprocessing(spacing_mm=(2.5, 1, 1), shape=(8, 8, 8), window=(-1000, 1000))
SHAPE = (6, 8, 8)


class Scans:
    """An archive of CT series with a label file."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self.archive.mkdir(parents=True)
        self.rows = ["StudyInstanceUID,label"]
        self.config = SiteConfig(
            site="hospital",
            archive=self.archive,
            labels=folder / "labels.csv",
            workspace=folder / "workspace",
            intake=Intake(processes=0),
        )

    def add(self, number: int, *, series: str = "", **options: Any) -> list[Dataset]:
        """Writes the CT series of patient ``number`` and its row."""
        uid = series or f"2.25.1{number:04}"
        slices = ct_series(SHAPE, series=uid, **options)
        generator = np.random.default_rng(number)
        for place, one in enumerate(slices):
            one.StudyInstanceUID = f"2.25.2{number:04}"
            one.PatientID = f"MRNPHI{number:04}"
            one.RescaleSlope, one.RescaleIntercept = "1", "0"
            pixels = generator.integers(-1000, 1000, SHAPE[1:], dtype=np.int16)
            one.PixelData = pixels.tobytes()
            one["PixelData"].VR = "OW"
            self.write(one, f"{uid}-{place}")
        self.rows.append(f"2.25.2{number:04},{number % 2}")
        return slices

    def write(self, dataset: Dataset, name: str) -> Path:
        path = self.archive / f"{name}.dcm"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)
        return path

    def fill(self, count: int) -> Scans:
        for number in range(count):
            self.add(number)
        return self.write_labels()

    def write_labels(self) -> Scans:
        assert self.config.labels is not None
        self.config.labels.write_text("\n".join(self.rows) + "\n", encoding="utf-8")
        return self


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    return Scans(tmp_path / "hospital")


@pytest.fixture
def ct_study(new_study: NewStudy) -> NewStudy:
    """Makes a study of CT volumes; keyword arguments replace parts of its cohort rule."""

    def make(grid: VolumePreprocessing = GRID, **rule: Any) -> Study:
        cohort = CohortRule(**({"modalities": ("CT",)} | rule))
        return new_study(cohort=cohort, preprocessing=Preprocessing(volume=grid))

    return make


def test_every_labelled_volume_becomes_an_example(scans: Scans, ct_study: NewStudy) -> None:
    report = prepare_site(scans.fill(6).config, ct_study())
    assert (report.found, report.cohort, report.labelled, report.used) == (36, 36, 36, 36)
    assert (report.usable, report.studies, report.patients, report.refused) == (6, 6, 6, {})
    examples = open_examples(scans.config, ct_study())
    assert examples.gather(np.arange(6)).shape == (6, 1, 8, 8, 8)
    assert examples.labels.tolist() == [0, 1, 0, 1, 0, 1]
    facts = read_example_facts(scans.config, ct_study())
    assert {fact.slice_spacing_mm for fact in facts} == {2.5}
    assert {fact.slice_thickness for fact in facts} == {"1.0"}


def test_a_volume_is_decoded_again_only_if_one_of_its_files_changed(
    scans: Scans, ct_study: NewStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    decode = intake.decode_volume
    monkeypatch.setattr(
        intake, "decode_volume", lambda plan, *rest: decoded.append(plan.key) or decode(plan, *rest)
    )
    first = prepare_site(scans.fill(3).config, ct_study())
    assert len(decoded) == 3
    (scans.archive / "sub").mkdir()
    moved = scans.archive / "2.25.10001-0.dcm"
    moved.rename(scans.archive / "sub" / "another name")
    assert prepare_site(scans.config, ct_study()) == first
    assert len(decoded) == 3
    os.utime(scans.archive / "2.25.10002-3.dcm", ns=(5, 5))
    assert prepare_site(scans.config, ct_study()) == first
    assert len(decoded) == 4
    assert "2.25.10002" in decoded[3]


def test_a_slice_that_cannot_be_read_refuses_its_volume_alone(
    scans: Scans, ct_study: NewStudy
) -> None:
    scans.fill(4)
    path = scans.archive / "2.25.10002-3.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    report = prepare_site(scans.config, ct_study())
    assert report.usable == 3
    assert report.refused == {"truncated": 6}
    assert report.refused_volumes == {"truncated": 1}
    assert report.found == report.used + sum(report.refused.values())


def test_an_instance_of_several_volumes_is_used_if_one_of_them_is(
    scans: Scans, ct_study: NewStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = next(
        case for case in enhanced.CASES if case.name == "enhanced MR, two echoes interleaved"
    )
    trap.make(scans.archive, 0)
    scans.rows.append("2.25.900,1")
    config = scans.write_labels().config
    whole = prepare_site(config, ct_study(modalities=("MR",)))
    assert (whole.usable, whole.used, whole.refused) == (2, 1, {})
    decode, plans = intake.decode_volume, []

    def only_one(plan: Any, *rest: Any) -> Any:
        plans.append(plan)
        return Reason.CONSTANT if len(plans) == 1 else decode(plan, *rest)

    monkeypatch.setattr(intake, "decode_volume", only_one)
    other = replace(config, workspace=config.workspace / "other")
    part = prepare_site(other, ct_study(modalities=("MR",)))
    assert (part.usable, part.used, part.refused) == (1, 1, {})
    assert part.refused_volumes == {"constant-image": 1}


def test_a_study_says_how_many_slices_at_which_distance(scans: Scans, ct_study: NewStudy) -> None:
    scans.fill(2)
    scans.add(7, spacing_mm=(5, 1, 1))
    scans.write_labels()
    assert prepare_site(scans.config, ct_study(slice_spacing_mm=(1, 3))).refused == {
        "other-spacing": 6
    }
    for path in scans.archive.glob("2.25.10001-*"):
        if path.name.endswith(("-4.dcm", "-5.dcm")):
            path.unlink()
    assert prepare_site(scans.config, ct_study(minimum_slices=5)).refused == {"too-few-slices": 4}


def test_a_report_counts_how_volumes_were_read(scans: Scans, ct_study: NewStudy) -> None:
    scans.fill(2)
    for place, path in enumerate(sorted(scans.archive.glob("2.25.10001-*"))):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = ["10", str(10 + 0.5 * place), str(10 + 2.5 * place)]
        dataset.save_as(path)
    refused = prepare_site(scans.config, ct_study())
    assert (refused.usable, refused.refused) == (1, {"tilted": 6})
    resampled = prepare_site(scans.config, ct_study(replace(GRID, irregular="resample")))
    assert (resampled.usable, resampled.refused) == (2, {})
    assert resampled.flags == {"tilted": 1}


def test_labels_come_from_structured_reports(scans: Scans, ct_study: NewStudy) -> None:
    codes = ("17621005|SCT", "233604007|SCT")
    for number in range(4):
        slices = scans.add(number)
        evidence = references(slices[0].StudyInstanceUID, *(s.SOPInstanceUID for s in slices))
        document = report(
            finding(codes[number % 2]),
            uid=f"2.25.9{number}",
            StudyInstanceUID=slices[0].StudyInstanceUID,
            PatientID=slices[0].PatientID,
            CurrentRequestedProcedureEvidenceSequence=[evidence],
        )
        document.Modality = "SR"
        scans.write(document, f"report{number}")
    rule = LabelRule(source="sr", concept="121071|DCM", values=((codes[0],), (codes[1],)))
    config = replace(scans.config, labels=None)
    found = prepare_site(config, ct_study(labels=rule))
    assert (found.usable, found.label_entries, found.label_entries_unused) == (4, 4, 0)
    assert found.refused == {"not-an-image": 4}
    assert open_examples(config, ct_study(labels=rule)).labels.tolist() == [0, 1, 0, 1]


def test_labels_come_from_segmentations_of_the_very_slices(
    scans: Scans, ct_study: NewStudy
) -> None:
    for number in range(4):
        slices = scans.add(number)
        pixels = np.zeros(SHAPE, np.uint8)
        pixels[2:4, 1:5, 1:5] = number % 2
        mask = segmentation(slices, pixels, uid=f"2.25.8{number}", omit_empty_frames=False)
        scans.write(mask, f"mask{number}")
    broken = scans.archive / "mask3.dcm"
    broken.write_bytes(broken.read_bytes()[:-30])
    rule = LabelRule(source="seg", segments=(f"{LESION.value}|{LESION.scheme_designator}",))
    found = prepare_site(replace(scans.config, labels=None), ct_study(labels=rule))
    assert found.usable == 3
    assert open_examples(scans.config, ct_study(labels=rule)).labels.tolist() == [0, 1, 0]
    assert found.refused["not-an-image"] == 3
    assert found.found == found.used + sum(found.refused.values())
    assert sum(found.refused.values()) == 4 + 6


def test_a_pacs_is_not_asked_for_everything_there_is(tmp_path: Path, ct_study: NewStudy) -> None:
    rule = LabelRule(source="seg", segments=("1|S",))
    web = DicomWeb(url="http://127.0.0.1:1")
    config = SiteConfig(site="a", workspace=tmp_path / "w", dicomweb=web)
    with pytest.raises(ConfigError, match="studies_from"):
        prepare_site(config, ct_study(labels=rule))
    with pytest.raises(ConfigError, match="labels: got nothing"):
        prepare_site(config, ct_study())
    assert not (tmp_path / "w").exists()


def test_what_is_written_is_readable_by_its_owner_only(scans: Scans, ct_study: NewStudy) -> None:
    prepare_site(scans.fill(2).config, ct_study())
    (scans.archive / "2.25.10001-0.dcm").unlink()
    prepare_site(scans.config, ct_study())  # the cache becomes smaller: a new file
    for path in scans.config.workspace.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_a_volume_that_the_cohort_rule_took_a_slice_from_is_not_taken_for_whole(
    scans: Scans, ct_study: NewStudy
) -> None:
    scans.fill(2)
    path = scans.archive / "2.25.10001-5.dcm"
    top = pydicom.dcmread(path)
    top.BurnedInAnnotation = "YES"
    top.save_as(path)
    report = prepare_site(scans.config, ct_study())
    assert report.usable == 1
    assert report.refused == {"burned-in-annotation": 1, "missing-slice": 5}


@pytest.mark.parametrize("processes", [1, 2])
def test_worker_processes_give_the_same_examples(
    scans: Scans, ct_study: NewStudy, processes: int
) -> None:
    scans.fill(4)
    (scans.archive / "2.25.10002-3.dcm").write_bytes(b"no DICOM at all")
    here = prepare_site(scans.config, ct_study())
    before = open_examples(scans.config, ct_study()).gather(np.arange(3))
    workspace = scans.config.workspace / "other"
    guarded = replace(scans.config, workspace=workspace, intake=Intake(processes=processes))
    assert prepare_site(guarded, ct_study()) == here
    after = open_examples(guarded, ct_study()).gather(np.arange(3))
    assert np.array_equal(before, after)
