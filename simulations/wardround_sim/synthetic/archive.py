"""Writes a synthetic hospital: a folder of DICOM files, its label file, and the truth."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wardround_common.errors import ConfigError
from wardround_sim.synthetic.anatomy import draw_anatomy
from wardround_sim.synthetic.encode import encode_file
from wardround_sim.synthetic.exposure import Radiograph, expose
from wardround_sim.synthetic.headers import capture_header, radiograph_header
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.roster import Fault, ImagingStudy, Patient, build_roster
from wardround_sim.synthetic.seeds import generator

LABEL_COLUMNS = ("StudyInstanceUID", "AccessionNumber", "label", "finding")
TRUTH_COLUMNS = (
    "SOPInstanceUID", "StudyInstanceUID", "fault", "label", "opacity", "row_px", "column_px",
    "radius_px", "radius_mm",
)  # fmt: skip
_FINDINGS = ("no opacity", "opacity")
_EXTRA_NAMES: dict[Fault, str] = {"not_dicom": "IM0008.dcm", "secondary_capture": "IM0009.dcm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenHospital:
    """Where a hospital was written."""

    archive: Path
    """Folder of DICOM files, patient/study/instance."""
    labels: Path
    """The hospital's label file: some labels are wrong, missing or ambiguous if so described."""
    truth: Path
    """What was really drawn; a line for each opacity, or one line for a normal image."""
    studies: int
    """Imaging studies, good ones and those of the dirt."""


def write_hospital(
    spec: SyntheticHospital,
    folder: Path,
    *,
    seed: int,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> WrittenHospital:
    """Writes ``archive/``, ``labels.csv`` and, when all is there, ``truth.csv`` under ``folder``.

    Args:
        spec: The hospital.
        folder: New or empty folder.
        seed: Equal seeds give equal bytes.
        on_progress: Called with the hospital's name, imaging studies written and their number.

    Raises:
        ConfigError: The folder holds something already, or cannot be written.
    """
    roster = build_roster(spec, seed=seed)
    studies = sum(len(patient.studies) for patient in roster)
    written = WrittenHospital(
        archive=folder / "archive",
        labels=folder / "labels.csv",
        truth=folder / "truth.csv",
        studies=studies,
    )
    _keep_freed_memory()
    try:
        _require_empty(folder)
        truth: list[tuple[object, ...]] = []
        for done, lines in enumerate(_write_studies(spec, roster, written.archive, seed), start=1):
            truth.extend(lines)
            if on_progress is not None:
                on_progress(spec.name, done, studies)
        _write_table(written.labels, LABEL_COLUMNS, _label_lines(roster))
        _write_table(written.truth, TRUTH_COLUMNS, truth)
    except OSError as error:
        reason = error.strerror or "input/output error"
        raise ConfigError(f"{folder}: cannot be written ({reason}); check the folder") from None
    return written


def _require_empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: got a folder with contents, expected a new or empty one")


def _keep_freed_memory() -> None:
    # One large block, freed at once, teaches glibc to keep the arrays' memory between images
    # instead of handing each back to the system: a third less time. Elsewhere it does nothing.
    np.empty(30 << 20, dtype=np.uint8)


def _write_studies(
    spec: SyntheticHospital, roster: tuple[Patient, ...], archive: Path, seed: int
) -> Iterator[list[tuple[object, ...]]]:
    """Writes one imaging study a step and yields its lines of the truth."""
    for patient in roster:
        build = generator(seed, spec.name, patient.patient_id)
        age = patient.studies[0].age_years
        anatomy = draw_anatomy(build, female=patient.sex == "F", age_years=age)
        for study in patient.studies:
            draw = generator(seed, spec.name, study.instance_uid)
            images = [expose(spec, anatomy, draw, abnormal=study.abnormal)]
            if study.fault == "altered_copy":
                images.append(expose(spec, anatomy, draw, abnormal=study.abnormal))
            folder = archive / patient.patient_id / study.accession_number
            folder.mkdir(parents=True)
            for number, image in enumerate(images, start=1):
                content = _encode(spec, patient, study, image)
                (folder / f"IM{number:04d}.dcm").write_bytes(content)
            for extra in study.extras:
                (folder / _EXTRA_NAMES[extra]).write_bytes(_extra(spec, patient, study, extra))
            yield _truth_lines(study, images[0])


def _encode(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, image: Radiograph
) -> bytes:
    dataset = radiograph_header(spec, patient, study, image)
    content = encode_file(dataset, spec.transfer_syntax)
    return content[: len(content) * 2 // 5] if study.fault == "truncated" else content


def _extra(spec: SyntheticHospital, patient: Patient, study: ImagingStudy, extra: Fault) -> bytes:
    if extra == "not_dicom":
        return f"Export protocol of {patient.name}: 1 image\n".encode() * 40
    return encode_file(capture_header(spec, patient, study), "explicit_little")


def _label_lines(roster: tuple[Patient, ...]) -> Iterator[tuple[object, ...]]:
    for patient in roster:
        for study in patient.studies:
            for label in study.labels:
                yield study.study_uid, study.accession_number, label, _FINDINGS[label]


def _truth_lines(study: ImagingStudy, image: Radiograph) -> list[tuple[object, ...]]:
    head = (study.instance_uid, study.study_uid, study.fault, int(study.abnormal))
    if not image.opacities:
        return [(*head, 0, "", "", "", "")]
    return [
        (*head, number, o.row, o.column, f"{o.radius_px:.3f}", f"{o.radius_mm:.3f}")
        for number, o in enumerate(image.opacities, start=1)
    ]


def _write_table(path: Path, columns: tuple[str, ...], lines: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)
