"""What an allow-list may say of an element, and how each rule makes the new value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor, log10
from typing import Any, TypeAlias

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from wardround_client.deidentify.terms import MAY_BE_EMPTY
from wardround_client.pseudonym import mapped_uid

_LONG = range(-(1 << 31), 1 << 31)
_WHOLE = {
    "SS": range(-(1 << 15), 1 << 15),
    "US": range(1 << 16),
    "SL": _LONG,
    "UL": range(1 << 32),
}
"""What fits an element of this type."""


@dataclass(frozen=True, slots=True)
class Number:
    """Numbers within a range, both ends included, no finer than their meaning asks for."""

    low: float
    high: float
    most: int = 1
    """Values at most."""
    decimals: int = 2
    """Digits kept behind the point."""
    digits: int = 3
    """Significant digits kept in any case, so that a small number keeps its meaning."""


@dataclass(frozen=True, slots=True)
class Word:
    """Values that are all on a list."""

    words: frozenset[str]
    other: str = ""
    """Written for a value that is not; empty: then the element is refused."""
    leading: bool = False
    """Whether the values before the first that is not on the list are kept."""
    most: int = 16


@dataclass(frozen=True, slots=True)
class Spelt:
    """Texts that a function brings into a known form; it returns an empty text for others."""

    form: Callable[[str], str]
    most: int = 2


@dataclass(frozen=True, slots=True)
class Constant:
    """One value for all images, where the original has the element."""

    value: str | bytes = ""


@dataclass(frozen=True, slots=True)
class MappedUid:
    """A UID, by its keyed hash."""


@dataclass(frozen=True, slots=True)
class KnownClass:
    """A SOP class of the standard."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Tags of the standard's dictionary."""


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence whose items have an allow-list of their own."""

    allowed: Mapping[str, Rule]
    most: int = 16
    needed: tuple[str, ...] = ()
    """An item without these is left out."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A sequence of known codes, with the dictionary's meaning."""

    allowed: Mapping[str, Rule] = field(default_factory=dict)
    """Elements beside the code."""
    most: int = 16


Rule: TypeAlias = (
    Number | Word | Spelt | Constant | MappedUid | KnownClass | Pointer | Items | Coded
)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes new elements from old ones."""

    secret: bytes
    signed: bool
    """Whether pixels are signed; decides the type of elements that hold pixel values."""

    def rebuilt(self, source: Dataset, allowed: Mapping[str, Rule]) -> Dataset:
        """Builds a new dataset of what the rules let through.

        Of the rest, elements that may be empty and not absent stay as empty ones.
        """
        made = Dataset()
        for keyword, rule in allowed.items():
            if keyword in source:
                vr = dictionary_VR(keyword)
                if " or " in vr:
                    vr = "SS" if self.signed else "US"
                value = self._value(source, keyword, rule, vr)
                if value or keyword in MAY_BE_EMPTY or isinstance(rule, Constant):
                    made.add(DataElement(Tag(keyword), vr, value))
        return made

    def _value(self, source: Dataset, keyword: str, rule: Rule, vr: str) -> Any:
        try:
            value = source.get(keyword)
        except MemoryError:
            raise
        except Exception:  # a wrong VR raises here, in many ways
            value = None
        if isinstance(rule, (Items, Coded)):
            return self._sequence(value, rule)
        if isinstance(rule, Constant):
            return rule.value
        made = [self._one(part, rule, vr) for part in _parts(value)]
        if isinstance(rule, Word) and rule.leading and None in made:
            made = made[: made.index(None)]
        fits = all(part is not None for part in made) and len(made) <= _most(rule)
        return made if fits else None

    def _sequence(self, value: object, rule: Items | Coded) -> list[Dataset]:
        items = list(value)[: rule.most] if isinstance(value, Sequence) else []
        if isinstance(rule, Items):
            made = [self.rebuilt(item, rule.allowed) for item in items]
            return [item for item in made if all(item.get(name) for name in rule.needed)]
        return [code for item in items if (code := self._coded(item, rule)) is not None]

    def _coded(self, item: Dataset, rule: Coded) -> Dataset | None:
        known = known_code(
            *(_first(item, name) for name in ("CodeValue", "CodingSchemeDesignator"))
        )
        if known is None:
            return None
        made = self.rebuilt(item, rule.allowed)
        made.CodeValue, made.CodingSchemeDesignator = known.value, known.scheme_designator
        made.CodeMeaning = known.meaning[:64]
        return made

    def _one(self, part: object, rule: Rule, vr: str) -> object:
        """The new form of one value, or None if the rule refuses it."""
        text = str(part).strip(" \0")
        if isinstance(rule, Number):
            return _number(text, rule, vr)
        if isinstance(rule, Word):
            return text.upper() if text.upper() in rule.words else rule.other or None
        if isinstance(rule, Spelt):
            return rule.form(text) or None
        if isinstance(rule, MappedUid):
            return mapped_uid(self.secret, text) if text else None
        if isinstance(rule, KnownClass):
            # Otherwise a value that is no UID would be quoted in a warning.
            return text if UID(text, IGNORE).type == "SOP Class" else None
        return part if isinstance(part, int) and keyword_for_tag(part) else None


@lru_cache(maxsize=4096)
def known_code(value: str, scheme: str) -> Code | None:
    """Finds a code in the standard's dictionary; retired SNOMED codes become their successors."""
    retired = scheme in ("SRT", "SNM3")
    if retired:
        wanted = Code(value, "SRT", "")
        return next((code for code in _codes_of("SCT").values() if code == wanted), None)
    return _codes_of(scheme).get(value)


@lru_cache(maxsize=64)
def _codes_of(scheme: str) -> dict[str, Code]:
    if scheme not in codes.schemes():
        return {}
    concepts = getattr(codes, scheme)
    found = (getattr(concepts, name) for name in concepts.dir())
    return {code.value: code for code in found}


def _number(text: str, rule: Number, vr: str) -> object:
    try:
        number = float(text)
    except ValueError:
        return None
    if not rule.low <= number <= rule.high:  # nor what is no number at all
        return None
    if vr == "DS":
        return format_number_as_ds(_rounded(number, rule))
    return _rounded(number, rule) if vr in ("FD", "FL") else _whole(number, vr)


def _rounded(number: float, rule: Number) -> float:
    """Drops the decimals that no viewer needs and that could spell a record number."""
    if not number:
        return 0.0
    return round(number, max(rule.decimals, rule.digits - 1 - floor(log10(abs(number)))))


def _whole(number: float, vr: str) -> int | None:
    whole = int(number)
    # Whoever wrote the original may have taken signed for unsigned, or the other way round.
    if vr == "SS" and whole >= 1 << 15:
        whole -= 1 << 16
    elif vr == "US" and whole < 0:
        whole += 1 << 16
    fits = whole in _WHOLE.get(vr, _LONG)
    return whole if fits and number.is_integer() else None


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, (MultiValue, list, tuple)):
        yield from value
    elif value not in (None, "", b""):
        yield value


def _first(item: Dataset, keyword: str) -> str:
    try:
        return str(item.get(keyword, "")).strip(" \0")
    except MemoryError:
        raise
    except Exception:  # a wrong VR raises here, in many ways
        return ""


def _most(rule: Rule) -> int:
    return rule.most if isinstance(rule, (Number, Word, Spelt)) else 64
