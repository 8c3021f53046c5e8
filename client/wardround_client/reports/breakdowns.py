"""The tables of a data report: the examples by one property, and by two."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isfinite

from wardround_client.examples import ExampleFacts
from wardround_client.reports.suppression import Tally
from wardround_client.reports.words import NOT_STATED, kernel_name, maker_name
from wardround_client.split import Part

_AGES = (0, 18, 40, 60, 80)
_AGE_BANDS = ("0 to 17", "18 to 39", "40 to 59", "60 to 79", "80 and over")
_LENGTHS_MM = (0, 0.75, 1.25, 2, 3, 4, 6)
_MM_BANDS = (
    "0 to 0.74",
    "0.75 to 1.24",
    "1.25 to 1.99",
    "2 to 2.99",
    "3 to 3.99",
    "4 to 5.99",
    "6 and over",
)
_PARTS = tuple(part.value for part in Part)
_SEX = {"F": "female", "M": "male"}
ONCE, COPIED, SHARED = "once", "several times, one patient", "under several patients"
_COPIES = (ONCE, COPIED, SHARED)
_REGULAR = "regular"
_SILENT = frozenset({NOT_STATED, _REGULAR})
"""A table of volumes that has these names alone says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The examples by one property; each example is in exactly one cell."""

    key: str
    title: str
    tally: Tally[str]
    refines: str = ""
    """Key of the breakdown whose cells this one's cells make up, as kernels do manufacturers."""
    names: tuple[str, ...] = ()
    """Cells known beforehand, in their order; none where the names are those that occur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossTable:
    """The examples by two properties."""

    key: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    tally: Tally[tuple[str, str]]
    """Row and column to patients; every combination is there."""


def break_down_all(
    facts: Sequence[ExampleFacts], classes: Sequence[str], images: Mapping[str, Counter[str]]
) -> tuple[Breakdown, ...]:
    """The tables of one property; one that only volumes have is left out where none says it.

    Args:
        facts: The examples.
        classes: Names of the classes, by label.
        images: Hash of pixels to the patients who have them.
    """
    always = (
        _break_down("label", "Label", facts, lambda f: classes[f.label], classes),
        _break_down("part", "Part of the split", facts, lambda f: f.part.value, _PARTS),
        _break_down("sex", "Sex", facts, _sex_of, (*_SEX.values(), NOT_STATED)),
        _break_down(
            "age", "Age, years", facts, lambda f: age_band(f.age_years), (*_AGE_BANDS, NOT_STATED)
        ),
        _break_down("manufacturer", "Manufacturer", facts, _maker_of),
        _break_down("copies", "Same pixels found", facts, lambda f: _copies(f, images), _COPIES),
    )
    mm_bands = (*_MM_BANDS, NOT_STATED)
    volumes = (
        _refine("manufacturer", _break_down("kernel", "Reconstruction kernel", facts, _kernel_of)),
        _break_down("thickness", "Slice thickness in the header, mm", facts, _thickness, mm_bands),
        _break_down("spacing", "Distance of the slices, mm", facts, _spacing, mm_bands),
        _break_down("flags", "Regularity of the volume", facts, _regularity),
    )
    return (*always, *(b for b in volumes if {n for n in b.tally if b.tally[n]} - _SILENT))


def _break_down(
    key: str,
    title: str,
    facts: Sequence[ExampleFacts],
    name_of: Callable[[ExampleFacts], str],
    names: Sequence[str] = (),
) -> Breakdown:
    """Counts by one property: ``names`` in their order, also empty ones, then what else occurs."""
    tally: dict[str, Counter[str]] = {name: Counter() for name in names}
    known = len(tally)
    for fact in facts:
        tally.setdefault(name_of(fact), Counter())[fact.patient] += 1
    ordered = [*list(tally)[:known], *sorted(list(tally)[known:])]
    cells = {name: tally[name] for name in ordered}
    return Breakdown(key=key, title=title, tally=cells, names=tuple(names))


def _refine(key: str, breakdown: Breakdown) -> Breakdown:
    """Notes what the cells are parts of: each maker has its own words for kernels."""
    return replace(breakdown, refines=key)


def cross_all(facts: Sequence[ExampleFacts], classes: Sequence[str]) -> tuple[CrossTable, ...]:
    """Label by part, sex and manufacturer: what would let a model learn the wrong thing."""
    makers = sorted({_maker_of(fact) for fact in facts})
    unstated = [NOT_STATED] if any(_sex_of(fact) == NOT_STATED for fact in facts) else []
    sexes = [*_SEX.values(), *unstated]
    crosses: tuple[tuple[str, str, Sequence[str], Callable[[ExampleFacts], str]], ...] = (
        ("part", "Label by part of the split", _PARTS, lambda f: f.part.value),
        ("sex", "Label by sex", sexes, _sex_of),
        ("manufacturer", "Label by manufacturer", makers, _maker_of),
    )
    return tuple(
        _cross(f"label-{key}", title, facts, (rows, classes), row_of)
        for key, title, rows, row_of in crosses
    )


def _cross(
    key: str,
    title: str,
    facts: Sequence[ExampleFacts],
    names: tuple[Sequence[str], Sequence[str]],
    row_of: Callable[[ExampleFacts], str],
) -> CrossTable:
    rows, columns = names
    tally: dict[tuple[str, str], Counter[str]] = {c: Counter() for c in product(rows, columns)}
    for fact in facts:
        tally[row_of(fact), columns[fact.label]][fact.patient] += 1
    return CrossTable(key=key, title=title, rows=tuple(rows), columns=tuple(columns), tally=tally)


def _copies(fact: ExampleFacts, images: Mapping[str, Counter[str]]) -> str:
    found = images[fact.pixel_digest]
    if len(found) > 1:
        return SHARED
    return COPIED if found.total() > 1 else ONCE


def _sex_of(fact: ExampleFacts) -> str:
    return _SEX.get(fact.sex, NOT_STATED)


def _maker_of(fact: ExampleFacts) -> str:
    return maker_name(fact.manufacturer)


def _kernel_of(fact: ExampleFacts) -> str:
    return kernel_name(fact.kernel)


def _thickness(fact: ExampleFacts) -> str:
    """A thickness that is no number counts as not stated; it decides nothing."""
    try:
        thickness = float(fact.slice_thickness)
    except ValueError:
        return NOT_STATED
    return length_band(thickness if isfinite(thickness) else None)


def _spacing(fact: ExampleFacts) -> str:
    return length_band(fact.slice_spacing_mm)


def _regularity(fact: ExampleFacts) -> str:
    return ", ".join(fact.flags) or _REGULAR


def age_band(years: float | None) -> str:
    """Band of an age."""
    return NOT_STATED if years is None else _AGE_BANDS[_place(years, _AGES)]


def length_band(length_mm: float | None) -> str:
    """Band of a slice thickness or distance."""
    return NOT_STATED if length_mm is None else _MM_BANDS[_place(length_mm, _LENGTHS_MM)]


def _place(value: float, edges: Sequence[float]) -> int:
    """Number of the band; what lies below the first edge, as nothing should, counts there."""
    return max(0, bisect_right(edges, value) - 1)
