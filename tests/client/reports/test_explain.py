"""One file explained: each step in words, the reason where it ends, nothing of the patient."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.client.index.desk import Scan, scan_archive

from wardround_client.archive.folder_source import FolderSource
from wardround_client.cohort import Disputes
from wardround_client.index.header import Instance
from wardround_client.labels.table import TableLabels, read_labels
from wardround_client.quarantine import Reason
from wardround_client.reports.explain import Surroundings, explain, read_start
from wardround_client.reports.explain_study import StudyRules
from wardround_client.reports.explanation import Explanation
from wardround_client.reports.frames import read_all_frames
from wardround_client.reports.pixel_words import describe_pixels
from wardround_common.errors import ArchiveError
from wardround_common.intake_plan import CohortRule, Preprocessing, VolumePreprocessing
from wardround_common.site_config import Intake
from wardround_common.study import Study

NewSeries = Callable[..., list[Path]]
NewStudy = Callable[..., Study]
UNGUARDED = Intake(processes=0)


def _scan(hospital: Any) -> Scan:
    return scan_archive(hospital.archive, hospital.config.workspace / "index.sqlite")


def _explain(hospital: Any, path: Path, study: Study | None = None) -> Explanation:
    instances = _scan(hospital).instances

    def series_of(uid: str) -> Sequence[Instance]:
        return [i for i in instances if i.header.series_uid == uid]

    rules = None
    if study is not None:
        table = read_labels(hospital.config.labels, "label")
        labels = TableLabels(table=table, classes=2, shared=frozenset())
        disputes = Disputes(instances=frozenset(), studies=frozenset())
        rules = StudyRules(study=study, disputes=disputes, labels=labels)
    around = Surroundings(
        series_of=series_of,
        read_start=read_start,
        frames_of=partial(read_all_frames, FolderSource(hospital.archive), UNGUARDED),
        describe_pixels=describe_pixels,
        rules=rules,
    )
    return explain(path, around)


def _said(found: Explanation, step: str) -> str:
    return "\n".join(dict(found.steps).get(step, []))


def _volume_study(new_study: NewStudy, **volume: Any) -> Study:
    plan = VolumePreprocessing(shape=(8, 16, 16), **volume)
    return new_study(
        cohort=CohortRule(modalities=("CT",)), preprocessing=Preprocessing(volume=plan)
    )


def test_a_good_image_is_followed_to_its_label(hospital: Any, new_study: NewStudy) -> None:
    path = hospital.add(3, 1)
    found = _explain(hospital.write_labels(), path, new_study())
    assert found.reason is None
    assert [step for step, _ in found.steps] == ["file", "kind", "pixels", "study"]
    assert "preamble and DICM prefix: there" in _said(found, "file")
    assert "header read by the fast reader" in _said(found, "file")
    assert "Computed Radiography Image Storage" in _said(found, "kind")
    assert "40 x 32 pixels, 12 of 16 bits, unsigned" in _said(found, "pixels")
    assert "label 1, abnormal" in _said(found, "study")


def test_uids_that_are_none_are_neither_named_nor_warned_of(hospital: Any) -> None:
    """Warnings are errors in these tests: pydicom's would quote the value."""
    path = hospital.add(1)
    content = path.read_bytes()
    for uid in (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.5.1.4.1.1.1\0"):
        assert uid in content
        path.write_bytes(content.replace(uid, b"1.2.DOE^JOHN".ljust(len(uid), b"\0")))
        assert "DOE" not in str(_explain(hospital, path).steps)
    assert "SOP class: private or unknown" in _said(_explain(hospital, path), "kind")


def test_an_object_without_image_is_not_decoded(hospital: Any) -> None:
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"}
    found = _explain(hospital, hospital.add(1, **report))
    assert [step for step, _ in found.steps] == ["file", "kind"]


def test_a_file_without_preamble_is_read_by_pydicom(hospital: Any) -> None:
    path = hospital.add(3)
    path.write_bytes(path.read_bytes()[132:])
    found = _explain(hospital, path)
    assert "preamble and DICM prefix: missing" in _said(found, "file")
    assert "by pydicom" in _said(found, "file")
    assert found.reason is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", Reason.NOT_DICOM), (b"hello", Reason.NOT_DICOM), (None, Reason.NOT_REGULAR)],
)
def test_what_is_no_dicom_file_ends_at_the_first_step(
    hospital: Any, tmp_path: Path, content: bytes | None, reason: Reason
) -> None:
    path = tmp_path / "file"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    found = _explain(hospital, path)
    assert found.reason is reason
    assert [step for step, _ in found.steps] == ["file"]


def test_a_link_is_not_followed(hospital: Any, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(hospital.add(1))
    assert _explain(hospital, link).reason is Reason.NOT_REGULAR


def test_a_file_that_is_not_there_is_an_error_without_its_name(hospital: Any) -> None:
    with pytest.raises(ArchiveError, match="got no file there") as error:
        _explain(hospital, hospital.archive / "Phileak.dcm")
    assert "Phileak" not in str(error.value)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"}, Reason.NOT_AN_IMAGE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.SECONDARY_CAPTURE),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN),
        ({"PhotometricInterpretation": "RGB"}, Reason.COLOUR),
        ({"PixelData": b"12"}, Reason.TRUNCATED),
        ({"PixelData": bytes(2 * 40 * 32)}, Reason.CONSTANT),
        ({"SOPInstanceUID": None}, Reason.NO_IDENTITY),
    ],
)
def test_the_first_reason_against_a_file_is_its_verdict(
    hospital: Any, elements: dict[str, Any], reason: Reason
) -> None:
    found = _explain(hospital, hospital.add(1, **elements))
    assert found.reason is reason
    assert f"set aside: {reason.value}" in str(found.steps)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ViewPosition": "LL"}, Reason.OTHER_VIEW),
        ({"Modality": "MG"}, Reason.OTHER_MODALITY),
        ({"PatientID": None}, Reason.NO_PATIENT),
        ({}, Reason.LABEL_MISSING),
    ],
)
def test_a_study_sets_aside_what_its_rules_do_not_take(
    hospital: Any, new_study: NewStudy, elements: dict[str, Any], reason: Reason
) -> None:
    path = hospital.add(1, **elements)
    study = new_study(cohort=CohortRule(views=("PA",)))
    assert _explain(hospital.write_labels(), path, study).reason is reason


def test_a_regular_volume_is_described(hospital: Any, new_series: NewSeries) -> None:
    found = _explain(hospital, new_series([0, 2.5, 5, 7.5])[1])
    said = _said(found, "place and volume")
    assert found.reason is None
    assert "first voxel at 0.00, 0.00, 2.50 mm" in said
    assert "distance of neighbours: median 2.500 mm, 2.500 to 2.500 mm" in said
    assert "belongs to a regular volume" in said
    assert "4 slices of 40 x 32 pixels" in said


def test_the_place_of_a_gap_is_named(hospital: Any, new_series: NewSeries) -> None:
    found = _explain(hospital, new_series([0, 5, 10, 20, 25, 30])[0])
    said = _said(found, "place and volume")
    assert "gap of 10.000 mm after slice 3" in said
    assert "refuses it: missing-slice" in said


def test_a_tilt_is_measured(hospital: Any, new_series: NewSeries) -> None:
    paths = new_series([0, 5, 10, 15], tilt=0.36397)  # tangent of 20 degrees
    said = _said(_explain(hospital, paths[2]), "place and volume")
    assert "by a tilt of 20.0 degrees" in said
    assert "refuses it: tilted" in said


def test_slices_at_one_place_are_counted(hospital: Any, new_series: NewSeries) -> None:
    said = _said(_explain(hospital, new_series([0, 5, 5, 10, 15])[0]), "place and volume")
    assert "1 lie where another one lies" in said


@pytest.mark.parametrize(
    ("irregular", "reason"),
    [("refuse", Reason.UNEVEN_SPACING), ("resample", Reason.LABEL_MISSING)],
)
def test_the_study_decides_on_an_irregular_volume(
    hospital: Any, new_series: NewSeries, new_study: NewStudy, irregular: str, reason: Reason
) -> None:
    path = new_series([0, 5, 10, 17, 22])[0]
    study = _volume_study(new_study, irregular=irregular)
    found = _explain(hospital.write_labels(), path, study)
    assert found.reason is reason


def test_a_series_outside_the_index_is_explained_by_its_file_alone(
    hospital: Any, new_series: NewSeries, tmp_path: Path
) -> None:
    path = new_series([0, 5, 10])[0].rename(tmp_path / "elsewhere.dcm")
    for other in hospital.archive.rglob("*.dcm"):
        other.unlink()
    found = _explain(hospital, path)
    assert "its series is not in the index" in _said(found, "place and volume")
    assert found.reason is None


def test_a_file_that_the_index_lacks_is_explained_beside_its_series(
    hospital: Any, tmp_path: Path
) -> None:
    enhanced = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1", "Modality": "CT"}
    series = enhanced | {"SeriesInstanceUID": "2.25.77"}
    path = hospital.add(1, **series).rename(tmp_path / "unknown.dcm")
    hospital.add(2, **series)
    said = _said(_explain(hospital, path), "place and volume")
    assert "1 instances in the index" in said


def test_every_file_of_the_corpus_is_explained(shared_data: Path, tmp_path: Path) -> None:
    corpus = shared_data / "dicom_corpus"
    scan = scan_archive(corpus, tmp_path / "index.sqlite")
    around = Surroundings(
        series_of=lambda uid: [i for i in scan.instances if i.header.series_uid == uid],
        read_start=read_start,
        frames_of=partial(read_all_frames, FolderSource(corpus), UNGUARDED),
        describe_pixels=describe_pixels,
    )
    readable = {i.path for i in scan.instances}
    for path in sorted(corpus.rglob("*.dcm")):
        found = explain(path, around)
        name = os.fsencode(path.relative_to(corpus))
        assert found.steps
        if name not in readable:
            assert found.reason is scan.refused[name]
