"""Frames at one place: time points, acquisitions and phases are split, the rest must be equal.

A split is believed only if it leaves complete stacks, every one with every place exactly once,
and if all elements that would do give the same stacks. InstanceNumber is no such element.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import POSITION_TOLERANCE_MM, distances_mm
from wardround_client.volumes.grouping import Member
from wardround_client.volumes.plan import MULTI_FRAME
from wardround_common.errors import DicomError

_INSTANCE = "instance"
"""Not an element: an enhanced instance may be one time point of several."""
_NAMES = (
    "acquisition_number",
    "trigger_time",
    "acquisition_time",
    "content_time",
    "image_type",
    _INSTANCE,
)
_TIME = re.compile(r"\d+(\.\d+)?")

Parts = list[list[Member]]


class Pass(NamedTuple):
    """One stack: each place once, and the further frames at these places."""

    members: tuple[Member, ...]
    duplicates: tuple[Member, ...] = ()
    """Nothing in the header tells them from the member at their place."""


def separate_passes(group: Sequence[Member]) -> list[Pass]:
    """Splits a group of parallel frames into stacks.

    Raises:
        DicomError: Frames lie at one place along the normal and beside each other.
    """
    places = _number_places(group)
    if places == len(group):
        return [Pass(tuple(group))]
    if len(group) % places == 0:
        for ways in (_by_elements(group, 1), _by_elements(group, 2), _by_time(group)):
            found = {_stacks(parts): parts for parts in ways if _complete(parts, places)}
            if len(found) > 1:
                raise DicomError(Reason.DUPLICATE_POSITION)
            for parts in found.values():
                return [Pass(tuple(part)) for part in parts]
    return [_with_duplicates(group)]


def _number_places(group: Sequence[Member]) -> int:
    """Numbers the places of the members along the normal; returns how many there are."""
    distances = distances_mm([member.plane for member in group])
    order = np.argsort(distances, kind="stable")
    apart = np.diff(distances[order], prepend=distances[order[0]]) > POSITION_TOLERANCE_MM
    for k, place in zip(order, np.cumsum(apart), strict=True):
        group[k].place = int(place)
    return int(apart.sum()) + 1


def _complete(parts: Parts, places: int) -> bool:
    """Tells whether every part has every place exactly once."""
    sizes = all(len(part) == places for part in parts)
    return sizes and all(len({m.place for m in part}) == places for part in parts)


def _stacks(parts: Parts) -> Hashable:
    return frozenset(frozenset(member.ref for member in part) for part in parts)


def _split(group: Sequence[Member], key: Callable[[Member], Hashable]) -> Parts:
    parts: dict[Hashable, list[Member]] = defaultdict(list)
    for member in group:
        parts[key(member)].append(member)
    return list(parts.values())


def _element(member: Member, name: str) -> str:
    if name == _INSTANCE:
        header = member.ref.instance.header
        return header.sop_instance_uid if header.sop_class_uid in MULTI_FRAME else ""
    return str(getattr(member.frame, name))


def _by_elements(group: Sequence[Member], count: int) -> Iterator[Parts]:
    """Splits by each element, or by each pair of them."""
    for names in combinations(_NAMES, count):
        yield _split(group, lambda member: tuple(_element(member, name) for name in names))  # noqa: B023 - used up before the next names


def _by_time(group: Sequence[Member]) -> Iterator[Parts]:
    """Passes that follow each other: every frame of one was made before any of the next."""
    for name in ("acquisition_time", "content_time"):
        times = {id(member): _element(member, name) for member in group}
        whole = {len(text.partition(".")[0]) for text in times.values()}
        if len(whole) > 1 or not all(_TIME.fullmatch(text) for text in times.values()):
            continue
        ranks: dict[int, list[Member]] = defaultdict(list)
        for part in _split(group, lambda member: member.place):
            for rank, member in enumerate(sorted(part, key=lambda m: times[id(m)])):
                ranks[rank].append(member)
        spans = [[times[id(member)] for member in ranks[rank]] for rank in sorted(ranks)]
        if all(max(one) < min(two) for one, two in pairwise(spans)):
            yield list(ranks.values())


def _with_duplicates(group: Sequence[Member]) -> Pass:
    """Keeps one frame for each place and sets the others apart, to be compared when decoded."""
    members: list[Member] = []
    duplicates: list[Member] = []
    for alike in _split(group, lambda member: member.place):
        first, *others = alike
        for other in others:
            off = np.linalg.norm(other.plane.position_mm - first.plane.position_mm)
            if not off <= POSITION_TOLERANCE_MM:
                raise DicomError(Reason.DUPLICATE_POSITION)
        members.append(first)
        duplicates += others
    return Pass(tuple(members), tuple(duplicates))
