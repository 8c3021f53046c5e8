"""Explains one file to the site's own staff: every step of intake, and where it ends.

Shown are numbers, names from the DICOM standard and the maker's words about the device. No name,
number or date of a patient, no UID and no path is shown: whoever asks knows which file it is.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wardround_client.cohort import exclusion
from wardround_client.index.header import Header, Instance
from wardround_client.index.reader import read_header
from wardround_client.index.walker import walk_header
from wardround_client.quarantine import Reason
from wardround_client.reports.pixel_words import PixelTask, PixelWords
from wardround_client.reports.stack_words import describe_series, describe_volume
from wardround_client.reports.words import format_bytes, plain_text, standard_name
from wardround_client.volumes.geometry import read_plane
from wardround_client.volumes.plan import FrameGeometry, PlannedVolumes
from wardround_client.volumes.series import plan_volumes
from wardround_common.errors import ArchiveError, DicomError
from wardround_common.intake_plan import CohortRule
from wardround_common.study import Study

VOLUME_MODALITIES = ("CT", "MR", "PT")
_PREAMBLE_BYTES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known around the file."""

    series_of: Callable[[str], Sequence[Instance]]
    """SeriesInstanceUID to the instances of the site's index."""
    read_frames: Callable[[Instance], tuple[FrameGeometry, ...] | Reason]
    """Reads the frames of a multi-frame instance of the index."""
    describe_pixels: Callable[[PixelTask], PixelWords | Reason]
    """Describes pixels, in a guarded process."""
    study: Study | None = None
    label_of: Callable[[Header], int | Reason] | None = None
    """The label of an instance's imaging study."""


@dataclass(slots=True)
class Explanation:
    """Steps in plain words, and the first reason against the file."""

    steps: list[tuple[str, list[str]]] = field(default_factory=list)
    reason: Reason | None = None

    def say(self, step: str, *lines: str) -> None:
        """Adds lines to a step."""
        if not self.steps or self.steps[-1][0] != step:
            self.steps.append((step, []))
        self.steps[-1][1].extend(lines)

    def refuse(self, step: str, reason: Reason) -> None:
        """Notes a reason; the first one decides."""
        self.say(step, f"{reason}: {reason.explanation}")
        self.reason = self.reason or reason


def explain(path: Path, around: Surroundings) -> Explanation:
    """Follows one file through intake.

    Raises:
        ArchiveError: There is no such file.
    """
    if not (path.exists() or path.is_symlink()):
        raise ArchiveError("explain: got no file there, expected one; check the path")
    found = Explanation()
    header = _explain_file(path, found)
    if header is None:
        return found
    _explain_kind(header, found)
    if found.reason is Reason.NOT_AN_IMAGE:
        return found
    if header.modality in VOLUME_MODALITIES:
        _explain_series(header, around, found)
    _explain_pixels(path, header, around, found)
    if around.study is not None:
        _explain_study(header, around.study, around, found)
    return found


def _explain_file(path: Path, found: Explanation) -> Header | None:
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
    try:
        header = read_header(path)
    except DicomError as error:
        found.refuse("file", Reason(error.reason))
        return None
    fast = walk_header(str(path)) is not None
    found.say("file", "header read by " + ("the fast reader" if fast else "pydicom: it is unusual"))
    return header


def _explain_kind(header: Header, found: Explanation) -> None:
    found.say(
        "kind",
        f"SOP class: {standard_name(header.sop_class_uid)}",
        f"transfer syntax: {standard_name(header.transfer_syntax)}",
        f"modality: {plain_text(header.modality)}",
        f"image type: {plain_text(header.image_type)}",
        f"device: {plain_text(header.manufacturer)}, {plain_text(header.model_name)}",
    )
    if header.kernel:
        found.say("kind", f"kernel: {plain_text(header.kernel)}")
    any_study = CohortRule(modalities=(header.modality,), excluded_image_types=())
    reason = exclusion(header, any_study)
    if reason is not None:
        found.refuse("kind", reason)


def _explain_series(header: Header, around: Surroundings, found: Explanation) -> None:
    """Where the slice lies, and what becomes of its series."""
    step = "place and volume"
    try:
        plane = read_plane(
            orientation=header.orientation,
            position=header.position,
            pixel_spacing=header.pixel_spacing,
        )
        x, y, z = plane.position_mm
        found.say(step, f"first voxel at {x:.2f}, {y:.2f}, {z:.2f} mm (left, back, head)")
        rows, columns = plane.spacing_mm
        found.say(step, f"pixel spacing {rows:.4g} x {columns:.4g} mm")
    except DicomError as error:
        found.say(step, f"no place by itself ({error.reason})")
    members = around.series_of(header.series_uid)
    if not members:
        found.say(step, "its series is not in the index; run wardround-site index first")
        return
    found.say(step, *describe_series(members))
    strict = plan_volumes(members, around.read_frames, irregular="refuse")
    lenient = plan_volumes(members, around.read_frames, irregular="resample")
    _explain_volume(header, (strict, lenient), around, found)


def _explain_volume(
    header: Header,
    plans: tuple[PlannedVolumes, PlannedVolumes],
    around: Surroundings,
    found: Explanation,
) -> None:
    """The volume the instance belongs to, under both policies; the study's one decides."""
    step, uid = "place and volume", header.sop_instance_uid
    strict, lenient = (
        next((v for v in p.volumes if any(s.sop_instance_uid == uid for s in v.slices)), None)
        for p in plans
    )
    members = {i.path for i in around.series_of(header.series_uid) if _uid_of(i) == uid}
    reasons = [next((r for path, r in p.refused.items() if path in members), None) for p in plans]
    if strict is not None:
        found.say(step, "belongs to a regular volume", *describe_volume(strict))
        return
    plan = around.study.preprocessing.volume if around.study else None
    resampled = lenient is not None and (plan is None or plan.irregular == "resample")
    if lenient is not None:
        found.say(step, "belongs to an irregular volume", *describe_volume(lenient))
    refusal = reasons[0] or reasons[1]
    if resampled:
        found.say(step, "a study that allows it resamples the volume from its true positions")
    elif refusal is not None:
        found.refuse(step, refusal)


def _explain_pixels(path: Path, header: Header, around: Surroundings, found: Explanation) -> None:
    words = around.describe_pixels(PixelTask(path, header.sop_instance_uid))
    if isinstance(words, Reason):
        found.refuse("pixels", words)
        return
    found.say("pixels", *words.lines)
    if words.reason is not None:
        found.refuse("pixels", words.reason)


def _explain_study(header: Header, study: Study, around: Surroundings, found: Explanation) -> None:
    step = "study"
    reason = exclusion(header, study.cohort)
    if reason is None and not header.patient_id:
        reason = Reason.NO_PATIENT
    if reason is not None:
        found.refuse(step, reason)
        return
    found.say(step, "the cohort rule takes it")
    if around.label_of is None:
        return
    label = around.label_of(header)
    if isinstance(label, Reason):
        found.refuse(step, label)
    else:
        found.say(step, f"label {label}: {study.task.classes[label]}")


def _uid_of(instance: Instance) -> str:
    return instance.header.sop_instance_uid
