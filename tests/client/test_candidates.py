from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.client.volumes.headers import instance_at

from wardround_client.cache import CacheKey
from wardround_client.candidates import Candidate, find_candidates, lost_slices
from wardround_client.cohort import Disputes, select_cohort
from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.plan import FrameGeometry
from wardround_common.intake_plan import CohortRule, Preprocessing, VolumePreprocessing

VOLUMES = Preprocessing(volume=VolumePreprocessing())
RULE = CohortRule(modalities=("CT",))
Found = tuple[list[Candidate], dict[bytes, Reason]]


def stack(count: int = 6, *, step: float = 2.0, low: float = 0.0, **texts: Any) -> list[Instance]:
    each: dict[str, Any] = {"patient_id": "P1", "body_part": "CHEST", "kernel": "B30F"} | texts
    return [instance_at(k, low + step * k, **each) for k in range(count)]


def altered(instance: Instance, path: str = "", **texts: Any) -> Instance:
    file = instance.file._replace(path=path.encode()) if path else instance.file
    return Instance(file, instance.header._replace(**texts))


def found_in(
    instances: Sequence[Instance],
    rule: CohortRule = RULE,
    *,
    disputed: frozenset[str] = frozenset(),
    read: Callable[[Instance], tuple[FrameGeometry, ...] | Reason] = lambda _: (),
) -> Found:
    disputes = Disputes(instances=disputed, studies=frozenset())
    cohort, refused = select_cohort(instances, rule, disputes)
    gone = lost_slices(instances, refused)
    candidates, unfit = find_candidates(cohort, rule, VOLUMES, read, left_out=gone)
    assert not refused.keys() & unfit.keys()
    return candidates, refused | unfit


def test_a_disputed_top_slice_leaves_no_shorter_volume() -> None:
    slices = stack()
    again = altered(slices[5], "again.dcm", instance_number="99")
    candidates, refused = found_in(
        [*slices, again], disputed=frozenset({slices[5].header.sop_instance_uid})
    )
    assert not candidates
    assert Counter(refused.values()) == {Reason.DUPLICATE_CONFLICT: 2, Reason.MISSING_SLICE: 5}


@pytest.mark.parametrize(
    ("texts", "rule", "reason"),
    [
        ({"body_part": "ABDOMEN"}, {"body_parts": ("CHEST",)}, Reason.OTHER_BODY_PART),
        ({"view": "AP"}, {"views": ("",)}, Reason.OTHER_VIEW),
        ({"burned_in": "YES"}, {}, Reason.BURNED_IN),
        ({"intent": "FOR PROCESSING"}, {}, Reason.FOR_PROCESSING),
        ({"patient_id": ""}, {}, Reason.NO_PATIENT),
    ],
)
def test_what_the_cohort_rule_takes_off_a_stack_leaves_no_shorter_volume(
    texts: dict[str, str], rule: dict[str, Any], reason: Reason
) -> None:
    slices = stack()
    slices[4:] = [altered(one, **texts) for one in slices[4:]]
    candidates, refused = found_in(slices, replace(RULE, **rule))
    assert not candidates
    assert Counter(refused.values()) == {reason: 2, Reason.MISSING_SLICE: 4}


@pytest.mark.parametrize(
    "texts",
    [
        {"series_uid": "1.9"},
        {"frame_of_reference_uid": "1.9"},
        {"rows": "32"},
        {"orientation": "0\\1\\0\\0\\0\\-1"},
        {"pixel_spacing": "2\\2"},
        {"kernel": "B70F"},
        {"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER"},
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"},
        {"samples": "3"},
    ],
)
def test_what_was_no_part_of_a_volume_spoils_none(texts: dict[str, str]) -> None:
    slices = stack()
    other = altered(slices[5], "other.dcm", sop_instance_uid="2.25.99", burned_in="YES", **texts)
    candidates, refused = found_in([*slices, other])
    assert [len(one.instances) for one in candidates] == [6]
    assert list(refused) == [b"other.dcm"]


def test_an_image_of_an_excluded_type_spoils_no_volume() -> None:
    slices = stack()
    derived = {"sop_instance_uid": "2.25.99", "image_type": "ORIGINAL\\PRIMARY\\AXIAL\\MIP"}
    rule = replace(RULE, excluded_image_types=("MIP",))
    candidates, refused = found_in([*slices, altered(slices[5], "mip.dcm", **derived)], rule)
    assert [len(one.instances) for one in candidates] == [6]
    assert refused == {b"mip.dcm": Reason.IMAGE_TYPE}


def test_a_lost_slice_without_a_place_spoils_the_volumes_it_looks_like() -> None:
    slices = stack()
    slices[5] = altered(slices[5], burned_in="YES", position="")
    assert Counter(found_in(slices)[1].values()) == {Reason.BURNED_IN: 1, Reason.MISSING_SLICE: 5}


@pytest.mark.parametrize("low", [0.0, 0.7, -311.3, 1044.9])
@pytest.mark.parametrize("limits", [(0.5, 1.2), (1.2, 5.0)])
def test_a_limit_of_slice_spacing_does_not_depend_on_where_the_table_stood(
    low: float, limits: tuple[float, float]
) -> None:
    slices = stack(7, step=1.2, low=low)
    assert len(found_in(slices, replace(RULE, slice_spacing_mm=limits))[0]) == 1


@pytest.mark.parametrize("limits", [(0.5, 1.18), (1.22, 5.0)])
def test_another_slice_spacing_is_refused(limits: tuple[float, float]) -> None:
    _, refused = found_in(stack(step=1.2), replace(RULE, slice_spacing_mm=limits))
    assert set(refused.values()) == {Reason.OTHER_SPACING}


ENHANCED = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2.1", "frames": "4"}


def frames_of(kernel: str) -> Callable[[Instance], tuple[FrameGeometry, ...]]:
    header = instance_at(0, 0.0).header
    frame = FrameGeometry(
        number=1,
        orientation=header.orientation,
        position="",
        pixel_spacing=header.pixel_spacing,
        image_type=header.image_type,
        kernel=kernel,
    )
    frames = tuple(frame._replace(number=k, position=f"0\\0\\{2 * k}") for k in range(1, 5))
    return lambda _: frames


@pytest.mark.parametrize(("kernel", "reason"), [("B30F", None), ("B70F", Reason.OTHER_KERNEL)])
def test_the_kernel_of_an_enhanced_image_is_that_of_its_frames(
    kernel: str, reason: Reason | None
) -> None:
    whole = instance_at(1, 0.0, patient_id="P1", **ENHANCED)
    rule = replace(RULE, kernels=("B30f ",))
    candidates, refused = find_candidates([whole], rule, VOLUMES, frames_of(kernel))
    assert [one.instances for one in candidates] == ([] if reason else [(whole,)])
    assert refused == ({whole.path: reason} if reason else {})


def test_of_several_enhanced_images_the_lost_one_spoils_its_own_volume_alone() -> None:
    wanted = instance_at(1, 0.0, patient_id="P1", **ENHANCED)
    frames = {1: frames_of("B30F")(wanted), 2: frames_of("B70F")(wanted)}
    other = altered(instance_at(2, 0.0, patient_id="P1", **ENHANCED), burned_in="YES")

    def read(one: Instance) -> tuple[FrameGeometry, ...]:
        return frames[int(one.header.sop_instance_uid.removeprefix("2.25."))]

    assert len(found_in([wanted, other], read=read)[0]) == 1
    frames[2] = tuple(f._replace(position=f"0\\0\\{8 + 2 * f.number}") for f in frames[1])
    assert not found_in([wanted, other], read=read)[0]


def key_of(instances: Sequence[Instance]) -> CacheKey:
    (candidate,), _ = found_in(instances)
    return candidate.key


def touched(instance: Instance) -> Instance:
    return instance._replace(file=instance.file._replace(mtime_ns=instance.file.mtime_ns + 1))


def test_the_cache_knows_a_volume_by_its_files_and_their_copies() -> None:
    slices = stack()
    copy = altered(slices[2], "copy.dcm")
    twin = altered(slices[3], "twin.dcm", sop_instance_uid="2.25.99")
    keys = [
        key_of(slices),
        key_of([*slices[:5], touched(slices[5])]),
        key_of([*slices, copy]),
        key_of([*slices, touched(copy)]),
        key_of([*slices, twin]),
        key_of([*slices, touched(twin)]),
    ]
    assert len(set(keys)) == len(keys)
    assert len({key.name for key in keys}) == 1
