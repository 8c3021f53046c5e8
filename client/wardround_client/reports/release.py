"""The form of a data report that may leave the site: counts of enough patients, and nothing else.

Besides the tables of `wardround_client.reports.suppression` there are medians and comparisons with
what the study declares. A median has ``k`` patients on either side, is rounded so that it is
nobody's own value, and lies in a row of one band in whose middle it stays however many patients
have no value. Comparisons are made from what the form itself gives, by anybody who holds it, so
that they tell nothing more. How many patients there are is not given: beside the number of
examples it would tell how many have several.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from wardround_client.reports.breakdowns import Breakdown, CrossTable
from wardround_client.reports.data_report import DataReport
from wardround_client.reports.drift import Drift
from wardround_client.reports.spread import Spread
from wardround_client.reports.suppression import (
    Released,
    may_be_whole,
    protect,
    protect_names,
    protect_whole,
)
from wardround_client.reports.words import NOT_STATED, OTHER
from wardround_common.errors import PolicyError

FORMAT = 2
_ROUNDING = {"age": 5.0, "spacing": 0.5}


def release_form(report: DataReport, *, site: str, study: str, study_sha256: str) -> dict[str, Any]:
    """Makes the form that may leave, as plain data for JSON.

    Raises:
        PolicyError: Nothing may leave: too few patients, or a patient is in two parts.
    """
    k = report.minimum_count
    if report.patients < k:
        raise PolicyError(
            f"site {site}: got fewer than {k} patients (privacy.minimum_count); no form of this "
            "data report may leave"
        )
    if report.patients_in_two_parts:
        raise PolicyError(
            f"site {site}: got a patient in two parts of the split; prepare the site again before "
            "a form of this data report may leave"
        )
    tables = {b.key: _protected(b, k) for b in report.breakdowns}
    medians = {s.key: _median(s, tables.get(s.key), k) for s in report.spreads}
    positive = _second_name(report, "label")
    return {
        "format": FORMAT,
        "site": site,
        "study": study,
        "study_sha256": study_sha256,
        "minimum_count": k,
        "examples": report.examples,
        "tables": {b.key: _table(b, tables[b.key]) for b in report.breakdowns},
        "cross_tables": {cross.key: _cross(cross, k) for cross in report.crosses},
        "medians": {
            s.key: {"title": s.title, "unit": s.unit, "median": medians[s.key]}
            for s in report.spreads
        },
        "declared": [_verdict(d, tables, medians, positive=positive) for d in report.drift],
        "left_out_files": _left_out(report, k),
    }


def _table(breakdown: Breakdown, released: Released) -> dict[str, Any]:
    return {"title": breakdown.title, "state": released.state, "examples": released.shown}


def _cross(cross: CrossTable, k: int) -> dict[str, Any]:
    counts = {
        row: {column: cross.tally[row, column].total() for column in cross.columns}
        for row in cross.rows
    }
    return {"title": cross.title, "examples": counts if may_be_whole(cross.tally, k) else None}


def _protected(breakdown: Breakdown, k: int) -> Released:
    if breakdown.refines:
        return protect_whole(breakdown.tally, k)
    if breakdown.names:
        return protect(breakdown.tally, k, names=breakdown.names)
    return protect_names(breakdown.tally, k)


def _median(spread: Spread, table: Released | None, k: int) -> float | None:
    """The rounded median, where the table's rows alone say in which band it lies."""
    if spread.median is None or table is None or spread.patients < 2 * k:
        return None
    counts = [(name, n) for name, n in table.shown.items() if name != NOT_STATED]
    rows = [name for name, _ in counts]
    if spread.band not in rows:
        return None
    place = rows.index(spread.band)
    below, above = (sum(n for _, n in part) for part in (counts[:place], counts[place + 1 :]))
    total = sum(n for _, n in counts)
    # Up to k - 1 of the last row may have no value at all: the middle must be here in any case.
    if 2 * below > total - k or 2 * above >= total:
        return None
    step = _ROUNDING[spread.key]
    return round(spread.median / step) * step


def _verdict(
    drift: Drift,
    tables: Mapping[str, Released],
    medians: Mapping[str, float | None],
    *,
    positive: str,
) -> dict[str, str]:
    if drift.key == "manufacturer":
        verdict = _verdict_on_makers(drift, tables[drift.key])
    elif drift.key in _ROUNDING:
        verdict = _verdict_on_median(drift, medians.get(drift.key))
    else:
        name = positive if drift.key == "label" else "female"
        verdict = _verdict_on_share(drift, tables[drift.key], name)
    return {"title": drift.title, "declared": drift.declared, "verdict": verdict}


def _verdict_on_makers(drift: Drift, table: Released) -> str:
    if table.shown.keys() - drift.makers - {OTHER}:
        return "outside"
    return "within" if table.shown and OTHER not in table.shown else "not given"


def _verdict_on_median(drift: Drift, median: float | None) -> str:
    """Compares rounded numbers: the exact ends of a range would undo the median's rounding."""
    if median is None or drift.wanted is None:
        return "not given"
    step, (least, largest) = _ROUNDING[drift.key], drift.wanted
    fits = floor(least / step) * step <= median <= ceil(largest / step) * step
    return "within" if fits else "outside"


def _verdict_on_share(drift: Drift, table: Released, name: str) -> str:
    """Compares the share of a row among the examples; those in no known row count below."""
    stated = sum(number for row, number in table.shown.items() if row != NOT_STATED)
    if name not in table.shown or drift.wanted is None:
        return "not given"
    least, largest = drift.wanted
    return "within" if least <= table.shown[name] / stated <= largest else "outside"


def _second_name(report: DataReport, key: str) -> str:
    return next(b.names[1] for b in report.breakdowns if b.key == key)


def _left_out(report: DataReport, k: int) -> dict[str, int]:
    """Files by reason, of ``k`` patients or more; no total is given that would tell the rest."""
    return {code: out.files for code, out in sorted(report.left_out.items()) if out.patients >= k}
