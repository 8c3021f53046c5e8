"""What one study makes of one file: the steps of `wardround_client.intake`, for its series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround_client.candidates import Candidate, find_candidates, find_label_of, lost_slices
from wardround_client.cohort import Disputes, select_cohort
from wardround_client.index.header import Instance
from wardround_client.labels.source import Labels
from wardround_client.quarantine import Reason
from wardround_client.reports.explanation import Explanation
from wardround_client.volumes.series import ReadFrames
from wardround_common.study import Study

_STEP = "study"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRules:
    """A study, and what it takes from the whole archive."""

    study: Study
    disputes: Disputes
    labels: Labels


def explain_study(
    instance: Instance,
    series: Sequence[Instance],
    read_frames: ReadFrames,
    rules: StudyRules,
    found: Explanation,
) -> None:
    """Adds cohort rule, volume and label to the explanation.

    Args:
        instance: The file.
        series: Instances of its series, the file among them.
        read_frames: Reads the frames of a multi-frame instance.
        rules: The study.
        found: The explanation so far.
    """
    study = rules.study
    cohort, refused = select_cohort(series, study.cohort, rules.disputes)
    lost = lost_slices(series, refused)
    candidates, unfit = find_candidates(
        cohort, study.cohort, study.preprocessing, read_frames, left_out=lost
    )
    reason = refused.get(instance.path)
    if reason is not None:
        found.refuse(_STEP, reason)
        return
    found.say(_STEP, "the cohort rule takes it")
    candidate = _candidate_with(instance, candidates)
    if candidate is None:
        found.refuse(_STEP, unfit.get(instance.path, Reason.DUPLICATE_COPY))
        return
    if candidate.plan is not None:
        flags = ", ".join(candidate.plan.flags) or "none"
        found.say(_STEP, f"part of a volume of {len(candidate.plan.slices)} slices, flags: {flags}")
    label = find_label_of(candidate, rules.labels, aligned=study.cohort.labels.source == "seg")
    if isinstance(label, Reason):
        found.refuse(_STEP, label)
    else:
        found.say(_STEP, f"label {label}, {study.task.classes[label]}")


def _candidate_with(instance: Instance, candidates: Sequence[Candidate]) -> Candidate | None:
    paths = ((candidate, {i.path for i in candidate.instances}) for candidate in candidates)
    return next((candidate for candidate, found in paths if instance.path in found), None)
