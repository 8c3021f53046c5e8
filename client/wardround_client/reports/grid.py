"""A table as plain text, shown by the terminal and by the page alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

_FOREIGN = re.compile(r"[^A-Za-z0-9 .,:;_+\-/()&*#%='\\]+")
_LONGEST = 40
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a grid."""

    cells: tuple[str, ...]
    caution: bool = False
    """Whether the line asks for somebody's attention."""
    share: float | None = None
    """Of the whole, 0 to 1; a page draws it as a bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table with its heading and a word below it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: frozenset[int] = frozenset()
    """Columns that are set flush right."""
    note: str = ""


def print_grid(grid: Grid, console: Console) -> None:
    """Prints a grid; its texts are never taken for markup."""
    table = Table(title=Text(grid.title, style="bold"), title_justify="left", expand=False)
    for number, head in enumerate(grid.heads):
        table.add_column(Text(head), justify="right" if number in grid.numeric else "left")
    for row in grid.rows:
        style = "yellow" if row.caution else ""
        table.add_row(*(Text(cell) for cell in row.cells), style=style)
    console.print(table)
    if grid.note:
        console.print(Text(grid.note, style="dim"))
    console.print()


def plain_text(text: str) -> str:
    """A maker's words from a header: printable ASCII, no control sequence, of bounded length."""
    clean = " ".join(_FOREIGN.sub("?", text).split())
    return (clean if len(clean) <= _LONGEST else clean[: _LONGEST - 3] + "...") or NOT_STATED


def format_count(number: int) -> str:
    """A count with thin groups of three digits: 12 345."""
    return f"{number:,}".replace(",", "\u202f")


def format_bytes(number: int) -> str:
    """A size with its unit, three digits: 1.23 GB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def count_rows(counts: Iterable[tuple[str, int]], total: int) -> tuple[Row, ...]:
    """Rows of name, count and percentage."""
    return tuple(
        Row(
            cells=(name, format_count(count), format_share(count, total)),
            share=count / total if total else None,
        )
        for name, count in counts
    )


def format_share(count: int, total: int) -> str:
    """A count as a percentage of the total; empty where there is nothing."""
    return f"{100 * count / total:.1f}\u202f%" if total else ""
