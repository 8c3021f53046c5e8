"""From the cohort's instances of one imaging study to what may become examples.

A study of single images takes every instance by itself; a study of volumes takes what
`wardround_client.volumes` makes of the series. Either way one label of the imaging study applies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wardround_client.cache import CacheKey
from wardround_client.index.header import Instance
from wardround_client.labels.acquired import AcquiredGrid, image_grid, volume_grid
from wardround_client.labels.source import Labels
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import POSITION_TOLERANCE_MM
from wardround_client.volumes.plan import VolumePlan
from wardround_client.volumes.series import ReadFrames, plan_volumes
from wardround_common.errors import DicomError
from wardround_common.intake_plan import CohortRule, Preprocessing

_OTHER_KIND = (Reason.IMAGE_TYPE, Reason.SECONDARY_CAPTURE, Reason.NOT_AN_IMAGE)


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
    cohort: Sequence[Instance],
    rule: CohortRule,
    preprocessing: Preprocessing,
    read: ReadFrames,
    *,
    left_out: Sequence[Instance] = (),
) -> tuple[list[Candidate], dict[bytes, Reason]]:
    """Finds the images or volumes among the cohort's instances of one imaging study.

    Args:
        cohort: The instances; of whole series.
        rule: What the study asks of volumes.
        preprocessing: Says whether the study takes images or volumes.
        read: Reads the frames of a multi-frame instance.
        left_out: From `lost_slices`. A volume that one of them belongs to is refused; without
            it, the volume would be taken for whole.

    Returns:
        Candidates without labels, and every instance of the cohort that is in none with the
        reason.
    """
    if preprocessing.volume is None:
        return [Candidate(instances=(instance,)) for instance in cohort], {}
    irregular = preprocessing.volume.irregular
    planned = plan_volumes(cohort, read, irregular=irregular, lost=left_out)
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


def lost_slices(instances: Iterable[Instance], refused: Mapping[bytes, Reason]) -> list[Instance]:
    """Finds what the cohort rule left out of volumes, by the reasons of `select_cohort`.

    An image of another type, such as a localizer, was no part of a volume before.
    """
    kept_apart = (None, *_OTHER_KIND)
    return [one for one in instances if refused.get(one.path) not in kept_apart]


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
    if rule.kernels and plan.kernel not in {text.strip().upper() for text in rule.kernels}:
        return Reason.OTHER_KERNEL
    least, largest = rule.slice_spacing_mm or (0.0, float("inf"))
    beyond = max(least - plan.spacing_mm[0], plan.spacing_mm[0] - largest)
    return Reason.OTHER_SPACING if beyond > POSITION_TOLERANCE_MM else None


def _facts_of(plan: VolumePlan) -> str:
    """Digest of the files and frames a volume is made of; its geometry follows from these."""
    content = hashlib.sha256()
    for ref in (*plan.slices, *(copy for _, copy in plan.copies)):
        file = ref.instance.file
        facts = (ref.sop_instance_uid, file.size_bytes, file.mtime_ns, ref.frame)
        content.update(repr(facts).encode())
    return content.hexdigest()
