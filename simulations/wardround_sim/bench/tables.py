"""The benchmarks' rows on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from wardround_sim.bench.rows import Ratio, Row, Spread
from wardround_sim.results import Machine

_WIDTH = 150
_MARKS = {True: "met", False: "[red]missed[/red]", None: ""}


def print_machine(machine: Machine, load: float) -> None:
    """Prints where the measurements are made; other work on the machine spoils them."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    console = _console()
    console.print(f"{machine.processor}, {machine.cores} cores; {versions}")
    console.print(f"load before the start: {load:.1f}")


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """Prints one benchmark: median with minimum and maximum, and ratios likewise."""
    table = Table(title=title, title_justify="left")
    for column in ("case", "way", "median (min - max)", "goal", "ratio to"):
        table.add_column(column, overflow="fold")
    last = ""
    for row in rows:
        if row.case != last:
            table.add_section()
        case, last = row.case if row.case != last else "", row.case
        measured = f"{_spread(row.spread)} {row.unit}"
        goal = f"{row.goal} {_MARKS[row.met]}".strip()
        table.add_row(case, row.way, measured, goal, "\n".join(_ratio(r) for r in row.ratios))
    _console().print(table)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _ratio(ratio: Ratio) -> str:
    goal = f" {ratio.goal} {_MARKS[ratio.met]}" if ratio.goal else ""
    return f"{ratio.to}: {_spread(ratio.spread)}{goal}"


def _spread(spread: Spread) -> str:
    middle = _number(spread.median)
    if spread.repetitions == 1:
        return middle
    return f"{middle} ({_number(spread.minimum)} - {_number(spread.maximum)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
