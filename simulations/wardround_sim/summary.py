"""The last words of a run on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from wardround_sim.report.words import SCOPE_LABELS
from wardround_sim.results import Auc, Results


def print_summary(results: Results, out: Path, console: Console) -> None:
    """Prints AUC by hospital and arm, what it took, and where the report is."""
    table = Table(title=f"{results.scenario}: AUC on patients never seen", title_justify="left")
    table.add_column("hospital", no_wrap=True)
    for arm in results.arms:
        table.add_column(arm.replace("_", "-"), justify="right")
    for scope in results.scopes:
        table.add_row(
            SCOPE_LABELS.get(scope, scope),
            *(_cell(results.auc[arm], scope) for arm in results.arms),
        )
    console.print(table)
    rounds = results.rounds
    if results.status != "complete":
        console.print(f"[bold red]The run ended short:[/bold red] {results.reason}")
    console.print(
        f"{rounds.completed} of {rounds.planned} rounds, {rounds.void} void; "
        f"{results.wall_s:.0f} s; model {results.model_sha256[:16]}; seed {results.seed}"
    )
    console.print(
        f"peak memory {results.peak_memory_bytes / 1e9:.2f} GB; beyond training, a round took "
        f"{results.site_round_overhead_s:.3f} s for each hospital"
    )
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def _cell(row: dict[str, Auc | None], scope: str) -> str:
    if scope not in row:
        return "-"
    found = row[scope]
    return "one class" if found is None else f"{found.auc:.3f} ({found.low:.2f}-{found.high:.2f})"
