"""What may be wrong at CT hospitals, and descriptions of them that cannot be."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from wardround_common.config import parse_config
from wardround_common.errors import ConfigError
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.synthetic.hospital import CT_ONLY, Dirt, SyntheticHospital
from wardround_sim.synthetic.roster import build_roster
from wardround_sim.synthetic.scanner import Scanner

COARSE = Scanner(slice_spacing_mm=12, coverage_mm=72)
HOSPITAL = SyntheticHospital(
    name="aspen_heights",
    modality="CT",
    patients=1,
    studies_per_patient_max=1,
    prevalence=1.0,
    rows=48,
    columns=48,
    scanner=COARSE,
)


def test_each_kind_of_dirt_is_in_the_archive_as_described(tmp_path: Path) -> None:
    kinds = (*CT_ONLY, "not_dicom", "secondary_capture", "altered_copy", "truncated")
    spec = dataclasses.replace(HOSPITAL, dirt=Dirt(**dict.fromkeys(kinds, 1)))
    written = write_hospital(spec, tmp_path / "site", seed=4)
    folders = {
        study.fault: written.archive / patient.patient_id / study.accession_number
        for patient in build_roster(spec, seed=4)
        for study in patient.studies
    }
    names = {f"IM{number:04d}.dcm" for number in range(1, 8)}
    good = {str(path.relative_to(folders[""])) for path in folders[""].rglob("*.dcm")}
    copies = {f"{folder}/{name}" for folder in ("series", "again") for name in names}
    assert good == copies | {"IM0008.dcm", "IM0009.dcm", "IM0010.dcm"}
    for name in names:
        again, first = (folders[""] / folder / name for folder in ("again", "series"))
        assert again.read_bytes() == first.read_bytes()
    overview = pydicom.dcmread(folders[""] / "IM0010.dcm")
    assert "LOCALIZER" in overview.ImageType
    assert overview.SeriesInstanceUID == pydicom.dcmread(first).SeriesInstanceUID

    def read(fault: str) -> list[pydicom.FileDataset]:
        return [pydicom.dcmread(p) for p in sorted((folders[fault] / "series").iterdir())]

    assert len(read("missing_slice")) == 6
    turned = [tuple(d.ImageOrientationPatient) for d in read("turned_slice")]
    assert sorted(map(turned.count, set(turned))) == [1, 6]
    leaning = read("tilted")[0].ImageOrientationPatient
    assert np.degrees(np.arcsin(leaning[5])) == pytest.approx(14)
    copies_of_one = [d for d in read("altered_copy") if d.InstanceNumber == 4]
    assert copies_of_one[0].SOPInstanceUID == copies_of_one[1].SOPInstanceUID
    assert (copies_of_one[0].pixel_array != copies_of_one[1].pixel_array).any()
    sizes = [path.stat().st_size for path in (folders["truncated"] / "series").iterdir()]
    assert sum(size < max(sizes) / 2 for size in sizes) == 1


@pytest.mark.parametrize("fault", ["missing_slice", "turned_slice", "tilted", "altered_copy"])
def test_an_enhanced_instance_can_be_wrong_in_the_same_ways(tmp_path: Path, fault: str) -> None:
    spec = dataclasses.replace(
        HOSPITAL, scanner=dataclasses.replace(COARSE, enhanced=True), dirt=Dirt(**{fault: 1})
    )
    written = write_hospital(spec, tmp_path / "site", seed=4)
    (study,) = (s for p in build_roster(spec, seed=4) for s in p.studies if s.fault == fault)
    (folder,) = written.archive.glob(f"*/{study.accession_number}/series")
    first, *others = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    groups = first.PerFrameFunctionalGroupsSequence
    assert first.NumberOfFrames == len(groups) == len(first.pixel_array)
    assert len(groups) == COARSE.slices - (fault == "missing_slice")
    if fault == "turned_slice":
        turned = [tuple(g.PlaneOrientationSequence[0].ImageOrientationPatient) for g in groups]
        assert sorted(map(turned.count, set(turned))) == [1, 6]
    if fault == "altered_copy":
        assert others[0].SOPInstanceUID == first.SOPInstanceUID
        assert (others[0].pixel_array != first.pixel_array).any()


def test_a_ct_hospital_is_read_from_a_scenario() -> None:
    text = b"""
name: aspen_heights
modality: CT
rows: 64
columns: 64
nodules: [2, 4]
nodule_mm: [6, 20]
scanner: {slice_spacing_mm: 2.5, kernel: B70F, storage: high_offset}
dirt: {tilted: 2}
"""
    hospital = parse_config(text, SyntheticHospital, name="scenario.yaml")
    assert hospital.scanner.storage == "high_offset"
    assert hospital.scanner.slices == 97
    assert hospital.nodule_mm == (6, 20)
    assert hospital.scanner.thickness_mm == 2.5
    assert hospital.dirt.tilted == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("slice_spacing_mm", 0.1),
        ("slice_spacing_mm", 0.5),
        ("slice_thickness_mm", 1.0),
        ("coverage_mm", 900.0),
        ("kernel", "back\\slash"),
        ("sharpness", 1.5),
    ],
)
def test_a_scanner_that_cannot_be_is_refused_by_its_key(key: str, value: object) -> None:
    values: dict[str, Any] = {"coverage_mm": 400.0, key: value}
    with pytest.raises(ConfigError, match=f"^{key}: got "):
        Scanner(**values)


@pytest.mark.parametrize(
    ("key", "value"),
    [("nodules", (0, 3)), ("nodules", (3, 1)), ("nodule_mm", (0.1, 20.0)), ("rows", 16)],
)
def test_a_ct_hospital_that_cannot_be_is_refused_by_its_key(key: str, value: object) -> None:
    values: dict[str, Any] = {"name": "aspen_heights", "modality": "CT", key: value}
    with pytest.raises(ConfigError, match=f"^{key}: got "):
        SyntheticHospital(**values)


def test_label_objects_are_refused_where_they_could_not_be_true() -> None:
    with pytest.raises(ConfigError, match=r"^label_objects: got \['sr'\], expected none"):
        SyntheticHospital(name="aurora_general", label_objects=("sr",))
    with pytest.raises(ConfigError, match=r"^label_noise: got 0.1, expected 0 with label_objects"):
        dataclasses.replace(HOSPITAL, label_objects=("seg",), label_noise=0.1)


@pytest.mark.parametrize("kind", CT_ONLY)
def test_dirt_of_ct_alone_is_refused_for_radiographs(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^dirt\.{kind}: got 1, expected 0; only CT has it"):
        SyntheticHospital(name="aurora_general", dirt=Dirt(**{kind: 1}))
