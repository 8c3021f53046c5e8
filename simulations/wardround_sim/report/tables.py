"""Rows of the report's tables: text only, ready for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround_sim.report import words
from wardround_sim.report.attempts import Attempt, count_participation
from wardround_sim.results import (
    ALL,
    TWO_CLASS,
    ArchiveCounts,
    ClassCounts,
    Count,
    Results,
    SiteResults,
)

_STEPS = tuple(ArchiveCounts.__dataclass_fields__)
_COMPARED = ("local", "pooled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell; ``note`` is printed smaller below."""

    text: str
    """What it says."""
    note: str = ""
    """Second line."""
    tone: words.Tone = "plain"
    """How it should strike the reader."""
    span: int = 1
    """Columns it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row: a heading cell and the others."""

    head: str
    """Text of the heading cell."""
    cells: tuple[Cell, ...]
    """The other cells, left to right."""
    total: bool = False
    """Whether it sums up or stands for the other rows."""


def auc_rows(results: Results) -> list[Row]:
    """One row a hospital: test images, AUC of each arm, and how the shared model compares."""
    rows = []
    for scope in results.scopes:
        cells = (Cell(text=_test_images(results, scope)), *_auc_cells(results, scope))
        summed = scope not in results.site_names
        rows.append(Row(head=words.SCOPE_LABELS.get(scope, scope), cells=cells, total=summed))
    return rows


def compared_arms(results: Results) -> tuple[str, ...]:
    """The arms that the shared model is compared with, column by column."""
    return tuple(arm for arm in _COMPARED if arm in results.arms and "federated" in results.arms)


def _test_images(results: Results, scope: str) -> str:
    sites = [site.test for site in results.sites if scope in (ALL, TWO_CLASS, site.site)]
    if scope == TWO_CLASS:
        sites = [test for test in sites if test.negative and test.positive]
    negative, positive = sum(s.negative for s in sites), sum(s.positive for s in sites)
    return f"{negative:,} / {positive:,}"


def _auc_cells(results: Results, scope: str) -> list[Cell]:
    cells = [_auc_cell(results, arm, scope) for arm in results.arms]
    cells += [_comparison_cell(results, arm, scope) for arm in compared_arms(results)]
    if any(results.auc[arm].get(scope) for arm in results.arms):
        return cells
    return [Cell(text=words.explain_missing_auc(results, scope), span=len(cells))] if cells else []


def _auc_cell(results: Results, arm: str, scope: str) -> Cell:
    found = results.auc[arm].get(scope)
    if found is None:
        return Cell(text="\u2013", note="not computed")
    return Cell(text=words.format_auc(found.auc), note=words.format_interval(found))


def _comparison_cell(results: Results, arm: str, scope: str) -> Cell:
    ours, theirs = results.auc["federated"].get(scope), results.auc[arm].get(scope)
    if ours is None or theirs is None:
        return Cell(text="\u2013")
    found = words.compare(ours, theirs)
    tone: words.Tone = "caution" if found.direction == "lower" and not found.within else "plain"
    text, _, note = words.describe_comparison(found).partition(", ")
    return Cell(text=text, note=note, tone=tone)


def cohort_rows(results: Results) -> list[Row]:
    """Files at each step of intake and examples in each split, in all and by hospital."""
    rows = [Row(head=site.site, cells=_cohort_cells([site])) for site in results.sites]
    return [Row(head="All hospitals", cells=_cohort_cells(results.sites), total=True), *rows]


def _cohort_cells(sites: Sequence[SiteResults]) -> tuple[Cell, ...]:
    steps = [sum(getattr(site.archive, step) for site in sites) for step in _STEPS]
    cells = [Cell(text=words.format_count(number)) for number in steps]
    for split in words.SPLITS:
        counts: list[ClassCounts] = [getattr(site, split) for site in sites]
        negative, positive = sum(c.negative for c in counts), sum(c.positive for c in counts)
        cells.append(Cell(text=f"{negative:,} / {positive:,}"))
    return tuple(cells)


def composition_rows(results: Results) -> list[Row]:
    """Sex, age and manufacturer of the usable images by hospital."""
    return [
        Row(head=s.site, cells=tuple(Cell(text=_listed(c)) for c in (s.sex, s.age, s.manufacturer)))
        for s in results.sites
    ]


def _listed(counts: Mapping[str, Count]) -> str:
    parts = [f"{name} {words.format_count(number)}" for name, number in counts.items()]
    return " \u00b7 ".join(parts) or "\u2013"


def quarantine_rows(results: Results) -> list[Row]:
    """One row a reason: code, explanation, files in all and where."""
    explained: dict[str, str] = {}
    found: dict[str, list[tuple[str, Count]]] = {}
    for site in results.sites:
        for reason, entry in site.quarantine.items():
            explained.setdefault(reason, entry.explanation)
            found.setdefault(reason, []).append((site.site, entry.count))
    rows = []
    for reason, counts in sorted(found.items(), key=lambda item: -_sum(item[1])):
        where = words.join_names([f"{s} {words.format_count(n)}" for s, n in counts])
        texts = (explained[reason], _total(counts), where)
        rows.append(Row(head=reason, cells=tuple(Cell(text=text) for text in texts)))
    return rows


def _sum(counts: Sequence[tuple[str, Count]]) -> int:
    return sum(number for _, number in counts if isinstance(number, int))


def _total(counts: Sequence[tuple[str, Count]]) -> str:
    hidden = any(isinstance(number, str) for _, number in counts)
    if len(counts) == 1:
        return words.format_count(counts[0][1])
    return f"at least {_sum(counts):,}" if hidden else f"{_sum(counts):,}"


def phase_rows(results: Results) -> list[Row]:
    """Seconds and bytes by phase in the order of a run, and their total."""
    order = list(words.PHASE_LABELS)
    known = [name for name in order if name in results.phases]
    rows = []
    for name in [*known, *sorted(set(results.phases) - set(order))]:
        cost = results.phases[name]
        texts = (
            words.format_seconds(cost.seconds),
            words.format_bytes(cost.bytes_received),
            words.format_bytes(cost.bytes_sent),
        )
        label = words.PHASE_LABELS.get(name, name)
        rows.append(Row(head=label, cells=tuple(Cell(text=text) for text in texts)))
    costs = list(results.phases.values())
    total = (
        words.format_seconds(sum(cost.seconds for cost in costs)),
        words.format_bytes(sum(cost.bytes_received for cost in costs)),
        words.format_bytes(sum(cost.bytes_sent for cost in costs)),
    )
    return [*rows, Row(head="Total", cells=tuple(Cell(text=t) for t in total), total=True)]


def effort_rows(results: Results, rounds: Sequence[Attempt]) -> list[Row]:
    """Rounds with and without each hospital, and its own working time by phase."""
    parts = count_participation(rounds, results.site_names)
    phases = effort_phases(results)
    rows = []
    for site in results.sites:
        part = parts[site.site]
        cells = [Cell(text=f"{part.contributed:,}"), Cell(text=f"{part.missed:,}")]
        cells += [_seconds_cell(site.seconds.get(phase)) for phase in phases]
        cells.append(
            _seconds_cell(sum(s for name, s in site.seconds.items() if name != "training"))
        )
        rows.append(Row(head=site.site, cells=tuple(cells)))
    return rows


def _seconds_cell(seconds: float | None) -> Cell:
    return Cell(text="\u2013" if seconds is None else words.format_seconds(seconds))


def effort_phases(results: Results) -> list[str]:
    """The phases any hospital timed, in the order of a run."""
    found = {phase for site in results.sites for phase in site.seconds}
    known = [phase for phase in words.WORK_LABELS if phase in found]
    return [*known, *sorted(found - set(known))]
