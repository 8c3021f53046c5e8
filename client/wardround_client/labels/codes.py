"""Coded concepts of DICOM objects."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from wardround_client.index.reader import text_of
from wardround_client.volumes.multiframe import items_of

_CODE_VALUES = ("CodeValue", "LongCodeValue", "URNCodeValue")


def code_in(dataset: Dataset, keyword: str) -> Code | None:
    """Reads the code of a sequence with exactly one item.

    Raises:
        DicomError: An element is there and cannot be read.
    """
    items = items_of(dataset, keyword)
    if len(items) != 1:
        return None
    value = next(filter(None, (text_of(items[0], name) for name in _CODE_VALUES)), "")
    scheme = text_of(items[0], "CodingSchemeDesignator")
    return _code(value, scheme) if value and scheme else None


def is_one_of(code: Code | None, wanted: Iterable[str]) -> bool:
    """Tells whether a code is one of those that a `LabelRule` writes as ``value|scheme``.

    SNOMED's retired codes (SRT, SNM3) equal their successors in SCT.
    """
    if code is None:
        return False
    codes = [_code(*text.split("|", 1)) for text in wanted]
    return code in codes


def _code(value: str, scheme: str) -> Code:
    return Code(value, "SRT" if scheme == "SNM3" else scheme, "")
