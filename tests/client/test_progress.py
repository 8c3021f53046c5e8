"""Progress: plain lines now and then where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from wardround_client import progress
from wardround_client.progress import Display


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, seconds; tests change it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_plain_line_comes_every_ten_seconds_with_rate_and_time_left(clock: list[float]) -> None:
    said = io.StringIO()
    with Display(Console(file=said)) as display:
        for second in range(25):
            clock[0] = 100.0 + second
            display("scan", 50 * second, 2000)
    assert said.getvalue().splitlines() == [
        "reading headers: 500 of 2000, 50/s, 30 s left",
        "reading headers: 1000 of 2000, 50/s, 20 s left",
    ]


def test_without_a_known_total_no_time_is_promised(clock: list[float]) -> None:
    said = io.StringIO()
    with Display(Console(file=said)) as display:
        display("walk", 0, 0)
        clock[0] += 20
        display("walk", 4000, 0)
    assert said.getvalue() == "listing files: 4000, 200/s\n"


def test_each_phase_has_a_rate_of_its_own(clock: list[float]) -> None:
    said = io.StringIO()
    with Display(Console(file=said)) as display:
        display("scan", 100_000, 100_000)
        clock[0] += 60
        display("decode", 0, 100)
        clock[0] += 10
        display("decode", 20, 100)
    assert said.getvalue() == "decoding: 20 of 100, 2/s, 40 s left\n"


def test_a_terminal_shows_a_bar_and_is_left_clean() -> None:
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=100)
    with Display(console) as display:
        display("scan", 5, 10)
        display("scan", 10, 10)
    assert "reading headers" in said.getvalue()
    assert "10/10" in said.getvalue()
    assert said.getvalue().endswith("\x1b[2K")
