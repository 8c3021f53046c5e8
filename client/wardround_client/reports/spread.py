"""A number over patients."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A number over patients."""

    key: str
    """Key of the breakdown that counts the same number in bands."""
    title: str
    unit: str
    values: tuple[float, ...]
    """Sorted; one for each patient."""
    patients: int
    """How many different patients they come from."""
    band: str = ""
    """Cell of that breakdown in which the median lies."""

    @property
    def median(self) -> float | None:
        """The middle one, or None where there are no values."""
        return statistics.median(self.values) if self.values else None
