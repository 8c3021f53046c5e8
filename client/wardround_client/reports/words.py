"""Numbers and names as a report writes them.

Anybody may have typed a patient's name into a text of a header: shown are words from lists alone.
"""

from __future__ import annotations

from collections.abc import Callable

from pydicom.config import IGNORE
from pydicom.uid import UID

from wardround_client.deidentify import terms

NOT_STATED, OTHER = "not stated", "other"


def maker_name(text: str) -> str:
    """A known maker's usual name; whatever else stands in the element is not shown."""
    known = terms.maker(text)
    return NOT_STATED if not text.strip() else OTHER if known == "Other" else known


def kernel_name(text: str) -> str:
    """A reconstruction kernel of a known form; each of several values."""
    return _each(text, terms.kernel)


def image_type(text: str) -> str:
    """The defined terms of ImageType; other values are not shown."""
    return _each(text, lambda part: part.upper() if part.upper() in terms.IMAGE_TYPE else "")


def modality_name(text: str) -> str:
    """A modality of the standard."""
    return _each(text, lambda part: part if part in terms.ANY_MODALITY else "")


def _each(text: str, form: Callable[[str], str]) -> str:
    if not text.strip():
        return NOT_STATED
    return ", ".join(form(part.strip()) or OTHER for part in text.split("\\"))


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
