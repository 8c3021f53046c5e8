from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

from wardround_client.archive.files import ArchiveFile
from wardround_client.cohort import (
    Disputes,
    exclusion,
    exclusion_of_kind,
    resolve_copies,
    select_cohort,
)
from wardround_client.index.header import Header, Instance
from wardround_client.quarantine import Reason
from wardround_common.intake_plan import CohortRule

EMPTY = Header._make("" for _ in Header._fields)
CHEST = EMPTY._replace(
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
    kernel="B30",
)
NOTHING = Disputes(instances=frozenset(), studies=frozenset())
RULE = CohortRule(body_parts=("chest",), views=("PA", "AP"))


def _instance(path: str, **changes: Any) -> Instance:
    file = ArchiveFile(path=path.encode(), size_bytes=1, mtime_ns=1)
    return Instance(file=file, header=CHEST._replace(**changes))


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
        ({"burned_in": "NO\\YES"}, Reason.BURNED_IN),
        ({"burned_in": "MAYBE"}, Reason.BURNED_IN),
        ({"burned_in": ""}, None),
    ],
)
def test_the_rule_selects_or_names_its_reason(
    changes: dict[str, str], reason: Reason | None
) -> None:
    assert exclusion(CHEST._replace(**changes), RULE) == reason


def test_a_class_that_is_no_uid_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = exclusion(CHEST._replace(sop_class_uid="MRNPHI000001" * 9), RULE)
    assert found == Reason.NOT_AN_IMAGE
    assert not caplog.records


def test_a_study_may_ask_for_kernels() -> None:
    assert exclusion(CHEST, CohortRule(modalities=("CR",), kernels=("b30",))) is None
    other = CohortRule(modalities=("CR",), kernels=("B70",))
    assert exclusion(CHEST, other) == Reason.OTHER_KERNEL
    frames = CHEST._replace(sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1", kernel="")
    assert exclusion(frames, other) is None
    assert exclusion(frames._replace(kernel="B30"), other) == Reason.OTHER_KERNEL


@pytest.mark.parametrize("sop_class", ["1.1", "7", "66.4", "88.11"])
def test_what_no_study_of_a_modality_takes_has_the_reason_it_would_have_alone(
    sop_class: str,
) -> None:
    uid = f"1.2.840.10008.5.1.4.1.1.{sop_class}"
    alone = exclusion(CHEST._replace(modality="CT", sop_class_uid=uid), RULE)
    assert exclusion_of_kind("CT", uid, RULE) == alone


def test_what_the_whole_archive_disputes_is_refused() -> None:
    images = [_instance("1"), _instance("2", sop_instance_uid="2")]
    images.append(_instance("3", sop_instance_uid="3", study_uid="t"))
    disputes = Disputes(instances={"1"}, studies={"t"})
    cohort, refused = select_cohort(images, RULE, disputes)
    assert [i.path for i in cohort] == [b"2"]
    assert refused == {b"1": Reason.DUPLICATE_CONFLICT, b"3": Reason.MIXED_PATIENTS}


def test_a_number_of_several_issuers_is_nobodys_without_one() -> None:
    images = [_instance("1", issuer=""), _instance("2", sop_instance_uid="2")]
    disputes = Disputes(instances=frozenset(), studies=frozenset(), patients={"p"})
    cohort, refused = select_cohort(images, RULE, disputes)
    assert [i.path for i in cohort] == [b"2"]
    assert refused == {b"1": Reason.MIXED_PATIENTS}


def test_an_image_without_patient_is_refused() -> None:
    refused = select_cohort([_instance("1", patient_id="")], RULE, NOTHING)[1]
    assert refused == {b"1": Reason.NO_PATIENT}


def test_equal_copies_leave_one_and_unequal_ones_none() -> None:
    found = resolve_copies(
        {b"2": ("a", "x"), b"1": ("a", "x"), b"3": ("b", "x"), b"4": ("b", "y"), b"5": ("c", "x")}
    )
    conflict = Reason.DUPLICATE_CONFLICT
    assert found == {b"2": Reason.DUPLICATE_COPY, b"3": conflict, b"4": conflict}
