"""Reads the few header elements that intake needs from one DICOM file, by pydicom.

pydicom warns and logs with tag values in its texts, and raises lazily when a value is touched;
both are kept inside this module's `quiet` and `text_of`.
"""

from __future__ import annotations

import io
import logging
import os
import unicodedata
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from wardround_client.index.elements import (
    HEADER_END,
    KEYWORDS,
    TAG_OF,
    VR_OF,
    blank_texts,
    compose_header,
    decode_text,
)
from wardround_client.index.header import Header
from wardround_client.index.walker import walk_header
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

# Log lines of the DICOM libraries quote tag values: they are silenced for good, in every process.
for _name in ("pydicom", "highdicom", "pylibjpeg", "openjpeg", "rle", "jpeg_ls"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

MAXIMUM_FILE_BYTES = 1 << 30
_PIXELS = 0x7FE00008
_SMALL_BYTES = 1 << 16
_DECIDE_NOTHING = frozenset(
    {
        "Manufacturer",
        "ManufacturerModelName",
        "MagneticFieldStrength",
        "SliceThickness",
        "StudyDate",
        "PatientSex",
        "PatientAge",
        "PatientBirthDate",
    }
)
"""A broken one of these counts as absent."""
_NUMBERS = ("DS", "IS")
_AS_TEXT = (None, "DS", "IS", "UN")
"""Representations in which a number's value is its text; None is that of implicit VR."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings of the DICOM libraries, which quote tag values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_below(root: bytes, path: bytes) -> Header | Reason:
    """Reads the header of the file ``path`` below ``root``, or returns why it cannot be used."""
    try:
        return read_header(root + b"/" + path)
    except DicomError as error:
        return Reason(error.reason)


def parse_header(path: Path) -> Header:
    """Reads one file's header by pydicom.

    Raises:
        DicomError: The file cannot be used; the reason is a `Reason`.
    """
    with quiet():
        return _header_of(open_dataset(path, tags=list(KEYWORDS), end=HEADER_END))


def read_header(path: Path | bytes) -> Header:
    """Reads one file's header, the fast way where that is certain.

    Raises:
        DicomError: The file cannot be used; the reason is a `Reason`.
    """
    header = walk_header(path)
    return parse_header(Path(os.fsdecode(path))) if header is None else header


def open_dataset(path: Path, *, tags: list[str] | None = None, end: int = _PIXELS) -> FileDataset:
    """Opens a DICOM file with or without preamble.

    A missing transfer syntax is set to the one by which the file could be read.

    Args:
        path: The file.
        tags: Keywords of the only elements to read; all and the pixels where None.
        end: With ``tags``, the first tag that is not looked at.

    Raises:
        DicomError: The file is unreadable, no DICOM, too large or broken.
    """
    try:
        with _Bounded(path.open("rb", buffering=0)) as file:
            start = file.read(132)
            forced = start[128:] != b"DICM"
            if forced and not _looks_like_a_bare_dataset(start):
                raise DicomError(Reason.NOT_DICOM)
            _refuse_bomb(file, start=0 if forced else 132, whole=tags is None)
            if tags is None:
                return _with_transfer_syntax(pydicom.dcmread(file, force=forced))
            wanted: list[BaseTag | int] = [Tag(keyword) for keyword in tags]
            dataset = read_partial(
                file, lambda tag, *_: tag >= end, force=forced, specific_tags=wanted
            )
            return _with_transfer_syntax(dataset)
    except (DicomError, MemoryError):  # a worker's limit is no fault of the header
        raise
    except OSError as error:  # pydicom raises it as well, and then no system call has failed
        reason = Reason.BROKEN_HEADER if error.errno is None else Reason.UNREADABLE
        raise DicomError(reason) from None
    except Exception:  # a parser of foreign bytes may raise anything
        raise DicomError(Reason.BROKEN_HEADER) from None


class _Bounded(io.BufferedReader):
    """A file that takes no memory for bytes it does not have, however many are asked for.

    A damaged length says up to 4 GB, and Python's files make room before they read.
    """

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads as any file does."""
        if size is not None and size > _SMALL_BYTES:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


def _looks_like_a_bare_dataset(start: bytes) -> bool:
    """Tells whether bytes without ``DICM`` begin with a little-endian group 2 or 8 element.

    pydicom's ``force`` alone would read any file, a password list included.
    """
    return start[:2] in (b"\x02\x00", b"\x08\x00") and len(start) == 132 and start[3] == 0


def _refuse_bomb(file: BinaryIO, *, start: int, whole: bool) -> None:
    """Refuses a file that is too large, or that inflates to more than the limit."""
    size = file.seek(0, 2)
    if whole and size > MAXIMUM_FILE_BYTES:
        raise DicomError(Reason.TOO_LARGE)
    file.seek(start)
    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        _refuse_deflated_bomb(file)
    file.seek(0)


def _refuse_deflated_bomb(file: BinaryIO) -> None:
    """Inflates the rest of ``file`` piece by piece and refuses it past the limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = 0
    block = file.read(1 << 16)
    while block and not inflater.eof:
        inflated += len(inflater.decompress(block, 1 << 20))
        if inflated > MAXIMUM_FILE_BYTES:
            raise DicomError(Reason.TOO_LARGE)
        block = inflater.unconsumed_tail or file.read(1 << 16)


def _with_transfer_syntax(dataset: FileDataset) -> FileDataset:
    found = dataset.file_meta.get("TransferSyntaxUID")
    if found and not isinstance(found, str):
        raise DicomError(Reason.BROKEN_HEADER)
    if not found:
        implicit, little = dataset.original_encoding
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain if little else ExplicitVRBigEndian
    return dataset


def _header_of(dataset: FileDataset) -> Header:
    if text_of(dataset.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise DicomError(Reason.DICOMDIR)
    texts = blank_texts()
    texts["TransferSyntaxUID"] = text_of(dataset.file_meta, "TransferSyntaxUID")
    for keyword in KEYWORDS:
        try:
            read = _number_of if VR_OF[keyword] in _NUMBERS else text_of
            texts[keyword] = read(dataset, keyword)
        except DicomError:
            if keyword not in _DECIDE_NOTHING:
                raise
    try:
        return compose_header(texts)
    except (ValueError, ArithmeticError):  # a text that is no number, or one without end
        raise DicomError(Reason.BROKEN_HEADER) from None


def _number_of(dataset: Dataset, keyword: str) -> str:
    """Reads a number as it is written, so that a broken one is still told from an absent one."""
    try:
        element = dataset.get_item(TAG_OF[keyword])
    except MemoryError:
        raise
    except Exception:  # an empty value is converted here, whatever its representation
        raise DicomError(Reason.BROKEN_HEADER) from None
    if isinstance(element, RawDataElement) and element.VR in _AS_TEXT:
        return decode_text(element.value or b"")
    return text_of(dataset, keyword)


def text_of(dataset: Dataset, keyword: str) -> str:
    """Reads one element as text: decoded, in Unicode form NFC, stripped; empty where absent.

    Raises:
        DicomError: The element is there and cannot be read.
    """
    try:
        value = dataset.get(keyword)
        if value is None:
            return ""
        parts = [str(part).strip(" \0") for part in value] if _is_many(value) else [str(value)]
    except MemoryError:
        raise
    except Exception:  # wrong VRs raise here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    return unicodedata.normalize("NFC", "\\".join(parts)).strip(" \0\t\r\n")


def _is_many(value: object) -> bool:
    return isinstance(value, (MultiValue, list, tuple))
