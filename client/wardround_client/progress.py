"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_PLAIN_EVERY_S = 10.0
_PHASES = {
    "walk": "listing files",
    "scan": "reading headers",
    "query": "asking the PACS",
    "fetch": "fetching files",
    "labels": "reading labels",
    "decode": "decoding",
    "volumes": "checking volumes",
    "thumbnails": "drawing thumbnails",
    "rebuild": "rebuilding files",
}


class Display:
    """Shows phases as they advance; use as a context manager and hand it on as ``on_progress``."""

    def __init__(self, console: Console) -> None:
        self._console, self._plain = console, not console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._phase, self._began_s, self._said_s = "", 0.0, 0.0
        self._task = self._bar.add_task("", total=None, visible=False)

    def __enter__(self) -> Display:
        """Starts to draw."""
        if not self._plain:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stops drawing and leaves the terminal as it was."""
        if not self._plain:
            self._bar.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """``phase`` is at ``done`` of ``total`` steps; 0 where the total is not known yet."""
        if phase != self._phase:
            self._phase, self._began_s = phase, time.monotonic()
            self._said_s = self._began_s
            name = _PHASES.get(phase, phase)
            self._bar.reset(self._task, description=name, total=total or None, visible=True)
        self._bar.update(self._task, completed=done, total=total or None)
        if self._plain and time.monotonic() - self._said_s >= _PLAIN_EVERY_S:
            self._said_s = time.monotonic()
            self._console.print(self._line(done, total), highlight=False, markup=False)

    def _line(self, done: int, total: int) -> str:
        """Such as ``reading headers: 12000 of 50000, 4100/s, 9 s left``."""
        name = _PHASES.get(self._phase, self._phase)
        rate = done / max(time.monotonic() - self._began_s, 1e-3)
        if not total:
            return f"{name}: {done}, {rate:.0f}/s"
        left = f", {(total - done) / rate:.0f} s left" if rate else ""
        return f"{name}: {done} of {total}, {rate:.0f}/s{left}"


class _RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """Shows the speed over the last seconds; nothing until it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")
