"""The scenario of CT volumes, made small: archives, intake, federated training, report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wardround_client.quarantine import Reason
from wardround_common.config import parse_config
from wardround_sim.run import RunOptions, run_scenario
from wardround_sim.scenario import Scenario
from wardround_sim.synthetic.hospital import Dirt, SyntheticHospital

SCENARIO = Path(__file__).parents[2] / "simulations" / "scenarios" / "ct_nodules.yaml"


def _scenario() -> Scenario:
    return parse_config(SCENARIO.read_bytes(), Scenario, name=SCENARIO.name)


def _small(hospital: SyntheticHospital) -> SyntheticHospital:
    coarse = dataclasses.replace(hospital.scanner, slice_spacing_mm=6, slice_thickness_mm=6)
    return dataclasses.replace(
        hospital, patients=10, rows=48, columns=48, scanner=coarse, dirt=Dirt(missing_slice=1)
    )


def test_the_scenario_trains_a_densenet_of_volumes_at_hospitals_that_differ() -> None:
    scenario = _scenario()
    assert scenario.study.model.name == "densenet121"
    assert len(scenario.study.preprocessing.shape) == 3
    scanners = [hospital.scanner for hospital in scenario.hospitals]
    assert len({scanner.storage for scanner in scanners}) == 4
    assert {scanner.patient_position for scanner in scanners} == {"HFS", "FFS"}
    assert {scanner.enhanced for scanner in scanners} == {True, False}
    assert len({hospital.transfer_syntax for hospital in scenario.hospitals}) == 4
    low, high = scenario.study.cohort.slice_spacing_mm or (0, 0)
    assert all(low <= scanner.slice_spacing_mm <= high for scanner in scanners)


@pytest.mark.slow
def test_hospitals_of_volumes_train_together_from_archive_to_report(tmp_path: Path) -> None:
    scenario = _scenario()
    study = dataclasses.replace(
        scenario.study,
        model=dataclasses.replace(scenario.study.model, name="small_cnn"),
        training=dataclasses.replace(scenario.study.training, local_steps=2),
        algorithm=dataclasses.replace(scenario.study.algorithm, rounds=2, evaluate_every=2),
    )
    small = dataclasses.replace(
        scenario, study=study, hospitals=tuple(_small(h) for h in scenario.hospitals)
    )
    found = run_scenario(small, RunOptions(out=tmp_path / "run"))
    assert (found.status, found.rounds.completed) == ("complete", 2)
    for site in found.sites:
        assert site.archive.usable == 10
        assert set(site.quarantine) == {Reason.MISSING_SLICE.value}
    assert {"federated", "local"} <= set(found.auc)
    assert (tmp_path / "run" / "report.html").is_file()
