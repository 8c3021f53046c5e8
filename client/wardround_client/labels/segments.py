"""Labels from segmentations: how much of the wanted segments a series holds, or a refusal."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround_client.index.header import Instance
from wardround_client.labels.acquired import AcquiredGrid, image_grid
from wardround_client.labels.alignment import match_planes
from wardround_client.labels.masks import MASK_CLASSES, Mask, MaskFacts, MaskPlane, read_mask
from wardround_client.labels.source import SeenSeries, Unread, is_patient_of
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import LabelRule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskLabel:
    """What one segmentation says about the label, small enough to keep for a whole archive."""

    facts: MaskFacts
    voxels: tuple[int, ...]
    """Voxels inside, of each plane."""
    sha256: str
    """Of places and pixels of planes with voxels: equal for segmentations that say the same."""


def read_mask_label(path: Path, rule: LabelRule) -> MaskLabel | Reason:
    """Reads what one segmentation says about the label, or says why it cannot be read.

    Args:
        path: The file.
        rule: With source ``seg``.
    """
    mask = read_mask(path, rule)
    return mask if isinstance(mask, Reason) else summarise_mask(mask)


def summarise_mask(mask: Mask) -> MaskLabel:
    """Counts a mask's voxels and forgets its pixels."""
    drawn = zip(mask.facts.planes, mask.pixels, strict=True)
    parts = sorted(_digest(mask.facts, plane, pixels) for plane, pixels in drawn if pixels.any())
    return MaskLabel(
        facts=mask.facts,
        voxels=tuple(mask.pixels.sum(axis=(1, 2)).tolist()),
        sha256=hashlib.sha256(b"".join(parts)).hexdigest(),
    )


def _digest(facts: MaskFacts, plane: MaskPlane, pixels: NDArray[np.bool_]) -> bytes:
    corners = plane.corners_mm
    place = sorted(plane.sources) if corners is None else corners.tolist()
    head = repr((place, facts.rows, facts.columns)).encode()
    return hashlib.sha256(head + np.packbits(pixels).tobytes()).digest()


class MaskLabels:
    """The labels of an archive's segmentations; see `wardround_client.labels.source`."""

    def __init__(
        self, rule: LabelRule, masks: Iterable[tuple[Instance, MaskLabel | Reason]]
    ) -> None:
        """Takes every segmentation of the archive with what was read of it."""
        self._minimum_ml = rule.minimum_ml
        self.refused: dict[bytes, Reason] = {}
        """Path of each segmentation that could not be read to the reason."""
        self._unread = Unread()
        self._by_series: dict[str, list[MaskLabel]] = defaultdict(list)
        for instance, mask in masks:
            header = instance.header
            if header.sop_class_uid not in MASK_CLASSES:
                continue
            reason = mask if isinstance(mask, Reason) else _unusable(mask, header.sop_instance_uid)
            if reason is not None:
                self.refused[instance.path] = reason
                self._unread.add(header, reason)
            elif not isinstance(mask, Reason) and mask.facts.named:
                for series_uid in mask.facts.series_uids:
                    self._by_series[series_uid].append(mask)

    @property
    def entries(self) -> int:
        """Segmentations that have a wanted segment."""
        return self._count(self._by_series)

    def of(self, image: Instance, grid: AcquiredGrid | None = None) -> int | Reason:
        """The label of an image or volume, or why there is none.

        Args:
            image: A single image, or any instance of a volume.
            grid: The volume's place in the patient.
        """
        header = image.header
        masks = self._by_series.get(header.series_uid, [])
        checks: tuple[tuple[Reason, bool], ...] = (
            (Reason.LABEL_MISSING, not masks),
            (
                Reason.MIXED_PATIENTS,
                not all(is_patient_of(mask.facts.patient, header) for mask in masks),
            ),
            (Reason.LABEL_CONFLICT, len({mask.sha256 for mask in masks}) > 1),
        )
        refusal = self._unread.about(header)
        refusal = refusal or next((reason for reason, holds in checks if holds), None)
        if refusal is not None:
            return refusal
        try:
            place = grid or image_grid(image)
        except DicomError as error:
            return Reason(error.reason)
        # Equal ones may still name different slices as those that they were made from.
        found = [self._class_of(mask, place) for mask in masks]
        return next((one for one in found if isinstance(one, Reason)), found[0])

    def unused(self, seen: Iterable[SeenSeries]) -> int:
        """Segmentations that have a wanted segment and belong to no series ``seen``."""
        return self.entries - self._count({one.series_uid for one in seen})

    def _class_of(self, mask: MaskLabel, grid: AcquiredGrid) -> int | Reason:
        places = match_planes(mask.facts, grid)
        if isinstance(places, Reason):
            return places
        if self._minimum_ml == 0:
            return int(sum(mask.voxels) > 0)
        voxel_ml = grid.voxels_ml
        if voxel_ml is None:  # a single image has no volume
            return Reason.LABEL_OUT_OF_RANGE
        counted = zip(places, mask.voxels, strict=True)
        volume_ml = sum(voxels * float(voxel_ml[number]) for (number, _), voxels in counted)
        return int(volume_ml > self._minimum_ml)

    def _count(self, series_uids: Iterable[str]) -> int:
        found = (mask for uid in series_uids for mask in self._by_series.get(uid, ()))
        return len({mask.facts.sop_instance_uid for mask in found})


def _unusable(mask: MaskLabel, sop_instance_uid: str) -> Reason | None:
    if mask.facts.sop_instance_uid != sop_instance_uid:
        return Reason.CHANGED
    return Reason.LABEL_UNANCHORED if mask.facts.named and not mask.facts.series_uids else None
