"""Scoring: the model that is scored at a site is the one that the run ended with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wardround_client.contribution import blueprint
from wardround_client.kept import KeptArrays
from wardround_common.config import parse_config
from wardround_sim.assessment import Arms, at_site
from wardround_sim.scenario import FineTuning, Scenario
from wardround_sim.virtual import plan_federation

SCENARIO = b"""
name: tiny
archives: [a, b, c]
study:
  purpose: Tests.
  training: {local_steps: 2}
  algorithm: {rounds: 9, keep_local: head}
"""


def test_parts_that_a_void_round_left_at_a_site_are_not_scored(tmp_path: Path) -> None:
    scenario = parse_config(SCENARIO, Scenario, name="tiny.yaml")
    data = dict.fromkeys(scenario.archives, tmp_path)
    federation, _ = plan_federation(scenario, names=scenario.archives, data=data, work=tmp_path)
    draft, run = blueprint(federation.study), b"r" * 16
    kept = KeptArrays(federation.sites[0].workspace / "kept" / run.hex())
    name = min(draft.kept & set(draft.parameters))
    for step in (4, 6):
        kept.save(step, {f"value/{name}": np.full_like(draft.parameters[name], step)})
    arms = Arms(
        shared=draft.shared_parameters,
        run=run,
        step=4,
        baselines={},
        fine_tuning=FineTuning(steps=0),
    )
    assert (at_site(federation, "a", arms=arms)[name] == 4).all()
