"""What a benchmark finds: rows of measurements, each with its spread, and the file they go to."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wardround_common.files import write_atomically
from wardround_sim.results import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Smallest, middle and largest of some repetitions."""

    minimum: float
    median: float
    maximum: float
    repetitions: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(
            minimum=min(values),
            median=statistics.median(values),
            maximum=max(values),
            repetitions=len(values),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How a measurement compares with another one of the same run, pair by pair."""

    to: str
    """What it is divided by."""
    spread: Spread
    goal: str = ""
    """Such as ``<= 1.05``; empty where there is none."""

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is none."""
        return _reaches(self.spread.median, self.goal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way of doing one thing."""

    benchmark: str
    """``masking``, ``throughput`` or ``rounds``."""
    case: str
    """What was done, with its sizes."""
    way: str
    """Who did it: this project, or what it is compared with."""
    unit: str
    spread: Spread
    goal: str = ""
    """Such as ``<= 48``, in ``unit``, for the machine the design was measured on."""
    ratios: tuple[Ratio, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is none."""
        return _reaches(self.spread.median, self.goal)


def ratio(values: Sequence[float], *, to: str, others: Sequence[float], goal: str = "") -> Ratio:
    """Divides the values by the others; the i-th by the i-th, as both ran side by side."""
    pairs = zip(values, others, strict=False)  # a slow competitor repeats less often
    return Ratio(to=to, spread=Spread.of([own / other for own, other in pairs]), goal=goal)


def write_rows(
    rows: Sequence[Row], path: Path, *, machine: Machine, load: tuple[float, float]
) -> None:
    """Writes machine, versions and all rows as JSON.

    Args:
        rows: The measurements.
        path: File to write, as a whole or not at all.
        machine: Where they were made.
        load: The machine's load average before and after.
    """
    document = {
        "machine": dataclasses.asdict(machine),
        "load_average": {"before": load[0], "after": load[1]},
        "rows": [_plain(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document, indent=1).encode() + b"\n")


def load_average() -> float:
    """How many processes wanted to run during the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _plain(row: Row) -> dict[str, object]:
    ratios = [dataclasses.asdict(r) | {"met": r.met} for r in row.ratios]
    return dataclasses.asdict(row) | {"met": row.met, "ratios": ratios}


def _reaches(value: float, goal: str) -> bool | None:
    if not goal:
        return None
    sign, number = goal.split()
    return value <= float(number) if sign == "<=" else value >= float(number)
