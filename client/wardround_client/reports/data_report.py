"""What one site's examples of a study are: counted for the site itself, with nothing hidden.

Pure: facts of the examples in, counts out. `wardround_client.reports.release` makes from it the
form that may leave.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wardround_client.examples import ExampleFacts
from wardround_client.reports.breakdowns import (
    Breakdown,
    CrossTable,
    age_band,
    break_down_all,
    cross_all,
    length_band,
)
from wardround_client.reports.drift import Drift, compare
from wardround_client.reports.spread import Spread
from wardround_client.split import Part
from wardround_common.intake_plan import DeclaredData


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What intake left out for one reason."""

    files: int
    patients: int = 0
    """Different patients in them, as far as the headers could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """The counts of one study's examples at one site; stays at the site."""

    examples: int
    patients: int
    breakdowns: tuple[Breakdown, ...]
    crosses: tuple[CrossTable, ...]
    spreads: tuple[Spread, ...]
    drift: tuple[Drift, ...]
    same_pixels: tuple[tuple[str, ...], ...]
    """Groups of patients (pseudonyms) who share an image's pixels; there should be none."""
    patients_in_two_parts: int
    """There must be none: a model would be tested on patients it knows."""
    minimum_count: int
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    """Reason code to what was left out for it."""


def build_data_report(
    facts: Sequence[ExampleFacts],
    declared: DeclaredData,
    minimum_count: int,
    *,
    classes: Sequence[str],
    left_out: Mapping[str, LeftOut] | None = None,
) -> DataReport:
    """Counts the examples of one study at one site.

    Args:
        facts: One for each example.
        declared: What the study says of its data.
        minimum_count: The study's ``privacy.minimum_count``.
        classes: Names of the classes, by label.
        left_out: Reason code to what intake left out.
    """
    images: dict[str, Counter[str]] = defaultdict(Counter)
    parts: dict[str, set[Part]] = defaultdict(set)
    for fact in facts:
        images[fact.pixel_digest][fact.patient] += 1
        parts[fact.patient].add(fact.part)
    shared = {tuple(sorted(found)) for found in images.values() if len(found) > 1}
    spreads = (_ages(facts), _spacings(facts))
    return DataReport(
        examples=len(facts),
        patients=len(parts),
        breakdowns=break_down_all(facts, classes, images),
        crosses=cross_all(facts, classes),
        spreads=tuple(spread for spread in spreads if spread.values),
        drift=compare(facts, declared, spreads),
        same_pixels=tuple(sorted(shared)),
        patients_in_two_parts=sum(len(found) > 1 for found in parts.values()),
        minimum_count=minimum_count,
        left_out=dict(left_out or {}),
    )


def _ages(facts: Sequence[ExampleFacts]) -> Spread:
    ages = [(fact.patient, fact.age_years) for fact in facts]
    return _spread("age", "Age of the patients", "years", ages, band_of=age_band)


def _spacings(facts: Sequence[ExampleFacts]) -> Spread:
    spacings = [(fact.patient, fact.slice_spacing_mm) for fact in facts]
    return _spread("spacing", "Distance of the slices", "mm", spacings, band_of=length_band)


def _spread(
    key: str,
    title: str,
    unit: str,
    found: Sequence[tuple[str, float | None]],
    *,
    band_of: Callable[[float | None], str],
) -> Spread:
    """One value a patient, the median over their examples: no patient owns the whole's median."""
    stated: dict[str, list[float]] = defaultdict(list)
    for patient, value in found:
        if value is not None:
            stated[patient].append(value)
    values = sorted(statistics.median(own) for own in stated.values())
    return Spread(
        key=key,
        title=title,
        unit=unit,
        values=tuple(values),
        patients=len(stated),
        band=band_of(statistics.median(values)) if values else "",
    )
