"""One form for all sources of labels: the label file, structured reports, segmentations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from wardround_client.index.header import Header, Instance
from wardround_client.labels.acquired import AcquiredGrid
from wardround_client.quarantine import Reason


class SeenSeries(NamedTuple):
    """A series of the cohort, by what an entry may name."""

    study_uid: str
    accession: str
    series_uid: str

    @classmethod
    def of(cls, header: Header) -> SeenSeries:
        """The series of an instance."""
        return cls(header.study_uid, header.accession, header.series_uid)


class Labels(Protocol):
    """Where labels come from; what they are is the study's `LabelRule`."""

    @property
    def refused(self) -> Mapping[bytes, Reason]:
        """Path of each report or segmentation that could not be read to the reason."""
        ...

    @property
    def entries(self) -> int:
        """Rows, reports or segmentations that hold a label."""
        ...

    def of(self, image: Instance, grid: AcquiredGrid | None = None) -> int | Reason:
        """The one label of an image, or why there is none.

        Args:
            image: A single image, or any instance of a volume.
            grid: The volume's place in the patient; only segmentations look at it.
        """
        ...

    def unused(self, seen: Iterable[SeenSeries]) -> int:
        """Entries that belong to none of the cohort's series; many hint at wrong keys."""
        ...


class Unread:
    """Reports or segmentations that could not be read, and might contradict those that could.

    Nobody knows which imaging study one is about: often its own, but any of the patient's may
    be. None of them has a label then.
    """

    def __init__(self) -> None:
        self._studies: dict[str, Reason] = {}
        self._patients: dict[str, dict[str, Reason]] = defaultdict(dict)

    def add(self, header: Header, reason: Reason) -> None:
        """Adds one, by what the index knows of it."""
        self._studies.setdefault(header.study_uid, reason)
        self._patients[header.patient_id].setdefault(header.issuer, reason)

    def about(self, image: Header) -> Reason | None:
        """Why one that may be about an image could not be read; None where none may be."""
        patients = self._patients.get(image.patient_id, {}).items()
        issuers = (reason for issuer, reason in patients if issuer in ("", image.issuer))
        return self._studies.get(image.study_uid) or next(issuers, None)


def is_patient_of(patient: tuple[str, str], image: Header) -> bool:
    """Tells whether a report or segmentation names the patient of an image.

    Many programs write no IssuerOfPatientID. What names this very imaging study and this
    PatientID needs none; another issuer is another patient.

    Args:
        patient: PatientID and IssuerOfPatientID of the report or segmentation.
        image: The image's header.
    """
    patient_id, issuer = patient
    return patient_id == image.patient_id and issuer in ("", image.issuer)
