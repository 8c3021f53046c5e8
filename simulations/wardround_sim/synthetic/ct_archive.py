"""Writes one CT study of a synthetic hospital: its series, what lies beside it, what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset

from wardround_sim.synthetic.breakage import encode_with_fault
from wardround_sim.synthetic.ct_enhanced import enhanced_header, turn_frame
from wardround_sim.synthetic.ct_headers import localizer_header, slice_headers
from wardround_sim.synthetic.encode import encode_file, save_file
from wardround_sim.synthetic.headers import capture_header, export_protocol
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.roster import Fault, ImagingStudy, Patient
from wardround_sim.synthetic.seeds import generator
from wardround_sim.synthetic.thorax import draw_thorax
from wardround_sim.synthetic.tomography import Tomogram, scan

TRUTH_COLUMNS = (
    "SeriesInstanceUID", "StudyInstanceUID", "fault", "label", "nodule", "x_mm", "y_mm", "z_mm",
    "diameter_mm", "volume_ml",
)  # fmt: skip
_TILT_DEGREES = 14.0
_CORONAL = (1, 0, 0, 0, 0, -1)


def write_ct_study(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, *, folder: Path, seed: int
) -> list[tuple[object, ...]]:
    """Writes the files of a study into a new folder.

    Returns:
        Lines of the truth: one for each nodule, or one for a normal scan.
    """
    tomogram = _scan(spec, patient, study, seed)
    series = folder / "series"
    series.mkdir(parents=True)
    for name, content in _encode(spec, patient, study, tomogram):
        (series / name).write_bytes(content)
        if "duplicate_series" in study.extras:
            (folder / "again").mkdir(exist_ok=True)
            (folder / "again" / name).write_bytes(content)
    for name, content in _extras(spec, patient, study, tomogram):
        (folder / name).write_bytes(content)
    if spec.label_objects and study.labels:
        for name, content in _label_objects(spec, patient, study, tomogram):
            (folder / name).write_bytes(content)
    return _truth_lines(study, tomogram)


def _scan(spec: SyntheticHospital, patient: Patient, study: ImagingStudy, seed: int) -> Tomogram:
    build = generator(seed, spec.name, patient.patient_id)
    age = patient.studies[0].age_years
    thorax = draw_thorax(build, female=patient.sex == "F", age_years=age)
    return scan(
        spec,
        thorax,
        generator(seed, spec.name, study.instance_uid),
        abnormal=study.abnormal,
        tilt_degrees=_TILT_DEGREES if study.fault == "tilted" else 0.0,
    )


def _encode(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, tomogram: Tomogram
) -> Iterator[tuple[str, bytes]]:
    """File name and content of each instance of the series."""
    middle = spec.scanner.slices // 2
    if spec.scanner.enhanced:
        left_out = (middle,) if study.fault == "missing_slice" else ()
        dataset = enhanced_header(spec, patient, study, tomogram, left_out=left_out)
        if study.fault == "turned_slice":
            turn_frame(dataset, middle, _CORONAL)
        yield from _encode_with_fault("IM0001.dcm", dataset, spec, study.fault)
        return
    for number, dataset in slice_headers(spec, patient, study, tomogram):
        name = f"IM{dataset.InstanceNumber:04d}.dcm"
        if number != middle:
            yield name, encode_file(dataset, spec.transfer_syntax)
        elif study.fault != "missing_slice":
            own = copy.deepcopy(dataset)  # what is broken here must not reach the next slice
            if study.fault == "turned_slice":
                own.ImageOrientationPatient = list(_CORONAL)
            yield from _encode_with_fault(name, own, spec, study.fault)


def _encode_with_fault(
    name: str, dataset: Dataset, spec: SyntheticHospital, fault: Fault
) -> Iterator[tuple[str, bytes]]:
    plain = np.frombuffer(dataset.PixelData, "<u2")
    yield name, encode_with_fault(dataset, spec.transfer_syntax, fault)
    if fault == "altered_copy":
        # The same identity with an image that is upside down.
        dataset.add_new("PixelData", "OW", plain[::-1].tobytes())
        yield f"copy_of_{name}", encode_file(dataset, spec.transfer_syntax)


def _extras(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, tomogram: Tomogram
) -> Iterator[tuple[str, bytes]]:
    """File name and content of what lies beside the series."""
    if "not_dicom" in study.extras:
        yield "IM0008.dcm", export_protocol(patient)
    if "secondary_capture" in study.extras:
        yield "IM0009.dcm", encode_file(capture_header(spec, patient, study), "explicit_little")
    if "localizer" in study.extras:
        dataset = localizer_header(spec, patient, study, tomogram)
        # Plain, for it has a row for each slice: JPEG 2000 takes no less than 32.
        yield "IM0010.dcm", encode_file(dataset, "explicit_little")


def _label_objects(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, tomogram: Tomogram
) -> Iterator[tuple[str, bytes]]:
    """File name and content of the objects that hold the label."""
    # highdicom takes a second to load, and few hospitals need it.
    from wardround_sim.synthetic.ct_labels import (  # noqa: PLC0415
        report_object,
        segmentation_object,
    )

    makers = {"sr": report_object, "seg": segmentation_object}
    if spec.scanner.enhanced:
        images = [enhanced_header(spec, patient, study, tomogram)]
    else:
        headers = slice_headers(spec, patient, study, tomogram)
        images = [copy.deepcopy(dataset) for _, dataset in headers]
    for kind in spec.label_objects:
        for label in study.labels:
            dataset = makers[kind](images, study, tomogram, label=label)
            yield f"{kind.upper()}{label}.dcm", save_file(dataset)


def _truth_lines(study: ImagingStudy, tomogram: Tomogram) -> list[tuple[object, ...]]:
    head = (study.series_uid, study.study_uid, study.fault, int(study.abnormal))
    if not tomogram.nodules:
        return [(*head, 0, "", "", "", "", "")]
    return [
        (*head, number, *(f"{v:.3f}" for v in (*n.centre_mm, n.diameter_mm, n.volume_ml)))
        for number, n in enumerate(tomogram.nodules, start=1)
    ]
