from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from highdicom.sr import CodedConcept
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from tests.client.labels.objects import COMPREHENSIVE, STUDY, instance

from wardround_client.index.header import Instance
from wardround_client.labels.reports import ReportLabel, ReportLabels, read_report_label
from wardround_client.labels.source import SeenSeries
from wardround_client.quarantine import Reason
from wardround_common.intake_plan import LabelRule

IMAGE, PRIOR = "1.2.3.9", "1.2.3.8"
OTHER = "1.2.5"
FINDING = LabelRule(
    source="sr", concept="121071|DCM", values=(("17621005|SCT",), ("233604007|SCT", "R-1|SRT"))
)
SIZE = LabelRule(source="sr", concept="103339001|SCT", unit="mm", positive_from=6.0)


def code(value: str, scheme: str, meaning: str = "meaning") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(kind: str, concept: str, *, relation: str = "CONTAINS", **elements: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    item.ConceptNameCodeSequence = [code(*concept.split("|"))]
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def finding(value: str = "233604007|SCT", **elements: Any) -> Dataset:
    return content("CODE", "121071|DCM", ConceptCodeSequence=[code(*value.split("|"))], **elements)


def size(number: str, unit: str = "mm", **elements: Any) -> Dataset:
    measured = Dataset()
    measured.NumericValue = number
    measured.MeasurementUnitsCodeSequence = [code(unit, "UCUM")]
    return content("NUM", "103339001|SCT", MeasuredValueSequence=[measured], **elements)


def image_item(uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = uid
    return content("IMAGE", "121112|DCM", ReferencedSOPSequence=[reference])


def references(study_uid: str, *images: str) -> Dataset:
    instances = []
    for uid in images:
        instances.append(Dataset())
        instances[-1].ReferencedSOPInstanceUID = uid
    series, study = Dataset(), Dataset()
    series.ReferencedSOPSequence = instances
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, [series]
    return study


def report(*items: Dataset, uid: str = "1.1", **elements: Any) -> Dataset:
    values: dict[str, Any] = {
        "SOPClassUID": COMPREHENSIVE,
        "SOPInstanceUID": uid,
        "StudyInstanceUID": STUDY,
        "PatientID": "MRNPHI1",
        "IssuerOfPatientID": "issuer",
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "VERIFIED",
        "CurrentRequestedProcedureEvidenceSequence": [references(STUDY, IMAGE)],
        "ContentSequence": list(items),
    }
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = COMPREHENSIVE
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


CHEST = instance("image", sop_class="1.2.840.10008.5.1.4.1.1.2")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ReportLabel | Reason]:
    def save_and_read(dataset: Dataset, rule: LabelRule = FINDING) -> ReportLabel | Reason:
        path = tmp_path / "report.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return read_report_label(path, rule)

    return save_and_read


@pytest.fixture
def label(read: Callable[..., ReportLabel | Reason]) -> Callable[..., int | Reason]:
    """The label of one image given all reports of its archive."""

    def of(*reports: Dataset, rule: LabelRule = FINDING, image: Instance = CHEST) -> int | Reason:
        read_in = [(instance(str(one.SOPInstanceUID)), read(one, rule)) for one in reports]
        return ReportLabels(read_in).of(image)

    return of


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ([finding()], 1),
        ([finding("17621005|SCT")], 0),
        ([finding("R-1|SNM3")], 1),
        ([finding(), finding()], 1),
        ([finding("404684003|SCT")], Reason.LABEL_OUT_OF_RANGE),
        ([finding("233604007|99LOCAL")], Reason.LABEL_OUT_OF_RANGE),
        ([finding(), finding("17621005|SCT")], Reason.LABEL_CONFLICT),
        ([finding(), finding("404684003|SCT")], Reason.LABEL_CONFLICT),
        ([finding(relation="HAS CONCEPT MOD")], Reason.LABEL_MISSING),
        ([finding(relation="INFERRED FROM")], Reason.LABEL_MISSING),
        ([content("TEXT", "121071|DCM", TextValue="pneumonia")], Reason.LABEL_MISSING),
        ([content("NUM", "121071|DCM")], Reason.LABEL_OUT_OF_RANGE),
        ([], Reason.LABEL_MISSING),
    ],
)
def test_a_coded_finding_is_a_class_or_the_reason(
    label: Callable[..., int | Reason], items: list[Dataset], found: int | Reason
) -> None:
    assert label(report(*items)) == found


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (size("6"), 1),
        (size("5.999"), 0),
        (size("6.0", unit="cm"), Reason.LABEL_OUT_OF_RANGE),
        (content("NUM", "103339001|SCT", MeasuredValueSequence=[]), Reason.LABEL_MISSING),
        (content("CODE", "103339001|SCT"), Reason.LABEL_OUT_OF_RANGE),
    ],
)
def test_a_measurement_is_compared_in_its_unit(
    label: Callable[..., int | Reason], item: Dataset, found: int | Reason
) -> None:
    assert label(report(item), rule=SIZE) == found


@pytest.mark.parametrize("text", ["nan", "inf", "six", "", "1\\2"])
def test_no_number_is_no_measurement(label: Callable[..., int | Reason], text: str) -> None:
    item = size("1")
    element = item.MeasuredValueSequence[0]["NumericValue"]
    element.VR = "LO"  # a DS that is no number cannot be written otherwise
    element.value = text
    assert label(report(item), rule=SIZE) == Reason.LABEL_OUT_OF_RANGE


def test_items_are_found_deep_inside_containers_up_to_a_limit(
    label: Callable[..., int | Reason],
) -> None:
    def nested(depth: int) -> Dataset:
        item = finding()
        for _ in range(depth):
            item = content("CONTAINER", "126010|DCM", ContentSequence=[item])
        return item

    assert label(report(nested(20))) == 1
    assert label(report(nested(40))) == Reason.LABEL_UNREADABLE
    hollow = content("CONTAINER", "126010|DCM")
    for _ in range(40):
        hollow = content("CONTAINER", "126010|DCM", ContentSequence=[hollow])
    assert label(report(finding(), hollow)) == Reason.LABEL_UNREADABLE


def test_a_report_of_too_many_items_is_refused(
    label: Callable[..., int | Reason], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_client.labels.content.MAXIMUM_CONTENT_ITEMS", 3)
    assert label(report(*[finding()] * 3)) == 1
    assert label(report(*[finding()] * 4)) == Reason.LABEL_UNREADABLE


def test_a_finding_of_two_codes_is_none(label: Callable[..., int | Reason]) -> None:
    both = finding()
    both.ConceptCodeSequence = [code("233604007", "SCT"), code("17621005", "SCT")]
    assert label(report(both)) == Reason.LABEL_OUT_OF_RANGE


def test_a_value_about_an_earlier_study_is_not_this_studys(
    label: Callable[..., int | Reason],
) -> None:
    def group(uid: str, *items: Dataset) -> Dataset:
        return content("CONTAINER", "125007|DCM", ContentSequence=[image_item(uid), *items])

    assert label(report(group(PRIOR, size("9")), group(IMAGE, size("2"))), rule=SIZE) == 0
    assert label(report(group(PRIOR, size("9"))), rule=SIZE) == Reason.LABEL_MISSING
    selected = image_item(PRIOR)
    selected.RelationshipType = "INFERRED FROM"
    assert label(report(size("9", ContentSequence=[selected])), rule=SIZE) == Reason.LABEL_MISSING


def test_a_report_must_name_exactly_one_imaging_study(label: Callable[..., int | Reason]) -> None:
    both = [references(STUDY, IMAGE), references(OTHER, "1.2.3.7")]
    many = report(finding(), CurrentRequestedProcedureEvidenceSequence=both)
    assert label(many) == Reason.LABEL_UNANCHORED
    assert label(many, image=instance("i", study_uid=OTHER)) == Reason.LABEL_UNANCHORED
    none = report(finding(), CurrentRequestedProcedureEvidenceSequence=None)
    assert label(none) == Reason.LABEL_UNANCHORED


def test_evidence_decides_which_imaging_study_not_where_the_report_lies(
    label: Callable[..., int | Reason],
) -> None:
    elsewhere = report(finding(), StudyInstanceUID=OTHER)
    assert label(elsewhere) == 1
    assert label(elsewhere, image=instance("i", study_uid=OTHER)) == Reason.LABEL_MISSING


@pytest.mark.parametrize("texts", [{"patient_id": "MRNPHI2"}, {"issuer": "elsewhere"}])
def test_a_report_about_another_patient_is_refused(
    label: Callable[..., int | Reason], texts: dict[str, str]
) -> None:
    assert label(report(finding()), image=instance("i", **texts)) == Reason.MIXED_PATIENTS


@pytest.mark.parametrize(
    "flags",
    [{"CompletionFlag": "PARTIAL"}, {"CompletionFlag": None}, {"PreliminaryFlag": "PRELIMINARY"}],
)
def test_an_unfinished_report_is_refused(
    label: Callable[..., int | Reason], flags: dict[str, Any]
) -> None:
    assert label(report(finding(), **flags)) == Reason.LABEL_NOT_FINAL


def test_an_unfinished_report_about_something_else_does_no_harm(
    label: Callable[..., int | Reason],
) -> None:
    other = report(size("3"), uid="1.2", CompletionFlag="PARTIAL")
    assert label(report(finding()), other) == 1


def test_a_later_report_replaces_its_predecessor(label: Callable[..., int | Reason]) -> None:
    old = report(finding("17621005|SCT"))
    new = report(finding(), uid="1.2", PredecessorDocumentsSequence=[references(STUDY, "1.1")])
    assert label(old, new) == label(new, old) == 1
    retracted = report(uid="1.2", PredecessorDocumentsSequence=[references(STUDY, "1.1")])
    assert label(old, retracted) == Reason.LABEL_MISSING
    circle = report(finding(), PredecessorDocumentsSequence=[references(STUDY, "1.2")])
    assert label(circle, new) == Reason.LABEL_MISSING


def test_several_current_reports_must_agree(label: Callable[..., int | Reason]) -> None:
    assert label(report(finding()), report(finding(), uid="1.2")) == 1
    assert label(report(finding()), report(finding("17621005|SCT"), uid="1.2")) == (
        Reason.LABEL_CONFLICT
    )


def test_two_reports_under_one_uid_are_believed_only_if_equal(
    label: Callable[..., int | Reason],
) -> None:
    assert label(report(finding()), report(finding())) == 1
    unverified = report(finding(), VerificationFlag="UNVERIFIED")
    assert label(report(finding()), unverified) == Reason.LABEL_CONFLICT


def test_an_unreadable_report_leaves_its_patient_without_label(
    tmp_path: Path, read: Callable[..., ReportLabel | Reason]
) -> None:
    good = (instance("1.1"), read(report(finding())))
    broken = tmp_path / "report.dcm"
    broken.write_bytes(broken.read_bytes()[:-40])
    bad = read_report_label(broken, FINDING)
    assert bad == Reason.LABEL_UNREADABLE
    labels = ReportLabels([good, (instance("1.2"), bad)])
    assert labels.of(CHEST) == bad and labels.refused == {b"1.2": bad}
    elsewhere = instance("1.2", study_uid="1.2.99")
    assert ReportLabels([good, (elsewhere, bad)]).of(CHEST) == bad
    others = instance("1.2", study_uid="1.2.99", patient_id="MRNPHI2")
    assert ReportLabels([good, (others, bad)]).of(CHEST) == 1
    dose = instance("1.3", sop_class="1.2.840.10008.5.1.4.1.1.88.67")
    assert ReportLabels([good, (dose, bad)]).of(CHEST) == 1


def test_a_report_that_changed_since_the_scan_is_refused(
    read: Callable[..., ReportLabel | Reason],
) -> None:
    labels = ReportLabels([(instance("1.9"), read(report(finding())))])
    assert labels.of(CHEST) == Reason.CHANGED


def test_reports_are_counted(read: Callable[..., ReportLabel | Reason]) -> None:
    reports = [report(finding()), report(uid="1.2"), report(finding(), uid="1.3")]
    labels = ReportLabels([(instance(str(one.SOPInstanceUID)), read(one)) for one in reports])
    assert labels.entries == 2
    assert (labels.unused([SeenSeries.of(CHEST.header)]), labels.unused([])) == (0, 2)


def _measurement_report(image: Dataset, number: float, uid: str) -> Dataset:
    """A TID 1500 report as highdicom writes it."""
    measured = hd.sr.Measurement(
        name=CodedConcept("103339001", "SCT", "Long axis"),
        value=number,
        unit=CodedConcept("mm", "UCUM", "millimetre"),
    )
    observer = hd.sr.ObserverContext(
        observer_type=CodedConcept("121006", "DCM", "Person"),
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name="A^B"),
    )
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid="2.25.1", identifier="lesion"),
        measurements=[measured],
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
        ],
    )
    tree = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=CodedConcept("25045-6", "LN", "CT"),
        imaging_measurements=[group],
        title=CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    return hd.sr.Comprehensive3DSR(
        evidence=[image],
        content=tree,
        series_instance_uid="2.25.5",
        series_number=1,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="Maker",
        is_complete=True,
        is_final=True,
        is_verified=False,
    )


def test_a_report_that_highdicom_writes_is_read(
    read: Callable[..., ReportLabel | Reason], new_picture: Any, new_image: Any
) -> None:
    blank = dict.fromkeys(("StudyDate", "StudyTime", "StudyID", "ReferringPhysicianName"), "")
    image = new_image(new_picture(), PatientBirthDate="", PatientSex="", **blank)
    found = read(_measurement_report(image, 7.25, "2.25.6"), SIZE)
    assert isinstance(found, ReportLabel)
    assert (found.label, found.study_uids) == (1, {image.StudyInstanceUID})
    assert found.patient == (image.PatientID, "") and found.final and not found.verified


def test_a_real_report_is_read(shared_data: Path) -> None:
    path = shared_data / "dicom_corpus" / "highdicom" / "sr_document_with_multiple_groups.dcm"

    def found(concept: str, unit: str, least: float) -> ReportLabel:
        rule = LabelRule(source="sr", concept=concept, unit=unit, positive_from=least)
        report = read_report_label(path, rule)
        assert isinstance(report, ReportLabel)
        assert len(report.study_uids) == 1 and not report.final
        return report

    # The report holds one volume, 200 mm3, and two diameters, 10 and 20 mm.
    assert found("118565006|SCT", "mm3", 200.0).label == 1
    assert found("118565006|SCT", "mm3", 200.1).label == 0
    assert found("81827009|SCT", "mm", 10.0).label == 1
    assert found("81827009|SCT", "mm", 15.0).label == Reason.LABEL_CONFLICT
    assert found("81827009|SCT", "cm", 15.0).label == Reason.LABEL_OUT_OF_RANGE


@settings(deadline=None)  # a busy machine is no error
@given(start=st.integers(0, 4000), noise=st.binary(min_size=1, max_size=8))
def test_any_damage_gives_a_label_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, start: int, noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    report(finding(), size("7")).save_as(path, enforce_file_format=True)
    content = bytearray(path.read_bytes())
    start = 128 + start % (len(content) - 128)
    content[start : start + len(noise)] = noise
    path.write_bytes(content)
    assert isinstance(read_report_label(path, FINDING), (ReportLabel, Reason))
