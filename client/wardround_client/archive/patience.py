"""Asks again, after a growing pause, where a PACS did not answer."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import TypeVar

from wardround_client.archive.pacs import TransientError

T = TypeVar("T")
PAUSES_S = (0.5, 2.0, 8.0)


def patiently(ask: Callable[[], T]) -> T:
    """Calls ``ask`` until it answers, at most once more than there are pauses.

    Raises:
        TransientError: It failed each time; the last failure.
    """
    for pause_s in PAUSES_S:
        try:
            return ask()
        except TransientError:
            sleep(pause_s)
    return ask()
