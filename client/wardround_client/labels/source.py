"""One form for all sources of labels: the label file, structured reports, segmentations."""

from __future__ import annotations

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
