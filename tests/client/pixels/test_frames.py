from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_voi_lut
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from wardround_client.pixels import decode
from wardround_client.pixels.decode import StoredFrames, decode_frames, digest_of, rescaled_frames
from wardround_client.pixels.luts import voi_values
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits, run_guarded
from wardround_common.errors import DicomError

Make = Callable[..., Dataset]
Save = Callable[[Dataset, Path], Path]
Read = Callable[..., StoredFrames]


@pytest.fixture
def read(tmp_path: Path, save_image: Save) -> Read:
    """Saves a dataset and decodes its frames."""

    def run(dataset: Dataset, frames: list[int] | None = None) -> StoredFrames:
        path = save_image(dataset, tmp_path / "image.dcm")
        return decode_frames(path, sop_instance_uid=dataset.SOPInstanceUID, frames=frames)

    return run


@pytest.fixture
def stack(new_image: Make, new_picture: Any) -> tuple[Callable[..., Dataset], NDArray[np.uint16]]:
    """An image of four frames, and its values."""
    values = np.stack([new_picture(seed) for seed in range(4)])

    def make(**elements: Any) -> Dataset:
        elements = {"PixelData": values.tobytes(), "NumberOfFrames": 4} | elements
        return new_image(values[0], 3, **elements)

    return make, values


def refusal(read: Read, dataset: Dataset, frames: list[int] | None = None) -> str:
    with pytest.raises(DicomError) as caught:
        read(dataset, frames)
    return caught.value.reason


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_only_the_frames_asked_for_are_decoded(read: Read, stack: Any, syntax: Any) -> None:
    make, values = stack
    image = make()
    if syntax:
        image.compress(syntax, generate_instance_uid=False)
    found = read(image, [3, 1])
    assert found.frames == (3, 1)
    assert found.values.dtype == np.int32 and np.array_equal(found.values, values[[3, 1]])
    assert np.array_equal(read(image).values, values)
    assert refusal(read, image, [4]) == Reason.CHANGED


def test_big_endian_frames_of_eight_bits_are_swapped_back(read: Read, new_image: Make) -> None:
    values = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    swapped = values.tobytes()
    swapped = b"".join(swapped[i : i + 2][::-1] for i in range(0, len(swapped), 2))
    image = new_image(values[0], 3, PixelData=swapped, NumberOfFrames=4)
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert np.array_equal(read(image).values, values)


def test_each_frame_has_its_own_rescale(read: Read, stack: Any) -> None:
    make, values = stack
    groups = []
    for number in range(4):
        item, group = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept = 0.5 + number, -1000 * number
        group.PixelValueTransformationSequence = [item]
        groups.append(group)
    image = make(PerFrameFunctionalGroupsSequence=groups, RescaleSlope=9, RescaleIntercept=9)
    found = rescaled_frames(read(image, [2, 0]))
    assert found.values.dtype == np.float32
    assert np.allclose(found.values, [values[2] * 2.5 - 2000, values[0] * 0.5], rtol=1e-6)


def test_a_rescale_shared_by_all_frames_is_applied(read: Read, stack: Any) -> None:
    make, values = stack
    item, group = Dataset(), Dataset()
    item.RescaleSlope, item.RescaleIntercept = 2, -1024
    group.PixelValueTransformationSequence = [item]
    image = make(SharedFunctionalGroupsSequence=[group])
    assert np.allclose(rescaled_frames(read(image)).values, values * 2.0 - 1024)


def test_a_frame_without_functional_group_is_refused(read: Read, stack: Any) -> None:
    make, _ = stack
    stored = read(make(PerFrameFunctionalGroupsSequence=[Dataset()]))
    with pytest.raises(DicomError, match=Reason.BROKEN_LUT):
        rescaled_frames(stored)


def test_padding_is_marked_frame_by_frame(read: Read, stack: Any) -> None:
    make, values = stack
    padded = values.copy()
    padded[2, :3] = 4000
    found = read(make(PixelData=padded.tobytes(), PixelPaddingValue=4000))
    assert np.array_equal(found.valid, padded != 4000)
    assert read(make()).valid.all()


def test_padding_beyond_bits_stored_is_still_padding(read: Read, stack: Any) -> None:
    make, values = stack
    padded = values.copy()
    padded[1, 5] = 63536  # -2000 in 16 bits, where 12 are stored
    found = read(make(PixelData=padded.tobytes(), PixelPaddingValue=63536))
    assert np.array_equal(found.valid, padded != 63536)


def test_padding_of_signed_pixels_may_be_written_unsigned(read: Read, new_image: Make) -> None:
    values = np.arange(-100, 100, dtype=np.int16).reshape(10, 20)
    elements = {"BitsStored": 16, "HighBit": 15, "PixelPaddingValue": 65536 - 50}
    image = new_image(values, 3, **elements)
    image["PixelPaddingValue"].VR = "US"
    assert np.array_equal(read(image).valid[0], values != -50)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": 5}, Reason.TRUNCATED),
        ({"NumberOfFrames": 3}, Reason.SIZE_MISMATCH),
        ({"NumberOfFrames": 1 << 30}, Reason.TRUNCATED),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, Reason.SIZE_MISMATCH),
        ({"PixelData": None, "FloatPixelData": bytes(8)}, Reason.FLOAT_PIXELS),
    ],
)
def test_frames_that_do_not_fit_their_bytes_are_refused(
    read: Read, stack: Any, elements: dict[str, Any], reason: Reason
) -> None:
    make, _ = stack
    assert refusal(read, make(**elements)) == reason


def test_more_pixels_than_memory_are_refused_before_any_is_taken(
    read: Read, stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, values = stack
    monkeypatch.setattr(decode, "MAXIMUM_PIXELS_AT_ONCE", values[0].size)
    assert refusal(read, make()) == Reason.TOO_LARGE
    assert read(make(), [1]).values.shape == (1, *values[0].shape)


def test_a_length_beyond_the_file_takes_no_memory(
    tmp_path: Path, stack: Any, save_image: Save
) -> None:
    make, values = stack
    path = save_image(make(), tmp_path / "image.dcm")
    pixels = struct.pack("<HH2s2x", 0x7FE0, 0x0010, b"OW")
    content = path.read_bytes()
    place = content.index(pixels) + len(pixels)
    path.write_bytes(content[:place] + struct.pack("<I", 0xFFFFFFF0) + content[place + 4 :])
    limits = Limits(seconds=60, memory_bytes=1 << 28)
    ((_, found),) = run_guarded(_values_of, [path], processes=1, limits=limits)
    assert np.array_equal(found, values)  # they are all there, whatever the length says


def _values_of(path: Path) -> NDArray[np.int32]:
    return decode_frames(path, sop_instance_uid="2.25.1000003").values


def _encapsulated(make: Make, data: bytes, frames: int, syntax: Any = RLELossless) -> Dataset:
    image = make(PixelData=data, NumberOfFrames=frames)
    image.file_meta.TransferSyntaxUID = syntax
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return image


def _rle(make: Make) -> list[bytes]:
    image = make()
    image.compress(RLELossless, generate_instance_uid=False)
    return list(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=4))


def test_frames_are_found_by_offset_table_or_number_of_fragments(read: Read, stack: Any) -> None:
    make, values = stack
    frames = _rle(make)
    for data in (
        encapsulate(frames, has_bot=False),
        encapsulate(frames, fragments_per_frame=3),
    ):
        assert np.array_equal(read(_encapsulated(make, data, 4)).values, values)


def test_an_extended_offset_table_tells_the_frames(read: Read, stack: Any) -> None:
    make, values = stack
    data, offsets, lengths = pydicom.encaps.encapsulate_extended(_rle(make))
    image = _encapsulated(make, data, 4)
    image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths = offsets, lengths
    assert np.array_equal(read(image).values, values)
    image.ExtendedOffsetTable = offsets[:-8]
    assert refusal(read, image) == Reason.FRAMES_UNCLEAR


def test_fragments_without_a_table_are_not_guessed_at(read: Read, stack: Any) -> None:
    make, _ = stack
    data = encapsulate(_rle(make), fragments_per_frame=2)
    (length,) = struct.unpack_from("<I", data, 4)
    untold = data[:4] + bytes(4) + data[8 + length :]
    assert refusal(read, _encapsulated(make, untold, 4)) == Reason.FRAMES_UNCLEAR


@pytest.mark.parametrize("change", [lambda t: [t[0], t[2], t[1], t[3]], lambda t: [8, *t[1:]]])
def test_an_offset_table_that_points_elsewhere_is_refused(
    read: Read, stack: Any, change: Callable[[list[int]], list[int]]
) -> None:
    make, _ = stack
    data = encapsulate(_rle(make))
    table = change(list(struct.unpack_from("<4I", data, 8)))
    image = _encapsulated(make, data[:8] + struct.pack("<4I", *table) + data[24:], 4)
    assert refusal(read, image) == Reason.FRAMES_UNCLEAR


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (struct.pack("<16I", 1, 64, *[0] * 14), Reason.SIZE_MISMATCH),
        (struct.pack("<16I", 2, 64, 60, *[0] * 13), Reason.DECODE_FAILED),
        (struct.pack("<16I", 2, 60, 64, *[0] * 13), Reason.DECODE_FAILED),
        (struct.pack("<16I", 2, 64, 1 << 31, *[0] * 13), Reason.TRUNCATED),
        (struct.pack("<16I", 2, 64, 66, *[0] * 13), Reason.TRUNCATED),
        (bytes(10), Reason.TRUNCATED),
    ],
)
def test_rle_that_cannot_fill_its_image_never_reaches_the_decoder(
    read: Read, new_image: Make, segment: bytes, reason: Reason
) -> None:
    frame = segment + bytes(20)
    image = new_image(np.zeros((5000, 5000), np.uint16), 3, PixelData=encapsulate([frame]))
    image.file_meta.TransferSyntaxUID = RLELossless
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    if len(segment) < 64:
        image.PixelData = encapsulate([segment])
    assert refusal(read, image) == reason


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_stream_that_ends_early_is_refused(read: Read, stack: Any, syntax: Any) -> None:
    make, _ = stack
    image = make()
    image.compress(syntax, generate_instance_uid=False)
    streams = list(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=4))
    streams[2] = streams[2][: len(streams[2]) * 3 // 4]
    assert refusal(read, _encapsulated(make, encapsulate(streams), 4, syntax)) == Reason.TRUNCATED


@pytest.mark.skipif(not shutil.which("dcmcjpeg"), reason="dcmtk is absent: expected dcmcjpeg")
def test_jpeg_of_twelve_bits_is_read_as_dcmtk_reads_it(
    tmp_path: Path, new_image: Make, new_picture: Any, save_image: Save
) -> None:
    plain = save_image(new_image(new_picture(3, (130, 150)), 3), tmp_path / "plain.dcm")
    jpeg, back = tmp_path / "jpeg.dcm", tmp_path / "back.dcm"
    for command in (["dcmcjpeg", "+ee", plain, jpeg], ["dcmdjpeg", jpeg, back]):
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  (dcmtk's own)
    dataset = pydicom.dcmread(back)
    found = decode_frames(jpeg, sop_instance_uid=str(pydicom.dcmread(jpeg).SOPInstanceUID))
    assert pydicom.dcmread(jpeg).file_meta.TransferSyntaxUID.name.startswith("JPEG Extended")
    assert np.array_equal(found.values[0], dataset.pixel_array)
    assert int(found.values.max()) > 255


def test_the_hash_depends_on_values_and_shape_not_on_the_integers_that_hold_them() -> None:
    values = np.arange(300, dtype=np.uint16).reshape(10, 30)
    assert digest_of(values) == digest_of(values.astype(np.int32))
    assert digest_of(values) != digest_of(values.reshape(30, 10))
    negative = values.astype(np.int16) - 5
    assert digest_of(negative) == digest_of(negative.astype(np.int32)) != digest_of(values)


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 1800, "WindowWidth": 600},
        {"WindowCenter": [1800.5, 9], "WindowWidth": [1, 9]},
        {"WindowCenter": 1500, "WindowWidth": 700, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1500, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"},
    ],
)
def test_windows_agree_with_pydicom_but_for_scale(
    new_image: Make, new_picture: Any, window: dict[str, Any]
) -> None:
    pixels = new_picture(3)
    expected = apply_voi_lut(pixels, new_image(pixels, **window)).astype(np.float64)
    found = voi_values(new_image(pixels, **window), pixels.astype(np.float32)).astype(np.float64)
    found = (found - found.min()) / np.ptp(found)
    assert np.allclose(found, (expected - expected.min()) / np.ptp(expected), atol=1e-5)


def test_every_grey_file_of_the_corpus_is_read_as_pydicom_reads_it(shared_data: Path) -> None:
    agreed = 0
    for path in sorted((shared_data / "dicom_corpus").rglob("*")):
        if not path.is_file():
            continue
        with decode.quiet():
            try:
                dataset = pydicom.dcmread(path)
                found = decode_frames(path, sop_instance_uid=str(dataset.SOPInstanceUID))
            except (DicomError, pydicom.errors.InvalidDicomError, AttributeError):
                continue
            expected = dataset.pixel_array.reshape(found.values.shape)
        assert np.array_equal(found.values, expected), path.name
        agreed += 1
    assert agreed >= 200


def test_implicit_frames_are_read(read: Read, stack: Any) -> None:
    make, values = stack
    image = make()
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert np.array_equal(read(image).values, values)
