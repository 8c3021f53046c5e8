"""What the results say about a run: terms of the sum, scores where there is nothing to score."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from wardround_common.config import parse_config
from wardround_server.model_state import ModelState
from wardround_sim.assessment import SiteScores
from wardround_sim.collect import (
    auc_tables,
    calibrate,
    describe_protection,
    site_round_overhead_s,
)
from wardround_sim.scenario import Scenario
from wardround_sim.virtual import plan_federation

SCENARIO = b"""
name: tiny
archives: [a, b, c, d]
study: {purpose: Tests., aggregation: {minimum_sites: 4}}
"""


def _scores(labels: list[int], federated: list[float], **local: list[float]) -> SiteScores:
    return SiteScores(
        labels=np.array(labels, np.int64),
        federated=np.array(federated),
        pooled=None,
        local={name: np.array(values) for name, values in local.items()},
        fine_tuned=None,
    )


def test_a_quorum_above_t_leaves_no_room_for_drop_outs(tmp_path: Path) -> None:
    scenario = parse_config(SCENARIO, Scenario, name="tiny.yaml")
    data = dict.fromkeys(scenario.archives, tmp_path)
    federation, _ = plan_federation(scenario, names=scenario.archives, data=data, work=tmp_path)
    study = federation.study
    arrays = {"weight": np.zeros(5, np.float32)}
    state = ModelState.initial(study.algorithm, parameters=arrays, buffers={})
    found = describe_protection(study, state)
    assert (found.minimum_opened, found.drop_outs_tolerated) == (4, 0)
    rules = dataclasses.replace(study.aggregation, minimum_sites=3)
    found = describe_protection(dataclasses.replace(study, aggregation=rules), state)
    assert (found.minimum_opened, found.drop_outs_tolerated) == (3, 1)


def test_without_test_examples_nothing_is_said_to_be_calibrated() -> None:
    none = {"a": _scores([], []), "b": _scores([], [])}
    assert calibrate(none) is None
    assert auc_tables(none)[0]["federated"] == {"a": None, "b": None, "all": None}


def test_alone_on_all_patients_is_the_mean_over_models_and_never_pools_their_scores() -> None:
    # a's own model is right everywhere, b's is wrong everywhere but at home.
    scores = {
        "a": _scores([0, 1], [0.1, 0.9], a=[0.1, 0.9], b=[0.9, 0.1], c=[0.5, 0.5]),
        "b": _scores([0, 1], [0.1, 0.9], a=[0.1, 0.9], b=[0.4, 0.6], c=[0.5, 0.5]),
        "c": _scores([1, 1], [0.9, 0.9], a=[0.9, 0.9], b=[0.0, 0.0], c=[0.9, 0.9]),
    }
    found = auc_tables(scores)[0]["local"]
    assert found["all"] is not None
    assert found["a"] is not None
    assert found["b"] is not None
    assert found["c"] is None
    assert (found["a"].auc, found["b"].auc) == (1.0, 1.0)
    assert found["all"].auc == (1.0 + 1 / 8) / 2


def test_the_overhead_is_what_rounds_take_beyond_training_shared_by_the_workers() -> None:
    class Site:
        seconds: ClassVar[dict[str, float]] = {"training": 3.0, "train": 3.5}

    lines = [
        {"kind": "train", "seconds": {"train": 4.0, "share": 1.0}},
        {"kind": "evaluate", "seconds": {"evaluate": 100.0}},
    ]
    assert site_round_overhead_s(lines, (Site(), Site()), workers=2) == 1.0  # type: ignore[arg-type]
    assert site_round_overhead_s([], (), workers=0) == 0.0
