"""Labels from structured reports: a measurement or a coded finding, one to one or refused.

A report counts for the one imaging study that its evidence names. A value that refers to other
images, such as an earlier study's for comparison, is not this study's. Reports that a later one
names as its predecessor are superseded. What then remains must be final and agree.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExtensibleSRStorage,
)

from wardround_client.index.header import Instance
from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.labels.acquired import AcquiredGrid
from wardround_client.labels.codes import code_in, is_one_of
from wardround_client.labels.content import ContentItem, walk_content
from wardround_client.labels.source import SeenSeries, Unread, is_patient_of
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import items_of
from wardround_common.errors import DicomError
from wardround_common.intake_plan import LabelRule

REPORT_CLASSES = frozenset(
    {EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage, ExtensibleSRStorage}
)
"""SOP classes that can hold a finding or measurement; dose and CAD reports are others."""
_TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "PredecessorDocumentsSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "CompletionFlag",
    "VerificationFlag",
    "PreliminaryFlag",
    "ContentSequence",
]
_HELD = ("NUM", "CODE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLabel:
    """What one report says about the label."""

    sop_instance_uid: str
    study_uids: frozenset[str]
    """Imaging studies that the evidence names; only a report of exactly one counts."""
    patient: tuple[str, str]
    """PatientID and IssuerOfPatientID."""
    label: int | Reason | None
    """Class; why the value is none; or None, where the report does not hold the concept."""
    final: bool
    """Whether it is complete and not preliminary."""
    verified: bool
    """Decides nothing, but files with one identity must agree in it."""
    predecessors: frozenset[str]
    """SOPInstanceUIDs of the documents that it replaces or continues."""


def read_report_label(path: Path, rule: LabelRule) -> ReportLabel | Reason:
    """Reads one structured report, or says why it cannot be read.

    Args:
        path: The file.
        rule: With source ``sr``.
    """
    try:
        with quiet():
            return _report_label(open_dataset(path, tags=_TAGS), rule)
    except DicomError as error:
        broken = error.reason == Reason.BROKEN_HEADER
        return Reason.LABEL_UNREADABLE if broken else Reason(error.reason)
    except MemoryError:  # the worker process has a reason of its own for it
        raise
    except Exception:  # a parser of foreign bytes may raise anything, also lazily
        return Reason.LABEL_UNREADABLE


class ReportLabels:
    """The labels of an archive's structured reports; see `wardround_client.labels.source`."""

    def __init__(self, reports: Iterable[tuple[Instance, ReportLabel | Reason]]) -> None:
        """Takes every report of the archive with what was read of it."""
        self.refused: dict[bytes, Reason] = {}
        """Path of each report that could not be read to the reason."""
        self._unread = Unread()
        self._by_study: dict[str, set[ReportLabel]] = defaultdict(set)
        for instance, report in reports:
            header = instance.header
            if header.sop_class_uid not in REPORT_CLASSES:
                continue
            if (
                not isinstance(report, Reason)
                and report.sop_instance_uid == header.sop_instance_uid
            ):
                for study_uid in report.study_uids or {header.study_uid}:
                    self._by_study[study_uid].add(report)
                continue
            reason = report if isinstance(report, Reason) else Reason.CHANGED
            self.refused[instance.path] = reason
            self._unread.add(header, reason)
        every = set().union(*self._by_study.values())
        counts = Counter(report.sop_instance_uid for report in every)
        self._disputed = {uid for uid, count in counts.items() if count > 1}
        self._replaced = {uid for report in every for uid in report.predecessors}

    @property
    def entries(self) -> int:
        """Reports that hold the concept and are not replaced."""
        return len(self._labelled(self._by_study))

    def of(self, image: Instance, grid: AcquiredGrid | None = None) -> int | Reason:  # noqa: ARG002
        """The label of the image's imaging study, or why there is none."""
        header = image.header
        unread = self._unread.about(header)
        if unread is not None:
            return unread
        reports = self._labelled([header.study_uid])
        found = {report.label for report in reports if report.label is not None}
        checks: tuple[tuple[Reason, bool], ...] = (
            (Reason.LABEL_MISSING, not reports),
            (Reason.LABEL_CONFLICT, any(r.sop_instance_uid in self._disputed for r in reports)),
            (Reason.LABEL_UNANCHORED, any(len(r.study_uids) != 1 for r in reports)),
            (
                Reason.MIXED_PATIENTS,
                not all(is_patient_of(r.patient, header) for r in reports),
            ),
            (Reason.LABEL_NOT_FINAL, not all(r.final for r in reports)),
            (Reason.LABEL_CONFLICT, len(found) > 1),
        )
        refusal = next((reason for reason, holds in checks if holds), None)
        return found.pop() if refusal is None else refusal

    def unused(self, seen: Iterable[SeenSeries]) -> int:
        """Reports that hold the concept and name no imaging study of the series ``seen``."""
        used = self._labelled({one.study_uid for one in seen})
        return len(self._labelled(self._by_study)) - len(used)

    def _labelled(self, study_uids: Iterable[str]) -> set[ReportLabel]:
        """Current reports about any of the imaging studies that hold the concept."""
        return {
            report
            for study_uid in study_uids
            for report in self._by_study.get(study_uid, ())
            if report.label is not None and report.sop_instance_uid not in self._replaced
        }


def _report_label(report: Dataset, rule: LabelRule) -> ReportLabel:
    if not _is_whole(report) or not text_of(report, "SOPInstanceUID"):
        raise DicomError(Reason.LABEL_UNREADABLE)
    evidence = _evidence_of(report)
    label = _label_of(report, rule, evidence)
    preliminary = text_of(report, "PreliminaryFlag").upper() == "PRELIMINARY"
    return ReportLabel(
        sop_instance_uid=text_of(report, "SOPInstanceUID"),
        study_uids=frozenset(evidence),
        patient=(text_of(report, "PatientID"), text_of(report, "IssuerOfPatientID")),
        label=label,
        final=text_of(report, "CompletionFlag").upper() == "COMPLETE" and not preliminary,
        verified=text_of(report, "VerificationFlag").upper() == "VERIFIED",
        predecessors=frozenset(
            uid
            for study in items_of(report, "PredecessorDocumentsSequence")
            for uid in _instances_of(study)
        ),
    )


def _is_whole(report: Dataset) -> bool:
    """Tells whether the content is there to its end; pydicom cuts or drops it in silence."""
    if "ContentSequence" not in report:
        return False
    content = report.get_item("ContentSequence")
    if not isinstance(content, RawDataElement) or content.value is None:
        return True  # of undefined length, read up to its delimiter
    return len(content.value) == content.length


def _evidence_of(report: Dataset) -> dict[str, frozenset[str]]:
    """StudyInstanceUID to SOPInstanceUIDs of the images that the report is about."""
    evidence: dict[str, frozenset[str]] = defaultdict(frozenset)
    for study in items_of(report, "CurrentRequestedProcedureEvidenceSequence"):
        evidence[text_of(study, "StudyInstanceUID")] |= _instances_of(study)
    return {study_uid: images for study_uid, images in evidence.items() if study_uid}


def _instances_of(study: Dataset) -> frozenset[str]:
    """SOPInstanceUIDs of one item of a Hierarchical SOP Instance Reference macro."""
    found = {
        text_of(instance, "ReferencedSOPInstanceUID")
        for series in items_of(study, "ReferencedSeriesSequence")
        for instance in items_of(series, "ReferencedSOPSequence")
    }
    return frozenset(found - {""})


def _label_of(
    report: Dataset, rule: LabelRule, evidence: dict[str, frozenset[str]]
) -> int | Reason | None:
    """The one value of the concept among all the report states of its own images."""
    own = frozenset[str]().union(*evidence.values())
    found: set[int | Reason] = set()
    for item in walk_content(report):
        if item.kind in _HELD and is_one_of(item.name, (rule.concept,)) and item.images <= own:
            value = _measured(item, rule) if rule.positive_from is not None else _coded(item, rule)
            found.add(value)
    if len(found) > 1:
        return Reason.LABEL_CONFLICT
    return found.pop() if found else None


def _coded(item: ContentItem, rule: LabelRule) -> int | Reason:
    code = code_in(item.dataset, "ConceptCodeSequence") if item.kind == "CODE" else None
    classes = [number for number, codes in enumerate(rule.values) if is_one_of(code, codes)]
    return classes[0] if len(classes) == 1 else Reason.LABEL_OUT_OF_RANGE


def _measured(item: ContentItem, rule: LabelRule) -> int | Reason:
    values = items_of(item.dataset, "MeasuredValueSequence")
    if item.kind != "NUM" or len(values) > 1:
        return Reason.LABEL_OUT_OF_RANGE
    if not values:  # the report says that there was nothing to measure, or no success
        return Reason.LABEL_MISSING
    unit = code_in(values[0], "MeasurementUnitsCodeSequence")
    try:
        number = float(text_of(values[0], "NumericValue"))
    except ValueError:
        return Reason.LABEL_OUT_OF_RANGE
    if not is_one_of(unit, (f"{rule.unit}|UCUM",)) or not math.isfinite(number):
        return Reason.LABEL_OUT_OF_RANGE
    return int(number >= (rule.positive_from or 0.0))
