"""The volumes of real, awkward files, with their places read a second time, straight from them.

Truth here is ImagePositionPatient, ImageOrientationPatient and PixelSpacing as pydicom reads them
from each slice's own file; the geometry code under test has no part in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset

from wardround_client.index.reader import quiet
from wardround_client.quarantine import Reason
from wardround_client.volumes.assemble import OpenFile, read_volume
from wardround_client.volumes.geometry import Float, Irregular
from wardround_client.volumes.plan import SliceRef, VolumePlan
from wardround_common.errors import DicomError
from wardround_sim.traps.case import describe
from wardround_sim.traps.outcome import plan_folder, read_instances, stated_places

VARIANTS = ("pydicom_data", "highdicom")
"""Folders whose files are variants of a few instances: each is an archive of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What intake made of one folder."""

    folder: str
    irregular: Irregular
    volumes: int
    """How many were accepted."""
    text: str
    """Volumes and refused files in a few words."""
    error_mm: float
    """Largest distance of a corner voxel of a slice from where its own file says it lies."""


def read_corpus(root: Path, *, irregular: Irregular) -> Iterator[Found]:
    """Takes in every folder that holds files, one after the other."""
    folders = sorted({path.parent for path in root.rglob("*") if path.is_file()})
    for folder in folders:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        parts = [[file] for file in files] if folder.name in VARIANTS else [files]
        yield _read_parts(folder, parts, root, irregular=irregular)


def _read_parts(
    folder: Path, parts: Sequence[Sequence[Path]], root: Path, *, irregular: Irregular
) -> Found:
    volumes: list[int] = []
    flags: set[str] = set()
    refused: Counter[Reason] = Counter()
    worst_mm = 0.0
    for files in parts:
        plans, reasons, open_file = _plan(folder, files, irregular)
        refused.update(reasons.values())
        for plan in plans:
            try:
                worst_mm = max(worst_mm, error_mm(plan, open_file))
            except DicomError as error:
                refused.update([Reason(error.reason)] * len(plan.paths))
            else:
                volumes.append(len(plan.slices))
                flags |= set(plan.flags)
    return Found(
        folder=str(folder.relative_to(root)),
        irregular=irregular,
        volumes=len(volumes),
        text=describe(sorted(volumes), refused, frozenset(flags), image=""),
        error_mm=worst_mm,
    )


def _plan(
    folder: Path, files: Sequence[Path], irregular: Irregular
) -> tuple[Sequence[VolumePlan], Mapping[bytes, Reason], OpenFile]:
    instances, refused = read_instances(folder, files)
    planned, open_file = plan_folder(folder, instances, irregular=irregular)
    return planned.volumes, refused | planned.refused, open_file


def error_mm(plan: VolumePlan, open_file: OpenFile) -> float:
    """Reads a volume and compares the places of its slices' corners with the files'.

    Raises:
        DicomError: The volume is refused.
    """
    stated = stated_places(read_volume(plan, open_file))
    corners = stated[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    true = np.array([_corners(ref, open_file) for ref in plan.slices])
    return float(np.linalg.norm(corners - true, axis=-1).max())


def _corners(ref: SliceRef, open_file: OpenFile) -> Float:
    """Places of the four corner voxels of a slice, float64, shape (4, 3)."""
    with quiet():
        dataset = pydicom.dcmread(open_file(ref.path), stop_before_pixels=True)
        place, turn, size = (
            _element(dataset, ref.frame, *where)
            for where in (
                ("PlanePositionSequence", "ImagePositionPatient"),
                ("PlaneOrientationSequence", "ImageOrientationPatient"),
                ("PixelMeasuresSequence", "PixelSpacing"),
            )
        )
    down = (dataset.Rows - 1) * size[0] * turn[3:]
    right = (dataset.Columns - 1) * size[1] * turn[:3]
    return np.array([place, place + right, place + down, place + down + right])


def _element(dataset: Dataset, frame: int, sequence: str, keyword: str) -> Float:
    if keyword in dataset:
        return np.array(dataset[keyword].value, np.float64)
    own = dataset.PerFrameFunctionalGroupsSequence[frame - 1]
    group = own if sequence in own else dataset.SharedFunctionalGroupsSequence[0]
    return np.array(group[sequence][0][keyword].value, np.float64)
