"""An attacker who knows the rules and all that is published learns no count of few patients."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise

import pytest

from wardround_client.reports.suppression import Released, protect, protect_names, protect_whole
from wardround_client.reports.words import NOT_STATED, OTHER

K = 3
Rule = Callable[[Mapping[str, Counter[str]]], Released]


def _tally(counts: Mapping[str, int], *, each: int = 1) -> dict[str, Counter[str]]:
    """Cells of ``counts`` different patients, each with ``each`` examples."""
    return {
        name: Counter({f"{name}{n}": each for n in range(count)}) for name, count in counts.items()
    }


def _splits(total: int, cells: int) -> Iterator[tuple[int, ...]]:
    """Every way to give ``total`` patients to some cells."""
    if cells == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _splits(total - first, cells - 1):
            yield first, *rest


def _widest_run(values: set[int]) -> int:
    """Length of the longest run of neighbouring numbers."""
    longest, run, ordered = 1, 1, sorted(values)
    for one, following in pairwise(ordered):
        run = run + 1 if following == one + 1 else 1
        longest = max(longest, run)
    return longest


def _require_unknown(names: tuple[str, ...], total: int, rule: Rule, *, absent: bool) -> None:
    """Goes through every table of that total: all that publish the same are one to the attacker.

    Args:
        names: All cells that there may be.
        total: Number of patients, known to the attacker.
        rule: What is published of a table.
        absent: Whether a table lacks the cells in which nobody is; they are no secret then.
    """
    alike: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for counts in _splits(total, len(names)):
        table = {n: c for n, c in zip(names, counts, strict=True) if c or not absent}
        alike[repr(rule(_tally(table)))].append(counts)
    for published, truths in alike.items():
        for place, name in enumerate(names):
            found = {truth[place] for truth in truths}
            if any(value in range(int(absent), K) for value in found):
                assert _widest_run(found) >= K, (published, name, found)


FEW, SOME, BANDS = ("a",), ("a", "b", "c"), ("0 to 9", "10 to 19", "20 and over")


@pytest.mark.parametrize("total", range(K, 13))
@pytest.mark.parametrize("names", [FEW, SOME, BANDS])
@pytest.mark.parametrize("absent", [False, True])
def test_every_small_cell_known_beforehand_may_have_k_neighbouring_values(
    names: tuple[str, ...], total: int, absent: bool
) -> None:
    """What is not stated is among them, beside joined bands too, whether or not it occurs."""
    rule = partial(protect, minimum_count=K, names=(*names, NOT_STATED))
    _require_unknown((*names, NOT_STATED), total, rule, absent=absent)


@pytest.mark.parametrize("total", range(K, 13))
def test_every_small_cell_of_names_that_occur_may_have_k_neighbouring_values(total: int) -> None:
    rule = partial(protect_names, minimum_count=K)
    _require_unknown((*SOME, OTHER), total, rule, absent=True)


@pytest.mark.parametrize("total", range(K, 13))
def test_every_small_cell_of_a_table_given_whole_or_not_is_open(total: int) -> None:
    rule = partial(protect_whole, minimum_count=K)
    _require_unknown(SOME, total, rule, absent=False)


@pytest.mark.parametrize("names", [("female", "male"), BANDS])
def test_nothing_published_is_of_few_patients_and_nothing_is_missing(
    names: tuple[str, ...],
) -> None:
    for total in range(K, 12):
        for counts in _splits(total, len(names) + 1):
            table = dict(zip((*names, NOT_STATED), counts, strict=True))
            shown = protect(_tally(table), K, names=tuple(table)).shown
            assert all(number >= K for number in shown.values())
            assert not shown or sum(shown.values()) == total


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ((3, 3, 3, 3), {"0 to 9": 3, "10 to 19": 3, "20 and over": 3, "not stated": 3}),
        ((3, 3, 3, 1), {"0 to 9": 3, "10 to 19": 3, "20 and over or not stated": 4}),
        ((3, 3, 3, 0), {"0 to 9": 3, "10 to 19": 3, "20 and over or not stated": 3}),
        ((1, 2, 9, 0), {"0 to 19": 3, "20 and over or not stated": 9}),
        ((9, 2, 0, 0), {}),
        ((9, 2, 1, 1), {"0 to 9": 9, "10 and over or not stated": 4}),
    ],
)
def test_bands_are_joined_from_the_first_on(counts: tuple[int, ...], shown: dict[str, int]) -> None:
    tally = _tally(dict(zip((*BANDS, NOT_STATED), counts, strict=True)))
    assert protect(tally, K, names=tuple(tally)).shown == shown


def test_many_examples_of_few_patients_are_a_small_cell() -> None:
    tally = _tally({"a": 2}, each=50) | _tally({"b": 9})
    assert protect(tally, K, names=("a", "b")).state == "withheld"
    assert protect_names(tally, K).state == "withheld"


def test_patients_who_are_in_several_cells_count_once() -> None:
    same = Counter({"p1": 1, "p2": 1})
    tally = {"a": same, "b": same, **_tally({"c": 4})}
    assert protect(tally, K, names=("a", "b", "c")).state == "withheld"
    assert protect_names(tally, K).state == "withheld"


def test_names_of_few_patients_are_one_row() -> None:
    tally = _tally({"GE": 9, "Canon": 2, "Agfa": 1, OTHER: 1})
    assert protect_names(tally, K) == Released(shown={"GE": 9, OTHER: 4}, state="joined")
    assert protect_names(_tally({"GE": 9, "Canon": 3}), K).state == "whole"


def test_a_table_that_divides_another_is_given_whole_or_not_at_all() -> None:
    assert protect_whole(_tally({"a": 3, "b": 9, "c": 4}), K).state == "whole"
    assert protect_whole(_tally({"a": 2, "b": 9, "c": 4}), K).shown == {}
