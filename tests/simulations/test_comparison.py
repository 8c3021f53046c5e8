"""Several runs side by side: what may be compared, and that differences stay within one run."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console
from tests.simulations.conftest import Run

from wardround_common.errors import ConfigError
from wardround_sim.comparison import print_comparison, require_comparable
from wardround_sim.results import Auc, Results


def _auc(value: float) -> Auc:
    return Auc(auc=value, low=value, high=value, positives=9, negatives=9)


def _with(run: Run, seed: int, *, federated: float, local: float | None) -> Results:
    auc = {
        "federated": {"all": _auc(federated)},
        "local": {"all": None if local is None else _auc(local)},
    }
    return dataclasses.replace(run.results, seed=seed, auc=auc)


def _printed(*runs: Results) -> str:
    text = io.StringIO()
    print_comparison(runs, Console(file=text, width=200))
    return text.getvalue()


def test_a_difference_is_between_two_models_of_one_run(four_hospitals: Run) -> None:
    first = _with(four_hospitals, 1, federated=0.9, local=None)
    second = _with(four_hospitals, 2, federated=0.7, local=0.6)
    assert "+0.100 (+0.100 to +0.100)" in _printed(first, second)


def test_a_run_that_ended_short_is_named(four_hospitals: Run) -> None:
    first = _with(four_hospitals, 1, federated=0.9, local=0.8)
    short = dataclasses.replace(first, seed=2, status="ended short", reason="3 rounds were void")
    assert "seed 2 ended short: 3 rounds were void" in _printed(first, short)


def test_only_other_seeds_may_be_compared(four_hospitals: Run) -> None:
    first = four_hospitals.results
    second = dataclasses.replace(first, seed=2)
    require_comparable([first, second])
    changed = first.study.parameters | {"training": {"learning_rate": 1.0}}
    study = dataclasses.replace(first.study, parameters=changed)
    with pytest.raises(ConfigError, match="different studies"):
        require_comparable([first, dataclasses.replace(second, study=study)])
    with pytest.raises(ConfigError, match="one seed"):
        require_comparable([first, first])
    with pytest.raises(ConfigError, match="one scenario"):
        require_comparable([first, dataclasses.replace(second, scenario="other")])
