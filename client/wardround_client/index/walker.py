"""Reads the header of a usual DICOM file without pydicom, many times as fast.

One bounded read a file, and a walk from element to element that takes what the index keeps. It
never guesses: whatever is not exactly as the standard writes it (no prefix, another byte order,
deflated, an unknown representation or one that is not the element's, tags out of order, a
sequence that does not end where it should, a file cut short ...) is left to pydicom, see
`wardround_client.index.reader`. Both give the same texts for every file this one takes; tests
compare them over all files at hand and over damaged ones.

Encoding: DICOM PS3.5, chapter 7.
"""

from __future__ import annotations

import os
from bisect import bisect
from collections.abc import Callable
from functools import lru_cache
from struct import Struct, unpack
from struct import error as CutShort  # noqa: N812  (what it means here)

from pydicom.charset import (
    STAND_ALONE_ENCODINGS,
    convert_encodings,
    default_encoding,
    python_encoding,
)
from pydicom.datadict import dictionary_VR
from pydicom.uid import AllTransferSyntaxes, ImplicitVRLittleEndian, MediaStorageDirectoryStorage
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from wardround_client.index.elements import (
    HEADER_END,
    TAG_OF,
    VR_OF,
    blank_texts,
    compose_header,
    decode_text,
)
from wardround_client.index.header import Header
from wardround_common.errors import DicomError

WINDOW_BYTES = 16384
_MOST_READS = 16
_UNDEFINED = 0xFFFFFFFF
_META_START, _META_END = 0x0001FFFF, 0x00030000
_META_LENGTH, _MEDIA_CLASS, _SYNTAX, _CHARACTER_SET = 0x00020000, 0x00020002, 0x00020010, 0x00080005
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_explicit_at = Struct("<HH2sH").unpack_from
_implicit_at = Struct("<HHI").unpack_from
_length_at = Struct("<I").unpack_from
_SHORT = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_EXPLICIT_SYNTAXES = frozenset(
    uid
    for uid in AllTransferSyntaxes
    if uid.is_little_endian and not uid.is_implicit_VR and not uid.is_deflated
)
_VR_OF_TAG = {TAG_OF[keyword]: vr.encode() for keyword, vr in VR_OF.items()} | {
    _META_LENGTH: b"UL",
    _MEDIA_CLASS: b"UI",
    _SYNTAX: b"UI",
    _CHARACTER_SET: b"CS",
}
_TARGETS = sorted((*_VR_OF_TAG, _META_END, HEADER_END, 1 << 32))
"""Tags at which a walk has something to do; between two of them it only goes on."""


def _target_after(tag: int) -> int:
    return _TARGETS[bisect(_TARGETS, tag)]


_WANTED = {tag: (vr, _target_after(tag)) for tag, vr in _VR_OF_TAG.items()}
"""Tag of a wanted element to its representation and the next target."""

_Found = dict[int, bytes]
_Take = Callable[[bytes, int, int, _Found], tuple[int, int]]
_Skip = Callable[[bytes, int, int | None], int]

StrOrBytesPath = str | bytes | os.PathLike[str]


class _Unusual(Exception):  # noqa: N818  (no error: pydicom reads the file)
    """Something that only pydicom's leniency can read, or nobody."""


def walk_header(path: StrOrBytesPath) -> Header | None:
    """Reads one file's header; None where that takes pydicom, or where nothing can."""
    try:
        handle = _open(path)
    except (OSError, ValueError):
        return None
    try:
        return _header_of(_find_elements(handle))
    except (_Unusual, CutShort, ValueError, ArithmeticError, RecursionError, OSError, DicomError):
        return None
    finally:
        os.close(handle)


def _open(path: StrOrBytesPath) -> int:
    """Opens a file, if possible without noting in it when it was read."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # only a file's owner may ask for that
        return os.open(path, flags)


def _find_elements(handle: int) -> _Found:
    """Takes the wanted elements of a file: tag to value."""
    found: _Found = {}
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead into the pixels
    data = os.pread(handle, WINDOW_BYTES, 0)
    if data[128:132] != b"DICM":
        raise _Unusual
    position, last = _take_explicit(data, 132, _META_START, found, end=_META_END)
    take = _take_for(found)
    if take is _take_implicit and data[position + 4 : position + 6].isupper():
        raise _Unusual  # explicit after all
    base, last = 0, _META_END - 1
    for _ in range(_MOST_READS):
        position, last = take(data, position, last, found)
        if last >= HEADER_END:
            return found
        base += position
        data, position = os.pread(handle, WINDOW_BYTES, base), 0
        if not data:
            if base != os.fstat(handle).st_size:
                raise _Unusual  # cut short within an element
            return found
    raise _Unusual  # many long elements, or a sequence longer than the window


def _take_for(meta: _Found) -> _Take:
    """Chooses how to read the dataset by the file meta information."""
    if len(meta.get(_META_LENGTH, b"0000")) != 4:
        raise _Unusual
    if meta.get(_MEDIA_CLASS, b"").rstrip(b"\0 ") == MediaStorageDirectoryStorage.encode():
        raise _Unusual
    syntax = _read_uid(meta.get(_SYNTAX, b""), "")
    if syntax in _EXPLICIT_SYNTAXES:
        return _take_explicit
    if syntax == ImplicitVRLittleEndian:
        return _take_implicit
    raise _Unusual


def _take_explicit(
    data: bytes, position: int, last: int, found: _Found, end: int = HEADER_END
) -> tuple[int, int]:
    """Takes wanted elements from ``position`` on, as far as ``data`` goes.

    Returns:
        Where the first element begins that was not taken, and the last tag seen: ``end`` or
        above if that element ends the walk, below if ``data`` does.
    """
    size, short, target = len(data), _SHORT, _target_after(last)
    try:
        while True:
            group, element, vr, length = _explicit_at(data, position)
            tag = group << 16 | element
            if last < tag < target and vr in short:  # most elements
                last = tag
                position += 8 + length
                continue
            if tag <= last:
                raise _Unusual
            if tag >= end:
                # pydicom reads its length too, and refuses a file that is cut short there.
                return position, tag if position + 12 <= size else last
            start = position + 8
            if vr not in short:
                start, length = _long_form(data, position, vr)
            if tag >= target:
                if tag not in _WANTED:
                    target = _target_after(tag)
                else:
                    representation, target = _WANTED[tag]
                    if vr != representation:
                        raise _Unusual
                    if start + length > size:
                        return position, last
                    found[tag] = data[start : start + length]
            last, position = tag, start + length
    except CutShort:
        return position, last


def _long_form(data: bytes, position: int, vr: bytes) -> tuple[int, int]:
    """Start and length of the value of an element with a four-byte length; skips sequences."""
    if vr not in _LONG:
        raise _Unusual
    start = position + 12
    (length,) = _length_at(data, position + 8)
    if length != _UNDEFINED:
        return start, length
    if vr != b"SQ":
        raise _Unusual
    return _skip_items(data, start, _skip_explicit), 0


def _take_implicit(data: bytes, position: int, last: int, found: _Found) -> tuple[int, int]:
    """As `_take_explicit`, where elements don't name their representation."""
    size, target = len(data), _target_after(last)
    try:
        while True:
            group, element, length = _implicit_at(data, position)
            tag = group << 16 | element
            if last < tag < target and length != _UNDEFINED:  # most elements
                last = tag
                position += 8 + length
                continue
            if tag <= last:
                raise _Unusual
            if tag >= HEADER_END:
                return position, tag
            start = position + 8
            if length == _UNDEFINED:
                start, length = _skip_sequence(data, start, tag), 0
            if tag >= target:
                if tag not in _WANTED:
                    target = _target_after(tag)
                else:
                    _, target = _WANTED[tag]
                    if start + length > size:
                        return position, last
                    found[tag] = data[start : start + length]
            last, position = tag, start + length
    except CutShort:
        return position, last


def _skip_sequence(data: bytes, start: int, tag: int) -> int:
    """Skips a value of undefined length that the dictionary, or its start, tells a sequence."""
    if tag >> 16 & 1:
        group, element, _ = _implicit_at(data, start)
        is_sequence = group << 16 | element == _ITEM
    else:
        is_sequence = _is_sequence(tag)
    if not is_sequence:
        raise _Unusual
    return _skip_items(data, start, _skip_implicit)


@lru_cache(maxsize=1024)
def _is_sequence(tag: int) -> bool:
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _skip_items(data: bytes, position: int, skip: _Skip) -> int:
    """Returns where a sequence of undefined length ends; every item has to end where it says."""
    while True:
        group, element, length = _implicit_at(data, position)
        tag, position = group << 16 | element, position + 8
        if tag == _SEQUENCE_END and length == 0:
            return position
        if tag != _ITEM:
            raise _Unusual
        position = skip(data, position, None if length == _UNDEFINED else position + length)


def _skip_explicit(data: bytes, position: int, stop: int | None) -> int:
    """Returns where an item ends: at ``stop``, or behind its delimiter if that is None."""
    last = 0
    while position != stop:
        group, element, vr, length = _explicit_at(data, position)
        tag, start = group << 16 | element, position + 8
        if tag == _ITEM_END and stop is None and vr == b"\0\0" and length == 0:
            return start
        if tag <= last or tag >= _ITEM:
            raise _Unusual
        if vr not in _SHORT:
            start, length = _long_form(data, position, vr)
        last, position = tag, start + length
        if stop is not None and position > stop:
            raise _Unusual
    return position


def _skip_implicit(data: bytes, position: int, stop: int | None) -> int:
    """As `_skip_explicit`, where elements don't name their representation."""
    last = 0
    while position != stop:
        group, element, length = _implicit_at(data, position)
        tag, start = group << 16 | element, position + 8
        if tag == _ITEM_END and stop is None and length == 0:
            return start
        if tag <= last or tag >= _ITEM:
            raise _Unusual
        if length == _UNDEFINED:
            start, length = _skip_sequence(data, start, tag), 0
        last, position = tag, start + length
        if stop is not None and position > stop:
            raise _Unusual
    return position


def _header_of(found: _Found) -> Header:
    texts = blank_texts()
    encoding = _encoding_of(found.pop(_CHARACTER_SET, b""))
    for tag, value in found.items():
        keyword = _CODES.get(tag)
        if keyword is not None:
            texts[keyword] = decode_text(value)
        elif tag in _READERS:
            keyword, read = _READERS[tag]
            texts[keyword] = read(value, encoding)
    return compose_header(texts)


@lru_cache(maxsize=64)
def _encoding_of(character_set: bytes) -> str:
    """The encoding of text without escape sequences, if the character set is a proper one."""
    names = character_set.decode("latin-1").rstrip(" \0").split("\\")
    several = len(names) > 1
    if not python_encoding.keys() >= set(names) or (
        several and not set(STAND_ALONE_ENCODINGS).isdisjoint(names)
    ):
        raise _Unusual
    encoding = convert_encodings(names if several else names[0])[0]
    return "latin-1" if encoding == default_encoding else encoding  # a name Python knows faster


def _read_text(value: bytes, encoding: str) -> str:
    if b"\x1b" in value:
        raise _Unusual
    return decode_text(value, encoding)


@lru_cache(maxsize=256)
def _read_uid(value: bytes, _: str) -> str:
    uid = value.rstrip(b"\0 ")
    if uid.translate(None, b"0123456789."):
        raise _Unusual
    return uid.decode()


def _read_unsigned(value: bytes, _: str) -> str:
    if len(value) not in (0, 2):
        raise _Unusual
    return str(int.from_bytes(value, "little")) if value else ""


def _read_doubles(value: bytes, _: str) -> str:
    return "\\".join([str(number) for number in unpack(f"<{len(value) // 8}d", value)])


_READ_BY_VR: dict[str, Callable[[bytes, str], str]] = {
    "UI": _read_uid,
    "LO": _read_text,
    "SH": _read_text,
    "US": _read_unsigned,
    "FD": _read_doubles,
}
_READERS = {
    TAG_OF[keyword]: (keyword, _READ_BY_VR[vr])
    for keyword, vr in VR_OF.items()
    if vr in _READ_BY_VR
} | {_SYNTAX: ("TransferSyntaxUID", _read_uid)}
_CODES = {TAG_OF[keyword]: keyword for keyword, vr in VR_OF.items() if vr not in _READ_BY_VR}
"""Elements in the default character set: codes, dates, and numbers as text."""
