from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.volumes.headers import instance_at

from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Irregular
from wardround_client.volumes.plan import FrameGeometry, PlannedVolumes
from wardround_client.volumes.series import plan_volumes

ENHANCED = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2.1"}
MR = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4", "modality": "MR"}


def no_frames(_: Instance) -> Reason:
    raise AssertionError("a single-frame instance was opened")


def planned(instances: Sequence[Instance], irregular: Irregular = "refuse") -> PlannedVolumes:
    found = plan_volumes(instances, no_frames, irregular=irregular)
    used = {ref.path for plan in found.volumes for ref in plan.slices}
    assert used.isdisjoint(found.refused)
    assert used | set(found.refused) == {instance.path for instance in instances}
    return found


def stack(count: int = 6, first: int = 0, **texts: Any) -> list[Instance]:
    return [instance_at(first + k, 2.0 * k, **texts) for k in range(count)]


def passes(*each: dict[str, Any], **shared: Any) -> list[Instance]:
    """The same places once for each pass; the pass is the hundred of the instance's number."""
    return [
        instance
        for number, texts in enumerate(each)
        for instance in stack(first=100 * number, **(shared | texts))
    ]


def passes_in(found: PlannedVolumes) -> list[set[int]]:
    """Which passes the slices of each volume come from."""
    return [
        {int(ref.sop_instance_uid.removeprefix("2.25.")) // 100 for ref in plan.slices}
        for plan in found.volumes
    ]


@given(order=st.permutations(range(6)))
def test_volumes_do_not_depend_on_the_order_of_instances(order: list[int]) -> None:
    instances = stack()
    (plan,) = planned([instances[k] for k in order]).volumes
    assert [ref.instance for ref in plan.slices] == instances
    assert plan.key == planned(instances).volumes[0].key


@given(names=st.permutations(range(7)), jitter=st.permutations(range(6)))
def test_volumes_do_not_depend_on_what_files_are_called(
    names: list[int], jitter: list[int]
) -> None:
    instances = [
        instance_at(k, 2.0 * k, orientation=f"1\\{jitter[k] * 2e-5}\\0\\{-jitter[k] * 2e-5}\\1\\0")
        for k in range(6)
    ]
    twin = instances[3].header._replace(sop_instance_uid="2.25.25")
    instances.append(instances[3]._replace(header=twin))
    renamed = [
        one._replace(file=one.file._replace(path=f"{name}.dcm".encode()))
        for one, name in zip(instances, names, strict=True)
    ]
    (one,), (other,) = (planned(each).volumes for each in (as_they_are(instances), renamed))
    assert one.key == other.key
    assert [r.sop_instance_uid for r in one.slices] == [r.sop_instance_uid for r in other.slices]
    assert [r.sop_instance_uid for _, r in one.copies] == [
        r.sop_instance_uid for _, r in other.copies
    ]
    assert np.array_equal(one.affine, other.affine) and np.array_equal(one.axes, other.axes)
    assert np.array_equal(one.positions_mm, other.positions_mm)


def as_they_are(instances: Sequence[Instance]) -> list[Instance]:
    return [
        one._replace(file=one.file._replace(path=f"{number:04}.dcm".encode()))
        for number, one in enumerate(instances)
    ]


def test_a_volume_with_another_slice_has_another_key() -> None:
    assert planned(stack(5)).volumes[0].key != planned(stack(6)).volumes[0].key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"echo_time": "4.2"}, {"echo_time": "90"}),
        ({"b_value": "0"}, {"b_value": "1000"}),
        ({"temporal_position": "1"}, {"temporal_position": "2"}),
        ({"kernel": "SOFT"}, {"kernel": "BONE"}),
        ({"frame_of_reference_uid": "1"}, {"frame_of_reference_uid": "2"}),
        ({"acquisition_number": "1"}, {"acquisition_number": "2"}),
        ({"trigger_time": "0"}, {"trigger_time": "40"}),
        ({"image_type": "ORIGINAL\\PRIMARY\\M\\A"}, {"image_type": "ORIGINAL\\PRIMARY\\M\\B"}),
    ],
)
def test_no_volume_mixes_passes(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = planned(passes(one, other, **MR))
    assert sorted(map(min, passes_in(found))) == [0, 1]
    assert all(len(mixed) == 1 for mixed in passes_in(found))
    assert all(plan.flags == ("split",) for plan in found.volumes)


def test_one_echo_time_written_in_two_ways_is_one() -> None:
    instances = stack(**MR, echo_time="4.2")
    other = instances[2].header._replace(echo_time="4.20")
    instances[2] = instances[2]._replace(header=other)
    assert len(planned(instances).volumes) == 1


def test_elements_that_split_differently_split_nothing() -> None:
    instances = passes({"acquisition_number": "1"}, {"acquisition_number": "2"})
    for k, instance in enumerate(instances):
        crossed = str((k // 6 + k % 2) % 2)
        instances[k] = instance._replace(header=instance.header._replace(trigger_time=crossed))
    found = planned(instances)
    assert not found.volumes
    assert set(found.refused.values()) == {Reason.DUPLICATE_POSITION}


def test_passes_by_the_clock_must_not_overlap() -> None:
    def clocked(*starts: int) -> list[Instance]:
        return [
            i._replace(header=i.header._replace(acquisition_time=f"20260101{start + k}.5"))
            for number, start in enumerate(starts)
            for k, i in enumerate(stack(first=100 * number))
        ]

    apart = planned(clocked(120000, 120006))
    assert sorted(map(sorted, passes_in(apart))) == [[0], [1]]
    (together,) = planned(clocked(120000, 120005)).volumes
    assert len(together.copies) == 6
    (unlike,) = planned(clocked(90, 100)).volumes  # texts of two lengths do not compare
    assert len(unlike.copies) == 6


def test_what_nothing_tells_apart_is_to_be_compared_when_decoded() -> None:
    again = instance_at(50, 4.0, path="zzz.dcm")
    found = planned([*stack(), again])
    (plan,) = found.volumes
    assert [(number, ref.path) for number, ref in plan.copies] == [(2, b"zzz.dcm")]
    assert found.refused == {b"zzz.dcm": Reason.DUPLICATE_COPY}
    assert b"zzz.dcm" in plan.paths


def test_a_copy_of_a_file_is_to_be_compared_as_well() -> None:
    found = planned([*stack(), instance_at(3, 6.0, path="zzz.dcm")])
    (plan,) = found.volumes
    assert [(number, ref.path) for number, ref in plan.copies] == [(3, b"zzz.dcm")]
    assert found.refused == {b"zzz.dcm": Reason.DUPLICATE_COPY}


def test_a_copy_may_be_compressed_in_another_way() -> None:
    rle = instance_at(3, 6.0, path="rle.dcm", transfer_syntax="1.2.840.10008.1.2.5")
    found = planned([*stack(), rle])
    (plan,) = found.volumes
    assert [(number, ref.path) for number, ref in plan.copies] == [(3, b"rle.dcm")]
    assert found.refused == {b"rle.dcm": Reason.DUPLICATE_COPY}


def test_a_lost_localizer_is_missed_by_no_volume() -> None:
    scout = instance_at(50, 12.0, image_type="ORIGINAL\\PRIMARY\\AXIAL\\LOCALIZER")
    slices = stack()
    assert plan_volumes(slices, no_frames, irregular="refuse", lost=[scout]).volumes
    lost = [instance_at(50, 12.0)]
    assert not plan_volumes(slices, no_frames, irregular="refuse", lost=lost).volumes


def test_one_volume_does_not_mix_units() -> None:
    pet = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.128", "modality": "PT"}
    slices = stack(**pet, units="BQML")
    assert len(planned(slices).volumes) == 1
    slices[2] = slices[2]._replace(header=slices[2].header._replace(units="GML"))
    assert set(planned(slices).refused.values()) == {Reason.MIXED_UNITS}


def test_one_identity_with_two_headers_spoils_the_volume_it_belongs_to() -> None:
    found = planned([*stack(), instance_at(5, 12.0, path="zzz.dcm")])
    assert not found.volumes
    counts = Counter(found.refused.values())
    assert counts == {Reason.DUPLICATE_CONFLICT: 2, Reason.MISSING_SLICE: 5}


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_slice_without_a_place_spoils_the_volume_even_at_its_end(number: int) -> None:
    instances = stack()
    lost = instances[number].header._replace(position="")
    instances[number] = instances[number]._replace(header=lost)
    counts = Counter(planned(instances).refused.values())
    assert counts == {Reason.NO_GEOMETRY: 1, Reason.MISSING_SLICE: 5}


def test_a_broken_slice_of_another_size_spoils_nothing() -> None:
    found = planned([*stack(), instance_at(50, 4.0, rows="99", position="")])
    assert [len(plan.slices) for plan in found.volumes] == [6]
    assert list(found.refused.values()) == [Reason.NO_GEOMETRY]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, Reason.SECONDARY_CAPTURE),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7.3"}, Reason.SECONDARY_CAPTURE),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1.6"}, Reason.NOT_A_VOLUME),
        ({"modality": "MR"}, Reason.OTHER_MODALITY),
        ({"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER"}, Reason.IMAGE_TYPE),
        ({"samples": "3", "photometric": "RGB"}, Reason.COLOUR),
        ({"photometric": "PALETTE COLOR"}, Reason.COLOUR),
        ({"photometric": "MONOCHROME1"}, Reason.POLARITY),
        ({"frames": "2"}, Reason.MULTI_FRAME),
        ({"rows": "many"}, Reason.BROKEN_HEADER),
        ({"rows": "1"}, Reason.BROKEN_HEADER),
        ({"columns": "-5"}, Reason.BROKEN_HEADER),
    ],
)
def test_what_can_be_no_slice_is_refused_by_itself(texts: dict[str, Any], reason: Reason) -> None:
    found = planned([*stack(), instance_at(50, 4.0, path="zzz.dcm", **texts)])
    assert [len(plan.slices) for plan in found.volumes] == [6]
    assert found.refused == {b"zzz.dcm": reason}


def test_a_volume_too_large_for_memory_is_refused() -> None:
    found = planned(stack(3, rows="60000", columns="60000"))
    assert set(found.refused.values()) == {Reason.TOO_LARGE}


def test_what_ct_scanners_append_to_image_type_does_not_split() -> None:
    instances = [*stack(3), *[instance_at(k, 2.0 * k) for k in range(3, 6)]]
    added = "ORIGINAL\\PRIMARY\\AXIAL\\ADD"
    instances[0] = instances[0]._replace(header=instances[0].header._replace(image_type=added))
    assert [len(plan.slices) for plan in planned(instances).volumes] == [6]


def frames_at(heights: Sequence[float], **texts: str) -> tuple[FrameGeometry, ...]:
    return tuple(
        FrameGeometry(
            number=number,
            orientation="1\\0\\0\\0\\1\\0",
            position=f"0\\0\\{height}",
            pixel_spacing="1\\1",
            image_type="ORIGINAL\\PRIMARY\\VOLUME\\NONE",
            **texts,
        )
        for number, height in enumerate(heights, start=1)
    )


def test_frames_of_enhanced_instances_are_slices() -> None:
    whole = instance_at(1, 0.0, frames="4", **ENHANCED)
    found = plan_volumes([whole], lambda _: frames_at([6, 0, 4, 2]), irregular="refuse")
    (plan,) = found.volumes
    assert [ref.frame for ref in plan.slices] == [2, 4, 3, 1]
    assert plan.instances == (whole,)


def test_an_enhanced_instance_whose_frames_cannot_be_read_is_refused() -> None:
    whole = instance_at(1, 0.0, frames="4", **ENHANCED)
    found = plan_volumes([whole], lambda _: Reason.BROKEN_HEADER, irregular="refuse")
    assert found.refused == {whole.path: Reason.BROKEN_HEADER}


def test_an_instance_with_a_frame_left_out_is_in_the_volume_and_the_volume_says_so() -> None:
    whole = instance_at(1, 0.0, frames="5", **ENHANCED)
    frames = frames_at([0, 2, 4, 6, 8])
    scout = frames[4]._replace(image_type="ORIGINAL\\PRIMARY\\LOCALIZER\\NONE")
    found = plan_volumes([whole], lambda _: (*frames[:4], scout), irregular="refuse")
    (plan,) = found.volumes
    assert plan.flags == ("frames-left-out",)
    assert not found.refused


def test_a_copy_of_a_used_instance_is_a_copy_whatever_else_the_instance_holds() -> None:
    whole = instance_at(1, 0.0, frames="5", **ENHANCED)
    copy = instance_at(1, 0.0, frames="5", path="zzz.dcm", **ENHANCED)
    frames = frames_at([0, 2, 4, 6, 8])
    short = frames[4]._replace(stack_id="2")
    found = plan_volumes([whole, copy], lambda _: (*frames[:4], short), irregular="refuse")
    assert [len(plan.slices) for plan in found.volumes] == [4]
    assert found.refused == {b"zzz.dcm": Reason.DUPLICATE_COPY}


def test_an_unreadable_part_of_several_spoils_the_volume_it_looks_like() -> None:
    parts = [instance_at(k, 0.0, frames="4", **ENHANCED) for k in (1, 2)]
    header = parts[0].header
    frames = tuple(f._replace(image_type=header.image_type) for f in frames_at([0, 2, 4, 6]))
    found = plan_volumes(
        parts,
        lambda one: frames if one == parts[0] else Reason.BROKEN_HEADER,
        irregular="refuse",
    )
    assert list(found.refused.values()) == [Reason.MISSING_SLICE, Reason.BROKEN_HEADER]


FOREIGN = (
    *("orientation", "position", "pixel_spacing", "rows", "image_type", "frames", "units"),
    *("acquisition_time", "echo_time", "gradient", "sop_instance_uid", "series_uid"),
)
TEXT = st.sampled_from(["", "1", "2", "0\\0\\1", "nan", "1\\0\\0\\0\\1\\0", "CT", "\\", "AXIAL"])


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(FOREIGN),
            TEXT,
        ),
        max_size=6,
    )
)
def test_whatever_headers_say_every_instance_is_planned_or_refused(
    changes: list[dict[str, str]],
) -> None:
    instances = stack(8)
    for number, texts in enumerate(changes):
        header = instances[number].header._replace(**texts)
        instances[number] = instances[number]._replace(header=header)
    planned(instances, "resample")
