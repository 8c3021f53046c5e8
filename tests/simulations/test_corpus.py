from __future__ import annotations

from pathlib import Path

import pytest

from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Irregular
from wardround_sim.traps.corpus import Found, error_mm, read_corpus
from wardround_sim.traps.outcome import GOAL_MM, plan_folder, read_instances

EXPECTED = {
    "ct_geometry/philips_axial_28": "28 slices; dicomdir 1",
    "ct_geometry/philips_localizer": "dicomdir 1; image-type 1",
    "ct_geometry/philips_exam_summary": "dicomdir 1; secondary-capture 6",
    "highdicom": "not-a-volume 24; not-dicom 1; too-few-slices 1",
    "panimg/dicom_2d": "not-a-volume 1",
    # Their SOPClassUID is none of DICOM's.
    "panimg/dicom_4d": "not-a-volume 76",
    "panimg/dicom_4d_enhanced": "secondary-capture 19",
    # One slice and a secondary capture of all slices have the same SOPInstanceUID.
    "panimg/dicom_enhanced": "duplicate-conflict 2; missing-slice 6",
}
TILTED = "ct_geometry/ge_tilt_variable_spacing"
POLICIES: dict[Irregular, str] = {
    "refuse": "uneven-spacing 28",
    "resample": "28 slices; tilted, uneven",
}


@pytest.mark.parametrize("irregular", POLICIES)
def test_real_series_lie_where_their_files_say_or_are_refused(
    irregular: Irregular, shared_data: Path
) -> None:
    corpus = shared_data / "dicom_corpus"
    found: dict[str, Found] = {one.folder: one for one in read_corpus(corpus, irregular=irregular)}
    expected = EXPECTED | {TILTED: POLICIES[irregular]}
    assert {folder: found[folder].text for folder in expected} == expected
    assert all(one.error_mm <= GOAL_MM for one in found.values())


def test_a_foreign_copy_of_one_slice_is_what_spoils_the_series(shared_data: Path) -> None:
    folder = shared_data / "dicom_corpus" / "panimg" / "dicom_enhanced"
    instances, refused = read_instances(folder, sorted(folder.glob("slice*")))
    planned, open_file = plan_folder(folder, instances, irregular="refuse")
    assert not refused
    assert not planned.refused
    (plan,) = planned.volumes
    assert len(plan.slices) == 7
    assert error_mm(plan, open_file) <= GOAL_MM


def test_a_localizer_beside_its_series_changes_nothing(shared_data: Path) -> None:
    folder = shared_data / "dicom_corpus" / "ct_geometry"
    names = ("philips_axial_28", "philips_localizer", "philips_exam_summary")
    files = [path for name in names for path in sorted((folder / name).glob("I*"))]
    instances, _ = read_instances(folder, files)
    merged = [
        instance._replace(header=instance.header._replace(series_uid="2.25.1"))
        for instance in instances
    ]
    planned, _ = plan_folder(folder, merged, irregular="refuse")
    assert [len(plan.slices) for plan in planned.volumes] == [28]
    assert set(planned.refused.values()) == {Reason.IMAGE_TYPE, Reason.SECONDARY_CAPTURE}
