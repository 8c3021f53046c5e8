"""The command line: bad input is one line, exit code 2 and no folder; a run writes everything."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from wardround_sim import cli, run
from wardround_sim.results import read_results

STUDY = """
study:
  purpose: Tests.
  cohort: {modalities: [CR, DX]}
  preprocessing: {rows: 32, columns: 32}
  training: {local_steps: 2, batch_size: 4}
  algorithm: {rounds: 2, evaluate_every: 2}
"""
HOSPITALS = """
hospitals:
- {name: alder, patients: 12, rows: 64, columns: 64}
- {name: beech, patients: 12, rows: 64, columns: 64, modality: CR, photometric: MONOCHROME1}
- {name: cedar, patients: 12, rows: 64, columns: 64, prevalence: 1.0}
"""
GOOD = "name: tiny\nseed: 3\nbaselines: [local, pooled]\n" + HOSPITALS + STUDY


def _run(tmp_path: Path, text: str, *more: str) -> tuple[int, Path]:
    scenario, out = tmp_path / "scenario.yaml", tmp_path / "out"
    scenario.write_text(text)
    arguments = ["run", str(scenario), "--out", str(out), "--workers", "0", *more]
    return cli.main(arguments), out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "sede: 4\n", "sede: got an unknown key"),
        (GOOD + "seed: 4\n", "seed: got the key twice"),
        (GOOD.replace("rows: 32", "rows: wide"), "study.preprocessing.rows: got 'wide'"),
        (GOOD + "  model: {name: alexnet}\n", "model.name: got 'alexnet'"),
        (GOOD + "  aggregation: {minimum_opened: 4}\n", "members: got '3 sites'"),
        (GOOD.replace("name: beech", "name: alder"), "got a name twice"),
        (GOOD.replace("seed: 3", "seed: -3"), "seed: got -3"),
        ("name: tiny\n" + STUDY, "exactly one of hospitals, federation, archives"),
        ("name: tiny\narchives: [a, b, c]\n" + STUDY, "--data"),
        (GOOD.replace("name: beech", "name: all"), "got the name 'all'"),
        (GOOD.replace("name: beech", "name: pooled"), "got the name 'pooled'"),
        (GOOD + "  expires: 2020-01-01\n", "expired on 2020-01-01"),
    ],
)
def test_unusable_input_is_one_line_with_exit_code_2_and_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    code, out = _run(tmp_path, text)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == cli.USAGE_ERROR
    assert expected in said
    assert not out.exists()


def test_a_missing_scenario_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["run", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "out")])
    assert code == cli.USAGE_ERROR
    assert "none.yaml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("StudyInstanceUID,wrong\n1.2,0\n", "label"),
        ("", "label"),
        ("StudyInstanceUID,label\n1.2.3,0\n", "usable"),
    ],
)
def test_an_archive_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str, expected: str
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name / "archive").mkdir(parents=True)
        (tmp_path / "data" / name / "labels.csv").write_text(labels)
    text = "name: tiny\narchives: [a, b, c]\n" + STUDY
    code, out = _run(tmp_path, text, "--data", str(tmp_path / "data"))
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == cli.USAGE_ERROR
    assert expected in said
    assert not out.exists()


def test_a_missing_archive_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "name: tiny\narchives: [a, b, c]\n" + STUDY
    code, out = _run(tmp_path, text, "--data", str(tmp_path))
    assert code == cli.USAGE_ERROR
    assert "got no a/archive there" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_holds_something_is_not_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    code, out = _run(tmp_path, GOOD)
    assert code == cli.USAGE_ERROR
    assert "expected a new one" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("place", ["file", "file/out"])
@pytest.mark.parametrize("command", ["run", "synth"])
def test_an_out_that_cannot_be_a_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, place: str
) -> None:
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "scenario.yaml").write_text(GOOD)
    out = ["--out", str(tmp_path / place)]
    assert cli.main([command, str(tmp_path / "scenario.yaml"), *out]) == cli.USAGE_ERROR
    assert "--out" in capsys.readouterr().err.strip().splitlines()[-1]
    assert (tmp_path / "file").read_text() == "years of work"


def test_fewer_than_no_workers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = _run(tmp_path, GOOD, "--workers", "-1")
    assert code == cli.USAGE_ERROR
    assert "--workers: got -1" in capsys.readouterr().err
    assert not out.exists()


def test_a_full_disk_is_one_line_without_a_path_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/archive/Phantom^Patient")

    monkeypatch.setattr(run, "create_workspaces", fail)
    code, out = _run(tmp_path, GOOD)
    said = capsys.readouterr().err
    assert code == cli.USAGE_ERROR
    assert "No space left on device" in said.strip().splitlines()[-1]
    assert "Phantom" not in said
    assert not out.exists()


def test_a_run_writes_report_results_rounds_and_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = _run(tmp_path, GOOD + "fine_tuning: {steps: 2}\n")
    assert code == 0
    assert "report.html" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert {"report.html", "results.json", "rounds.jsonl", "model.safetensors"} <= names
    found = read_results(out / "results.json")
    assert set(found.auc) == {"federated", "local", "pooled", "fine_tuned"}
    assert found.auc["federated"]["cedar"] is None
    assert found.rounds.completed == 2
    manifest = json.loads((out / "model.json").read_text())
    assert manifest["model_sha256"] == found.model_sha256


def test_a_run_that_ends_short_says_so_and_exits_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "  aggregation: {minimum_cases: 100000, attempts: 1, void_rounds: 1}\n"
    code, out = _run(tmp_path, GOOD.replace("baselines: [local, pooled]\n", "") + rules)
    assert code == cli.ENDED_SHORT
    assert "ended short" in capsys.readouterr().out
    assert read_results(out / "results.json").status == "ended short"


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--workers", "2"), ("--engine", "ray", "--workers", "2")])
def test_workers_and_engines_do_not_change_the_model(tmp_path: Path, more: tuple[str, ...]) -> None:
    text = GOOD.replace("baselines: [local, pooled]\n", "")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, alone = _run(tmp_path / "a", text)
    _, other = _run(tmp_path / "b", text, *more)
    first, second = (read_results(out / "results.json") for out in (alone, other))
    assert first.model_sha256 == second.model_sha256
    assert first.auc == second.auc
    assert first.study.sha256 == second.study.sha256
