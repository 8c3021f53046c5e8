from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from tests.client.labels.objects import (
    COMPREHENSIVE,
    LESION,
    ORGAN,
    ct_series,
    scanned,
    segmentation,
)

from wardround_client.index.header import Instance
from wardround_client.index.reader import quiet
from wardround_client.labels.acquired import AcquiredGrid, volume_grid
from wardround_client.labels.segments import MaskLabel, MaskLabels, read_mask_label
from wardround_client.labels.source import SeenSeries
from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import read_plane, stack_planes
from wardround_client.volumes.series import plan_volumes
from wardround_common.intake_plan import LabelRule

SHAPE = (6, 5, 8)
IMAGES = ct_series()
VOXEL_ML = 2.5 * 0.7 * 0.9 / 1000


def rule(minimum_ml: float = 0.0) -> LabelRule:
    return LabelRule(source="seg", segments=("52988006|SCT",), minimum_ml=minimum_ml)


def voxels(count: int) -> NDArray[np.uint8]:
    """``count`` voxels, spread over all slices."""
    pixels = np.zeros(np.prod(SHAPE), np.uint8)
    pixels[np.random.default_rng(1).permutation(pixels.size)[:count]] = 1
    return pixels.reshape(SHAPE)


def grid_of(images: Sequence[Dataset] = IMAGES) -> AcquiredGrid:
    plan = plan_volumes([scanned(image) for image in images], lambda _: (), irregular="resample")
    return volume_grid(plan.volumes[0])


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[Instance, MaskLabel | Reason]]:
    def save_and_read(seg: Dataset) -> tuple[Instance, MaskLabel | Reason]:
        with quiet():
            seg.save_as(tmp_path / "mask.dcm")
        return scanned(seg), read_mask_label(tmp_path / "mask.dcm", rule())

    return save_and_read


@pytest.fixture
def label(read: Callable[..., Any]) -> Callable[..., int | Reason]:
    """The label of a volume given all segmentations of its archive."""

    def of(*segs: Dataset, minimum_ml: float = 0.0, image: Instance | None = None) -> int | Reason:
        labels = MaskLabels(rule(minimum_ml), [read(seg) for seg in segs])
        return labels.of(image or scanned(IMAGES[0]), grid_of())

    return of


@pytest.mark.parametrize(("minimum_ml", "found"), [(39.5 * VOXEL_ML, 1), (40.5 * VOXEL_ML, 0)])
def test_a_volume_is_positive_above_the_least_volume(
    label: Callable[..., int | Reason], minimum_ml: float, found: int
) -> None:
    assert label(segmentation(IMAGES, voxels(40)), minimum_ml=minimum_ml) == found


def test_one_voxel_is_enough_where_no_least_volume_is_named(
    label: Callable[..., int | Reason],
) -> None:
    assert label(segmentation(IMAGES, voxels(1))) == 1


def test_an_empty_segment_is_a_negative_and_no_segment_is_no_label(
    label: Callable[..., int | Reason],
) -> None:
    with quiet():
        empty = segmentation(IMAGES, voxels(0))
    assert label(empty) == 0
    assert label(segmentation(IMAGES, voxels(40), types=(ORGAN,))) == Reason.LABEL_MISSING
    assert label() == Reason.LABEL_MISSING


def acquired(number: int, height: float) -> list[Dataset]:
    """The series' further acquisition: more slices of the same series."""
    images = ct_series()
    for image in images:
        x, y, z = map(float, image.ImagePositionPatient)
        image.ImagePositionPatient = [x, y, z + height]
        image.SOPInstanceUID = f"{image.SOPInstanceUID}.{number}"
        image.AcquisitionNumber = number
    return images


@pytest.mark.parametrize("height", [0.0, 0.5, 100.0])
@pytest.mark.parametrize("organs", [0, 40])
def test_an_empty_segmentation_says_nothing_of_the_series_other_volume(
    read: Callable[..., Any], height: float, organs: int
) -> None:
    others = acquired(2, height)
    with quiet():
        pixels = np.stack([voxels(0), voxels(organs)], axis=-1)
        seg = segmentation(IMAGES, pixels, types=(LESION, ORGAN), omit_empty_frames=organs > 0)
    labels = MaskLabels(rule(), [read(seg)])
    assert labels.of(scanned(IMAGES[0]), grid_of()) == 0
    assert labels.of(scanned(others[0]), grid_of(others)) == Reason.LABEL_MISALIGNED


def test_of_two_equal_segmentations_each_must_lie_on_the_volume(
    read: Callable[..., Any],
) -> None:
    segs = []
    for uid, images in (("1.2.8.1", IMAGES), ("1.2.8.2", acquired(2, 0.0))):
        segs.append(read(segmentation(images, voxels(40), uid=uid)))
    for order in (segs, segs[::-1]):
        labels = MaskLabels(rule(), order)
        assert labels.of(scanned(IMAGES[0]), grid_of()) == Reason.LABEL_MISALIGNED


def test_two_empty_segmentations_agree_whatever_else_they_hold(
    label: Callable[..., int | Reason],
) -> None:
    with quiet():
        empty = segmentation(IMAGES, voxels(0))
    pixels = np.stack([voxels(0), voxels(0)], axis=-1)
    pixels[2, :, :, 1] = 1  # one plane, where the empty one has all
    other = segmentation(IMAGES, pixels, types=(LESION, ORGAN), uid="1.2.8.2")
    assert label(empty, other) == 0


def test_voxels_of_overlapping_segments_count_once(label: Callable[..., int | Reason]) -> None:
    seg = segmentation(IMAGES, np.stack([voxels(40)] * 2, axis=-1), types=(LESION, LESION))
    assert label(seg, minimum_ml=40.5 * VOXEL_ML) == 0


def test_two_segmentations_of_a_series_must_be_equal(label: Callable[..., int | Reason]) -> None:
    first = segmentation(IMAGES, voxels(40))
    assert label(first, segmentation(IMAGES[::-1], voxels(40)[::-1], uid="1.2.8.2")) == 1
    more = segmentation(IMAGES, voxels(41), uid="1.2.8.2")
    assert label(first, more) == Reason.LABEL_CONFLICT
    assert label(first, segmentation(IMAGES, voxels(9), types=(ORGAN,), uid="1.2.8.3")) == 1


def test_a_segmentation_speaks_for_its_own_series_only(
    label: Callable[..., int | Reason],
) -> None:
    thin = scanned(ct_series(series="1.2.66")[0])
    assert label(segmentation(IMAGES, voxels(40)), image=thin) == Reason.LABEL_MISSING


@pytest.mark.parametrize(
    ("keyword", "value", "found"),
    [
        ("PatientID", "MRNPHI2", Reason.MIXED_PATIENTS),
        ("IssuerOfPatientID", "elsewhere", Reason.MIXED_PATIENTS),
        ("IssuerOfPatientID", "", 1),
    ],
)
def test_another_patients_segmentation_is_refused(
    label: Callable[..., int | Reason], keyword: str, value: str, found: int | Reason
) -> None:
    seg = segmentation(ct_series(), voxels(40))
    setattr(seg, keyword, value)
    assert label(seg) == found


def test_a_misplaced_segmentation_is_refused(label: Callable[..., int | Reason]) -> None:
    seg = segmentation(ct_series(spacing_mm=(2.6, 0.7, 0.9)), voxels(40))
    assert label(seg) == Reason.LABEL_MISALIGNED


def test_a_segmentation_without_reference_leaves_its_study_without_label(
    read: Callable[..., Any],
) -> None:
    seg = segmentation(IMAGES, voxels(40))
    del seg.ReferencedSeriesSequence
    labels = MaskLabels(rule(), [read(seg)])
    assert labels.of(scanned(IMAGES[0]), grid_of()) == Reason.LABEL_UNANCHORED
    assert list(labels.refused.values()) == [Reason.LABEL_UNANCHORED]


def test_an_unread_or_changed_segmentation_leaves_its_study_without_label(
    read: Callable[..., Any],
) -> None:
    instance, found = read(segmentation(IMAGES, voxels(40)))
    other = scanned(segmentation(IMAGES, voxels(40), uid="1.2.8.9"))
    image = scanned(IMAGES[0])
    labels = MaskLabels(rule(), [(instance, found), (other, Reason.LABEL_UNREADABLE)])
    assert labels.of(image, grid_of()) == Reason.LABEL_UNREADABLE
    assert MaskLabels(rule(), [(other, found)]).of(image, grid_of()) == Reason.CHANGED
    report = other._replace(header=other.header._replace(sop_class_uid=COMPREHENSIVE))
    labels = MaskLabels(rule(), [(instance, found), (report, Reason.LABEL_UNREADABLE)])
    assert labels.of(image, grid_of()) == 1 and not labels.refused


@pytest.mark.parametrize(
    ("patient", "found"),
    [
        ({}, Reason.LABEL_UNREADABLE),
        ({"issuer": ""}, Reason.LABEL_UNREADABLE),
        ({"issuer": "elsewhere"}, 1),
        ({"patient_id": "MRNPHI2"}, 1),
    ],
)
def test_an_unread_segmentation_in_another_study_leaves_its_patient_without_label(
    read: Callable[..., Any], patient: dict[str, str], found: int | Reason
) -> None:
    good = read(segmentation(IMAGES, voxels(40)))
    other = scanned(segmentation(IMAGES, voxels(40), uid="1.2.8.9"))
    other = other._replace(header=other.header._replace(study_uid="1.2.99", **patient))
    labels = MaskLabels(rule(), [good, (other, Reason.LABEL_UNREADABLE)])
    assert labels.of(scanned(IMAGES[0]), grid_of()) == found


def test_an_unread_segmentation_of_another_patient_in_the_study_leaves_it_without_label(
    read: Callable[..., Any],
) -> None:
    good = read(segmentation(IMAGES, voxels(40)))
    other = scanned(segmentation(IMAGES, voxels(40), uid="1.2.8.9"))
    other = other._replace(header=other.header._replace(patient_id=""))
    labels = MaskLabels(rule(), [good, (other, Reason.LABEL_UNREADABLE)])
    assert labels.of(scanned(IMAGES[0]), grid_of()) == Reason.LABEL_UNREADABLE


def test_segmentations_are_counted(read: Callable[..., Any]) -> None:
    segs = [
        segmentation(IMAGES, voxels(40)),
        segmentation(IMAGES, voxels(9), types=(ORGAN,), uid="1.2.8.2"),
    ]
    labels = MaskLabels(rule(), [read(seg) for seg in segs])
    assert labels.entries == 1
    assert labels.unused([SeenSeries.of(scanned(IMAGES[0]).header)]) == 0 and labels.unused([]) == 1


def test_a_single_image_has_no_volume(
    read: Callable[..., Any], new_picture: Any, new_image: Any
) -> None:
    blank = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    image = new_image(new_picture(), **dict.fromkeys((*blank, "ReferringPhysicianName"), ""))
    pixels = np.zeros((1, 40, 32), np.uint8)
    pixels[0, 3, 4] = 1
    found = read(segmentation([image], pixels))
    assert MaskLabels(rule(), [found]).of(scanned(image)) == 1
    assert MaskLabels(rule(0.1), [found]).of(scanned(image)) == Reason.LABEL_OUT_OF_RANGE


def test_voxel_volumes_add_up_to_the_affines() -> None:
    grid = grid_of()
    assert grid.voxels_ml is not None
    assert grid.voxels_ml == pytest.approx(np.full(6, VOXEL_ML))


def test_voxels_of_a_tilted_stack_are_as_high_as_slices_are_apart() -> None:
    images = ct_series()
    for number, image in enumerate(images):
        x, y, z = map(float, image.ImagePositionPatient)
        image.ImagePositionPatient = [x, y + number * 0.8, z]
    grid = grid_of(images)
    planes = [
        read_plane(
            orientation="1\\0\\0\\0\\1\\0",
            position="\\".join(map(str, image.ImagePositionPatient)),
            pixel_spacing="0.7\\0.9",
        )
        for image in images
    ]
    affine = stack_planes(planes, rows=5, columns=8, irregular="resample").affine
    assert grid.voxels_ml == pytest.approx(np.full(6, abs(np.linalg.det(affine)) / 1000))


def test_voxels_of_an_uneven_stack_reach_halfway_to_the_next_slice() -> None:
    images = ct_series()
    for image, z in zip(images, (0, 1, 2, 3, 5, 7), strict=True):
        image.ImagePositionPatient = [0, 0, z]
    heights = np.array([1, 1, 1, 1.5, 2, 2])
    assert grid_of(images).voxels_ml == pytest.approx(heights * 0.7 * 0.9 / 1000)
