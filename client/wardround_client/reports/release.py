"""The form of a data report that may leave the site: counts of enough patients, and nothing else.

Besides the tables of `wardround_client.reports.suppression` there are medians and comparisons with
what the study declares. Each sums up a table and is given only where that table hides nothing. A
median moreover has ``k`` patients on either side, is rounded so that it is nobody's own value, and
lies in a band that was not joined with others: inside a joined band, the place of the median could
tell how many are on which side.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from wardround_client.reports.breakdowns import Breakdown, CrossTable
from wardround_client.reports.data_report import DataReport
from wardround_client.reports.drift import Drift
from wardround_client.reports.spread import Spread
from wardround_client.reports.suppression import (
    Released,
    join_bands,
    may_be_whole,
    protect,
    protect_whole,
)
from wardround_common.errors import PolicyError

FORMAT = 1
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
    medians = {s.key for s in report.spreads if _may_tell_median(s, tables.get(s.key), k)}
    return {
        "format": FORMAT,
        "site": site,
        "study": study,
        "study_sha256": study_sha256,
        "minimum_count": k,
        "examples": report.examples,
        "patients": report.patients,
        "tables": {b.key: _table(b, tables[b.key]) for b in report.breakdowns},
        "cross_tables": {cross.key: _cross(cross, k) for cross in report.crosses},
        "medians": {s.key: _median(s, given=s.key in medians) for s in report.spreads},
        "declared": [_verdict(d, given=_whole(tables, d.key, medians)) for d in report.drift],
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
    return protect(join_bands(breakdown.tally, breakdown.bands, k), k)


def _may_tell_median(spread: Spread, table: Released | None, k: int) -> bool:
    whole = table is not None and table.state == "whole" and spread.band in table.shown
    return whole and spread.patients >= 2 * k


def _median(spread: Spread, *, given: bool) -> dict[str, Any]:
    median = None
    if given and spread.median is not None:
        step = _ROUNDING[spread.key]
        median = round(spread.median / step) * step
    return {"title": spread.title, "unit": spread.unit, "median": median}


def _whole(tables: Mapping[str, Released], key: str, medians: Container[str]) -> bool:
    """Tells whether a comparison may be given."""
    if key in _ROUNDING:
        return key in medians
    return key in tables and tables[key].state == "whole"


def _verdict(drift: Drift, *, given: bool) -> dict[str, str]:
    verdict = drift.verdict if given else "not given"
    return {"title": drift.title, "declared": drift.declared, "verdict": verdict}


def _left_out(report: DataReport, k: int) -> dict[str, int]:
    """Files by reason, of ``k`` patients or more; no total is given that would tell the rest."""
    return {code: out.files for code, out in sorted(report.left_out.items()) if out.patients >= k}
