"""The form of a data report that may leave the site: counts of enough patients, and nothing else.

Besides the tables of `wardround_client.reports.suppression`, a median is given where its table
hides nothing and ``2 k`` patients stand behind it, so that ``k`` lie on either side, rounded so
that it is nobody's own value. A comparison with what the study declares is given where the table
that it sums up hides nothing.
"""

from __future__ import annotations

from typing import Any

from wardround_client.reports.breakdowns import Breakdown, CrossTable
from wardround_client.reports.data_report import DataReport
from wardround_client.reports.drift import Drift
from wardround_client.reports.spread import Spread
from wardround_client.reports.suppression import Released, may_be_whole, protect, protect_whole
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
    tables = {
        b.key: (protect_whole if b.refines else protect)(b.tally, k) for b in report.breakdowns
    }
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
        "medians": {s.key: _spread(s, tables.get(s.key), k) for s in report.spreads},
        "declared": [_verdict(drift, tables.get(drift.key)) for drift in report.drift],
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


def _spread(spread: Spread, table: Released | None, k: int) -> dict[str, Any]:
    enough = spread.patients >= 2 * k and table is not None and table.state == "whole"
    median = None
    if enough and spread.median is not None:
        step = _ROUNDING[spread.key]
        median = round(spread.median / step) * step
    return {"title": spread.title, "unit": spread.unit, "median": median}


def _verdict(drift: Drift, table: Released | None) -> dict[str, str]:
    whole = table is not None and table.state == "whole"
    verdict = drift.verdict if whole else "not given"
    return {"title": drift.title, "declared": drift.declared, "verdict": verdict}


def _left_out(report: DataReport, k: int) -> dict[str, int]:
    """Files by reason, of ``k`` patients or more; no total is given that would tell the rest."""
    return {code: out.files for code, out in sorted(report.left_out.items()) if out.patients >= k}
