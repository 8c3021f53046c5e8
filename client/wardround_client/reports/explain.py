"""Explains one file to the site's own staff: every step of intake, and where it ends.

Shown are numbers, words from the DICOM standard and names of known makers and kernels. No name,
number or date of a patient, no UID and no path is shown: whoever asks knows which file it is.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wardround_client.archive.files import ArchiveFile
from wardround_client.cohort import exclusion
from wardround_client.index.header import Header, Instance
from wardround_client.index.reader import read_header
from wardround_client.index.walker import walk_header
from wardround_client.quarantine import Reason
from wardround_client.reports.explain_study import StudyRules, explain_study
from wardround_client.reports.explanation import Explanation
from wardround_client.reports.pixel_words import PixelTask, PixelWords
from wardround_client.reports.stack_words import describe_series, describe_volume
from wardround_client.reports.volume_check import VOLUME_MODALITIES
from wardround_client.reports.words import (
    format_bytes,
    image_type,
    kernel_name,
    maker_name,
    modality_name,
    standard_name,
)
from wardround_client.volumes.geometry import read_plane
from wardround_client.volumes.plan import VolumePlan
from wardround_client.volumes.series import ReadFrames, plan_volumes
from wardround_common.errors import ArchiveError, DicomError
from wardround_common.intake_plan import CohortRule

_PREAMBLE_BYTES = 128
_PLACE = "place and volume"


class FileStart(NamedTuple):
    """The header of a file, and whether the fast reader reads it."""

    header: Header
    fast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known around the file."""

    series_of: Callable[[str], Sequence[Instance]]
    """SeriesInstanceUID to the instances of the site's index."""
    read_start: Callable[[Path], FileStart | Reason]
    """Reads a file's header, in a guarded process."""
    frames_of: Callable[[Sequence[Instance]], ReadFrames]
    """Reads the frames of the multi-frame instances of a series, in a guarded process."""
    describe_pixels: Callable[[PixelTask], PixelWords | Reason]
    """Describes pixels, in a guarded process."""
    rules: StudyRules | None = None
    """The study whose rules are applied, if any."""


def explain(path: Path, around: Surroundings) -> Explanation:
    """Follows one file through intake.

    Raises:
        ArchiveError: There is no such file.
    """
    if not (path.exists() or path.is_symlink()):
        raise ArchiveError("explain: got no file there, expected one; check the path")
    found = Explanation()
    header = _explain_file(path, around, found)
    if header is None:
        return found
    _explain_kind(header, found)
    if found.reason is Reason.NOT_AN_IMAGE:
        return found
    series = around.series_of(header.series_uid)
    instance = _itself(path, header, series)
    members = series if instance in series else [instance]
    read_frames = around.frames_of(series if instance in series else [instance, *series])
    if header.modality in VOLUME_MODALITIES:
        _explain_place(header, found)
        _explain_series(header, series, read_frames, found)
    _explain_pixels(path, header, around, found)
    if around.rules is not None:
        explain_study(instance, members, read_frames, around.rules, found)
    return found


def read_start(path: Path) -> FileStart | Reason:
    """Reads a file's header, or says why it cannot; made to run in a worker."""
    try:
        return FileStart(read_header(path), fast=walk_header(str(path)) is not None)
    except DicomError as error:
        return Reason(error.reason)


def _explain_file(path: Path, around: Surroundings, found: Explanation) -> Header | None:
    """What kind of file it is, and what reads it."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            found.refuse("file", Reason.NOT_REGULAR)
            return None
        with path.open("rb") as file:
            marked = file.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == b"DICM"
    except OSError:
        found.refuse("file", Reason.UNREADABLE)
        return None
    found.say("file", f"regular file of {format_bytes(status.st_size)}")
    found.say("file", "preamble and DICM prefix: " + ("there" if marked else "missing"))
    start = around.read_start(path)
    if isinstance(start, Reason):
        found.refuse("file", start)
        return None
    reader = "the fast reader" if start.fast else "pydicom: it is unusual"
    found.say("file", f"header read by {reader}")
    return start.header


def _explain_kind(header: Header, found: Explanation) -> None:
    found.say(
        "kind",
        f"SOP class: {standard_name(header.sop_class_uid)}",
        f"transfer syntax: {standard_name(header.transfer_syntax)}",
        f"modality: {modality_name(header.modality)}",
        f"image type: {image_type(header.image_type)}",
        f"maker: {maker_name(header.manufacturer)}",
    )
    if header.kernel:
        found.say("kind", f"kernel: {kernel_name(header.kernel)}")
    any_study = CohortRule(modalities=(header.modality,), excluded_image_types=())
    reason = exclusion(header, any_study)
    if reason is not None:
        found.refuse("kind", reason)


def _explain_place(header: Header, found: Explanation) -> None:
    try:
        plane = read_plane(
            orientation=header.orientation,
            position=header.position,
            pixel_spacing=header.pixel_spacing,
        )
    except DicomError as error:
        found.say(_PLACE, f"no place at this level of the header ({error.reason})")
        return
    x, y, z = plane.position_mm
    rows, columns = plane.spacing_mm
    found.say(_PLACE, f"first voxel at {x:.2f}, {y:.2f}, {z:.2f} mm (left, back, head)")
    found.say(_PLACE, f"pixel spacing {rows:.4g} x {columns:.4g} mm")


def _explain_series(
    header: Header, series: Sequence[Instance], read_frames: ReadFrames, found: Explanation
) -> None:
    """The volume the file belongs to, under both policies for irregular ones."""
    if not series:
        found.say(_PLACE, "its series is not in the index; run wardround-site index first")
        return
    found.say(_PLACE, *describe_series(series))
    uid = header.sop_instance_uid
    own = {i.path for i in series if i.header.sop_instance_uid == uid}
    strict = plan_volumes(series, read_frames, irregular="refuse")
    lenient = plan_volumes(series, read_frames, irregular="resample")
    regular, irregular = _volume_with(own, strict.volumes), _volume_with(own, lenient.volumes)
    refusal = next((r for path, r in strict.refused.items() if path in own), None)
    if regular is not None:
        found.say(_PLACE, "belongs to a regular volume:", *describe_volume(regular))
    elif irregular is not None:
        found.say(_PLACE, "belongs to an irregular volume:", *describe_volume(irregular))
        found.say(_PLACE, f"a study resamples it from its true positions or refuses it: {refusal}")
    elif refusal is not None:
        found.refuse(_PLACE, refusal)


def _volume_with(paths: set[bytes], volumes: Sequence[VolumePlan]) -> VolumePlan | None:
    return next((v for v in volumes if paths & {ref.path for ref in v.slices}), None)


def _explain_pixels(path: Path, header: Header, around: Surroundings, found: Explanation) -> None:
    words = around.describe_pixels(PixelTask(path, header.sop_instance_uid))
    if isinstance(words, Reason):
        found.refuse("pixels", words)
        return
    found.say("pixels", *words.lines)
    if words.reason is not None:
        found.refuse("pixels", words.reason)


def _itself(path: Path, header: Header, series: Sequence[Instance]) -> Instance:
    """The file as the index knows it, or as one that it does not know."""
    same = [i for i in series if i.header.sop_instance_uid == header.sop_instance_uid]
    name = str(path.absolute()).encode(errors="surrogateescape")
    named = (i for i in same if name.endswith(b"/" + i.path))
    unknown = Instance(ArchiveFile(path=name, size_bytes=0, mtime_ns=0), header)
    return next(named, same[0] if same else unknown)
