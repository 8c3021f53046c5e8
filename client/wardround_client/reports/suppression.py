"""Which counts of a table may leave the site, so that nothing published tells a small one.

The rules are public, so what they *choose* tells something too. Nothing is hidden, therefore, and
no choice looks at which cell is the next smallest; small cells are only ever added to others:

1. A table whose cells are known beforehand and in order, such as sex or bands of age, is read from
   its first cell to its last: a row is closed once it holds ``k`` patients, and what remains is
   added to the last row. What is not stated is the last cell, also where nobody is in it, of
   every table that may have it.
2. A table of names as they occur, such as makers, shows each name of ``k`` patients; all others,
   and what has no known name, are one row. It is withheld if that row holds fewer than ``k``, and
   for fewer than ``2 k`` patients in all.
3. A table of two properties, or one that divides the cells of another, is given whole or not at
   all.

Whoever knows the rules, ``k`` and everything published finds at least ``k`` neighbouring values
possible for each cell of fewer than ``k`` patients; a test goes through all small tables. Counts
are of examples and thresholds of patients, which leaves no less open.
Threat not stopped: knowledge of the site from elsewhere; a name that does not occur at all at a
site of few makers; the difference of two forms of one site, which
`wardround_client.reports.releases` stops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from wardround_client.reports.words import NOT_STATED, OTHER

K = TypeVar("K")
Tally = Mapping[K, Counter[str]]
"""Cell to the patients (pseudonyms) in it, each with the number of their examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What one table may tell outside."""

    shown: dict[str, int]
    """Row to its number of examples."""
    state: Literal["whole", "joined", "withheld"]
    """``joined``: some rows are of several cells."""


def protect(tally: Tally[str], minimum_count: int, *, names: Sequence[str]) -> Released:
    """Joins the cells of a table that are known beforehand, by rule 1.

    Args:
        tally: The table; its cells share no example.
        minimum_count: Least number of patients, ``k``.
        names: All cells that there may be, also empty ones, in an order that no data decides.
    """
    groups: list[list[str]] = [[]]
    for name in names:
        if _enough(tally, groups[-1], minimum_count):
            groups.append([])
        groups[-1].append(name)
    if len(groups) > 1 and not _enough(tally, groups[-1], minimum_count):
        last = groups.pop()
        groups[-1] += last
    if len(groups) == 1:
        return Released(shown={}, state="withheld")
    shown = {_name_of(group): _count(tally, group) for group in groups}
    whole = all(len(group) == 1 for group in groups)
    return Released(shown=shown, state="whole" if whole else "joined")


def protect_names(tally: Tally[str], minimum_count: int) -> Released:
    """Joins the names of few patients with what has no known name, by rule 2."""
    if count_patients(tally.values()) < 2 * minimum_count:
        return Released(shown={}, state="withheld")
    kept = [
        name
        for name, patients in tally.items()
        if name not in (OTHER, NOT_STATED) and len(patients) >= minimum_count
    ]
    rest = [name for name in tally if name not in kept and tally[name]]
    shown = {name: tally[name].total() for name in kept}
    if not rest:
        return Released(shown=shown, state="whole")
    if not _enough(tally, rest, minimum_count):
        return Released(shown={}, state="withheld")
    return Released(shown=shown | {OTHER: _count(tally, rest)}, state="joined")


def protect_whole(tally: Tally[str], minimum_count: int) -> Released:
    """Gives a table that divides the cells of another whole or not at all, by rule 3."""
    if not may_be_whole(tally, minimum_count):
        return Released(shown={}, state="withheld")
    counts = {name: patients.total() for name, patients in tally.items()}
    return Released(shown=counts, state="whole")


def may_be_whole(tally: Tally[Any], minimum_count: int) -> bool:
    """Tells whether every cell of a table has enough patients."""
    return all(len(patients) >= minimum_count for patients in tally.values())


def count_patients(cells: Iterable[Counter[str]]) -> int:
    """Number of different patients in some cells."""
    return len(set().union(*cells))


def _enough(tally: Tally[str], names: Sequence[str], minimum_count: int) -> bool:
    found = [tally[name] for name in names if name in tally]
    return count_patients(found) >= minimum_count


def _count(tally: Tally[str], names: Sequence[str]) -> int:
    return sum(tally[name].total() for name in names if name in tally)


def _name_of(group: Sequence[str]) -> str:
    """Bands from the beginning of the first to the end of the last; other names one by one."""
    names = list(group)
    bands = [name for name in names if name[0].isdigit()]
    if len(bands) > 1:
        joined = f"{bands[0].split()[0]} {bands[-1].split(maxsplit=1)[1]}"
        names = [joined, *names[len(bands) :]]
    return " or ".join(names)
