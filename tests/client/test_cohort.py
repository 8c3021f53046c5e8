from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from wardround_client.archive.folder import ArchiveFile
from wardround_client.cohort import exclusion, resolve_copies, select_cohort, shared_accessions
from wardround_client.index.headers import Header
from wardround_client.index.scan import Instance
from wardround_client.quarantine import Reason
from wardround_common.intake_plan import CohortRule

CHEST = Header(
    sop_instance_uid="1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    study_uid="s",
    accession="a",
    patient_id="p",
    issuer="i",
    modality="CR",
    body_part="CHEST",
    view="PA",
    image_type="ORIGINAL\\PRIMARY",
    intent="FOR PRESENTATION",
    burned_in="NO",
    manufacturer="m",
    sex="",
    age_years=None,
)
RULE = CohortRule(body_parts=("chest",), views=("PA", "AP"))


def _instance(path: str, **changes: Any) -> Instance:
    file = ArchiveFile(path=path.encode(), size_bytes=1, mtime_ns=1)
    return Instance(file=file, header=dataclasses.replace(CHEST, **changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, Reason.SECONDARY_CAPTURE),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7.2"}, Reason.SECONDARY_CAPTURE),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4"}, Reason.NOT_AN_IMAGE),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.11"}, Reason.NOT_AN_IMAGE),
        ({"sop_class_uid": "1.2.3.4"}, Reason.NOT_AN_IMAGE),
        ({"modality": "CT"}, Reason.OTHER_MODALITY),
        ({"body_part": ""}, Reason.OTHER_BODY_PART),
        ({"view": "LL"}, Reason.OTHER_VIEW),
        ({"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER"}, Reason.IMAGE_TYPE),
        ({"image_type": "DERIVED\\SECONDARY"}, Reason.IMAGE_TYPE),
        ({"image_type": "ORIGINAL\\PRIMARY\\NOLOCALIZERS"}, None),
        ({"intent": "FOR PROCESSING"}, Reason.FOR_PROCESSING),
        ({"burned_in": "YES"}, Reason.BURNED_IN),
    ],
)
def test_the_rule_selects_or_names_its_reason(
    changes: dict[str, str], reason: Reason | None
) -> None:
    assert exclusion(dataclasses.replace(CHEST, **changes), RULE) == reason


def test_copies_that_differ_in_their_headers_are_all_refused() -> None:
    copies = [_instance("1"), _instance("2", patient_id="q"), _instance("3", sop_instance_uid="3")]
    copies[2] = _instance("3", sop_instance_uid="3", study_uid="t")
    cohort, refused = select_cohort(copies, RULE)
    assert [i.path for i in cohort] == [b"3"]
    assert refused == {b"1": Reason.DUPLICATE_CONFLICT, b"2": Reason.DUPLICATE_CONFLICT}


def test_an_imaging_study_of_two_patients_is_refused() -> None:
    two = [_instance("1"), _instance("2", sop_instance_uid="2", issuer="j")]
    assert set(select_cohort(two, RULE)[1].values()) == {Reason.MIXED_PATIENTS}


def test_an_image_without_patient_is_refused() -> None:
    assert select_cohort([_instance("1", patient_id="")], RULE)[1] == {b"1": Reason.NO_PATIENT}


def test_equal_copies_leave_one_and_unequal_ones_none() -> None:
    found = resolve_copies(
        {b"2": ("a", "x"), b"1": ("a", "x"), b"3": ("b", "x"), b"4": ("b", "y"), b"5": ("c", "x")}
    )
    conflict = Reason.DUPLICATE_CONFLICT
    assert found == {b"2": Reason.DUPLICATE_COPY, b"3": conflict, b"4": conflict}


def test_an_accession_number_of_two_imaging_studies_is_shared() -> None:
    shared = shared_accessions(
        [
            _instance("1"),
            _instance("2", study_uid="t"),
            _instance("3", study_uid="t", accession="b"),
        ]
    )
    assert shared == {"a"}
