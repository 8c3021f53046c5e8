"""Which series of an archive make volumes: planned from headers alone, one series after another.

Each series is planned as by a study that lets irregular volumes be resampled; a volume with a
flag of `IRREGULAR` is one that a study may also refuse.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from wardround_client.archive.reading import Files, read_guarded
from wardround_client.archive.source import Source
from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import read_frames
from wardround_client.volumes.plan import MULTI_FRAME, VolumePlan
from wardround_client.volumes.series import plan_volumes
from wardround_common.site_config import Intake

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

    def count_series(self, volumes: Sequence[VolumePlan], reasons: Counter[Reason]) -> None:
        """Counts one series: its volumes, and the instances that are in none."""
        self.series += 1
        self.refused.update(reasons)
        if not volumes:
            self.refused_series[reasons.most_common(1)[0][0]] += 1
        for plan in volumes:
            self._count(plan)

    def add(self, other: VolumeCheck) -> None:
        """Adds the counts of further series."""
        self.series += other.series
        self.volumes += other.volumes
        self.regular += other.regular
        self.flags.update(other.flags)
        self.spacings.update(other.spacings)
        self.refused.update(other.refused)
        self.refused_series.update(other.refused_series)

    def _count(self, plan: VolumePlan) -> None:
        self.volumes += 1
        self.regular += not IRREGULAR.keys() & set(plan.flags)
        self.flags.update(plan.flags)
        self.spacings[SPACING_NAMES[bisect_right(_EDGES_MM, plan.spacing_mm[0]) - 1]] += 1


def check_volumes(
    series: Iterable[Sequence[Instance]], *, source: Source, intake: Intake
) -> VolumeCheck:
    """Plans every series of an archive, in a worker process: multi-frame files are opened for it.

    Args:
        series: The instances of one series after the other.
        source: Hands over the files that have to be opened.
        intake: Limits of the process.

    Raises:
        ArchiveError: The archive cannot be reached.
        StateError: No worker process could be started.
    """
    found = VolumeCheck()
    one = replace(intake, processes=min(1, intake.processes))
    results = read_guarded(_check, series, _multi_frame_paths, source=source, intake=one)
    for members, checked in results:
        if isinstance(checked, Reason):
            found.count_series((), Counter({checked: len(members)}))
        else:
            found.add(checked)
    return found


def _check(members: Sequence[Instance], files: Files) -> VolumeCheck:
    planned = plan_volumes(
        members, partial(read_frames, open_file=files.__getitem__), irregular="resample"
    )
    checked = VolumeCheck()
    checked.count_series(planned.volumes, Counter(planned.refused.values()))
    return checked


def _multi_frame_paths(members: Sequence[Instance]) -> Iterator[bytes]:
    return (i.path for i in members if i.header.sop_class_uid in MULTI_FRAME)
