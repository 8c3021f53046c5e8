"""Which words a vector has in training and in evaluation; derived by each party from the study."""

from __future__ import annotations

import hashlib

from wardround_common.encoding import pack
from wardround_common.metrics import MetricLayout
from wardround_common.quantise import Segment, VectorPlan
from wardround_common.study import Study
from wardround_common.update import Shapes

TRAINING_COUNTS = ("clipped", "loss")
"""Count words of a training vector: 1 if the update was scaled down; mean loss in LOSS_UNIT."""
LOSS_UNIT = 1 / 65536


def training_plan(study: Study, parameters: Shapes, buffers: Shapes) -> VectorPlan:
    """Layout of a training vector: the update, with fedadamw the moments, buffers if any."""
    clip_norm, moment_norm = study.aggregation.clip_norm, study.training.gradient_clip * (1 + 1e-5)
    segments = [Segment(name="weights", size=parameters.size, limit=clip_norm, bounded_norm=True)]
    if study.algorithm.name == "fedadamw":
        segments += [
            Segment(name=name, size=parameters.size, limit=moment_norm, bounded_norm=True)
            for name in ("first_moment", "root_second_moment")
        ]
    if buffers.size:
        limit = study.aggregation.buffer_limit
        segments.append(Segment(name="buffers", size=buffers.size, limit=limit, bounded_norm=False))
    return VectorPlan(
        segments=tuple(segments),
        counts=len(TRAINING_COUNTS),
        maximum_sites=len(study.members),
    )


def metric_layout(study: Study) -> MetricLayout:
    """Which count means what in an evaluation vector."""
    return MetricLayout(maximum_sites=len(study.members))


def evaluation_plan(study: Study) -> VectorPlan:
    """Layout of an evaluation vector: the metrics' words alone."""
    counts = metric_layout(study).size
    return VectorPlan(segments=(), counts=counts, maximum_sites=len(study.members))


def plan_sha256(plan: VectorPlan) -> bytes:
    """Hash of a layout and its ranges, for the terms of an attempt."""
    rows = [pack(s.name, s.size, float(s.limit).hex(), int(s.bounded_norm)) for s in plan.segments]
    return hashlib.sha256(pack(plan.counts, plan.maximum_sites, *rows)).digest()
