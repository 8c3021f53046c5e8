"""Sends a trap through the intake that a site uses, and measures what comes out.

Position errors are measured on the values: a voxel holds its true place, the volume or the grid
says where it lies. Nothing of the geometry code under test makes the truth.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.header import Instance
from wardround_client.index.reader import quiet, read_header
from wardround_client.pixels.decode import decode_file
from wardround_client.pixels.radiograph import SCALE
from wardround_client.quarantine import Reason
from wardround_client.volumes.assemble import OpenFile, read_volume
from wardround_client.volumes.geometry import Irregular
from wardround_client.volumes.grid import make_grid
from wardround_client.volumes.multiframe import read_frames
from wardround_client.volumes.plan import PlannedVolumes, Volume
from wardround_client.volumes.resample import prepare_volume, resample
from wardround_client.volumes.series import plan_volumes
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing, VolumePreprocessing
from wardround_sim.traps.case import Case, describe

GOAL_MM = 0.01
_GRIDS = (
    VolumePreprocessing(
        orientation="patient", spacing_mm=(2.0, 1.5, 1.1), shape=(16, 12, 12), window=(-160, 160)
    ),
    VolumePreprocessing(
        orientation="acquired", spacing_mm=(3.5, 0.8, 0.5), shape=(9, 12, 14), window=(-160, 160)
    ),
)
_SINGLE = Preprocessing(rows=32, columns=32)
"""The size of the radiographs, so that none is resized."""
_INEXACT_AFFINE = {"uneven", "missing-slice", "rounded"}
_AXES = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What intake made of a case."""

    volumes: tuple[int, ...] = ()
    refused: Mapping[Reason, int] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    padded: int = 0
    error_mm: float = 0.0
    """Largest distance of a voxel from its true place, as decoded and as resampled."""
    image_error: float | None = None
    """Of a radiograph: largest difference from the truth, standard deviations."""

    @property
    def text(self) -> str:
        """The outcome in a few words, comparable with `Case.expected`."""
        image = "" if self.image_error is None else "image"
        return describe(self.volumes, self.refused, self.flags, image=image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The volumes of one folder, and its refused files."""

    volumes: Mapping[str, Volume]
    refused: Mapping[bytes, Reason]


def run_case(case: Case, folder: Path) -> Outcome:
    """Writes a case into an empty folder and takes it in.

    Args:
        case: The trap.
        folder: Where its files go.
    """
    if case.single:
        return _run_image(case, folder)
    intakes: list[Intake] = []
    for axis in _AXES:
        part = folder / "xyz"[axis]
        part.mkdir(parents=True)
        with quiet():  # what writes the trap warns that it is one
            case.make(part, axis)
        intakes.append(take_in(part, irregular=case.irregular))
    return _measure(intakes)


def take_in(root: Path, *, irregular: Irregular) -> Intake:
    """Reads the volumes below a folder, as intake does."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    instances, refused = read_instances(root, files)
    planned, open_file = plan_folder(root, instances, irregular=irregular)
    refused |= planned.refused
    volumes: dict[str, Volume] = {}
    failed: dict[bytes, Reason] = {}
    used: set[bytes] = set()
    for plan in planned.volumes:
        try:
            volumes[plan.key] = read_volume(plan, open_file)
            used |= {ref.path for ref in plan.slices}
        except DicomError as error:
            failed |= dict.fromkeys(plan.paths, Reason(error.reason))
    refused |= {path: reason for path, reason in failed.items() if path not in used}
    return Intake(volumes=volumes, refused=refused)


def read_instances(root: Path, files: Sequence[Path]) -> tuple[list[Instance], dict[bytes, Reason]]:
    """Reads the headers of files below a folder."""
    instances: list[Instance] = []
    refused: dict[bytes, Reason] = {}
    for path in files:
        file = ArchiveFile(os.fsencode(path.relative_to(root)), path.stat().st_size, 0)
        try:
            instances.append(Instance(file, read_header(path)))
        except DicomError as error:
            refused[file.path] = Reason(error.reason)
    return instances, refused


def plan_folder(
    root: Path, instances: Sequence[Instance], *, irregular: Irregular
) -> tuple[PlannedVolumes, OpenFile]:
    """Plans the volumes of a folder; returns also what opens its files."""
    open_file = partial(_below, root)
    frames = partial(read_frames, open_file=open_file)
    return plan_volumes(instances, frames, irregular=irregular), open_file


def _below(root: Path, path: bytes) -> Path:
    return root / os.fsdecode(path)


def _measure(intakes: Sequence[Intake]) -> Outcome:
    first = intakes[0]
    if any(i.refused != first.refused or i.volumes.keys() != first.volumes.keys() for i in intakes):
        raise RuntimeError("the outcome of a case depends on its values")
    same = [tuple(intake.volumes[key] for intake in intakes) for key in first.volumes]
    return Outcome(
        volumes=tuple(sorted(len(volume.values) for volume in first.volumes.values())),
        refused=dict(Counter(first.refused.values())),
        flags=frozenset(flag for volume in first.volumes.values() for flag in volume.flags),
        padded=sum(int((~volume.valid).sum()) for volume in first.volumes.values()),
        error_mm=max((_error_mm(volumes) for volumes in same), default=0.0),
    )


def _error_mm(volumes: tuple[Volume, ...]) -> float:
    """Largest position error of one volume, given once for each coordinate."""
    stated, known = stated_places(volumes[0]), volumes[0].valid
    errors = [_distance(np.stack([v.values for v in volumes], axis=-1) - stated, known)]
    for preprocessing in _GRIDS:
        grid = make_grid(volumes[0], preprocessing)
        read = [resample(volume, grid) for volume in volumes]
        offsets = np.meshgrid(*(grid.offsets_mm(axis) for axis in _AXES), indexing="ij")
        places = grid.centre_mm + np.stack(offsets, axis=-1) @ grid.axes
        inside = read[0][1]
        if not inside.any():
            return float("inf")
        errors.append(_distance(np.stack([v for v, _ in read], axis=-1) - places, inside))
        errors += [
            _scaling_error(v, preprocessing, one) for v, one in zip(volumes, read, strict=True)
        ]
    return max(errors)


def _scaling_error(
    volume: Volume,
    preprocessing: VolumePreprocessing,
    read: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> float:
    """Largest difference of the model's input from what was resampled, less its rounding, mm."""
    half_mm = 160.0
    pixels = prepare_volume(volume, preprocessing)
    error = np.abs(pixels / SCALE * half_mm - read[0])[read[1]].max() - half_mm / SCALE / 2
    return max(0.0, float(error) - 1e-4)


def stated_places(volume: Volume) -> NDArray[np.float64]:
    """Where a volume says that its voxels lie, float64, shape (slices, rows, columns, 3)."""
    index = np.indices(volume.values.shape).transpose(1, 2, 3, 0)
    places: NDArray[np.float64]
    if _INEXACT_AFFINE & set(volume.flags):
        in_plane = index[..., 1:] * np.array(volume.spacing_mm[1:])
        places = volume.positions_mm[:, None, None, :] + in_plane @ volume.axes
    else:
        places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return places


def _distance(off: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    return float(np.linalg.norm(off.astype(np.float64), axis=-1)[known].max())


def _run_image(case: Case, folder: Path) -> Outcome:
    folder.mkdir(parents=True)
    with quiet():
        case.make(folder, 0)
    (path,) = folder.iterdir()
    try:
        header = read_header(path)
    except DicomError as error:
        return Outcome(refused={Reason(error.reason): 1})
    image = decode_file(path, _SINGLE, sop_instance_uid=header.sop_instance_uid)
    if isinstance(image, Reason):
        return Outcome(refused={image: 1})
    if case.shown is None:
        return Outcome(image_error=float("inf"))
    known = np.isfinite(case.shown)
    expected = (case.shown - case.shown[known].mean()) / case.shown[known].std()
    difference = image.pixels / SCALE - np.where(known, expected, 0.0)
    return Outcome(image_error=float(np.abs(difference).max()))
