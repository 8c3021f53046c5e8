"""Which instances of the archive belong to the study's cohort, and which copies are refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pydicom.config import IGNORE
from pydicom.uid import UID

from wardround_client.index.header import Header, Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.plan import MULTI_FRAME
from wardround_common.intake_plan import CohortRule

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def exclusion(header: Header, rule: CohortRule) -> Reason | None:
    """Says why the cohort rule leaves an instance out, or None if it belongs to the cohort."""
    checks: tuple[tuple[Reason, bool], ...] = (
        (Reason.SECONDARY_CAPTURE, _is_secondary_capture(header.sop_class_uid)),
        (Reason.NOT_AN_IMAGE, not _is_image_class(header.sop_class_uid)),
        (Reason.OTHER_MODALITY, _misses(header.modality, rule.modalities)),
        (Reason.OTHER_BODY_PART, _misses(header.body_part, rule.body_parts)),
        (Reason.OTHER_VIEW, _misses(header.view, rule.views)),
        (Reason.OTHER_KERNEL, _has_other_kernel(header, rule)),
        (Reason.IMAGE_TYPE, _has_type(header.image_type, rule.excluded_image_types)),
        (Reason.FOR_PROCESSING, header.intent == "FOR PROCESSING"),
        (Reason.BURNED_IN, bool(set(header.burned_in.split("\\")) - {"", "NO"})),
    )
    return next((reason for reason, holds in checks if holds), None)


def exclusion_of_kind(modality: str, sop_class_uid: str, rule: CohortRule) -> Reason:
    """Says why instances of a modality that the study does not ask for are left out."""
    if _is_secondary_capture(sop_class_uid):
        return Reason.SECONDARY_CAPTURE
    if not _is_image_class(sop_class_uid):
        return Reason.NOT_AN_IMAGE
    if not _misses(modality, rule.modalities):
        raise ValueError("the study asks for this modality")
    return Reason.OTHER_MODALITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputes:
    """What only the whole archive can tell of an instance."""

    instances: AbstractSet[str]
    """SOPInstanceUIDs under which files with different headers are found."""
    studies: AbstractSet[str]
    """StudyInstanceUIDs whose instances name several patients."""
    patients: AbstractSet[str] = frozenset()
    """PatientIDs that stand with several issuers; without one, nobody knows whose they are."""


def select_cohort(
    instances: Iterable[Instance], rule: CohortRule, disputes: Disputes
) -> tuple[list[Instance], dict[bytes, Reason]]:
    """Selects the instances of the cohort.

    Returns:
        The cohort, and the path of every other instance with the reason.
    """
    cohort: list[Instance] = []
    refused: dict[bytes, Reason] = {}
    for instance in instances:
        reason = exclusion(instance.header, rule) or _doubt(instance.header, disputes)
        if reason is None:
            cohort.append(instance)
        else:
            refused[instance.path] = reason
    return cohort, refused


def _doubt(header: Header, disputes: Disputes) -> Reason | None:
    """Says why an instance that the rule accepts cannot be counted to one patient."""
    if not header.patient_id:
        return Reason.NO_PATIENT
    if header.sop_instance_uid in disputes.instances:
        return Reason.DUPLICATE_CONFLICT
    unclear = not header.issuer and header.patient_id in disputes.patients
    return Reason.MIXED_PATIENTS if unclear or header.study_uid in disputes.studies else None


def resolve_copies(digests: Mapping[bytes, tuple[str, str]]) -> dict[bytes, Reason]:
    """Refuses copies: all but the first of equal images, every one of unequal ones.

    Args:
        digests: Path to SOPInstanceUID and hash of the decoded pixels.
    """
    groups: dict[str, list[bytes]] = defaultdict(list)
    for path in sorted(digests):
        groups[digests[path][0]].append(path)
    refused: dict[bytes, Reason] = {}
    for paths in groups.values():
        equal = len({digests[path][1] for path in paths}) == 1
        for path in paths[1:] if equal else paths:
            refused[path] = Reason.DUPLICATE_COPY if equal else Reason.DUPLICATE_CONFLICT
    return refused


def _misses(value: str, accepted: tuple[str, ...]) -> bool:
    return bool(accepted) and value not in {text.strip().upper() for text in accepted}


def _has_other_kernel(header: Header, rule: CohortRule) -> bool:
    """Tells whether the kernel is another; frames may name it where the instance does not."""
    told_by_frames = header.sop_class_uid in MULTI_FRAME and not header.kernel
    return not told_by_frames and _misses(header.kernel.upper(), rule.kernels)


def _has_type(image_type: str, excluded: tuple[str, ...]) -> bool:
    """Tells whether the values of an excluded type stand side by side in ImageType."""
    found = f"\\{image_type}\\"
    return any(f"\\{text.strip().upper()}\\" in found for text in excluded)


def _is_image_class(sop_class_uid: str) -> bool:
    """Tells whether the SOP class is a standard image storage class, by DICOM's own names."""
    uid = UID(sop_class_uid, IGNORE)  # otherwise a value that is no UID would be logged
    return uid.type == "SOP Class" and "Image Storage" in uid.name


def _is_secondary_capture(sop_class_uid: str) -> bool:
    inside = sop_class_uid.startswith(f"{_SECONDARY_CAPTURE}.")
    return inside or sop_class_uid == _SECONDARY_CAPTURE
