"""From the cohort's instances of one imaging study to what may become examples.

A study of single images takes every instance by itself; a study of volumes takes what
`wardround_client.volumes` makes of the series. Either way one label of the imaging study applies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from wardround_client.cache import CacheKey
from wardround_client.index.header import Instance
from wardround_client.labels.acquired import AcquiredGrid, image_grid, volume_grid
from wardround_client.labels.source import Labels
from wardround_client.quarantine import Reason
from wardround_client.volumes.plan import VolumePlan
from wardround_client.volumes.series import ReadFrames, plan_volumes
from wardround_common.errors import DicomError
from wardround_common.intake_plan import CohortRule, Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One image, or one volume, that may become an example."""

    instances: tuple[Instance, ...]
    """What it is made of; the first speaks for all."""
    plan: VolumePlan | None = None
    """How a volume is put together; None for an image."""
    label: int = 0

    @property
    def first(self) -> Instance:
        """The instance whose header stands for the candidate."""
        return self.instances[0]

    @property
    def name(self) -> str:
        """Identity of what is seen, whatever the files are called; examples are ordered by it."""
        return self.plan.key if self.plan else self.first.header.sop_instance_uid

    @property
    def key(self) -> CacheKey:
        """What the cache knows it by; changes with any of its files."""
        if self.plan is None:
            return CacheKey.of_image(self.first)
        return CacheKey(name=self.plan.key.encode(), facts=_facts_of(self.plan))


def find_candidates(
    cohort: Sequence[Instance], rule: CohortRule, preprocessing: Preprocessing, read: ReadFrames
) -> tuple[list[Candidate], dict[bytes, Reason]]:
    """Finds the images or volumes among the cohort's instances of one imaging study.

    Args:
        cohort: The instances; of whole series.
        rule: What the study asks of volumes.
        preprocessing: Says whether the study takes images or volumes.
        read: Reads the frames of a multi-frame instance.

    Returns:
        Candidates without labels, and every instance that is in none with the reason.
    """
    if preprocessing.volume is None:
        return [Candidate(instances=(instance,)) for instance in cohort], {}
    planned = plan_volumes(cohort, read, irregular=preprocessing.volume.irregular)
    found: list[Candidate] = []
    refused = dict(planned.refused)
    for plan in planned.volumes:
        candidate = Candidate(instances=plan.instances, plan=plan)
        reason = _unwanted(plan, rule)
        if reason is None:
            found.append(candidate)
        else:
            refused |= {instance.path: reason for instance in candidate.instances}
    used = {instance.path for candidate in found for instance in candidate.instances}
    return found, {path: reason for path, reason in refused.items() if path not in used}


def find_label_of(candidate: Candidate, labels: Labels, *, aligned: bool) -> int | Reason:
    """Finds the candidate's label; where it must be ``aligned``, by its place in the patient."""
    grid: AcquiredGrid | None = None
    if aligned:
        try:
            plan = candidate.plan
            grid = image_grid(candidate.first) if plan is None else volume_grid(plan)
        except DicomError as error:
            return Reason(error.reason)
    return labels.of(candidate.first, grid)


def _unwanted(plan: VolumePlan, rule: CohortRule) -> Reason | None:
    if len(plan.slices) < rule.minimum_slices:
        return Reason.TOO_FEW_SLICES
    least, largest = rule.slice_spacing_mm or (0.0, float("inf"))
    return None if least <= plan.spacing_mm[0] <= largest else Reason.OTHER_SPACING


def _facts_of(plan: VolumePlan) -> str:
    """Digest of the files, frames and places a volume is made of."""
    content = hashlib.sha256()
    for ref in (*plan.slices, *(copy for _, copy in plan.copies)):
        file = ref.instance.file
        facts = (ref.sop_instance_uid, file.size_bytes, file.mtime_ns, ref.frame)
        content.update(repr(facts).encode())
    content.update(plan.positions_mm.tobytes() + plan.axes.tobytes())
    return content.hexdigest()
