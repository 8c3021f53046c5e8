from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wardround_sim.bench import flower_secagg
from wardround_sim.bench.__main__ import BENCHMARKS, main
from wardround_sim.bench.rows import Ratio, Row, Spread, ratio

EXPECTED_CASES = {"masking": ("client", "coordinator", "upload"), "rounds": ("4 sites",)}
EXPECTED_CASES["throughput"] = ("training",)
EXPECTED_CASES["fuzz"] = ("12 damaged files",)
EXPECTED_CASES["cache"] = ("building", "gathering")
EXPECTED_CASES["index"] = ("warm", "cold", "unchanged tree", "peak memory")
EXPECTED_CASES["traps"] = ("axial", "radiograph")


@pytest.mark.filterwarnings("ignore")  # those of the libraries we are compared with
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_and_writes_its_rows(name: str, tmp_path: Path) -> None:
    assert main([name, "--quick", "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["machine"]["cores"] >= 1
    rows = document["rows"]
    assert {row["benchmark"] for row in rows} == {name}
    for case in EXPECTED_CASES[name]:
        assert any(row["case"].startswith(case) for row in rows)
    for row in rows:
        spread = row["spread"]
        assert spread["minimum"] <= spread["median"] <= spread["maximum"]
        assert all(found["spread"]["repetitions"] >= 1 for found in row["ratios"])


@pytest.mark.parametrize("lost", [set(), {1}])
def test_flowers_primitives_as_called_here_open_the_plain_mean(lost: set[int]) -> None:
    nodes = flower_secagg.make_nodes(4)
    rng = np.random.default_rng(3)
    updates = [rng.normal(0, 0.1, 500).astype(np.float32) for _ in nodes]
    total = [np.zeros(1, np.int64), np.zeros(500, np.int64)]
    kept = [site for site in range(4) if site not in lost]
    for site in kept:
        uploaded = flower_secagg.mask_vector(nodes, site, updates[site])
        total = flower_secagg.add_vector(total, uploaded)
    (mean,) = flower_secagg.unmask_and_read(nodes, lost, total)
    np.testing.assert_allclose(mean, np.mean([updates[s] for s in kept], axis=0), atol=1e-5)


def test_a_ratio_pairs_repetitions_and_a_goal_is_judged_by_the_median() -> None:
    found = ratio([2.0, 3.0, 8.0], to="other", others=[2.0, 2.0, 2.0], goal="<= 1.6")
    assert found.spread == Spread(minimum=1.0, median=1.5, maximum=4.0, repetitions=3)
    assert found.met is True
    assert Ratio(to="other", spread=found.spread, goal="<= 1.4").met is False
    assert Ratio(to="other", spread=found.spread).met is None
    assert Row(benchmark="b", case="c", way="w", unit="ms", spread=found.spread, goal=">= 1.5").met
