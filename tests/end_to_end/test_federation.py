"""Whole runs with the real apps: outcome, drop-outs, void rounds, refusals, reproducibility."""

from __future__ import annotations

import dataclasses
import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.end_to_end.runs import Prepared, WatchedGrid, run, with_study

from wardround_client import app, contribution
from wardround_client.contribution import blueprint
from wardround_common import metrics
from wardround_common.approval import countersign, verify_countersignature
from wardround_common.errors import RoundError
from wardround_common.identity import Identity
from wardround_common.layout import metric_layout
from wardround_common.study import Study
from wardround_common.update import model_sha256
from wardround_server.app import build_server_app
from wardround_server.federation import RunSettings
from wardround_sim.virtual import open_virtual_site


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def test_a_run_opens_every_round_and_writes_the_model(prepared: Prepared, tmp_path: Path) -> None:
    outcome, _ = run(prepared, tmp_path, identity=secrets.token_bytes(16))
    assert (outcome.completed, outcome.void, outcome.problem) == (2, 0, "")
    lines = _lines(tmp_path)
    kinds = [(line["kind"], line.get("split")) for line in lines]
    training, test = ("train", None), ("evaluate", "test")
    validation = ("evaluate", "validation")
    assert kinds == [training, validation, training, validation, test]
    assert all(line["status"] == "opened" for line in lines)
    model = load_file(tmp_path / "model.safetensors")
    assert model_sha256(model).hex() == lines[-1]["model_sha256"]
    draft = blueprint(prepared.federation.study)
    assert model_sha256(model) != model_sha256({**draft.parameters, **draft.buffers})


def test_metrics_of_the_masked_sum_are_those_of_all_sites_together(
    prepared: Prepared, tmp_path: Path
) -> None:
    identity = secrets.token_bytes(16)
    outcome, _ = run(prepared, tmp_path, identity=identity)
    study = prepared.federation.study
    groups = outcome.state.arrays()
    steps = study.training.local_steps * outcome.completed
    total = np.zeros(metric_layout(study).size, np.int64)
    for name in study.sites:
        site = open_virtual_site(prepared.federation, name)
        total += contribution.evaluate(site, identity, split="test", step=steps, groups=groups)[1:]
    expected = dataclasses.asdict(metrics.decode(metric_layout(study), total))
    found = _lines(tmp_path)[-1]["metrics"]
    assert found == json.loads(json.dumps(expected))


def test_another_run_of_a_study_draws_other_batches(prepared: Prepared, tmp_path: Path) -> None:
    first, _ = run(prepared, tmp_path / "a", identity=secrets.token_bytes(16))
    second, _ = run(prepared, tmp_path / "b", identity=secrets.token_bytes(16))
    assert model_sha256(first.state.model()) != model_sha256(second.state.model())


@pytest.mark.parametrize("leg", ["train", "share", "masked", "consistency", "unmask"])
def test_a_site_lost_at_any_leg_is_left_out_and_the_run_goes_on(
    prepared: Prepared, tmp_path: Path, leg: str
) -> None:
    federation = with_study(prepared, aggregation=_hasty(prepared))
    outcome, _ = run(
        prepared,
        tmp_path,
        identity=secrets.token_bytes(16),
        federation=federation,
        drop=lambda site, at: (site, at) == ("elm", leg),
    )
    assert outcome.completed == 2
    opened = [line for line in _lines(tmp_path) if line["kind"] == "train"]
    assert all(line["status"] == "opened" for line in opened)
    assert {line["sites"]["dropped"]["elm"] for line in opened} == {f"{leg}: unreachable"}
    in_sum = leg in ("consistency", "unmask")
    assert all(("elm" in line["sites"]["opened"]) == in_sum for line in opened)


def test_each_sites_approval_of_the_study_is_kept(prepared: Prepared, tmp_path: Path) -> None:
    run(prepared, tmp_path, identity=secrets.token_bytes(16))
    document = json.loads((tmp_path / "approvals.json").read_text())
    study = prepared.federation.study
    assert document["study_sha256"] == study.sha256().hex()
    assert set(document["countersignatures"]) == set(study.sites)
    for site, signature in document["countersignatures"].items():
        verify_countersignature(study, site, bytes.fromhex(signature))


def test_a_site_without_a_countersignature_takes_no_part(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(identity: Identity, site: str, study: Study) -> bytes:
        return bytes(64) if site == "elm" else countersign(identity, site, study)

    monkeypatch.setattr(app, "countersign", sign)
    outcome, _ = run(prepared, tmp_path, identity=secrets.token_bytes(16))
    assert outcome.completed == 2
    assert all("elm" not in line["sites"]["roster"] for line in _lines(tmp_path))


def test_a_site_that_misses_the_beginning_joins_later(prepared: Prepared, tmp_path: Path) -> None:
    greetings: list[str] = []

    def late(site: str, leg: str) -> bool:
        if (site, leg) == ("elm", "hello"):
            greetings.append(leg)
        return (site, leg) == ("elm", "hello") and len(greetings) < 2

    federation = with_study(prepared, aggregation=_hasty(prepared))
    identity = secrets.token_bytes(16)
    outcome, _ = run(prepared, tmp_path, identity=identity, federation=federation, drop=late)
    training = [line["sites"] for line in _lines(tmp_path) if line["kind"] == "train"]
    assert outcome.completed == 2
    assert "elm" in training[-1]["opened"]


def test_a_site_that_never_comes_is_named_in_every_line(prepared: Prepared, tmp_path: Path) -> None:
    outcome, _ = run(
        prepared,
        tmp_path,
        identity=secrets.token_bytes(16),
        drop=lambda site, leg: (site, leg) == ("elm", "hello"),
    )
    assert outcome.completed == 2
    assert {line["sites"]["dropped"]["elm"] for line in _lines(tmp_path)} == {"hello: silent"}


@pytest.mark.parametrize("leg", ["train", "share", "masked", "consistency", "unmask"])
def test_too_many_lost_sites_void_the_round_and_leave_the_model(
    prepared: Prepared, tmp_path: Path, leg: str
) -> None:
    federation = with_study(prepared, aggregation=_hasty(prepared))
    outcome, _ = run(
        prepared,
        tmp_path,
        identity=secrets.token_bytes(16),
        federation=federation,
        drop=lambda site, at: site in ("cedar", "elm") and at == leg,
    )
    draft = blueprint(prepared.federation.study)
    assert outcome.completed == 0
    assert "void" in outcome.problem
    untouched = model_sha256({**draft.parameters, **draft.buffers})
    assert model_sha256(outcome.state.model()) == untouched
    lines = _lines(tmp_path)
    assert {line["status"] for line in lines} == {"void"}
    assert all(line["reason"] for line in lines)
    tried = [line["attempt"] for line in lines if line["kind"] == "train"]
    assert tried == [0, 0] if leg in ("consistency", "unmask") else [0, 1, 0, 1]


def test_a_missing_required_site_voids_the_round_before_anything_is_opened(
    prepared: Prepared, tmp_path: Path
) -> None:
    rules = dataclasses.replace(_hasty(prepared), required_sites=("elm",))
    outcome, _ = run(
        prepared,
        tmp_path,
        identity=secrets.token_bytes(16),
        federation=with_study(prepared, aggregation=rules),
        drop=lambda site, at: (site, at) == ("elm", "masked"),
    )
    assert outcome.completed == 0
    assert "required site elm" in _lines(tmp_path)[0]["reason"]


def test_too_few_cases_void_the_round(prepared: Prepared, tmp_path: Path) -> None:
    rules = dataclasses.replace(_hasty(prepared), minimum_cases=10_000)
    federation = with_study(prepared, aggregation=rules)
    outcome, _ = run(prepared, tmp_path, identity=secrets.token_bytes(16), federation=federation)
    assert outcome.completed == 0
    assert "cases" in _lines(tmp_path)[0]["reason"]


def test_sites_refuse_a_study_they_have_not_approved(prepared: Prepared, tmp_path: Path) -> None:
    other = with_study(prepared, purpose="Something else.")
    ended: list[object] = []

    settings = RunSettings(
        study=other.study,
        identity=prepared.coordinator,
        run=secrets.token_bytes(16),
        folder=tmp_path,
        hello_deadline_s=1.0,
    )
    server_app = build_server_app(settings, poll_s=0.0, on_outcome=ended.append)
    grid = WatchedGrid(prepared.federation, drop=lambda site, leg: False)
    with pytest.raises(RoundError, match="got 0 sites, expected at least 3"):
        server_app(grid=grid, context=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["fedavg", "fedavgm", "fedadam", "fedyogi"])
def test_every_server_optimiser_runs_to_the_end(
    prepared: Prepared, tmp_path: Path, name: str
) -> None:
    algorithm = dataclasses.replace(
        prepared.federation.study.algorithm, name=name, rounds=1, server_learning_rate=0.1
    )
    federation = with_study(prepared, algorithm=algorithm)
    outcome, _ = run(prepared, tmp_path, identity=secrets.token_bytes(16), federation=federation)
    assert (outcome.completed, outcome.problem) == (1, "")


def test_batch_normalisation_that_is_averaged_keeps_positive_variances(
    prepared: Prepared, tmp_path: Path
) -> None:
    study = prepared.federation.study
    federation = with_study(
        prepared,
        model=dataclasses.replace(study.model, normalisation="batch"),
        algorithm=dataclasses.replace(study.algorithm, name="fedavg", rounds=2),
    )
    outcome, _ = run(prepared, tmp_path, identity=secrets.token_bytes(16), federation=federation)
    model = outcome.state.model()
    variances = [a for name, a in model.items() if name.endswith("running_var")]
    assert outcome.completed == 2
    assert variances
    assert all((a > 0).all() for a in variances)


@pytest.mark.parametrize(("kept", "part"), [("normalisation", "bn"), ("head", "fc")])
def test_kept_parameters_never_travel_and_stay_different_at_each_site(
    prepared: Prepared, tmp_path: Path, kept: str, part: str
) -> None:
    study, identity = prepared.federation.study, secrets.token_bytes(16)
    algorithm = dataclasses.replace(study.algorithm, keep_local=kept)
    federation = with_study(prepared, algorithm=algorithm)
    outcome, _ = run(prepared, tmp_path, identity=identity, federation=federation)
    assert outcome.completed == 2
    assert not any(part in name for name in outcome.state.model())
    folders = [config.workspace / "kept" / identity.hex() for config in federation.sites]
    stored = [load_file(sorted(folder.iterdir())[-1]) for folder in folders]
    name = next(name for name in stored[0] if name.startswith("value/"))
    assert len({arrays[name].tobytes() for arrays in stored}) == len(stored)


def _hasty(prepared: Prepared) -> Any:
    rules = prepared.federation.study.aggregation
    return dataclasses.replace(rules, attempts=2, void_rounds=2)
