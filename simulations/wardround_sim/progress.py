"""Progress on the terminal: one line for the phase, one for each site; plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

_SITES_SHOWN = 12
_PLAIN_EVERY_S = 10.0


class Display:
    """Shows phases, rounds and what each site is doing; use as a context manager."""

    def __init__(self, title: str, sites: tuple[str, ...]) -> None:
        self._console = Console(stderr=True)
        self._title, self._sites = title, dict.fromkeys(sites, "waiting")
        self._bar = Progress(
            TextColumn("{task.description:<40}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(title, total=None)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._plain = not sys.stderr.isatty()
        self._said_s = 0.0

    def __enter__(self) -> Display:
        """Starts to draw."""
        if not self._plain:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stops drawing and leaves the terminal as it was."""
        if not self._plain:
            self._live.stop()

    def phase(self, name: str, total: int | None = None) -> None:
        """A new phase begins, of ``total`` steps."""
        self._bar.reset(self._task, description=name, total=total)
        self._sites = dict.fromkeys(self._sites, "waiting")
        self._draw(force=True)

    def step(self, done: int | None = None, *, detail: str = "") -> None:
        """The phase is at ``done`` steps, or one further."""
        if done is None:
            self._bar.advance(self._task)
        else:
            self._bar.update(self._task, completed=done)
        if detail:
            self._bar.update(self._task, description=detail)
        self._draw()

    def site(self, name: str, what: str) -> None:
        """A site is doing ``what``."""
        self._sites[name] = what
        self._draw()

    def _draw(self, *, force: bool = False) -> None:
        if not self._plain:
            self._live.update(Group(self._bar, self._table()))
        elif force or time.monotonic() - self._said_s > _PLAIN_EVERY_S:
            task = self._bar.tasks[0]
            of = f" {task.completed:.0f}/{task.total:.0f}" if task.total else ""
            self._console.print(f"{self._title}: {task.description}{of}", highlight=False)
            self._said_s = time.monotonic()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name in sorted(self._sites)[:_SITES_SHOWN]:
            table.add_row(f"  {name}", f"[dim]{self._sites[name]}[/dim]")
        hidden = len(self._sites) - _SITES_SHOWN
        if hidden > 0:
            table.add_row(f"  and {hidden} more", "")
        return table
