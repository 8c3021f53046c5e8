"""A scenario: which virtual hospitals, which study, what to compare it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wardround_common.intake_plan import CohortRule, Preprocessing
from wardround_common.plan import Aggregation, Algorithm, ModelPlan, Privacy, Task, Training
from wardround_common.require import require
from wardround_sim.synthetic.federation import SyntheticFederation
from wardround_sim.synthetic.hospital import SyntheticHospital


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDraft:
    """A study without members and keys; the simulator adds them, and the seed."""

    purpose: str
    """What it is for, in plain language."""
    expires: str = "2099-12-31"
    """Last day on which sites take part, YYYY-MM-DD."""
    task: Task = field(default_factory=Task)
    cohort: CohortRule = field(default_factory=CohortRule)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    model: ModelPlan = field(default_factory=ModelPlan)
    training: Training = field(default_factory=Training)
    algorithm: Algorithm = field(default_factory=Algorithm)
    aggregation: Aggregation = field(default_factory=Aggregation)
    privacy: Privacy = field(default_factory=Privacy)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """A short local continuation of the final model, reported apart from it."""

    steps: int
    """Optimiser steps at each site; 0 turns it off."""
    learning_rate: float = 1e-4
    """Constant learning rate."""

    def __post_init__(self) -> None:
        require(0 <= self.steps <= 100_000, "steps", self.steps, "0 to 100000")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One file under simulations/scenarios; exactly one source of hospitals."""

    name: str
    """Short name, also the study's."""
    study: StudyDraft
    """What is learnt and how."""
    seed: int = 1
    """Decides generated images, patient splits, keys, initial model and training order."""
    hospitals: tuple[SyntheticHospital, ...] = ()
    """Hospitals to generate, one by one."""
    federation: SyntheticFederation | None = None
    """Or a number of hospitals, varied at random."""
    archives: tuple[str, ...] = ()
    """Or folders of real archives under --data, each with ``archive`` and ``labels.csv``."""
    validation_fraction: float = 0.15
    """Part of each hospital's patients kept for validation."""
    test_fraction: float = 0.2
    """Part of each hospital's patients kept for the final test."""
    baselines: tuple[Literal["local", "pooled"], ...] = ()
    """Trained on the same splits for comparison."""
    fine_tuning: FineTuning = field(default_factory=lambda: FineTuning(steps=0))

    def __post_init__(self) -> None:
        sources = [bool(self.hospitals), self.federation is not None, bool(self.archives)]
        expected = "exactly one of hospitals, federation, archives"
        require(sum(sources) == 1, "hospitals", f"{sum(sources)} sources", expected)
        require(0 <= self.seed < 1 << 31, "seed", self.seed, "0 to 2147483647")
