from __future__ import annotations

from pathlib import Path

import pytest

from wardround_sim.traps.case import Case
from wardround_sim.traps.catalogue import CASES
from wardround_sim.traps.outcome import GOAL_MM, run_case

ROUNDING_OF_IMAGES = 2e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_intake_reads_a_trap_right_or_names_why_not(case: Case, tmp_path: Path) -> None:
    outcome = run_case(case, tmp_path / "archive")
    assert outcome.text == case.expected
    assert outcome.padded == case.padded
    assert outcome.error_mm <= GOAL_MM
    assert (outcome.image_error or 0.0) <= ROUNDING_OF_IMAGES


def test_every_trap_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100
