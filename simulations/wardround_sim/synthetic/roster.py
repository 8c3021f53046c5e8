"""Who was examined at a synthetic hospital, when, and what is wrong with the files.

Drawn without any image, so the truth and the planted identifiers are known at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np

from wardround_sim.synthetic.hospital import Dirt, SyntheticHospital
from wardround_sim.synthetic.seeds import derived_uid, digest, generator

Fault = Literal[
    "",
    "not_dicom",
    "secondary_capture",
    "truncated",
    "altered_copy",
    "missing_label",
    "ambiguous_label",
    "localizer",
    "duplicate_series",
    "unknown_codec",
    "broken_codestream",
    "crashing_codestream",
    "wrong_vr",
    "no_identity",
    "huge_size",
    "missing_slice",
    "tilted",
    "turned_slice",
]
_Plan = tuple[bool, bool, Fault, tuple[Fault, ...]]  # abnormal, wrong label, fault, extras
_BESIDE_GOOD: tuple[Fault, ...] = (
    "not_dicom",
    "secondary_capture",
    "localizer",
    "duplicate_series",
)
# In this order: new kinds come last, so that they change no patient of the others.
_OWN_STUDY: tuple[Fault, ...] = (
    "truncated",
    "altered_copy",
    "missing_label",
    "ambiguous_label",
    "unknown_codec",
    "broken_codestream",
    "crashing_codestream",
    "wrong_vr",
    "no_identity",
    "huge_size",
    "missing_slice",
    "tilted",
    "turned_slice",
)
_INNER_UIDS = {"sr": ("tracking",), "seg": ("seg dimension",)}
_FIRST_DAY = date(2020, 1, 1)
_SYLLABLES = ("ba", "do", "fi", "ga", "ko", "lu", "me", "no", "pi", "ra", "su", "te", "vo", "xi")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingStudy:
    """One examination with one radiograph."""

    study_uid: str
    series_uid: str
    instance_uid: str
    accession_number: str
    day: date
    age_years: int
    abnormal: bool
    """The truth: whether opacities are drawn."""
    labels: tuple[int, ...]
    """Labels in the label file: usually one, none if missing, two if ambiguous."""
    fault: Fault
    """What is wrong with it, empty for a good study."""
    extras: tuple[Fault, ...]
    """Useless files that lie beside the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One fictitious patient."""

    patient_id: str
    issuer: str
    name: str
    sex: Literal["F", "M"]
    birth_day: date
    studies: tuple[ImagingStudy, ...]


def build_roster(spec: SyntheticHospital, *, seed: int) -> tuple[Patient, ...]:
    """Draws all patients of a hospital, those of the dirt last."""
    draw = generator(seed, spec.name, "roster")
    counts = draw.integers(1, spec.studies_per_patient_max + 1, spec.patients)
    good = int(counts.sum())
    abnormal = draw.permutation(np.arange(good) < round(spec.prevalence * good))
    wrong = draw.permutation(np.arange(good) < round(spec.label_noise * good))
    extras = _place_extras(spec.dirt, good)
    patients, first = [], 0
    for number, count in enumerate(counts.tolist()):
        plans: list[_Plan] = [
            (bool(abnormal[i]), bool(wrong[i]), "", extras[i]) for i in range(first, first + count)
        ]
        patients.append(_draw_patient(spec, number, plans, seed=seed))
        first += count
    for fault in _OWN_STUDY:
        for _ in range(getattr(spec.dirt, fault)):
            plan = (bool(draw.random() < spec.prevalence), False, fault, ())
            patients.append(_draw_patient(spec, len(patients), [plan], seed=seed))
    return tuple(patients)


def planted_identifiers(spec: SyntheticHospital, *, seed: int) -> frozenset[str]:
    """Every identifying text that `write_hospital` puts into the archive and the label file.

    Names, patient and accession numbers, issuer, institution and UIDs; dates are left out, for
    eight digits turn up by chance.
    """
    found = {institution(spec)}
    for patient in build_roster(spec, seed=seed):
        found |= {patient.name, patient.patient_id, patient.issuer}
        for study in patient.studies:
            found |= {study.study_uid, study.series_uid}
            found.add(study.accession_number)
            if "secondary_capture" in study.extras:
                found |= {capture_uid(study.instance_uid), capture_uid(study.series_uid)}
            found |= _instance_uids(spec, study)
    return frozenset(found)


def institution(spec: SyntheticHospital) -> str:
    """InstitutionName (0008,0080) of the hospital."""
    return f"Phantom Institution {spec.name}"


def capture_uid(uid: str) -> str:
    """UID of the screenshot that belongs to the image or series ``uid``."""
    return derived_uid(uid, "secondary_capture")


def slice_uid(study: ImagingStudy, number: int) -> str:
    """SOP Instance UID of slice ``number``, from 0, of a CT study."""
    return derived_uid(study.instance_uid, "slice", number)


def frame_of_reference_uid(study: ImagingStudy) -> str:
    """Frame of Reference UID of a CT study."""
    return derived_uid(study.study_uid, "frame of reference")


def label_uid(study: ImagingStudy, what: str, label: int | None = None) -> str:
    """A UID of the objects that hold the label of a CT study."""
    return derived_uid(study.study_uid, what, label)


def dimension_uid(study: ImagingStudy) -> str:
    """Dimension Organization UID of an Enhanced CT instance."""
    return derived_uid(study.study_uid, "dimension")


def irradiation_uid(study: ImagingStudy) -> str:
    """Irradiation Event UID of an Enhanced CT instance."""
    return derived_uid(study.study_uid, "irradiation")


def localizer_uid(study: ImagingStudy) -> str:
    """SOP Instance UID of the localizer of a CT study."""
    return derived_uid(study.study_uid, "localizer")


def _instance_uids(spec: SyntheticHospital, study: ImagingStudy) -> set[str]:
    """UIDs of the instances of the images' series, and those that only their headers name."""
    if spec.modality != "CT":
        return {study.instance_uid}
    found = {frame_of_reference_uid(study)}
    if "localizer" in study.extras:
        found.add(localizer_uid(study))
    for kind in spec.label_objects if study.labels else ():
        found.add(label_uid(study, f"{kind} series"))
        for label in study.labels:
            found |= {label_uid(study, what, label) for what in (kind, *_INNER_UIDS[kind])}
    if spec.scanner.enhanced:
        return found | {study.instance_uid, dimension_uid(study), irradiation_uid(study)}
    return found | {slice_uid(study, k) for k in range(spec.scanner.slices)}


def _place_extras(dirt: Dirt, good: int) -> list[tuple[Fault, ...]]:
    return [tuple(f for f in _BESIDE_GOOD if i < getattr(dirt, f)) for i in range(good)]


def _draw_patient(
    spec: SyntheticHospital,
    number: int,
    plans: list[_Plan],
    *,
    seed: int,
) -> Patient:
    key = (seed, spec.name, "patient", number)
    draw = generator(*key)
    token = digest(*key).hex().upper()
    age = int(draw.integers(spec.youngest_years, spec.oldest_years + 1))
    day = _FIRST_DAY + timedelta(days=int(draw.integers(0, 1400)))
    birth_day = day - timedelta(days=int(age * 365.25) + 1 + int(draw.integers(0, 360)))
    studies = []
    for index, plan in enumerate(plans):
        day += timedelta(days=int(draw.integers(2, 90)) if index else 0)
        studies.append(_draw_study((*key, index), day, birth_day, plan))
    return Patient(
        patient_id=f"SYNMRN{token[:10]}",
        issuer=f"SYNISSUER{digest(seed, spec.name, 'issuer').hex().upper()[:8]}",
        name=_phantom_name(token, draw),
        sex="F" if draw.random() < spec.female_fraction else "M",
        birth_day=birth_day,
        studies=tuple(studies),
    )


def _draw_study(
    key: tuple[object, ...],
    day: date,
    birth_day: date,
    plan: _Plan,
) -> ImagingStudy:
    abnormal, wrong, fault, extras = plan
    labels: tuple[int, ...] = (int(abnormal != wrong),)
    if fault == "missing_label":
        labels = ()
    elif fault == "ambiguous_label":
        labels = (0, 1)
    return ImagingStudy(
        study_uid=derived_uid(*key, "study"),
        series_uid=derived_uid(*key, "series"),
        instance_uid=derived_uid(*key, "instance"),
        accession_number=f"SYNACC{digest(*key, 'accession').hex().upper()[:9]}",
        day=day,
        age_years=(day - birth_day).days * 4 // 1461,
        abnormal=abnormal,
        labels=labels,
        fault=fault,
        extras=extras,
    )


def _phantom_name(token: str, draw: np.random.Generator) -> str:
    given = "".join(_SYLLABLES[i] for i in draw.integers(0, len(_SYLLABLES), 3))
    return f"Phantom^{given.capitalize()}{token[10:14]}"
