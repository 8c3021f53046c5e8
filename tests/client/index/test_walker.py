from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from wardround_client.index.header import Header
from wardround_client.index.reader import parse_header
from wardround_client.index.walker import WINDOW_BYTES, walk_header
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

FULL = {
    "AcquisitionDate": "20200102",
    "AcquisitionTime": "101112.5",
    "ContentDate": "20200103",
    "ContentTime": "101113",
    "StudyDate": "20200101",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "IssuerOfPatientID": "ISSUER",
    "FrameOfReferenceUID": "2.25.4",
    "ManufacturerModelName": "Model \\ Two",
    "MagneticFieldStrength": "1.5",
    "ConvolutionKernel": ["Br40d", "3"],
    "SliceThickness": "1.25",
    "SeriesNumber": "3",
    "InstanceNumber": "-7",
    "AcquisitionNumber": "2",
    "TriggerTime": "12.5",
    "TemporalPositionIdentifier": "4",
    "EchoTime": "90.1",
    "EchoNumbers": ["1", "2"],
    "InversionTime": "2.0",
    "FlipAngle": "90",
    "DiffusionBValue": 1000.0,
    "DiffusionGradientOrientation": [0.1, -0.2, 1e-17],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": ["-120.5", "1e-3", "+30"],
    "PixelSpacing": ["0.5", "0.25"],
    "ImagerPixelSpacing": ["0.6", "0.35"],
    "NumberOfFrames": "1",
    "PresentationIntentType": "FOR PRESENTATION",
    "BurnedInAnnotation": "NO",
    "Units": "BQML",
    "SpecificCharacterSet": "ISO_IR 100",
}


@pytest.fixture
def image(new_image: Callable[..., Dataset], new_picture: Callable[..., Any]) -> Dataset:
    """An image that has every element of the index."""
    return new_image(new_picture(), **FULL)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "file"
        path.write_bytes(content)
        return path

    return write


Write = Callable[[bytes], Path]


def encode(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in explicit VR with a two-byte length."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def by_pydicom(path: Path) -> Header | None:
    try:
        return parse_header(path)
    except DicomError:
        return None


def nest(dataset: Dataset, *, undefined: bool) -> None:
    """Adds sequences in a sequence, public and private, an empty item and an empty sequence."""
    inner = Dataset()
    inner.CodeValue = "X"
    inner.PurposeOfReferenceCodeSequence = [Dataset()]
    outer = Dataset()
    outer.ReferencedSOPInstanceUID = "1.2.3"
    outer.PurposeOfReferenceCodeSequence = [inner, Dataset()]
    dataset.ReferencedImageSequence = [outer, outer]
    dataset.ReferencedStudySequence = []
    private = dataset.private_block(0x0019, "TEST", create=True)
    private.add_new(1, "SQ", [outer])
    for part in (dataset, outer, inner):
        for item in part:
            if item.VR == "SQ":
                item.is_undefined_length = undefined
                for within in item.value:
                    within.is_undefined_length_sequence_item = undefined


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [True, False])
def test_a_usual_file_is_read_and_every_field_is_that_of_pydicom(
    image: Dataset, write: Write, syntax: str, undefined: bool
) -> None:
    nest(image, undefined=undefined)
    path = write(encode(image, syntax))
    header = walk_header(path)
    assert header == parse_header(path)
    assert header is not None
    assert all(value not in ("", None) for value in header), "a field is not tested at all"
    assert header.position == "-120.5\\1e-3\\+30"
    assert header.gradient == "0.1\\-0.2\\1e-17"
    assert header.acquisition_time == "20200102101112.5"
    assert header.intent == "FOR PRESENTATION"
    assert header.transfer_syntax == syntax


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (None, "Mu"),
        ("ISO_IR 100", "Mü"),
        ("ISO_IR 192", "Mu\u0308ller \u5c71"),
        ("ISO_IR 144", "\u041c\u0443"),
        ("ISO_IR 13", "\uff94\uff8f"),
        ("GB18030", "\u738b"),
        (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Mu"),
    ],
)
def test_text_is_decoded_by_the_files_character_set(
    image: Dataset, write: Write, charset: Any, name: str
) -> None:
    image.SpecificCharacterSet, image.PatientID = charset, name
    path = write(encode(image))
    header = walk_header(path)
    assert header == parse_header(path)
    assert header is not None
    assert header.patient_id == name.replace("u\u0308", "ü")


def test_a_long_element_between_is_skipped_and_what_follows_is_read(
    image: Dataset, write: Write
) -> None:
    block = image.private_block(0x0029, "CSA", create=True)
    block.add_new(1, "OB", bytes(3 * WINDOW_BYTES))
    path = write(encode(image))
    header = walk_header(path)
    assert header == parse_header(path)
    assert header is not None
    assert header.units == "BQML"


@pytest.mark.parametrize("before", range(-14, 15))
def test_an_element_across_the_end_of_what_was_read_is_read_whole(
    image: Dataset, write: Write, before: int
) -> None:
    block = image.private_block(0x0019, "TEST", create=True)
    block.add_new(1, "OB", b"")
    start = encode(image).index(struct.pack("<HH", 0x0020, 0x000D))
    block[1].value = bytes(2 * ((WINDOW_BYTES - start + before) // 2))
    path = write(encode(image))
    header = walk_header(path)
    assert header is not None
    assert header == parse_header(path)


def test_a_report_that_ends_before_any_pixels_is_read(image: Dataset, write: Write) -> None:
    del image.PixelData
    path = write(encode(image))
    assert walk_header(path) == parse_header(path)
    assert walk_header(path) is not None


def insert(content: bytes, before: int, addition: bytes) -> bytes:
    """Puts bytes before the element ``before``."""
    place = content.index(struct.pack("<HH", before >> 16, before & 0xFFFF), 150)
    return content[:place] + addition + content[place:]


def opened(vr: bytes) -> bytes:
    """Start of an element of undefined length that fits before PatientID."""
    return struct.pack("<HH2sHI", 0x0010, 0x0012, vr, 0, 0xFFFFFFFF)


SEQUENCE = opened(b"SQ")
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def item(length: int) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, length)


UNUSUAL: dict[str, Callable[[bytes], bytes]] = {
    "no prefix": lambda c: c[:128] + b"DICN" + c[132:],
    "bare dataset": lambda c: c[132:],
    "an unknown syntax": lambda c: c.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"),
    "implicit in name only": lambda c: c.replace(
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x12\x001.2.840.10008.1.2\0"
    ),
    "a broken length of the meta information": lambda c: (
        c[:132] + b"\2\0\0\0UL\6\0" + c[140:144] + b"\0\0" + c[144:]
    ),
    "unknown VR": lambda c: insert(
        c, 0x00100020, struct.pack("<HH2sHI", 0x0010, 0x0012, b"ZZ", 0, 2) + b"ab"
    ),
    "out of order": lambda c: insert(c, 0x00100020, element(0x00180015, b"CS", b"HAND")),
    "an element twice": lambda c: insert(c, 0x00100020, element(0x00100020, b"LO", b"OTHER1")),
    "another VR": lambda c: c.replace(b"\x10\0\x20\0LO", b"\x10\0\x20\0SH"),
    "undefined length of unknown": lambda c: insert(c, 0x00100020, opened(b"UN") + END),
    "undefined length of bytes": lambda c: insert(c, 0x00100020, opened(b"OB") + item(0) + END),
    "no item in a sequence": lambda c: insert(c, 0x00100020, SEQUENCE + ITEM_END + END),
    "no item but another element in a sequence": lambda c: insert(
        c, 0x00100020, SEQUENCE + struct.pack("<HHI", 0x0008, 0x1155, 0) + END
    ),
    "an end with a length": lambda c: insert(c, 0x00100020, SEQUENCE + END[:4] + b"\2\0\0\0ab"),
    "an end of an item with a length": lambda c: insert(
        c, 0x00100020, SEQUENCE + item(0xFFFFFFFF) + ITEM_END[:4] + b"\0\0\2\0" + END
    ),
    "an end of an item that has a length": lambda c: insert(
        c, 0x00100020, SEQUENCE + item(100) + ITEM_END + END
    ),
    "an item that ends within an element": lambda c: insert(
        c, 0x00100020, SEQUENCE + item(10) + element(0x00081155, b"UI", b"1.2.") + END
    ),
    "an item out of order": lambda c: insert(
        c,
        0x00100020,
        SEQUENCE
        + item(20)
        + element(0x00081155, b"UI", b"1.")
        + element(0x00081150, b"UI", b"1.")
        + END,
    ),
    "a sequence without end": lambda c: insert(c, 0x00100020, SEQUENCE + item(0)),
    "deep nesting": lambda c: insert(c, 0x00100020, (SEQUENCE + item(0xFFFFFFFF)) * 1200),
    "a UID with letters": lambda c: c.replace(b"2.25.2000000", b"2.25.2x00000"),
    "two numbers of rows": lambda c: c.replace(
        b"\x28\0\x10\0US\x02\0", b"\x28\0\x10\0US\x04\0\x01\0"
    ),
    "half a number": lambda c: insert(
        c.replace(b"\x18\0\x87\x90FD", b"\x18\0\x87\x91FD"),
        0x00189187,
        element(0x00189087, b"FD", bytes(6)),
    ),
    "an escape sequence": lambda c: c.replace(b"MRNPHI0000", b"MRN\x1b(B0000"),
    "an unknown character set": lambda c: c.replace(b"ISO_IR 100", b"ISO_IR 999"),
    "cut within an element": lambda c: c[: c.index(b"\x28\0\x10\0US") + 9],
    "cut between tag and length of the pixels": lambda c: c[: c.index(b"\xe0\x7f\x10\0OW") + 8],
    "no study": lambda c: c.replace(b"\x20\0\x0d\0UI", b"\x20\0\x0c\0UI"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_left_to_pydicom(image: Dataset, write: Write, name: str) -> None:
    usual = encode(image)
    assert walk_header(write(usual)) is not None
    unusual = UNUSUAL[name](usual)
    assert unusual != usual
    assert walk_header(write(unusual)) is None


def test_a_first_length_that_looks_like_a_vr_is_left_to_pydicom(
    image: Dataset, write: Write
) -> None:
    content = encode(image, ImplicitVRLittleEndian)
    assert walk_header(write(content)) is not None
    length = int.from_bytes(b"UT", "little")
    first = struct.pack("<HHI", 0x0008, 0x0001, length) + bytes(length)
    path = write(insert(content, 0x00080005, first))
    assert walk_header(path) is None


IMPLICIT = struct.pack("<HHI", 0x0010, 0x0024, 0xFFFFFFFF)
"""Start of a sequence, by the dictionary."""
UNUSUAL_IMPLICIT: dict[str, bytes] = {
    "undefined length of no sequence": struct.pack("<HHI", 0x0010, 0x0022, 0xFFFFFFFF) + END,
    "undefined length of a private element without item": struct.pack(
        "<HHI", 0x0011, 0x1001, 0xFFFFFFFF
    )
    + END,
    "an item out of order": IMPLICIT
    + item(16)
    + struct.pack("<HHIHHI", 8, 0x1155, 0, 8, 0x1150, 0)
    + END,
    "an item that ends within an element": IMPLICIT
    + item(9)
    + struct.pack("<HHI2s", 8, 0x1155, 2, b"1.")
    + END,
    "an end of an item with a length": IMPLICIT
    + item(0xFFFFFFFF)
    + ITEM_END[:4]
    + b"\2\0\0\0"
    + END,
    "an end of an item that has a length": IMPLICIT + item(100) + ITEM_END + END,
    "an element twice": struct.pack("<HHI2s", 0x0010, 0x0020, 2, b"P2"),
}


@pytest.mark.parametrize("name", UNUSUAL_IMPLICIT)
def test_what_is_unusual_in_implicit_vr_is_left_to_pydicom(
    image: Dataset, write: Write, name: str
) -> None:
    content = encode(image, ImplicitVRLittleEndian)
    addition = UNUSUAL_IMPLICIT[name]
    usual = insert(content, 0x00100030, IMPLICIT + item(0) + END)
    assert walk_header(write(usual)) is not None
    before = 0x00180015 if addition[:2] == b"\x11\0" else 0x00100030
    assert walk_header(write(insert(content, before, addition))) is None


@pytest.mark.parametrize("left", [0, 1, 100])
def test_a_file_that_ends_within_a_skipped_element_is_left_to_pydicom(
    image: Dataset, write: Write, left: int
) -> None:
    block = image.private_block(0x0029, "CSA", create=True)
    block.add_new(1, "OB", bytes(3 * WINDOW_BYTES))
    content = encode(image)
    assert walk_header(write(content)) is not None
    start = content.index(bytes(3 * WINDOW_BYTES))
    assert walk_header(write(content[: start + left * WINDOW_BYTES // 50])) is None


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_are_left_to_pydicom(image: Dataset, write: Write, syntax: str) -> None:
    image.PixelData = b"\0\0"
    path = write(encode(image, syntax))
    assert walk_header(path) is None
    assert parse_header(path).patient_id == "MRNPHI000000"


def test_text_that_is_not_in_its_character_set_is_left_to_pydicom(
    image: Dataset, write: Write
) -> None:
    content = encode(image).replace(b"ISO_IR 100", b"ISO_IR 192")
    assert walk_header(write(content.replace(b"MRNPHI", b"MRNPH\xff"))) is None


def test_a_directory_of_files_is_left_to_pydicom(image: Dataset, write: Write) -> None:
    media_class = b"UI\x1a\0" + image.SOPClassUID.encode() + b"\0"
    directory = b"UI\x14\0" + MediaStorageDirectoryStorage.encode()
    path = write(encode(image).replace(media_class, directory, 1))
    assert walk_header(path) is None
    with pytest.raises(DicomError, match=Reason.DICOMDIR):
        parse_header(path)


def test_what_is_no_file_is_left_to_pydicom(tmp_path: Path, image: Dataset, write: Write) -> None:
    path = write(encode(image))
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "link", "pipe", "nul\0", "."):
        assert walk_header(str(tmp_path / name)) is None


@pytest.mark.slow
def test_every_file_at_hand_is_read_as_by_pydicom(shared_data: Path) -> None:
    walked = readable = 0
    for path in sorted(shared_data.rglob("*")):
        header = walk_header(path) if path.is_file() else None
        expected = by_pydicom(path) if path.is_file() else None
        readable += expected is not None
        if header is not None:
            walked += 1
            assert header == expected
    assert readable > 1300
    assert walked > 0.98 * readable


_DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "overwrite", "end"]),
        st.integers(0, 1300),
        st.one_of(
            st.binary(min_size=1, max_size=12),
            st.sampled_from([b"SQ", b"UN", b"\xff\xff\xff\xff", b"\\ ", b"\0\0", b"DS", END]),
        ),
    ),
    min_size=1,
    max_size=4,
)
Damage = list[tuple[str, int, bytes]]


def apply(content: bytes, damage: Damage) -> bytes:
    changed = bytearray(content)
    for kind, start, junk in damage:
        if kind == "flip" and start < len(changed):
            changed[start] ^= 1 << junk[0] % 8
        elif kind == "cut":
            del changed[start : start + len(junk)]
        elif kind == "insert":
            changed[start:start] = junk
        elif kind == "overwrite":
            changed[start : start + len(junk)] = junk
        elif kind == "end":
            del changed[start:]
    return bytes(changed)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400
)
@example(damage=[("flip", 128, b"\0")], implicit=False)
@given(damage=_DAMAGE, implicit=st.booleans())
def test_a_damaged_file_is_read_as_by_pydicom_or_left_to_it(
    image: Dataset, tmp_path: Path, damage: Damage, implicit: bool
) -> None:
    nest(image, undefined=True)
    content = encode(image, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)
    path = tmp_path / "file"
    path.write_bytes(apply(content, damage))
    header = walk_header(path)
    assert header is None or header == by_pydicom(path)
