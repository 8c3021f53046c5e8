"""What a PACS may answer to one query, and how long it may take; an honest one needs far less."""

from __future__ import annotations

from time import monotonic

from wardround_common.errors import ArchiveError

MAXIMUM_MATCHES = 100_000
"""Of one query: imaging studies of a day, series of a study, or instances of a series."""
MAXIMUM_TIMEOUTS = 10.0
"""Longest time for one query with all its pages, in units of ``timeout_s``."""
_MAXIMUM_CHARACTERS = 256


class Allowance:
    """Counts what comes in answer to one query, from its making on.

    Args:
        shown: Name of the PACS for errors.
        timeout_s: What the site lets it take for a single answer.
    """

    def __init__(self, shown: str, timeout_s: float) -> None:
        self._shown = shown
        self._matches = 0
        self._ends_s = monotonic() + MAXIMUM_TIMEOUTS * timeout_s

    def take(self, matches: int = 0) -> None:
        """Notes matches that came, used or not.

        Raises:
            ArchiveError: They are too many, or the time is up.
        """
        self._matches += matches
        if self._matches > MAXIMUM_MATCHES:
            got = f"got more than {MAXIMUM_MATCHES} matches to one query"
            raise ArchiveError(f"{self._shown}: {got}, expected fewer; see the PACS's own log")
        if monotonic() > self._ends_s:
            hint = "see the PACS's own log, or raise timeout_s"
            raise ArchiveError(f"{self._shown}: got no end of an answer in time; {hint}")


def shortened(text: str) -> str:
    """The text of one element, or nothing if it is longer than any that is asked for."""
    return text if len(text) <= _MAXIMUM_CHARACTERS else ""
