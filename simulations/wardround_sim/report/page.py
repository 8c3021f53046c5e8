"""Puts figures, tables and words into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wardround_common.files import write_atomically
from wardround_sim.report import comparison, curves, tables, words
from wardround_sim.report.attempts import (
    Attempt,
    list_void_attempts,
    list_void_places,
    mean_upload_bytes,
)
from wardround_sim.report.drawing import ARM_STYLES
from wardround_sim.results import ALL, Results

_LISTED_ATTEMPTS = 10


def write_report(results: Results, rounds: Sequence[Attempt], path: Path) -> None:
    """Writes the report of ``results`` to ``path``: one HTML file that needs nothing else.

    Args:
        results: The run.
        rounds: The lines of its ``rounds.jsonl``.
        path: The file; it is replaced in one step.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomically(path, render_report(results, rounds).encode())


def render_report(results: Results, rounds: Sequence[Attempt]) -> str:
    """The report as HTML. The same results give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=words.format_count,
        bytes=words.format_bytes,
        seconds=words.format_seconds,
        auc=words.format_auc,
        listed=words.join_names,
    )
    template = environment.get_template("report.html.j2")
    return template.render(
        results=results,
        words=words,
        tables=tables,
        arm_styles=ARM_STYLES,
        **_attempts(rounds),
        **_figures(results, rounds),
        **_facts(results, rounds),
    )


def _attempts(rounds: Sequence[Attempt]) -> dict[str, Any]:
    found = list_void_attempts(rounds)
    return {
        "void_attempts": found[:_LISTED_ATTEMPTS],
        "unlisted_attempts": max(0, len(found) - _LISTED_ATTEMPTS),
    }


def _figures(results: Results, rounds: Sequence[Attempt]) -> dict[str, Any]:
    points, calibration = results.validation, results.calibration
    scored = [a for arm in results.auc.values() for a in arm.values() if a is not None]
    return {
        "forest": comparison.draw_forest(results) if scored else None,
        "roc_panels": comparison.draw_roc_panels(results),
        "roc_sites": comparison.roc_sites(results),
        "learning": curves.draw_learning_curves(points, list_void_places(rounds)) if points else [],
        "calibration": curves.draw_calibration(calibration) if calibration else None,
    }


def _facts(results: Results, rounds: Sequence[Attempt]) -> dict[str, Any]:
    """Single values the template prints."""
    federated = results.auc.get("federated", {}).get(ALL)
    by_scope = results.auc.get("federated", {})
    return {
        "federated_all": federated,
        "two_class_sites": sum(by_scope.get(site) is not None for site in results.site_names),
        "usable": sum(site.archive.usable for site in results.sites),
        "upload_bytes": mean_upload_bytes(rounds),
        "effort": tables.effort_rows(results, rounds),
        "parameter_lines": sorted(_flatten(results.study.parameters)),
    }


def _flatten(parameters: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested parameters as ``section.key`` and their value as text."""
    lines: list[tuple[str, str]] = []
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            lines += _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            lines.append((prefix + key, ", ".join(map(str, value)) or "(any)"))
        else:
            lines.append((prefix + key, str(value)))
    return lines
