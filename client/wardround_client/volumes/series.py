"""From instances to volumes: what belongs to one stack, what is split, what is refused.

1. What can be no slice of a grey CT, MR or PET volume is refused by itself.
2. The frames of a series are put together that agree in all a volume must not mix.
3. A slice known to be lost refuses the volume it would have belonged to.
4. Same place twice: split by the acquisition or pass that the header names, if that leaves
   complete stacks; else the frames must turn out equal when they are decoded.
5. Each stack must have a geometry.

Steps 1 to 3 are in `wardround_client.volumes.grouping`, 4 in `passes`, 5 in `geometry`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from wardround_client.index.header import Header, Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Irregular, stack_planes
from wardround_client.volumes.grouping import Frame, Member, group_frames, unfit
from wardround_client.volumes.passes import Pass, separate_passes
from wardround_client.volumes.plan import (
    MULTI_FRAME,
    FrameGeometry,
    PlannedVolumes,
    SliceRef,
    VolumePlan,
)
from wardround_common.errors import DicomError

ReadFrames = Callable[[Instance], tuple[FrameGeometry, ...] | Reason]
Refused = dict[bytes, Reason]

_MAXIMUM_VOXELS = 1 << 28
"""Of one volume; 1 GB as float32."""
_KEY_DIGITS = 16


def plan_volumes(
    instances: Sequence[Instance],
    read_frames: ReadFrames,
    *,
    irregular: Irregular,
    lost: Sequence[Instance] = (),
) -> PlannedVolumes:
    """Finds the volumes that some instances make; of whole series, in any order.

    Args:
        instances: Instances of the cohort.
        read_frames: Reads the frames of a multi-frame instance; called for those alone.
        irregular: What becomes of tilted and unevenly spaced stacks, see `VolumePreprocessing`.
        lost: Instances that were left out before, each for what it is itself. A volume that one
            of them belongs to is not whole, and refused.

    Returns:
        The volumes, and every instance of ``instances`` that is in none with the reason.
    """
    left_out = _by_series(lost)
    volumes: list[VolumePlan] = []
    refused: Refused = {}
    for series_uid, members in sorted(_by_series(instances).items()):
        gone = left_out.get(series_uid, [])
        found = _plan_series(members, gone, read_frames, irregular)
        volumes += found.volumes
        refused |= found.refused
    return PlannedVolumes(volumes=tuple(volumes), refused=refused)


def _by_series(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    """Sorts by what the instances are; by where their files lie only among copies."""
    series: dict[str, list[Instance]] = defaultdict(list)
    for instance in sorted(instances, key=lambda one: (one.header.sop_instance_uid, one.path)):
        series[instance.header.series_uid].append(instance)
    return series


def _plan_series(
    members: Sequence[Instance],
    left_out: Sequence[Instance],
    read_frames: ReadFrames,
    irregular: Irregular,
) -> PlannedVolumes:
    kept, copies, refused = _without_copies(members)
    frames, unusable = _frames_of(kept, read_frames)
    unread = [one for one in members if one.path in refused or one.path in unusable]
    lost = _lost_frames((*left_out, *unread), read_frames)
    groups, broken = group_frames(frames, lost=lost)
    refused = {**broken, **unusable, **refused}
    volumes: list[VolumePlan] = []
    for group in groups:
        for part in _passes(group, refused):
            try:
                volumes.append(_plan_stack(part, irregular))
            except DicomError as error:
                _refuse(refused, (*part.members, *part.duplicates), Reason(error.reason))
            else:
                _refuse(refused, part.duplicates, Reason.DUPLICATE_COPY)
    used = {ref.path for volume in volumes for ref in volume.slices}
    for path, others in copies.items():
        fate = Reason.DUPLICATE_COPY if path in used else refused.get(path, Reason.DUPLICATE_COPY)
        refused |= {copy.path: fate for copy in others}
    return PlannedVolumes(
        volumes=tuple(_with_facts_of_series(v, volumes, refused, copies) for v in volumes),
        refused={path: reason for path, reason in refused.items() if path not in used},
    )


def _without_copies(
    members: Sequence[Instance],
) -> tuple[list[Instance], dict[bytes, list[Instance]], Refused]:
    """Sets copies of one SOPInstanceUID apart: kept ones, copies by the kept one's path, refused.

    Copies must have one header here, and one content when `read_volume` compares them.
    """
    same: dict[str, list[Instance]] = defaultdict(list)
    for instance in members:
        same[instance.header.sop_instance_uid].append(instance)
    kept: list[Instance] = []
    copies: dict[bytes, list[Instance]] = {}
    refused: Refused = {}
    for first, *others in same.values():
        if any(_stated(other) != _stated(first) for other in others):
            refused |= {i.path: Reason.DUPLICATE_CONFLICT for i in (first, *others)}
            continue
        kept.append(first)
        if others:
            copies[first.path] = others
    return kept, copies, refused


def _stated(instance: Instance) -> Header:
    """What the header says of the image; how its pixels are packed is the file's own affair."""
    return instance.header._replace(transfer_syntax="")


def _frames_of(
    instances: Sequence[Instance], read_frames: ReadFrames
) -> tuple[list[Frame], Refused]:
    """Lists the frames of instances that may be slices, and refuses the other instances."""
    frames: list[Frame] = []
    refused: Refused = {}
    for instance in instances:
        found: tuple[FrameGeometry, ...] | Reason | None = unfit(instance.header)
        if found is None:
            several = instance.header.sop_class_uid in MULTI_FRAME
            found = read_frames(instance) if several else (_only_frame(instance),)
        if isinstance(found, Reason):
            refused[instance.path] = found
        else:
            frames += [(SliceRef(instance, frame.number), frame) for frame in found]
    return frames, refused


def _lost_frames(instances: Iterable[Instance], read_frames: ReadFrames) -> Iterator[Frame]:
    """Yields frames of instances that are lost; without a place where they cannot be read."""
    for instance in instances:
        if unfit(instance.header) is not None:
            continue
        found, _ = _frames_of([instance], read_frames)
        yield from found or [(SliceRef(instance, 1), _only_frame(instance))]


def _only_frame(instance: Instance) -> FrameGeometry:
    header = instance.header._asdict()
    texts = {name: header[name] for name in FrameGeometry._fields if name in header}
    return FrameGeometry(number=1, **texts)


def _passes(group: Sequence[Member], refused: Refused) -> list[Pass]:
    try:
        return separate_passes(group)
    except DicomError as error:
        _refuse(refused, group, Reason(error.reason))
        return []


def _refuse(refused: Refused, members: Sequence[Member], reason: Reason) -> None:
    for member in members:
        refused.setdefault(member.ref.path, reason)


def _plan_stack(part: Pass, irregular: Irregular) -> VolumePlan:
    """Makes the plan of one stack.

    Raises:
        DicomError: Its slices make no volume.
    """
    header = part.members[0].ref.instance.header
    rows, columns = int(header.rows), int(header.columns)
    if len({member.ref.instance.header.units for member in part.members}) > 1:
        raise DicomError(Reason.MIXED_UNITS)
    if rows * columns * len(part.members) > _MAXIMUM_VOXELS:
        raise DicomError(Reason.TOO_LARGE)
    planes = [member.plane for member in part.members]
    stack = stack_planes(planes, rows=rows, columns=columns, irregular=irregular)
    slices = tuple(part.members[k].ref for k in stack.order)
    places = {part.members[k].place: number for number, k in enumerate(stack.order)}
    return VolumePlan(
        key=_key(header.series_uid, slices),
        slices=slices,
        copies=tuple((places[d.place], d.ref) for d in part.duplicates),
        kernel=part.members[0].frame.kernel,
        rows=rows,
        columns=columns,
        affine=stack.affine,
        positions_mm=stack.positions_mm,
        axes=stack.axes,
        spacing_mm=stack.spacing_mm,
        flags=stack.flags,
    )


def _key(series_uid: str, slices: Sequence[SliceRef]) -> str:
    named = "\n".join(f"{ref.sop_instance_uid} {ref.frame}" for ref in slices)
    return f"{series_uid}/{hashlib.sha256(named.encode()).hexdigest()[:_KEY_DIGITS]}"


def _with_facts_of_series(
    volume: VolumePlan,
    volumes: Sequence[VolumePlan],
    refused: Mapping[bytes, Reason],
    copies: Mapping[bytes, Sequence[Instance]],
) -> VolumePlan:
    """Adds what only the whole series tells: further volumes, frames left out, copies of files."""
    flags = volume.flags + (("split",) if len(volumes) > 1 else ())
    if any(ref.path in refused for ref in volume.slices):
        flags += ("frames-left-out",)
    copied = tuple(
        (number, SliceRef(copy, ref.frame))
        for number, ref in enumerate(volume.slices)
        for copy in copies.get(ref.path, ())
    )
    return replace(volume, flags=flags, copies=volume.copies + copied)
