"""Compares a site's data with what the study declares of the data it expects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wardround_client.examples import ExampleFacts
from wardround_client.reports.spread import Spread
from wardround_client.reports.words import maker_name
from wardround_common.intake_plan import DeclaredData

Verdict = Literal["within", "outside", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One thing the study declares of its data, beside what was found."""

    key: str
    """Key of the breakdown that it sums up."""
    title: str
    declared: str
    found: str
    verdict: Verdict
    """Of the exact numbers: stays at the site."""
    wanted: tuple[float, float] | None = None
    """The declared range, both ends included, if it is one."""
    makers: frozenset[str] = frozenset()
    """Declared manufacturers by their usual names, if it is those."""


def compare(
    facts: Sequence[ExampleFacts], declared: DeclaredData, spreads: Sequence[Spread]
) -> tuple[Drift, ...]:
    """Compares each declared range with what was found; undeclared ones are left out."""
    medians = {spread.key: spread.median for spread in spreads}
    ranges = (
        ("label", "Fraction of positives", declared.positive_fraction, _positive(facts)),
        ("sex", "Fraction of women", declared.female_fraction, _female(facts)),
        ("age", "Median age, years", declared.median_age_years, medians.get("age")),
        (
            "spacing",
            "Median distance of slices, mm",
            declared.median_slice_spacing_mm,
            medians.get("spacing"),
        ),
    )
    found = [_compare_range(key, title, w, v) for key, title, w, v in ranges if w is not None]
    if declared.manufacturers:
        found.append(_compare_makers(facts, declared.manufacturers))
    return tuple(found)


def _compare_range(key: str, title: str, wanted: tuple[float, float], value: float | None) -> Drift:
    least, largest = wanted
    verdict: Verdict = "unknown"
    if value is not None:
        verdict = "within" if least <= value <= largest else "outside"
    return Drift(
        key=key,
        title=title,
        declared=f"{least:g} to {largest:g}",
        found="not stated" if value is None else f"{value:.3g}",
        verdict=verdict,
        wanted=wanted,
    )


def _compare_makers(facts: Sequence[ExampleFacts], wanted: Sequence[str]) -> Drift:
    """Names the makers found that the study does not; one without a name counts as foreign."""
    accepted = {name.strip().upper() for name in wanted}
    foreign = {f.manufacturer for f in facts if f.manufacturer.strip().upper() not in accepted}
    names = ", ".join(sorted({maker_name(name) for name in foreign}))
    return Drift(
        key="manufacturer",
        title="Manufacturers",
        declared=", ".join(wanted),
        found=f"also {names}" if foreign else "no others",
        verdict="outside" if foreign else "within" if facts else "unknown",
        makers=frozenset(map(maker_name, wanted)),
    )


def _positive(facts: Sequence[ExampleFacts]) -> float | None:
    return sum(fact.label == 1 for fact in facts) / len(facts) if facts else None


def _female(facts: Sequence[ExampleFacts]) -> float | None:
    """Fraction of patients; one whose images disagree counts as not stated."""
    sexes: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        sexes[fact.patient].add(fact.sex)
    stated = [found for found in sexes.values() if found in ({"F"}, {"M"})]
    return sum(found == {"F"} for found in stated) / len(stated) if stated else None
