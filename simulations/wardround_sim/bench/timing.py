"""Times several ways of doing one thing in turn, A B B A, so that noise hits all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

Prepare = Callable[[], Callable[[], object]]
"""Makes everything ready, untimed, and returns what is to be timed."""


def interleave(
    ways: Mapping[str, Prepare],
    *,
    repetitions: int,
    clock: Callable[[], float] = time.process_time,
    at_most: Mapping[str, int] | None = None,
    warm_up: bool = False,
) -> dict[str, list[float]]:
    """Runs every way ``repetitions`` times, one after the other in each repetition.

    Args:
        ways: What to time, by name.
        repetitions: How often.
        clock: Processor seconds of this process by default, all threads together.
        at_most: Fewer repetitions of ways that are very slow.
        warm_up: Whether each runs once, untimed, before.

    Returns:
        Seconds by way, in the order they were taken.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    limits = at_most or {}
    for prepare in ways.values() if warm_up else ():
        prepare()()
    for number in range(repetitions):
        # A B, then B A: what comes first may find other caches than what comes second.
        turn = list(ways.items())[:: -1 if number % 2 else 1]
        for name, prepare in turn:
            if number < limits.get(name, repetitions):
                seconds[name].append(_time(prepare(), clock))
    return seconds


def _time(action: Callable[[], object], clock: Callable[[], float]) -> float:
    gc.disable()
    try:
        start = clock()
        action()
        return clock() - start
    finally:
        gc.enable()
