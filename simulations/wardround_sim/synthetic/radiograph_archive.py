"""Writes one radiograph of a synthetic hospital, what lies beside it and what is wrong."""

from __future__ import annotations

from pathlib import Path

from wardround_sim.synthetic.anatomy import draw_anatomy
from wardround_sim.synthetic.breakage import encode_with_fault
from wardround_sim.synthetic.encode import encode_file
from wardround_sim.synthetic.exposure import Radiograph, expose
from wardround_sim.synthetic.headers import capture_header, export_protocol, radiograph_header
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.roster import ImagingStudy, Patient
from wardround_sim.synthetic.seeds import generator

TRUTH_COLUMNS = (
    "SOPInstanceUID", "StudyInstanceUID", "fault", "label", "opacity", "row_px", "column_px",
    "radius_px", "radius_mm",
)  # fmt: skip


def write_radiograph(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, *, folder: Path, seed: int
) -> list[tuple[object, ...]]:
    """Writes the files of a study into ``folder``.

    Returns:
        Lines of the truth: one for each opacity, or one for a normal image.
    """
    build = generator(seed, spec.name, patient.patient_id)
    age = patient.studies[0].age_years
    anatomy = draw_anatomy(build, female=patient.sex == "F", age_years=age)
    draw = generator(seed, spec.name, study.instance_uid)
    images = [expose(spec, anatomy, draw, abnormal=study.abnormal)]
    if study.fault == "altered_copy":
        images.append(expose(spec, anatomy, draw, abnormal=study.abnormal))
    for number, image in enumerate(images, start=1):
        dataset = radiograph_header(spec, patient, study, image)
        content = encode_with_fault(dataset, spec.transfer_syntax, study.fault)
        (folder / f"IM{number:04d}.dcm").write_bytes(content)
    if "not_dicom" in study.extras:
        (folder / "IM0008.dcm").write_bytes(export_protocol(patient))
    if "secondary_capture" in study.extras:
        capture = capture_header(spec, patient, study)
        (folder / "IM0009.dcm").write_bytes(encode_file(capture, "explicit_little"))
    return _truth_lines(study, images[0])


def _truth_lines(study: ImagingStudy, image: Radiograph) -> list[tuple[object, ...]]:
    head = (study.instance_uid, study.study_uid, study.fault, int(study.abnormal))
    if not image.opacities:
        return [(*head, 0, "", "", "", "")]
    return [
        (*head, number, o.row, o.column, f"{o.radius_px:.3f}", f"{o.radius_mm:.3f}")
        for number, o in enumerate(image.opacities, start=1)
    ]
