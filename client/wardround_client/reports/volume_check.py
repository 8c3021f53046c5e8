"""Which series of an archive make volumes: planned from headers alone, one series after another.

Each series is planned as by a study that lets irregular volumes be resampled; a volume with a
flag of `IRREGULAR` is one that a study may also refuse.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.plan import VolumePlan
from wardround_client.volumes.series import ReadFrames, plan_volumes

VOLUME_MODALITIES = ("CT", "MR", "PT")
IRREGULAR = {
    "tilted": Reason.TILTED,
    "uneven": Reason.UNEVEN_SPACING,
    "missing-slice": Reason.MISSING_SLICE,
}
"""Flag of a volume that needs resampling, and the reason for which a study may refuse it."""
_EDGES_MM = (0.0, 0.75, 1.25, 2.0, 3.0, 4.0, 6.0, 10.0)
SPACING_NAMES = (
    "under 0.75",
    "0.75 to 1.24",
    "1.25 to 1.99",
    "2.00 to 2.99",
    "3.00 to 3.99",
    "4.00 to 5.99",
    "6.00 to 9.99",
    "10 and more",
)
"""Bands of the distance between slices, mm."""


@dataclass(slots=True, kw_only=True)
class VolumeCheck:
    """Counts that grow series by series."""

    series: int = 0
    volumes: int = 0
    regular: int = 0
    """Volumes that every study takes."""
    flags: Counter[str] = field(default_factory=Counter)
    """Flag to the number of volumes; a volume may have several."""
    spacings: Counter[str] = field(default_factory=Counter)
    """Band of `SPACING_NAMES` to the number of volumes."""
    refused: Counter[Reason] = field(default_factory=Counter)
    """Reason to the number of instances in no volume."""
    refused_series: Counter[Reason] = field(default_factory=Counter)
    """Reason to the number of series without any volume; its most frequent reason counts."""

    def add(self, members: Sequence[Instance], read_frames: ReadFrames) -> None:
        """Plans the instances of one series."""
        planned = plan_volumes(members, read_frames, irregular="resample")
        reasons = Counter(planned.refused.values())
        self.series += 1
        self.refused.update(reasons)
        if not planned.volumes:
            self.refused_series[reasons.most_common(1)[0][0]] += 1
        for plan in planned.volumes:
            self._count(plan)

    def _count(self, plan: VolumePlan) -> None:
        self.volumes += 1
        self.regular += not IRREGULAR.keys() & set(plan.flags)
        self.flags.update(plan.flags)
        self.spacings[SPACING_NAMES[bisect_right(_EDGES_MM, plan.spacing_mm[0]) - 1]] += 1


def check_volumes(series: Iterable[Sequence[Instance]], read_frames: ReadFrames) -> VolumeCheck:
    """Plans every series of an archive.

    Args:
        series: The instances of one series after the other.
        read_frames: Reads the frames of a multi-frame instance.
    """
    found = VolumeCheck()
    for members in series:
        found.add(members, read_frames)
    return found
