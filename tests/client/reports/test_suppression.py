"""An attacker who adds and subtracts everything a form gives learns no count of few patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wardround_client.reports.suppression import (
    Released,
    join_bands,
    may_be_whole,
    protect,
    protect_whole,
)

K = 3
CELLS = ("a", "b", "c", "d")


def _tally(counts: Mapping[str, int], *, each: int = 1) -> dict[str, Counter[str]]:
    """Cells of ``counts`` different patients, each with ``each`` examples."""
    return {
        name: Counter({f"{name}{n}": each for n in range(count)}) for name, count in counts.items()
    }


def _fillings(total: int, released: Released, cells: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    """Every table of that total that agrees with what was released: the attacker's knowledge."""
    choices = [
        [released.shown[name]] if name in released.shown else range(total + 1) for name in cells
    ]
    return (counts for counts in product(*choices) if sum(counts) == total)


def test_a_table_of_large_cells_is_given_whole() -> None:
    released = protect(_tally({"a": 3, "b": 9}), K)
    assert released == Released(shown={"a": 3, "b": 9}, state="whole")


def test_one_small_cell_takes_the_next_smallest_with_it() -> None:
    released = protect(_tally({"a": 2, "b": 9, "c": 4}), K)
    assert released == Released(shown={"b": 9}, state="part")


def test_two_small_cells_that_hold_too_few_together_take_a_third_with_them() -> None:
    released = protect(_tally({"a": 1, "b": 9, "c": 1, "d": 5}), K)
    assert released == Released(shown={"b": 9}, state="part")


def test_an_empty_cell_is_a_small_one() -> None:
    assert protect(_tally({"a": 0, "b": 9}), K) == Released(shown={}, state="withheld")


def test_many_examples_of_few_patients_are_a_small_cell() -> None:
    tally = _tally({"a": 2}, each=50) | _tally({"b": 9, "c": 4})
    assert protect(tally, K).shown == {"b": 9}


def test_patients_who_are_in_several_hidden_cells_count_once() -> None:
    same = Counter({"p1": 1, "p2": 1})
    tally = {"a": same, "b": same, **_tally({"c": 4, "d": 9})}
    assert protect(tally, K).shown == {"d": 9}


def test_a_table_that_divides_another_is_given_whole_or_not_at_all() -> None:
    assert protect_whole(_tally({"a": 3, "b": 9, "c": 4}), K).state == "whole"
    assert protect_whole(_tally({"a": 2, "b": 9, "c": 4}), K).shown == {}


BANDS = ("0 to 9", "10 to 19", "20 to 29", "30 and over")


@pytest.mark.parametrize(
    ("counts", "joined"),
    [
        ((3, 3, 3, 3), {"0 to 9": 3, "10 to 19": 3, "20 to 29": 3, "30 and over": 3}),
        ((1, 1, 1, 9), {"0 to 29": 3, "30 and over": 9}),
        ((9, 0, 0, 0), {"0 and over": 9}),
        ((9, 2, 0, 4), {"0 to 9": 9, "10 and over": 6}),
        ((4, 4, 1, 1), {"0 to 9": 4, "10 and over": 6}),
        ((0, 0, 0, 1), {"0 and over": 1}),
    ],
)
def test_neighbouring_bands_are_joined(counts: tuple[int, ...], joined: dict[str, int]) -> None:
    tally = _tally(dict(zip(BANDS, counts, strict=True))) | _tally({"not stated": 1})
    found = join_bands(tally, BANDS, K)
    assert {name: cell.total() for name, cell in found.items()} == joined | {"not stated": 1}


@given(st.tuples(*[st.integers(0, 6)] * 4), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_what_joined_bands_show_and_hide_is_never_of_few_patients(
    counts: tuple[int, ...], unstated: int
) -> None:
    total = sum(counts) + unstated
    tally = _tally(dict(zip(BANDS, counts, strict=True))) | _tally({"not stated": unstated})
    released = protect(join_bands(tally, BANDS, K), K)
    if total >= K:
        assert all(number >= K for number in released.shown.values())
        assert total - sum(released.shown.values()) not in range(1, K)


_COUNTS = st.dictionaries(st.sampled_from(CELLS), st.integers(0, 9), min_size=1)


@given(_COUNTS)
@settings(max_examples=200, deadline=None)
@example({"a": 2, "b": 9})
@example({"a": 1, "b": 1, "c": 9})
def test_every_hidden_cell_may_hold_enough_patients_or_none(counts: dict[str, int]) -> None:
    """Exhaustive: over all tables with the same total that show the same cells."""
    released, cells, total = protect(_tally(counts), K), tuple(counts), sum(counts.values())
    if total < K:  # then nothing of the form leaves; see the release form's own test
        assert released.shown == {}
        return
    fillings = list(_fillings(total, released, cells))
    assert tuple(counts.values()) in fillings
    for place, name in enumerate(cells):
        found = {filling[place] for filling in fillings}
        if name in released.shown:
            assert min(found) >= K
        elif len(cells) > 1:
            assert min(found) == 0 and max(found) >= K


_EXAMPLES = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("uvw"), st.sampled_from("ns")),
    min_size=K,
    max_size=40,
)


@given(_EXAMPLES)
@settings(max_examples=300, deadline=None)
def test_no_combination_of_tables_gives_a_hidden_cell(rows: list[tuple[str, str, str]]) -> None:
    """Linear algebra over the joint cells: a hidden count is no combination of published ones."""
    joint = list(product("xyz", "uvw", "ns"))
    published = [np.ones(len(joint))]
    hidden = []
    for axis, names in enumerate(("xyz", "uvw", "ns")):
        tally = {name: Counter[str]() for name in names}
        for number, row in enumerate(rows):
            tally[row[axis]][str(number)] += 1
        shown = protect(tally, K).shown
        for name in names:
            line = np.array([float(cell[axis] == name) for cell in joint])
            (published if name in shown else hidden).append(line)
    cross = {cell: Counter[str]() for cell in product("xyz", "ns")}
    for number, row in enumerate(rows):
        cross[row[0], row[2]][str(number)] += 1
    if may_be_whole(cross, K):
        published += [
            np.array([float((cell[0], cell[2]) == name) for cell in joint]) for name in cross
        ]
    known = np.linalg.matrix_rank(np.array(published))
    for line in hidden:
        assert np.linalg.matrix_rank(np.array([*published, line])) == known + 1
