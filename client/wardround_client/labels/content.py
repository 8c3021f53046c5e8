"""Walks the content tree of a structured report (PS3.3 C.17.3) within limits.

highdicom refuses reports that break its templates in places that say nothing of the label; the
label needs only names, values and what they refer to, so these are read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from wardround_client.index.reader import text_of
from wardround_client.labels.codes import code_in, is_one_of
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import items_of
from wardround_common.errors import DicomError

MAXIMUM_DEPTH = 32
MAXIMUM_CONTENT_ITEMS = 50_000
_STATED = frozenset({"CONTAINS", "HAS PROPERTIES"})
"""Relationships by which a report states something. What modifies, acquires, supports or selects
another item is no statement of its own."""
_MEASUREMENT_GROUP = ("125007|DCM",)


class ContentItem(NamedTuple):
    """One stated item of a report."""

    dataset: Dataset
    name: Code | None
    kind: str
    """ValueType."""
    images: frozenset[str]
    """SOPInstanceUIDs that the item, or the measurement group it stands in, refers to."""


def walk_content(report: Dataset) -> Iterator[ContentItem]:
    """Yields what the report states, from the root down.

    Raises:
        DicomError: The tree is too deep or too large, or an element cannot be read.
    """
    budget = [MAXIMUM_CONTENT_ITEMS]
    yield from _walk(report, frozenset(), depth=0, budget=budget)


def _walk(
    parent: Dataset, group: frozenset[str], *, depth: int, budget: list[int]
) -> Iterator[ContentItem]:
    for child in items_of(parent, "ContentSequence"):
        budget[0] -= 1
        if depth >= MAXIMUM_DEPTH or budget[0] < 0:
            raise DicomError(Reason.LABEL_UNREADABLE)
        if text_of(child, "RelationshipType").upper() not in _STATED:
            continue
        kind = text_of(child, "ValueType").upper()
        name = code_in(child, "ConceptNameCodeSequence")
        within = group
        if kind == "CONTAINER" and is_one_of(name, _MEASUREMENT_GROUP):
            within = _images_below(child, depth=depth)
        images = within if kind == "CONTAINER" else _images_below(child, depth=depth) or within
        yield ContentItem(dataset=child, name=name, kind=kind, images=images)
        yield from _walk(child, within, depth=depth + 1, budget=budget)


def _images_below(item: Dataset, *, depth: int) -> frozenset[str]:
    """SOPInstanceUIDs that an item and all below it refer to."""
    if depth >= MAXIMUM_DEPTH:
        raise DicomError(Reason.LABEL_UNREADABLE)
    found = {
        text_of(reference, "ReferencedSOPInstanceUID")
        for reference in items_of(item, "ReferencedSOPSequence")
    }
    for child in items_of(item, "ContentSequence"):
        found |= _images_below(child, depth=depth + 1)
    return frozenset(found - {""})
