"""Labels of CT hospitals as reports and segmentations: true, and read by the intake as such."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from wardround_client.cohort_report import CohortReport
from wardround_client.prepare import prepare_site
from wardround_client.quarantine import Reason
from wardround_common.intake_plan import CohortRule, LabelRule, Preprocessing, VolumePreprocessing
from wardround_sim.scenario import Scenario, StudyDraft
from wardround_sim.synthetic.archive import WrittenHospital, write_hospital
from wardround_sim.synthetic.ct_labels import NODULE, NORMAL, VOLUME
from wardround_sim.synthetic.hospital import Dirt, SyntheticHospital
from wardround_sim.synthetic.scanner import Scanner
from wardround_sim.virtual import create_workspaces, plan_federation

HOSPITAL = SyntheticHospital(
    name="aspen_heights",
    modality="CT",
    patients=4,
    studies_per_patient_max=1,
    rows=64,
    columns=64,
    nodule_mm=(22, 30),
    nodules=(1, 1),
    label_objects=("sr", "seg"),
    scanner=Scanner(slice_spacing_mm=8, coverage_mm=160),
)
RULES = {
    "csv": LabelRule(),
    "measurement": LabelRule(source="sr", concept=VOLUME, unit="ml", positive_from=0.5),
    "finding": LabelRule(source="sr", concept="121071|DCM", values=((NORMAL,), (NODULE,))),
    "segmentation": LabelRule(source="seg", segments=(NODULE,), minimum_ml=0.5),
}


def _prepare(
    spec: SyntheticHospital, folder: Path, rule: LabelRule
) -> tuple[WrittenHospital, CohortReport]:
    written = write_hospital(spec, folder / spec.name, seed=1)
    shape: Any = {"shape": (16, 16, 16), "spacing_mm": (15.0, 15.0, 15.0)}
    draft = StudyDraft(
        purpose="a test",
        cohort=CohortRule(modalities=("CT",), labels=rule),
        preprocessing=Preprocessing(volume=VolumePreprocessing(**shape)),
    )
    names = ("aspen_heights", "b", "c")
    scenario = Scenario(name="labels", study=draft, archives=names)
    data = dict.fromkeys(names, folder / spec.name)
    federation, _ = plan_federation(scenario, names=names, data=data, work=folder / "work")
    create_workspaces(federation, seed=1)
    return written, prepare_site(federation.sites[0], federation.study)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_every_source_of_labels_gives_the_label_of_the_truth(
    tmp_path: Path, rule: str, enhanced: bool
) -> None:
    spec = dataclasses.replace(
        HOSPITAL, scanner=dataclasses.replace(HOSPITAL.scanner, enhanced=enhanced)
    )
    written, report = _prepare(spec, tmp_path, RULES[rule])
    with written.truth.open() as file:
        labels = {line["StudyInstanceUID"]: line["label"] for line in csv.DictReader(file)}
    assert report.usable == len(labels) == 4
    positive = sum(classes["abnormal"] for classes in report.splits.values())
    assert positive == sum(label == "1" for label in labels.values()) == 2


@pytest.mark.parametrize("rule", RULES)
def test_missing_and_contradicting_labels_are_refused_from_every_source(
    tmp_path: Path, rule: str
) -> None:
    spec = dataclasses.replace(
        HOSPITAL, patients=2, prevalence=1.0, dirt=Dirt(missing_label=1, ambiguous_label=1)
    )
    _, report = _prepare(spec, tmp_path, RULES[rule])
    assert report.usable == 2
    assert report.refused[Reason.LABEL_MISSING] == spec.scanner.slices
    assert report.refused[Reason.LABEL_CONFLICT] == spec.scanner.slices


def test_the_masks_hold_the_volume_of_the_truth(tmp_path: Path) -> None:
    scanner = Scanner(slice_spacing_mm=4)
    spec = dataclasses.replace(HOSPITAL, prevalence=1.0, rows=128, columns=128, scanner=scanner)
    written = write_hospital(spec, tmp_path / "site", seed=1)
    with written.truth.open() as file:
        volumes = {line["StudyInstanceUID"]: line["volume_ml"] for line in csv.DictReader(file)}
    for path in written.archive.rglob("SEG1.dcm"):
        mask = pydicom.dcmread(path)
        measures = mask.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        voxel_ml = float(np.prod([*measures.PixelSpacing, 4.0])) / 1000
        volume_ml = float(volumes[mask.StudyInstanceUID])
        assert mask.pixel_array.sum() * voxel_ml == pytest.approx(volume_ml, rel=0.1)
        report = pydicom.dcmread(path.with_name("SR1.dcm"))
        values = [float(e.value) for e in report.iterall() if e.keyword == "NumericValue"]
        assert values == [pytest.approx(volume_ml, abs=0.001)]
