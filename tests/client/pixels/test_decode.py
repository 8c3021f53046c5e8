from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from wardround_client.archive.files import ArchiveFile
from wardround_client.index import reader
from wardround_client.index.header import Instance
from wardround_client.pixels import codecs, decode, layout, luts
from wardround_client.pixels import plain as plain_files
from wardround_client.pixels.decode import DecodedImage, decode_file
from wardround_client.pixels.fragments import split_frames
from wardround_client.pixels.layout import Layout
from wardround_client.pixels.stored import codec_values, valid_mask
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

SMALL = Preprocessing(rows=24, columns=24)
Make = Callable[..., Dataset]
Save = Callable[[Dataset, Path], Path]
Decode = Callable[[Dataset], DecodedImage | Reason]


@pytest.fixture
def decoded(tmp_path: Path, save_image: Save) -> Decode:
    """Saves a dataset and decodes the file."""

    def run(dataset: Dataset) -> DecodedImage | Reason:
        path = save_image(dataset, tmp_path / "image.dcm")
        return decode_file(path, SMALL, sop_instance_uid=dataset.SOPInstanceUID)

    return run


@pytest.fixture
def plain(new_image: Make, new_picture: Any) -> Callable[..., Dataset]:
    return lambda **elements: new_image(new_picture(3), 3, **elements)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_every_lossless_syntax_gives_the_same_image(
    decoded: Decode, plain: Make, syntax: UID
) -> None:
    native = decoded(plain())
    image = plain()
    image.compress(syntax, generate_instance_uid=False)
    compressed = decoded(image)
    assert isinstance(native, DecodedImage) and isinstance(compressed, DecodedImage)
    assert compressed.digest == native.digest
    assert np.array_equal(compressed.pixels, native.pixels)


def test_another_picture_has_another_hash(decoded: Decode, plain: Make) -> None:
    first, pixels = decoded(plain()), bytearray(plain().PixelData)
    pixels[0] ^= 1
    second = decoded(plain(PixelData=bytes(pixels)))
    assert isinstance(first, DecodedImage) and isinstance(second, DecodedImage)
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": None}, Reason.NO_PIXELS),
        ({"Rows": None}, Reason.NO_PIXELS),
        ({"Rows": 41}, Reason.TRUNCATED),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, Reason.COLOUR),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL"}, Reason.COLOUR),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.COLOUR),
        ({"NumberOfFrames": 2}, Reason.MULTI_FRAME),
        ({"BitsStored": 17}, Reason.BROKEN_HEADER),
        ({"PresentationLUTShape": "INVERSE"}, Reason.POLARITY),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, Reason.BROKEN_LUT),
        ({"RescaleSlope": 2}, Reason.BROKEN_LUT),
        ({"WindowCenter": 100, "WindowWidth": 0}, Reason.BROKEN_LUT),
        ({"PixelData": bytes(40 * 32 * 2)}, Reason.CONSTANT),
    ],
)
def test_what_cannot_be_read_with_certainty_has_its_reason(
    decoded: Decode, plain: Make, elements: dict[str, Any], reason: Reason
) -> None:
    assert decoded(plain(**elements)) == reason


def _compressed(plain: Make, syntax: UID, stream: bytes, **elements: Any) -> Dataset:
    image = plain(PixelData=encapsulate([stream]), **elements)
    image.file_meta.TransferSyntaxUID = syntax
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return image


def test_syntaxes_without_pinned_decoder_are_refused(decoded: Decode, plain: Make) -> None:
    assert decoded(_compressed(plain, MPEG2MPML, b"\0\0")) == Reason.NO_DECODER


def test_a_codestream_larger_than_its_header_never_reaches_the_decoder(
    decoded: Decode, plain: Make, new_picture: Any, new_image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = new_image(new_picture(0, (200, 300)))
    large.compress(JPEG2000Lossless, generate_instance_uid=False)
    image = plain(PixelData=large.PixelData)
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image["PixelData"].is_undefined_length = True
    monkeypatch.setattr(codecs, "get_decoder", lambda _: pytest.fail("a decoder was asked"))
    assert decoded(image) == Reason.SIZE_MISMATCH


def test_a_broken_codestream_is_refused(decoded: Decode, plain: Make) -> None:
    image = plain()
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    assert isinstance(decoded(image), Reason)
    assert decoded(_compressed(plain, HTJ2K, b"nothing")) == Reason.DECODE_FAILED


def test_a_panicking_decoder_stops_nothing(decoded: Decode, plain: Make) -> None:
    too_long = bytes([0x81, 7]) * 20  # 20 runs of 128 where 1280 values are wanted
    offsets = [2, 64, 64 + len(too_long)] + 13 * [0]
    header = b"".join(number.to_bytes(4, "little") for number in offsets)
    assert decoded(_compressed(plain, RLELossless, header + 2 * too_long)) == Reason.DECODE_FAILED


def test_a_missing_plugin_is_no_decoder(
    decoded: Decode, plain: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = plain()
    image.compress(RLELossless, generate_instance_uid=False)
    monkeypatch.setitem(codecs.PLUGINS, RLELossless, "not installed")
    assert decoded(image) == Reason.NO_DECODER


def test_bits_above_bits_stored_are_removed(decoded: Decode, plain: Make, new_picture: Any) -> None:
    clean = decoded(plain())
    overlaid = new_picture(3) | np.uint16(0x7000)
    marked = decoded(plain(PixelData=overlaid.tobytes()))
    assert isinstance(clean, DecodedImage) and isinstance(marked, DecodedImage)
    assert marked.digest == clean.digest


def test_values_end_at_the_high_bit(decoded: Decode, plain: Make, new_picture: Any) -> None:
    right = decoded(plain())
    shifted = (new_picture(3) << np.uint16(4)) | np.uint16(0x000F)
    left = decoded(plain(PixelData=shifted.tobytes(), HighBit=15))
    assert isinstance(right, DecodedImage) and isinstance(left, DecodedImage)
    assert left.digest == right.digest


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_codec_with_more_bits_than_its_header_is_refused(
    decoded: Decode, plain: Make, syntax: UID
) -> None:
    image = plain()
    image.compress(syntax, generate_instance_uid=False)
    image.BitsStored, image.HighBit = 10, 9
    assert decoded(image) == Reason.SIZE_MISMATCH


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_signed_values_are_the_same_in_every_syntax(
    decoded: Decode, plain: Make, new_picture: Any, syntax: UID
) -> None:
    signed = (new_picture(3).astype(np.int32) - 2048).astype(np.int16)
    native = decoded(plain(PixelData=signed.tobytes(), PixelRepresentation=1))
    image = plain(PixelData=signed.tobytes(), PixelRepresentation=1)
    image.compress(syntax, generate_instance_uid=False)
    compressed = decoded(image)
    assert isinstance(native, DecodedImage) and isinstance(compressed, DecodedImage)
    assert compressed.digest == native.digest


def _layout(**changes: Any) -> Layout:
    usual: dict[str, Any] = {"frames": 1, "rows": 1, "columns": 2, "bits_allocated": 16}
    usual |= {"bits_stored": 12, "high_bit": 11, "signed": True}
    return Layout(**(usual | changes))


def test_a_codec_may_leave_the_sign_to_the_reader() -> None:
    stored = codec_values(np.array([[0x0FFF, 5]], np.uint16), _layout())
    assert stored.tolist() == [[-1, 5]]


def test_signed_values_keep_their_sign(decoded: Decode, plain: Make, new_picture: Any) -> None:
    signed = (new_picture(3).astype(np.int32) - 2048).astype(np.int16)
    twelve_bits = (signed & 0x0FFF).astype(np.uint16)
    unsigned = decoded(plain())
    found = decoded(plain(PixelData=twelve_bits.tobytes(), PixelRepresentation=1))
    assert isinstance(unsigned, DecodedImage) and isinstance(found, DecodedImage)
    assert np.abs(found.pixels.astype(int) - unsigned.pixels).max() <= 1


def test_a_file_replaced_since_the_scan_is_not_used(
    tmp_path: Path, plain: Make, save_image: Save
) -> None:
    path = save_image(plain(), tmp_path / "a.dcm")
    assert decode_file(path, SMALL, sop_instance_uid="2.25.9") == Reason.CHANGED
    assert decode_file(tmp_path / "gone", SMALL, sop_instance_uid="1") == Reason.UNREADABLE


@pytest.fixture
def known(tmp_path: Path, plain: Make, save_image: Save) -> Instance:
    """A file as the index knows it."""
    return _instance(save_image(plain(), tmp_path / "a.dcm"))


def _instance(path: Path) -> Instance:
    status = path.stat()
    file = ArchiveFile(os.fsencode(path), status.st_size, status.st_mtime_ns, status.st_ino)
    return Instance(file=file, header=reader.read_header(path))


def _decode(instance: Instance) -> DecodedImage | Reason:
    path, uid = Path(os.fsdecode(instance.path)), instance.header.sop_instance_uid
    return decode_file(path, SMALL, sop_instance_uid=uid, instance=instance)


def test_a_file_that_is_as_the_index_knows_it_is_decoded(known: Instance) -> None:
    assert isinstance(_decode(known), DecodedImage)


def test_another_patients_file_of_the_same_uid_is_not_used(
    known: Instance, plain: Make, save_image: Save
) -> None:
    path = save_image(plain(PatientID="MRNPHI999999"), Path(os.fsdecode(known.path)))
    assert path.stat().st_size == known.file.size_bytes
    assert _decode(known) == Reason.CHANGED
    os.utime(path, ns=(known.file.mtime_ns, known.file.mtime_ns))
    assert _decode(known) == Reason.CHANGED  # for its header differs
    path.unlink()
    assert _decode(known) == Reason.UNREADABLE


def test_a_file_that_differs_in_size_or_time_alone_is_not_used(known: Instance) -> None:
    for file in (known.file._replace(size_bytes=1), known.file._replace(mtime_ns=1)):
        assert _decode(known._replace(file=file)) == Reason.CHANGED


def test_a_file_that_is_put_right_while_it_is_read_is_not_used(
    known: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore(*given: Any) -> Any:
        os.utime(os.fsdecode(known.path), ns=(known.file.mtime_ns, known.file.mtime_ns))
        return layout.layout_of(*given)

    os.utime(os.fsdecode(known.path), ns=(1, 1))
    monkeypatch.setattr(decode, "layout_of", restore)
    assert _decode(known) == Reason.CHANGED


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_that_changes_while_it_is_read_is_not_used(
    known: Instance, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def change(*given: Any) -> Any:
        os.utime(os.fsdecode(known.path), ns=(1, 1))
        return layout.layout_of(*given) if not fails else refuse()

    def refuse() -> None:
        raise DicomError(Reason.TRUNCATED)

    monkeypatch.setattr(decode, "layout_of", change)
    assert _decode(known) == Reason.CHANGED


@pytest.mark.parametrize(
    "elements",
    [{"WindowCenter": 1800, "WindowWidth": 600}, {"RescaleSlope": -1, "RescaleIntercept": 4095}],
)
def test_a_copy_that_is_shown_otherwise_has_another_digest(
    decoded: Decode, plain: Make, elements: dict[str, Any]
) -> None:
    first, second = decoded(plain()), decoded(plain(**elements))
    assert isinstance(first, DecodedImage) and isinstance(second, DecodedImage)
    assert first.digest != second.digest


def test_copies_that_differ_where_the_model_does_not_look_have_other_digests(
    decoded: Decode, plain: Make, new_picture: Any
) -> None:
    shown = {"WindowCenter": 100, "WindowWidth": 100}
    pixels = new_picture(3)
    pixels[:20], pixels[20:] = 10, 3000
    brighter = np.where(pixels == 3000, 3001, 10).astype(np.uint16)
    first = decoded(plain(PixelData=pixels.tobytes(), **shown))
    second = decoded(plain(PixelData=brighter.tobytes(), **shown))
    assert isinstance(first, DecodedImage) and isinstance(second, DecodedImage)
    assert np.array_equal(first.pixels, second.pixels)
    assert first.digest != second.digest


def test_a_decoder_that_gives_another_shape_is_refused(
    decoded: Decode, plain: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = plain()
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    monkeypatch.setattr(codecs, "_decode", lambda *_: np.zeros((32, 40), np.uint16))
    assert decoded(image) == Reason.SIZE_MISMATCH


@pytest.mark.parametrize(
    ("keyword", "read"),
    [
        ("PatientID", lambda image: reader.text_of(image, "PatientID")),
        ("Rows", layout.layout_of),
        ("PixelData", layout.layout_of),
        ("ModalityLUTSequence", lambda image: luts.modality_values(image, np.zeros(1))),
        ("VOILUTSequence", lambda image: luts.voi_values(image, np.zeros(1, np.float32))),
        ("PixelPaddingValue", lambda image: valid_mask(image, _layout(), np.zeros(1), None)),
        ("ExtendedOffsetTable", lambda image: split_frames(image, 2)),
    ],
)
def test_want_of_memory_is_no_fault_of_the_image(
    plain: Make, monkeypatch: pytest.MonkeyPatch, keyword: str, read: Callable[[Dataset], Any]
) -> None:
    get, image = Dataset.get, plain()
    if keyword == "ExtendedOffsetTable":
        image.PixelData = encapsulate([b"1234", b"5678"])

    def want(dataset: Dataset, key: Any, *default: Any) -> Any:
        if key == keyword:
            raise MemoryError
        return get(dataset, key, *default)

    monkeypatch.setattr(Dataset, "get", want)
    with pytest.raises(MemoryError):
        read(image)


def test_a_transfer_syntax_of_two_values_is_a_broken_header(
    decoded: Decode, plain: Make, tmp_path: Path
) -> None:
    decoded(plain())
    path = tmp_path / "image.dcm"
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840\\10008.1.2.1"))
    found = decode_file(path, SMALL, sop_instance_uid=plain().SOPInstanceUID)
    assert found == Reason.BROKEN_HEADER


def test_a_file_beyond_the_limit_is_not_read(
    decoded: Decode, plain: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (reader, plain_files):
        monkeypatch.setattr(module, "MAXIMUM_FILE_BYTES", 1000)
    assert decoded(plain()) == Reason.TOO_LARGE


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(position=st.integers(132, 1400), junk=st.binary(min_size=1, max_size=20))
def test_any_damage_gives_an_image_or_a_reason(
    decoded: Decode, plain: Make, tmp_path: Path, position: int, junk: bytes
) -> None:
    decoded(plain())
    path = tmp_path / "image.dcm"
    content = bytearray(path.read_bytes())
    content[position : position + len(junk)] = junk
    path.write_bytes(content)
    found = decode_file(path, SMALL, sop_instance_uid=plain().SOPInstanceUID)
    assert isinstance(found, DecodedImage | Reason)


def test_real_files_are_read_alike_in_every_syntax(shared_data: Path) -> None:
    folder = shared_data / "dicom_corpus" / "pydicom_data"
    images = {}
    for name in ("693_UNCR", "693_J2KR", "JPEG-LL", "mlut_18", "vlut_04"):
        path = folder / f"{name}.dcm"
        uid = reader.open_dataset(path).SOPInstanceUID
        image = decode_file(path, SMALL, sop_instance_uid=uid)
        assert isinstance(image, DecodedImage), name
        images[name] = image
    assert images["693_UNCR"].digest == images["693_J2KR"].digest


def test_big_endian_pixels_are_read(decoded: Decode, plain: Make, new_picture: Any) -> None:
    image = plain(PixelData=new_picture(3).astype(">u2").tobytes())
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    little, big = decoded(plain()), decoded(image)
    assert isinstance(little, DecodedImage) and isinstance(big, DecodedImage)
    assert little.digest == big.digest
