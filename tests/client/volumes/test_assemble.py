from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless

from wardround_client.pixels.decode import DecodedImage
from wardround_client.quarantine import Reason
from wardround_client.volumes.assemble import OpenFile, decode_volume, read_volume
from wardround_client.volumes.plan import VolumePlan
from wardround_common.errors import DicomError
from wardround_common.intake_plan import VolumePreprocessing
from wardround_sim.traps.geometry import stack
from wardround_sim.traps.mixtures import other_pixels
from wardround_sim.traps.outcome import plan_folder, read_instances
from wardround_sim.traps.phantom import PET, write

SMALL = VolumePreprocessing(spacing_mm=(2.0, 1.0, 1.0), shape=(8, 8, 8), window=(-160, 160))


def planned(slices: list[Dataset], folder: Path) -> tuple[VolumePlan, OpenFile]:
    for number, dataset in enumerate(slices):
        write(dataset, folder / f"{number:03}")
    instances, refused = read_instances(folder, sorted(folder.iterdir()))
    found, open_file = plan_folder(folder, instances, irregular="refuse")
    assert not refused
    (plan,) = found.volumes
    return plan, open_file


def reason_of(plan: VolumePlan, open_file: OpenFile) -> str:
    with pytest.raises(DicomError) as caught:
        read_volume(plan, open_file)
    return caught.value.reason


def rewrite(path: Path, **elements: object) -> None:
    dataset = dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_values_are_rescaled_and_lie_in_order(tmp_path: Path) -> None:
    plan, open_file = planned(stack(2)[::-1], tmp_path)
    volume = read_volume(plan, open_file)
    assert volume.values.dtype == np.float32
    assert volume.valid.all()
    np.testing.assert_allclose(volume.values[:, 0, 0], 30 + 2.5 * np.arange(12), atol=0.003)


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": ["-20", "11", "99"]},
        {"PixelSpacing": ["0.9", "0.8"]},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"SOPInstanceUID": "2.25.99"},
    ],
)
def test_a_slice_whose_header_changed_since_the_plan_is_refused(
    elements: dict[str, object], tmp_path: Path
) -> None:
    plan, open_file = planned(stack(0), tmp_path)
    rewrite(tmp_path / "004", **elements)
    assert reason_of(plan, open_file) == Reason.CHANGED


@pytest.mark.parametrize("equal", [True, False])
def test_a_copy_in_another_transfer_syntax_is_compared_by_its_pixels(
    tmp_path: Path, equal: bool
) -> None:
    slices = stack(0)
    packed = copy.deepcopy(slices[4])
    packed = packed if equal else other_pixels([packed])[0]
    packed.compress(RLELossless, generate_instance_uid=False)
    plan, open_file = planned([*slices, packed], tmp_path)
    assert [number for number, _ in plan.copies] == [4]
    if equal:
        assert read_volume(plan, open_file).values.shape[0] == len(slices)
    else:
        assert reason_of(plan, open_file) == Reason.DUPLICATE_CONFLICT


def test_a_slice_that_went_is_refused(tmp_path: Path) -> None:
    plan, open_file = planned(stack(0), tmp_path)
    (tmp_path / "004").unlink()
    assert reason_of(plan, open_file) == Reason.UNREADABLE


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.2", PET])
@pytest.mark.parametrize("absent", ["RescaleSlope", "RescaleIntercept"])
def test_ct_and_pet_must_state_their_rescale(kind: str, absent: str, tmp_path: Path) -> None:
    plan, open_file = planned(stack(0, kind=kind, **{absent: None}), tmp_path)
    assert reason_of(plan, open_file) == Reason.BROKEN_LUT


def test_mr_may_do_without_rescale(tmp_path: Path) -> None:
    absent = {"RescaleSlope": None, "RescaleIntercept": None}
    slices = stack(0, kind="1.2.840.10008.5.1.4.1.1.4", **absent)
    plan, open_file = planned(slices, tmp_path)
    stored = np.frombuffer(slices[0].PixelData, np.uint16)
    np.testing.assert_array_equal(read_volume(plan, open_file).values[0].ravel(), stored)


@pytest.mark.parametrize(("units", "accepted"), [("HU", True), ("US", True), ("HU_MOD", False)])
def test_ct_of_other_units_than_hounsfields_is_refused(
    units: str, accepted: bool, tmp_path: Path
) -> None:
    plan, open_file = planned(stack(0, RescaleType=units), tmp_path)
    if accepted:
        assert read_volume(plan, open_file).valid.all()
    else:
        assert reason_of(plan, open_file) == Reason.BROKEN_LUT


def test_equal_volumes_have_one_hash_and_others_another(tmp_path: Path) -> None:
    one, two, three = (
        read_volume(*planned(slices, tmp_path / name)).digest
        for name, slices in (
            ("one", stack(0)),
            ("two", stack(0, SeriesDescription="again")),
            ("three", other_pixels(stack(0))),
        )
    )
    assert one == two != three


def test_a_volume_is_prepared_from_what_crosses_to_a_worker(tmp_path: Path) -> None:
    plan, open_file = pickle.loads(pickle.dumps(planned(stack(2), tmp_path)))  # noqa: S301
    image = decode_volume(plan, open_file, SMALL)
    assert isinstance(image, DecodedImage)
    assert image.pixels.shape == SMALL.shape
    assert image.pixels.dtype == np.int16


def test_a_volume_that_cannot_be_read_is_a_reason(tmp_path: Path) -> None:
    plan, open_file = planned(stack(0), tmp_path)
    (tmp_path / "004").write_bytes(b"nothing")
    assert decode_volume(plan, open_file, SMALL) is Reason.NOT_DICOM


def test_a_volume_of_padding_alone_is_refused(tmp_path: Path) -> None:
    slices = stack(0, PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    assert reason_of(*planned(slices, tmp_path)) == Reason.CONSTANT
