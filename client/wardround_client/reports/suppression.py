"""Which counts of a table may leave the site, so that sums and differences tell no small one.

Every table counts the same examples, so whoever reads several of them knows the total, and with
it the sum of whatever one table hides. Three rules follow, and they are all there is:

0. Neighbouring bands of a number, such as an age, are joined until each has ``k`` patients.
1. A table of one property hides each cell of fewer than ``k`` patients. What is hidden must hold at
   least ``k`` patients together, hence be two cells or more; until then the smallest cell shown is
   hidden as well (complementary suppression). Any hidden cell may then hold everything that is
   hidden, or nothing of it.
2. A table of two properties, or one that divides the cells of another (models of each maker), is
   given whole or not at all: with the totals of its parts known, hiding one cell would take three
   more, and the check is no longer one that a data protection officer can do by hand.

Tables of one property with one total do not restrict each other: any of them can be joined with
any other (fill the cross table from its margins), so rules 0 and 1 hold for all of them together.
Threat stopped: adding and subtracting whatever one form gives. Not stopped: the difference of two
forms of the same site at two times; and knowledge of the site from elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

K = TypeVar("K")
Tally = Mapping[K, Counter[str]]
"""Cell to the patients (pseudonyms) in it, each with the number of their examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What one table may tell outside."""

    shown: dict[str, int]
    """Cell to its number of examples."""
    state: Literal["whole", "part", "withheld"]
    """``part``: some cells are hidden; ``withheld``: all of them."""


def protect(tally: Tally[str], minimum_count: int) -> Released:
    """Hides the cells of a table of one property that must not leave, by rule 1.

    Args:
        tally: The table; its cells share no example.
        minimum_count: Least number of patients, ``k``.
    """
    shown = sorted(tally, key=lambda name: (len(tally[name]), tally[name].total(), name))
    hidden = [name for name in shown if len(tally[name]) < minimum_count]
    shown = shown[len(hidden) :]
    while hidden and shown and not _enough(tally, hidden, minimum_count):
        hidden.append(shown.pop(0))
    if not shown:
        return Released(shown={}, state="withheld")
    kept = set(shown)
    counts = {name: patients.total() for name, patients in tally.items() if name in kept}
    return Released(shown=counts, state="part" if hidden else "whole")


def join_bands(tally: Tally[str], bands: Sequence[str], minimum_count: int) -> Tally[str]:
    """Joins neighbouring bands until each has enough patients, by rule 0.

    Args:
        tally: A table; cells that are no band stay as they are, behind the bands.
        bands: Names of its bands in ascending order: ``0 to 17``, ``18 and over``.
        minimum_count: Least number of patients, ``k``.
    """
    groups: list[list[str]] = [[]]
    for name in bands:
        if _enough(tally, groups[-1], minimum_count):
            groups.append([])
        groups[-1].append(name)
    if len(groups) > 1 and not _enough(tally, groups[-1], minimum_count):
        last = groups.pop()
        groups[-1] += last
    joined = {_name_of(group): _sum(tally, group) for group in groups if group}
    return joined | {name: found for name, found in tally.items() if name not in bands}


def _enough(tally: Tally[str], names: Sequence[str], minimum_count: int) -> bool:
    return bool(names) and count_patients([tally[name] for name in names]) >= minimum_count


def _name_of(group: Sequence[str]) -> str:
    """From the beginning of the first band to the end of the last one."""
    return f"{group[0].split()[0]} {group[-1].split(maxsplit=1)[1]}"


def _sum(tally: Tally[str], names: Sequence[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name in names:
        total.update(tally[name])
    return total


def protect_whole(tally: Tally[str], minimum_count: int) -> Released:
    """Gives a table that divides the cells of another whole or not at all, by rule 2."""
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
