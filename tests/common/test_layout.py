from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from tests.vectors import reference

from wardround_common.errors import PolicyError
from wardround_common.layout import (
    LOSS_UNIT,
    TRAINING_COUNTS,
    evaluation_plan,
    metric_layout,
    plan_sha256,
    training_plan,
)
from wardround_common.plan import Aggregation, Algorithm, Training
from wardround_common.quantise import Segment, VectorPlan, decode, encode
from wardround_common.study import Member, Study
from wardround_common.update import Shapes

PARAMETERS = Shapes((("a", (2, 3)), ("b", (4,))))
BUFFERS = Shapes((("mean", (4,)), ("var", (4,))))
NONE = Shapes(())


def study(sites: int = 3, **fields: object) -> Study:
    members = tuple(Member(site=f"s{k}", key=f"ed25519:{k + 2:064x}") for k in range(sites))
    return Study(
        name="n",
        purpose="p",
        expires="2030-01-01",
        seed=1,
        coordinator_key="ed25519:" + "f" * 64,
        members=members,
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "buffers", "segments"),
    [
        ("fedavg", NONE, ["weights"]),
        ("fedavg", BUFFERS, ["weights", "buffers"]),
        ("fedadamw", NONE, ["weights", "first_moment", "root_second_moment"]),
        ("fedadamw", BUFFERS, ["weights", "first_moment", "root_second_moment", "buffers"]),
    ],
)
def test_a_training_vector_holds_what_the_algorithm_shares(
    name: str, buffers: Shapes, segments: list[str]
) -> None:
    plan = training_plan(study(algorithm=Algorithm(name=name)), PARAMETERS, buffers)
    assert [segment.name for segment in plan.segments] == segments
    moments = 3 if name == "fedadamw" else 1
    assert plan.length == 10 * moments + buffers.size + 1 + len(TRAINING_COUNTS)
    assert plan.maximum_sites == 3


def test_ranges_come_from_the_study() -> None:
    rules = study(
        aggregation=Aggregation(clip_norm=3.0, buffer_limit=7.0),
        training=Training(gradient_clip=2.0),
    )
    limits = {s.name: s.limit for s in training_plan(rules, PARAMETERS, BUFFERS).segments}
    assert limits["weights"] == 3.0
    assert limits["buffers"] == 7.0
    for name in ("first_moment", "root_second_moment"):
        assert 2.0 < limits[name] < 2.001


def test_an_evaluation_vector_holds_counts_alone_and_all_sites_fit_the_ring() -> None:
    for sites in (3, 16, 64):
        plan, layout = evaluation_plan(study(sites)), metric_layout(study(sites))
        assert plan.segments == () and plan.length == 1 + layout.size
        assert int(layout.limits.max()) <= plan.q_max


def test_the_clip_flags_and_losses_of_all_sites_open_again() -> None:
    plan = training_plan(study(64, algorithm=Algorithm(name="fedavg")), PARAMETERS, NONE)
    counts = np.array([1, round(3.5 / LOSS_UNIT)], np.int64)
    vector = encode(plan, {"weights": np.zeros(10, np.float32)}, weight=1.0, counts=counts)
    found = decode(plan, vector * np.uint32(64), sites=64)
    assert found.counts[0] == 64
    assert found.counts[1] * LOSS_UNIT / 64 == pytest.approx(3.5)
    with pytest.raises(PolicyError):
        encode(
            plan,
            {"weights": np.zeros(10, np.float32)},
            weight=1.0,
            counts=np.array([0, round(600 / LOSS_UNIT)]),
        )


PLAN = VectorPlan(
    segments=(Segment(name="weights", size=10, limit=3.0, bounded_norm=True),),
    counts=2,
    maximum_sites=4,
)


def test_the_hash_of_a_layout_is_that_of_its_described_form() -> None:
    row = reference.pack("weights", 10, (3.0).hex(), 1)
    expected = hashlib.sha256(reference.pack(2, 4, row)).digest()
    assert plan_sha256(PLAN) == expected


def test_the_hash_of_a_layout_sees_every_size_and_range() -> None:
    (weights,) = PLAN.segments
    changed = [
        replace(PLAN, counts=3),
        replace(PLAN, maximum_sites=5),
        replace(PLAN, segments=()),
        replace(PLAN, segments=(weights, weights)),
        *(
            replace(PLAN, segments=(replace(weights, **field),))
            for field in (
                {"name": "buffers"},
                {"size": 11},
                {"limit": float(np.nextafter(3.0, 4.0))},
                {"bounded_norm": False},
            )
        ),
    ]
    assert len({plan_sha256(plan) for plan in (PLAN, *changed)}) == 1 + len(changed)


def test_the_hash_of_a_layout_does_not_depend_on_how_a_number_was_written() -> None:
    (weights,) = PLAN.segments
    whole = replace(PLAN, segments=(replace(weights, limit=3),))
    assert plan_sha256(whole) == plan_sha256(PLAN)
