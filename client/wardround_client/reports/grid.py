"""A table as plain text, shown by the terminal and by the page alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround_client.quarantine import Reason
from wardround_client.reports.words import format_count, format_share


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

    @property
    def has_bars(self) -> bool:
        """Whether a page draws a bar beside each row."""
        return any(row.share is not None for row in self.rows)


def print_grid(grid: Grid, console: Console) -> None:
    """Prints a grid; its texts are never taken for markup."""
    title = Text(grid.title, style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(grid.heads):
        table.add_column(Text(head), justify="right" if number in grid.numeric else "left")
    for row in grid.rows:
        style = "yellow" if row.caution else ""
        table.add_row(*(Text(cell) for cell in row.cells), style=style)
    console.print(table)
    if grid.note:
        console.print(Text(grid.note, style="dim"))
    console.print()


def count_rows(counts: Iterable[tuple[str, int]], total: int) -> tuple[Row, ...]:
    """Rows of name, count and percentage."""
    return tuple(
        Row(
            cells=(name, format_count(count), format_share(count, total)),
            share=count / total if total else None,
        )
        for name, count in counts
    )


def reasons_grid(title: str, what: str, counts: Mapping[Reason, int]) -> Grid:
    """A table of reason codes with meaning and cure, most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Grid(
        title=title,
        heads=("reason code", what, "what it means", "what to do"),
        rows=tuple(
            Row(cells=(reason.value, format_count(number), reason.explanation, reason.cure))
            for reason, number in ordered
        ),
        numeric=frozenset({1}),
    )
