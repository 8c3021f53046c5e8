"""Takes what decoding needs out of a plain file without pydicom, which takes as long as the rest.

Plain is a file with a prefix in Explicit VR Little Endian, with pixels that are neither compressed
nor followed by anything, and with no LUT or functional group. Whatever else there is, or is not
exactly as the standard writes it, is left to pydicom; both give the same, and tests compare them
over all files at hand and over damaged ones. Encoding: DICOM PS3.5, chapter 7.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from wardround_client.index.reader import MAXIMUM_FILE_BYTES

_SHORT = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_NUMBERS = {b"US": "<H", b"SS": "<h"}
_header_at = struct.Struct("<HH2sH").unpack_from
_item_at = struct.Struct("<HHI").unpack_from
_length_at = struct.Struct("<I").unpack_from
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX, _PIXELS = 0x00020010, 0x7FE00010
_PLAIN_SYNTAX = ExplicitVRLittleEndian.encode()
_START_BYTES = 1024
_MOST_NESTED = 16
_WANTED = {
    0x00080018: (b"UI",),  # SOPInstanceUID
    0x00280002: (b"US",),  # SamplesPerPixel
    0x00280004: (b"CS",),  # PhotometricInterpretation
    0x00280008: (b"IS",),  # NumberOfFrames
    0x00280010: (b"US",),  # Rows
    0x00280011: (b"US",),  # Columns
    0x00280100: (b"US",),  # BitsAllocated
    0x00280101: (b"US",),  # BitsStored
    0x00280102: (b"US",),  # HighBit
    0x00280103: (b"US",),  # PixelRepresentation
    0x00280120: (b"US", b"SS"),  # PixelPaddingValue
    0x00280121: (b"US", b"SS"),  # PixelPaddingRangeLimit
    0x00281050: (b"DS",),  # WindowCenter
    0x00281051: (b"DS",),  # WindowWidth
    0x00281052: (b"DS",),  # RescaleIntercept
    0x00281053: (b"DS",),  # RescaleSlope
    0x00281054: (b"LO",),  # RescaleType
    0x00281056: (b"CS",),  # VOILUTFunction
    0x20500020: (b"CS",),  # PresentationLUTShape
}
_LEFT_TO_PYDICOM = frozenset(
    {
        0x00283000,  # ModalityLUTSequence
        0x00283010,  # VOILUTSequence
        0x52009229,  # SharedFunctionalGroupsSequence
        0x52009230,  # PerFrameFunctionalGroupsSequence
        0x7FE00008,  # FloatPixelData
        0x7FE00009,  # DoubleFloatPixelData
    }
)
_TAGS = {number: Tag(number) for number in (*_WANTED, _PIXELS)}


class _Unusual(Exception):  # noqa: N818  (no error: pydicom reads the file)
    """Something that is left to pydicom."""


def read_plain(path: Path) -> FileDataset | None:
    """The elements that decoding needs, as pydicom would read them; None if pydicom has to."""
    try:
        with path.open("rb", buffering=0) as file:
            start = file.read(_START_BYTES)
            if start[128:132] != b"DICM" or _PLAIN_SYNTAX not in start:
                return None
            if os.fstat(file.fileno()).st_size > MAXIMUM_FILE_BYTES:
                return None
            file.seek(0)
            elements = _elements(file.read())
    except (OSError, _Unusual, struct.error, UnicodeDecodeError):
        return None
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return FileDataset("", elements, file_meta=meta)


def _elements(data: bytes) -> dict[BaseTag, DataElement | RawDataElement]:
    """Walks over all elements and takes those that are wanted."""
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    position, last, syntax = 132, 0, b""
    while True:
        tag, vr, start, stop = _next(data, position, _MOST_NESTED)
        if tag <= last or tag in _LEFT_TO_PYDICOM or stop > len(data):
            raise _Unusual
        if tag == _PIXELS:
            if syntax != _PLAIN_SYNTAX or vr not in (b"OW", b"OB") or stop != len(data):
                raise _Unusual
            found[_TAGS[tag]] = _element(tag, vr, memoryview(data)[start:stop])
            return found
        if tag == _SYNTAX:
            syntax = data[start:stop].rstrip(b"\0")
        elif tag in _WANTED:
            if vr not in _WANTED[tag]:
                raise _Unusual
            if start != stop:
                found[_TAGS[tag]] = _element(tag, vr, _value(data[start:stop], vr))
        position, last = stop, tag


def _next(data: bytes, position: int, depth: int) -> tuple[int, bytes, int, int]:
    """Tag, representation, start and end of the value of the element at ``position``."""
    group, element, vr, length = _header_at(data, position)
    start = position + 8
    if vr not in _SHORT:
        if vr not in _LONG:
            raise _Unusual
        start = position + 12
        (length,) = _length_at(data, position + 8)
    stop = start + length
    if length == _UNDEFINED:
        if vr != b"SQ":
            raise _Unusual
        stop = _end_of_items(data, start, depth)
    return group << 16 | element, vr, start, stop


def _end_of_items(data: bytes, position: int, depth: int) -> int:
    """Where a sequence of undefined length ends."""
    if not depth:
        raise _Unusual
    while True:
        group, element, length = _item_at(data, position)
        tag, position = group << 16 | element, position + 8
        if tag == _SEQUENCE_END and length == 0:
            return position
        if tag != _ITEM:
            raise _Unusual
        position = (
            _end_of_item(data, position, depth) if length == _UNDEFINED else position + length
        )


def _end_of_item(data: bytes, position: int, depth: int) -> int:
    """Where an item of undefined length ends."""
    while True:
        group, element, length = _item_at(data, position)
        if group == _ITEM >> 16:
            if group << 16 | element != _ITEM_END or length:
                raise _Unusual
            return position + 8
        _, _, _, position = _next(data, position, depth - 1)


def _value(content: bytes, vr: bytes) -> int | str:
    """One value as Python has it; several texts stay one, with their backslashes."""
    if vr in _NUMBERS:
        (number,) = struct.unpack(_NUMBERS[vr], content)
        return int(number)
    text = content.decode("ascii").strip(" \0")
    if (vr == b"IS" and not text.isdigit()) or (vr == b"DS" and not text):
        raise _Unusual
    return text


def _element(tag: int, vr: bytes, value: object) -> DataElement:
    return DataElement(_TAGS[tag], vr.decode(), value, already_converted=True)
