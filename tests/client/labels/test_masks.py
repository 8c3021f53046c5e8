from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from tests.client.labels.objects import (
    LESION,
    ORGAN,
    UPRIGHT,
    ct_series,
    scanned,
    segmentation,
)

from wardround_client.index.reader import quiet
from wardround_client.labels.acquired import AcquiredGrid, image_grid, volume_grid
from wardround_client.labels.alignment import match_planes
from wardround_client.labels.masks import Mask, read_mask
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import read_frames
from wardround_client.volumes.series import plan_volumes
from wardround_common.intake_plan import LabelRule

RULE = LabelRule(source="seg", segments=("52988006|SCT",))
BOTH = LabelRule(source="seg", segments=("52988006|SCT", "T-62000|SRT"))
SHAPE = (6, 5, 8)
ANGLE = np.deg2rad(20)
OBLIQUE = np.array(
    [[np.cos(ANGLE), np.sin(ANGLE), 0], [-np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]]
) @ np.array([[1, 0, 0], [0, np.cos(0.3), np.sin(0.3)], [0, -np.sin(0.3), np.cos(0.3)]])


def blob(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.uint8]:
    """A mask without any symmetry."""
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8)


def grid_of(images: Sequence[Dataset]) -> AcquiredGrid:
    found = plan_volumes([scanned(image) for image in images], lambda _: (), irregular="resample")
    assert len(found.volumes) == 1 and not found.refused
    return volume_grid(found.volumes[0])


def read(dataset: Dataset, folder: Path, rule: LabelRule = RULE) -> Mask | Reason:
    path = folder / "mask.dcm"
    with quiet():
        dataset.save_as(path)
    return read_mask(path, rule)


def aligned(mask: Mask | Reason, grid: AcquiredGrid) -> NDArray[np.uint8] | Reason:
    assert isinstance(mask, Mask)
    places = match_planes(mask.facts, grid)
    if isinstance(places, Reason):
        return places
    found = np.zeros((len(grid.sources), grid.rows, grid.columns), np.uint8)
    for pixels, (number, (swapped, upward, leftward)) in zip(mask.pixels, places, strict=True):
        upright = pixels.T if swapped else pixels
        upright = np.flipud(upright) if upward else upright
        found[number] = np.fliplr(upright) if leftward else upright
    return found


@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE, UPRIGHT[[1, 0, 2]] * [[1], [1], [-1]]])
@pytest.mark.parametrize("order", ["as scanned", "reversed", "shuffled"])
def test_a_mask_lies_where_its_images_do(
    tmp_path: Path, axes: NDArray[np.float64], order: str
) -> None:
    images, pixels = ct_series(axes=axes), blob()
    places = np.arange(len(images))
    if order != "as scanned":
        places = places[::-1] if order == "reversed" else np.random.default_rng(1).permutation(6)
    seg = segmentation([images[k] for k in places], pixels[places])
    grid = grid_of(images)
    # Independent of the plan: which of our slices the grid's slice is, by its SOP UID.
    numbers = [int(uid.rsplit(".", 1)[1]) - 1 for uid, _ in grid.sources]
    assert np.array_equal(aligned(read(seg, tmp_path), grid), pixels[numbers])


def _turn(images: Sequence[Dataset], turn: tuple[bool, bool, bool]) -> list[Dataset]:
    """The same planes with rows and columns swapped, then rows, then columns reversed."""
    turned = []
    for image in copy.deepcopy(list(images)):
        position = np.array(image.ImagePositionPatient, float)
        right, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        (row_mm, column_mm), (rows, columns) = image.PixelSpacing, (image.Rows, image.Columns)
        if turn[0]:
            right, down = down, right
            row_mm, column_mm, rows, columns = column_mm, row_mm, columns, rows
        if turn[1]:
            position, down = position + (rows - 1) * float(row_mm) * down, -down
        if turn[2]:
            position, right = position + (columns - 1) * float(column_mm) * right, -right
        image.ImagePositionPatient = [f"{x:.6f}" for x in position]
        image.ImageOrientationPatient = [f"{x:.9f}" for x in np.concatenate([right, down])]
        image.PixelSpacing, image.Rows, image.Columns = [row_mm, column_mm], rows, columns
        turned.append(image)
    return turned


@pytest.mark.parametrize("turn", list(itertools.product((False, True), repeat=3)))
def test_a_turned_or_flipped_mask_is_turned_back_exactly(
    tmp_path: Path, turn: tuple[bool, bool, bool]
) -> None:
    images, pixels = ct_series(axes=OBLIQUE), blob()
    turned = pixels.swapaxes(1, 2) if turn[0] else pixels
    turned = turned[:, :: -1 if turn[1] else 1, :: -1 if turn[2] else 1]
    seg = segmentation(_turn(images, turn), np.ascontiguousarray(turned))
    assert np.array_equal(aligned(read(seg, tmp_path), grid_of(images)), pixels)


def test_a_mask_of_an_enhanced_image_lies_on_its_frames(tmp_path: Path) -> None:
    slices, pixels = ct_series(), blob()
    for image in slices:
        image.StudyDate, image.AcquisitionDate = "20200101", "20200101"
        image.AcquisitionTime = image.StudyTime = "120000"
        image.ContentDate, image.ContentTime = "20200101", "120000"
        image.RescaleSlope, image.RescaleIntercept, image.KVP = "1", "0", "120"
        image.Manufacturer, image.PositionReferenceIndicator = "Maker", ""
    with quiet():
        enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
            slices, "1.2.66", 1, "1.2.66.1", 1, transfer_syntax_uid=ExplicitVRLittleEndian
        )
        enhanced.save_as(tmp_path / "enhanced.dcm")
    known = scanned(enhanced)
    found = plan_volumes(
        [known],
        lambda one: read_frames(one, lambda _: tmp_path / "enhanced.dcm"),
        irregular="refuse",
    )
    assert not found.refused
    grid = volume_grid(found.volumes[0])
    seg = segmentation([enhanced], pixels)
    order = [frame - 1 for _, frame in grid.sources]
    assert np.array_equal(aligned(read(seg, tmp_path), grid), pixels[order])
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedFrameNumber = int(source.ReferencedFrameNumber) % 6 + 1
    assert aligned(read(seg, tmp_path), grid) == Reason.LABEL_MISALIGNED


def _shift(seg: Dataset, mm: float) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [position[0] + mm, *position[1:]]


def _rotate(seg: Dataset) -> None:
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    cos, sin = float(np.cos(0.01)), float(np.sin(0.01))
    orientation.ImageOrientationPatient = [cos, sin, 0.0, -sin, cos, 0.0]


def _stretch(seg: Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.7, 0.91]


def _refer_elsewhere(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedSOPInstanceUID = "1.2.6.1"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda seg: _shift(seg, 0.02),
        lambda seg: _shift(seg, 0.9),
        _rotate,
        _stretch,
        _refer_elsewhere,
        lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.7.1"),
    ],
)
def test_a_mask_that_does_not_lie_on_the_slices_is_refused(tmp_path: Path, spoil: Any) -> None:
    images = ct_series()
    seg = segmentation(images, blob())
    spoil(seg)
    assert aligned(read(seg, tmp_path), grid_of(images)) == Reason.LABEL_MISALIGNED


def test_a_mask_that_is_off_by_rounding_only_is_taken(tmp_path: Path) -> None:
    images, pixels = ct_series(), blob()
    seg = segmentation(images, pixels)
    _shift(seg, 0.004)
    assert np.array_equal(aligned(read(seg, tmp_path), grid_of(images)), pixels)


def test_a_finer_mask_with_the_same_corners_is_refused(tmp_path: Path) -> None:
    fine = ct_series((6, 9, 15), spacing_mm=(2.5, 0.35, 0.45))
    seg = segmentation(fine, blob((6, 9, 15)))
    assert aligned(read(seg, tmp_path), grid_of(ct_series())) == Reason.LABEL_MISALIGNED


def test_planes_without_voxels_need_no_slice(tmp_path: Path) -> None:
    images, pixels = ct_series(), blob()
    pixels[4:] = 0
    seg = segmentation(images, pixels, omit_empty_frames=False)
    assert seg.NumberOfFrames == 6
    assert np.array_equal(aligned(read(seg, tmp_path), grid_of(images[:4])), pixels[:4])
    pixels[4] = 1
    seg = segmentation(images, pixels)
    assert aligned(read(seg, tmp_path), grid_of(images[:4])) == Reason.LABEL_MISALIGNED


def test_a_mask_without_planes_lies_nowhere(tmp_path: Path) -> None:
    images = ct_series()
    mask = read(segmentation(images, blob()), tmp_path)
    assert isinstance(mask, Mask)
    found = match_planes(replace(mask.facts, planes=()), grid_of(images))
    assert found == Reason.LABEL_UNANCHORED


def test_only_wanted_segments_count_and_overlaps_are_joined(tmp_path: Path) -> None:
    images, first, second = ct_series(), blob(seed=1), blob(seed=2)
    third = Code("39607008", "SCT", "Lung")
    seg = segmentation(
        images, np.stack([first, second, 1 - first], axis=-1), types=(LESION, ORGAN, third)
    )
    grid = grid_of(images)
    assert np.array_equal(aligned(read(seg, tmp_path), grid), first)
    assert np.array_equal(aligned(read(seg, tmp_path, BOTH), grid), first | second)


def test_a_label_map_is_read(tmp_path: Path) -> None:
    images = ct_series()
    pixels = np.random.default_rng(3).integers(0, 3, SHAPE).astype(np.uint8)
    seg = segmentation(images, pixels, kind="LABELMAP", types=(ORGAN, LESION))
    assert np.array_equal(aligned(read(seg, tmp_path), grid_of(images)), pixels == 2)


def test_a_fraction_counts_from_one_half_on(tmp_path: Path) -> None:
    images = ct_series()
    fractions = np.random.default_rng(4).integers(0, 201, SHAPE) / 200
    seg = segmentation(images, fractions, kind="FRACTIONAL", max_fractional_value=200)
    assert np.array_equal(aligned(read(seg, tmp_path), grid_of(images)), fractions >= 0.5)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_packed_fractions_are_read(tmp_path: Path, syntax: str) -> None:
    images = ct_series((3, 32, 40))
    pixels = blob((3, 32, 40)).astype(float)
    seg = segmentation(images, pixels, kind="FRACTIONAL", transfer_syntax_uid=syntax)
    assert np.array_equal(aligned(read(seg, tmp_path), grid_of(images)), pixels)


def test_packed_frames_of_another_size_or_syntax_are_refused(tmp_path: Path) -> None:
    pixels = blob((3, 32, 40)).astype(float)
    options: Any = {"kind": "FRACTIONAL", "transfer_syntax_uid": JPEG2000Lossless}
    seg = segmentation(ct_series((3, 32, 40)), pixels, **options)
    seg.Rows, seg.Columns = 40, 32
    assert read(seg, tmp_path) == Reason.SIZE_MISMATCH
    seg.Rows, seg.Columns = 32, 40
    seg.file_meta.TransferSyntaxUID = JPEG2000
    assert read(seg, tmp_path) == Reason.NO_DECODER


def test_two_planes_on_one_slice_are_refused(tmp_path: Path) -> None:
    images, pixels = ct_series(), blob()
    seg = segmentation(images, np.stack([pixels, pixels], axis=-1), types=(LESION, LESION))
    once = aligned(read(seg, tmp_path), grid_of(images))
    assert np.array_equal(once, pixels)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2:
            x, y, z = map(float, frame.PlanePositionSequence[0].ImagePositionPatient)
            frame.PlanePositionSequence = copy.deepcopy(frame.PlanePositionSequence)
            frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 0.004]
    assert aligned(read(seg, tmp_path), grid_of(images)) == Reason.LABEL_MISALIGNED


def test_frames_that_end_within_a_byte_are_read(tmp_path: Path) -> None:
    images, pixels = ct_series((4, 3, 3)), blob((4, 3, 3))
    pixels[:, 1, 1] = 1
    assert np.array_equal(
        aligned(read(segmentation(images, pixels), tmp_path), grid_of(images)), pixels
    )


def test_a_radiograph_is_found_by_reference_alone(
    tmp_path: Path, new_picture: Any, new_image: Any
) -> None:
    blank = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    image = new_image(new_picture(), **dict.fromkeys((*blank, "ReferringPhysicianName"), ""))
    pixels = blob((1, 40, 32))
    mask = read(segmentation([image], pixels), tmp_path)
    assert np.array_equal(aligned(mask, image_grid(scanned(image))), pixels)
    other = new_image(new_picture(), SOPInstanceUID="2.25.7")
    assert aligned(mask, image_grid(scanned(other))) == Reason.LABEL_MISALIGNED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"Rows": 50}, Reason.TRUNCATED),
        ({"NumberOfFrames": 7}, Reason.LABEL_UNREADABLE),
        ({"BitsAllocated": 32}, Reason.LABEL_UNREADABLE),
        ({"SegmentationType": "GUESS"}, Reason.LABEL_UNREADABLE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.LABEL_UNREADABLE),
    ],
)
def test_an_unusable_segmentation_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: Reason
) -> None:
    seg = segmentation(ct_series(), blob())
    for keyword, value in change.items():
        setattr(seg, keyword, value)
    assert read(seg, tmp_path) == reason


def test_any_damage_gives_a_mask_or_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "mask.dcm"
    segmentation(ct_series(), blob()).save_as(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[int(generator.integers(132, len(whole)))] = int(generator.integers(256))
        path.write_bytes(damaged[: int(generator.integers(200, len(whole)))])
        assert isinstance(read_mask(path, RULE), (Mask, Reason))
        path.write_bytes(damaged)
        assert isinstance(read_mask(path, RULE), (Mask, Reason))


def _real_grid() -> AcquiredGrid:
    """The four slices of the CT series that pydicom brings and the real masks were made from."""
    folder = Path(str(get_testdata_file("dicomdirtests/DICOMDIR"))).parent / "77654033" / "CT2"
    with quiet():
        grids = [image_grid(scanned(dcmread(path))) for path in sorted(folder.iterdir())]
    corners = [grid.corners_mm for grid in grids if grid.corners_mm is not None]
    sources = tuple(source for grid in grids for source in grid.sources)
    return replace(grids[0], sources=sources, corners_mm=np.concatenate(corners))


@pytest.mark.parametrize(
    "name", ["binary", "binary_fractional", "true_fractional", "binary_overlap"]
)
def test_real_masks_lie_on_their_real_slices(shared_data: Path, name: str) -> None:
    path = shared_data / "dicom_corpus" / "highdicom" / f"seg_image_ct_{name}.dcm"
    seg, grid = dcmread(path), _real_grid()
    expected = np.zeros((len(grid.sources), 16, 16), np.uint8)
    uids = [uid for uid, _ in grid.sources]
    half = seg.get("MaximumFractionalValue", 1) / 2
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1:
            source = frame.DerivationImageSequence[0].SourceImageSequence[0]
            expected[uids.index(source.ReferencedSOPInstanceUID)] |= pixels >= max(half, 1)
    found = aligned(read_mask(path, LabelRule(source="seg", segments=("272673000|SCT",))), grid)
    assert np.array_equal(found, expected) and expected.any()


def test_a_real_mask_of_one_slice_is_aligned(shared_data: Path) -> None:
    folder = shared_data / "dicom_corpus" / "highdicom"
    bone = LabelRule(source="seg", segments=("272673000|SCT",))
    seg = dcmread(folder / "seg_image_ct_binary_single_frame.dcm")
    image = dcmread(folder / "ct_image.dcm")
    grid = image_grid(scanned(image))
    found = aligned(read_mask(folder / "seg_image_ct_binary_single_frame.dcm", bone), grid)
    assert np.array_equal(found, seg.pixel_array[None])


def test_a_real_mask_of_a_radiograph_is_read(shared_data: Path) -> None:
    path = shared_data / "dicom_corpus" / "highdicom" / "seg_image_cr_binary.dcm"
    mask = read_mask(path, LabelRule(source="seg", segments=("21793004|SCT",)))
    assert isinstance(mask, Mask)
    assert [plane.corners_mm for plane in mask.facts.planes] == [None]
    assert np.array_equal(mask.pixels[0], dcmread(path).pixel_array)


def test_a_retired_code_names_the_same_segment(shared_data: Path) -> None:
    path = shared_data / "dicom_corpus" / "pydicom_data" / "liver.dcm"
    mask = read_mask(path, LabelRule(source="seg", segments=("10200004|SCT",)))
    assert isinstance(mask, Mask)
    assert mask.pixels.sum() == dcmread(path).pixel_array.sum()
