"""Broken studies: each kind is left out under its own reason, and training goes on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from wardround_client.prepare import prepare_site
from wardround_client.quarantine import Reason
from wardround_common.config import parse_config
from wardround_sim.results import Results
from wardround_sim.run import RunOptions, run_scenario
from wardround_sim.scenario import Scenario
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.synthetic.hospital import Dirt, SyntheticHospital
from wardround_sim.virtual import create_workspaces, plan_federation

SCENARIOS = Path(__file__).parents[2] / "simulations" / "scenarios"
REASONS = {
    "truncated": Reason.TRUNCATED,
    "altered_copy": Reason.DUPLICATE_CONFLICT,
    "unknown_codec": Reason.NO_DECODER,
    "broken_codestream": Reason.DECODE_FAILED,
    "crashing_codestream": Reason.DECODE_FAILED,
    "wrong_vr": Reason.BROKEN_HEADER,
    "no_identity": Reason.NO_IDENTITY,
    "huge_size": Reason.TOO_LARGE,
}
"""What intake says of each way to break a study; an altered copy is two files."""


def _scenario(name: str) -> Scenario:
    return parse_config((SCENARIOS / name).read_bytes(), Scenario, name=name)


def _expected(dirt: Dirt) -> Counter[str]:
    found: Counter[str] = Counter()
    for kind, reason in REASONS.items():
        found[reason] += getattr(dirt, kind) * (2 if kind == "altered_copy" else 1)
    return +found


@pytest.mark.parametrize("syntax", ["implicit_little", "rle"])
def test_each_way_to_break_a_study_is_left_out_under_its_own_reason(
    tmp_path: Path, syntax: Any
) -> None:
    numbered = {kind: number for number, kind in enumerate(REASONS, start=1)}
    hospital = SyntheticHospital(
        name="elm_street",
        patients=8,
        studies_per_patient_max=1,
        rows=64,
        columns=64,
        transfer_syntax=syntax,
        dirt=Dirt(**numbered),
    )
    template = _scenario("broken_archive.yaml")
    others = template.hospitals[1:]
    scenario = dataclasses.replace(template, hospitals=(hospital, *others))
    written = write_hospital(hospital, tmp_path / "elm_street", seed=1)
    names = tuple(h.name for h in scenario.hospitals)
    data = dict.fromkeys(names, tmp_path / "elm_street")
    federation, _ = plan_federation(scenario, names=names, data=data, work=tmp_path / "work")
    create_workspaces(federation, seed=1)
    report = prepare_site(federation.sites[0], federation.study)
    assert report.refused == _expected(hospital.dirt)
    assert report.usable == 8
    assert report.found == sum(path.is_file() for path in written.archive.rglob("*"))


def test_the_planted_share_of_broken_studies_is_two_and_a_half_percent() -> None:
    hospitals = _scenario("broken_archive.yaml").hospitals
    broken = sum(getattr(h.dirt, kind) for h in hospitals for kind in REASONS)
    kinds = {kind for h in hospitals for kind in REASONS if getattr(h.dirt, kind)}
    assert broken / (broken + sum(h.patients for h in hospitals)) == 0.025
    assert kinds == set(REASONS)


@pytest.mark.slow
def test_training_goes_on_and_the_report_names_each_broken_study_by_reason(
    tmp_path: Path,
) -> None:
    scenario = _scenario("broken_archive.yaml")
    found: Results = run_scenario(scenario, RunOptions(out=tmp_path / "run"))
    assert (found.status, found.rounds.completed) == ("complete", scenario.study.algorithm.rounds)
    by_name = {site.site: site for site in found.sites}
    for hospital in scenario.hospitals:
        site = by_name[hospital.name]
        assert site.archive.usable == hospital.patients
        assert set(site.quarantine) == set(_expected(hospital.dirt))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for reason in REASONS.values():
        assert reason.explanation in page or reason.value in page
