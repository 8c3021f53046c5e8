"""Every trap, in the order of the table."""

from __future__ import annotations

from wardround_sim.traps import enhanced, files, geometry, mixtures, radiographs, values
from wardround_sim.traps.case import Case

CASES: tuple[Case, ...] = (
    *geometry.CASES,
    *mixtures.CASES,
    *enhanced.CASES,
    *values.CASES,
    *files.CASES,
    *radiographs.CASES,
)
