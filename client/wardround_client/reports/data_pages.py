"""A data report in words and tables: the full form for the site, and the form that may leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardround_client.quarantine import Reason
from wardround_client.reports.breakdowns import Breakdown, CrossTable
from wardround_client.reports.data_report import DataReport
from wardround_client.reports.drift import Drift
from wardround_client.reports.grid import Grid, Row, count_rows, reasons_grid
from wardround_client.reports.page import Page, Section, Tile
from wardround_client.reports.words import format_count

_NUMBERS = frozenset({1, 2})
_NAMED_GROUPS = 20
_PSEUDONYM_DIGITS = 8
_VERDICTS = {"within": "as declared", "outside": "outside", "unknown": "cannot be told"}
_STATES = {
    "whole": "",
    "joined": "Some rows are of several cells.",
    "withheld": "Not given: too few patients in one of its cells.",
}


def site_form(report: DataReport, *, site: str, study: str, study_sha256: str) -> dict[str, Any]:
    """The full counts as plain data for JSON; they stay at the site."""
    return {
        "format": 1,
        "form": "site; stays at the site",
        "site": site,
        "study": study,
        "study_sha256": study_sha256,
        "examples": report.examples,
        "patients": report.patients,
        "tables": {
            b.key: {
                name: {"examples": found.total(), "patients": len(found)}
                for name, found in b.tally.items()
            }
            for b in report.breakdowns
        },
        "cross_tables": {
            cross.key: {
                row: {column: cross.tally[row, column].total() for column in cross.columns}
                for row in cross.rows
            }
            for cross in report.crosses
        },
        "medians": {spread.key: spread.median for spread in report.spreads},
        "declared": [
            {"title": d.title, "declared": d.declared, "found": d.found, "verdict": d.verdict}
            for d in report.drift
        ],
        "patients_who_share_pixels": len({p for group in report.same_pixels for p in group}),
        "patients_in_two_parts": report.patients_in_two_parts,
        "left_out_files": {code: out.files for code, out in sorted(report.left_out.items())},
    }


def site_page(report: DataReport, *, site: str, study: str) -> Page:
    """The full form for the site's own staff."""
    left_out = {Reason(code): out.files for code, out in report.left_out.items()}
    grids = (reasons_grid("Files left out", "files", left_out),) if left_out else ()
    return Page(
        title=f"Data of study {study} at {site}",
        eyebrow="data report, full form: stays at the site",
        lead=f"{format_count(report.examples)} usable examples of "
        f"{format_count(report.patients)} patients.",
        tiles=(
            Tile(value=format_count(report.examples), label="usable examples"),
            Tile(value=format_count(report.patients), label="patients"),
            *_median_tiles({s.title: (s.median, s.unit) for s in report.spreads}),
        ),
        warnings=_warnings(report),
        sections=(
            _declared_section([_drift_row(drift) for drift in report.drift]),
            Section(
                key="crosses",
                title="Labels across the data",
                text="A model can learn whatever goes with the label, a maker as well as a "
                "disease. Look for cells that are empty.",
                grids=tuple(_cross_grid(cross) for cross in report.crosses),
            ),
            Section(
                key="tables",
                title="The examples",
                grids=tuple(_grid(b, report.examples) for b in report.breakdowns),
            ),
            Section(
                key="left-out",
                title="Left out, and what to do",
                text="" if grids else "Nothing is known to have been left out.",
                grids=grids,
                side_by_side=False,
            ),
        ),
        footer="Full counts, also of few patients: this page stays at the site. The form that may "
        "leave is the file that begins with release.",
    )


def release_page(form: Mapping[str, Any]) -> Page:
    """The form that may leave, from its own plain data and nothing else."""
    k, examples = form["minimum_count"], form["examples"]
    medians = {s["title"]: (s["median"], s["unit"]) for s in form["medians"].values()}
    left_out = {Reason(code): files for code, files in form["left_out_files"].items()}
    return Page(
        title=f"Data of study {form['study']} at {form['site']}",
        eyebrow="data report, form for release",
        lead=f"{format_count(examples)} usable examples.",
        tiles=(
            Tile(value=format_count(examples), label="usable examples"),
            *_median_tiles({t: (m, f"{unit}, rounded") for t, (m, unit) in medians.items()}),
        ),
        sections=(
            _declared_section(
                [
                    Row(
                        cells=(d["title"], d["declared"], _VERDICTS.get(d["verdict"], "not given")),
                        caution=d["verdict"] == "outside",
                    )
                    for d in form["declared"]
                ]
            ),
            Section(key="crosses", title="Labels across the data", grids=_released_crosses(form)),
            Section(
                key="tables",
                title="The examples",
                text=f"Cells of fewer than {k} patients are joined with others, so that nothing "
                f"given here tells of fewer than {k}; what is not stated is among the last row.",
                grids=tuple(_released_grid(t, examples) for t in form["tables"].values()),
            ),
            Section(
                key="left-out",
                title="Left out",
                text="" if left_out else "No reason is given.",
                grids=(reasons_grid(f"Files, of {k} patients or more", "files", left_out),)
                if left_out
                else (),
                side_by_side=False,
            ),
        ),
        footer=f"Study {form['study_sha256']}. No count in this form is of fewer than {k} "
        "patients, and the site makes no two forms whose patients differ by fewer.",
    )


def _warnings(report: DataReport) -> tuple[str, ...]:
    warnings = []
    if report.patients_in_two_parts:
        number = format_count(report.patients_in_two_parts)
        warnings.append(
            f"{number} patients are in two parts of the split. A test on them means nothing; "
            "prepare the site again, and report this if it stays."
        )
    if report.same_pixels:
        shown = [
            " = ".join(name[:_PSEUDONYM_DIGITS] for name in group)
            for group in report.same_pixels[:_NAMED_GROUPS]
        ]
        more = len(report.same_pixels) - len(shown)
        warnings.append(
            "The same pixels are filed under different patients, by beginnings of pseudonyms: "
            + ", ".join(shown)
            + (f" and {more} further groups" if more else "")
            + ". One person under two numbers may be in training and in test."
        )
    return tuple(warnings)


def _declared_section(rows: list[Row]) -> Section:
    heads = (
        ("", "declared", "found", "verdict")
        if rows and len(rows[0].cells) == 4
        else ("", "declared", "verdict")
    )
    grid = Grid(title="Declared by the study, and found", heads=heads, rows=tuple(rows))
    return Section(
        key="declared",
        title="Does the data fit the study?",
        text="" if rows else "The study declares nothing of its data.",
        grids=(grid,) if rows else (),
        side_by_side=False,
    )


def _drift_row(drift: Drift) -> Row:
    return Row(
        cells=(drift.title, drift.declared, drift.found, _VERDICTS[drift.verdict]),
        caution=drift.verdict == "outside",
    )


def _grid(breakdown: Breakdown, total: int) -> Grid:
    counts = [(name, found.total()) for name, found in breakdown.tally.items()]
    return Grid(
        title=breakdown.title,
        heads=("", "examples", "share"),
        rows=count_rows(counts, total),
        numeric=_NUMBERS,
    )


def _cross_grid(cross: CrossTable) -> Grid:
    counts = {
        row: {column: cross.tally[row, column].total() for column in cross.columns}
        for row in cross.rows
    }
    return _counts_grid(cross.title, counts)


def _counts_grid(title: str, counts: Mapping[str, Mapping[str, int]]) -> Grid:
    columns = list(next(iter(counts.values()), {}))
    return Grid(
        title=title,
        heads=("", *columns),
        rows=tuple(
            Row(cells=(name, *(format_count(row[column]) for column in columns)))
            for name, row in counts.items()
        ),
        numeric=frozenset(range(1, len(columns) + 1)),
    )


def _released_grid(table: Mapping[str, Any], total: int) -> Grid:
    return Grid(
        title=table["title"],
        heads=("", "examples", "share"),
        rows=count_rows(table["examples"].items(), total),
        numeric=_NUMBERS,
        note=_STATES[table["state"]],
    )


def _released_crosses(form: Mapping[str, Any]) -> tuple[Grid, ...]:
    return tuple(
        _counts_grid(cross["title"], cross["examples"])
        if cross["examples"] is not None
        else Grid(title=cross["title"], heads=(), rows=(), note=_STATES["withheld"])
        for cross in form["cross_tables"].values()
    )


def _median_tiles(medians: Mapping[str, tuple[float | None, str]]) -> tuple[Tile, ...]:
    return tuple(
        Tile(value=f"{median:.3g}", label=f"{title}: median, {unit}")
        for title, (median, unit) in medians.items()
        if median is not None
    )
