"""Numbers and names as a report writes them."""

from __future__ import annotations

import re

from pydicom.config import IGNORE
from pydicom.uid import UID

NOT_STATED = "not stated"
_FOREIGN = re.compile(r"[^A-Za-z0-9 .,:;_+\-/()&*#%='\\]+")
_LONGEST = 40


def plain_text(text: str) -> str:
    """A maker's words from a header: printable ASCII, no control sequence, of bounded length."""
    clean = " ".join(_FOREIGN.sub("?", text).split())
    return (clean if len(clean) <= _LONGEST else clean[: _LONGEST - 3] + "...") or NOT_STATED


def standard_name(uid: str) -> str:
    """A UID's name in the standard; one that the standard does not know is not shown."""
    if not uid:
        return NOT_STATED
    known = UID(uid, IGNORE)  # otherwise a value that is no UID would be quoted in a warning
    return known.name if known.name != uid and not known.is_private else "private or unknown"


def format_count(number: int) -> str:
    """A count with narrow spaces between groups of three digits."""
    return f"{number:,}".replace(",", "\u202f")


def format_bytes(number: int) -> str:
    """A size with its unit, three digits, such as 1.23 GB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def format_share(count: int, total: int) -> str:
    """A count as a percentage of the total; empty where there is nothing."""
    return f"{100 * count / total:.1f}\u202f%" if total else ""
