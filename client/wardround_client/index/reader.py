"""Reads the few header elements that intake needs from one DICOM file.

pydicom warns and logs with tag values in its texts, and raises lazily when a value is touched;
both are kept inside this module's `quiet` and `text_of`.
"""

from __future__ import annotations

import logging
import unicodedata
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

MAXIMUM_FILE_BYTES = 1 << 30
_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "rle", "jpeg_ls")
_TAGS = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "AccessionNumber",
    "Modality",
    "PresentationIntentType",
    "Manufacturer",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "BodyPartExamined",
    "ViewPosition",
    "StudyInstanceUID",
    "BurnedInAnnotation",
]
_DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What intake knows of one instance; every text is stripped, and empty where absent."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    accession: str
    patient_id: str
    issuer: str
    modality: str
    body_part: str
    view: str
    image_type: str
    """Values of ImageType joined by backslashes, as in the file."""
    intent: str
    """PresentationIntentType."""
    burned_in: str
    """BurnedInAnnotation."""
    manufacturer: str
    sex: str
    """M, F or empty."""
    age_years: float | None
    """Age at the imaging study, or None."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings and log lines of the DICOM libraries, which quote tag values."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_header(path: Path) -> Header:
    """Reads one file's header.

    Raises:
        DicomError: The file cannot be used; the reason is a `Reason`.
    """
    with quiet():
        return _header_of(open_dataset(path, tags=_TAGS))


def open_dataset(path: Path, *, tags: list[str] | None = None) -> FileDataset:
    """Opens a DICOM file with or without preamble; with ``tags``, only these and no pixels.

    A missing transfer syntax is set to the one by which the file could be read.

    Raises:
        DicomError: The file is unreadable, no DICOM, too large or broken.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
            forced = start[128:] != b"DICM"
            if forced and not _looks_like_a_bare_dataset(start):
                raise DicomError(Reason.NOT_DICOM)
            _refuse_bomb(file, start=0 if forced else 132, whole=tags is None)
            only_header = tags is not None
            dataset = pydicom.dcmread(
                file, force=forced, stop_before_pixels=only_header, specific_tags=tags
            )
            return _with_transfer_syntax(dataset)
    except DicomError:
        raise
    except OSError:
        raise DicomError(Reason.UNREADABLE) from None
    except Exception:  # a parser of foreign bytes may raise anything
        raise DicomError(Reason.BROKEN_HEADER) from None


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
    header = Header(
        sop_instance_uid=text_of(dataset, "SOPInstanceUID"),
        sop_class_uid=text_of(dataset, "SOPClassUID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        accession=text_of(dataset, "AccessionNumber"),
        patient_id=text_of(dataset, "PatientID"),
        issuer=text_of(dataset, "IssuerOfPatientID"),
        modality=text_of(dataset, "Modality").upper(),
        body_part=text_of(dataset, "BodyPartExamined").upper(),
        view=text_of(dataset, "ViewPosition").upper(),
        image_type=text_of(dataset, "ImageType").upper(),
        intent=text_of(dataset, "PresentationIntentType").upper(),
        burned_in=text_of(dataset, "BurnedInAnnotation").upper(),
        manufacturer=_text_or_empty(dataset, "Manufacturer"),
        sex=_sex_of(dataset),
        age_years=_age_of(dataset),
    )
    if not (header.sop_instance_uid and header.sop_class_uid and header.study_uid):
        raise DicomError(Reason.NO_IDENTITY)
    return header


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
    except Exception:  # wrong VRs raise here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    return unicodedata.normalize("NFC", "\\".join(parts)).strip(" \0\t\r\n")


def _is_many(value: object) -> bool:
    return isinstance(value, (MultiValue, list, tuple))


def _text_or_empty(dataset: FileDataset, keyword: str) -> str:
    """Reads an element that decides nothing; a broken one counts as absent."""
    try:
        return text_of(dataset, keyword)
    except DicomError:
        return ""


def _sex_of(dataset: FileDataset) -> str:
    sex = _text_or_empty(dataset, "PatientSex").upper()
    return sex if sex in ("M", "F") else ""


def _age_of(dataset: FileDataset) -> float | None:
    """Reads PatientAge (such as ``045Y``), else the time from birth to the imaging study."""
    age = _text_or_empty(dataset, "PatientAge").upper()
    if age[:-1].isascii() and age[:-1].isdigit() and age[-1] in _DAYS_PER_UNIT:
        return int(age[:-1]) * _DAYS_PER_UNIT[age[-1]] / _DAYS_PER_UNIT["Y"]
    born = _date_of(_text_or_empty(dataset, "PatientBirthDate"))
    seen = _date_of(_text_or_empty(dataset, "StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / _DAYS_PER_UNIT["Y"]


def _date_of(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
