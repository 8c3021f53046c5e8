"""The header elements that the index keeps, and how their texts become one `Header`.

Two readers fill the same texts: `wardround_client.index.walker`, fast and for usual files only,
and `wardround_client.index.reader`, by pydicom and for all others.
"""

from __future__ import annotations

import unicodedata
from datetime import date
from functools import lru_cache
from operator import itemgetter
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from wardround_client.index.header import Header
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

Texts = dict[str, Any]
"""DICOM keyword to text, empty where absent; `blank_texts` holds every keyword of the index."""

HEADER_END = 0x52000000
"""Functional groups, overlays and pixels begin here; no element of the index lies behind."""

_PLAIN = {
    "sop_instance_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
    "transfer_syntax": "TransferSyntaxUID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "frame_of_reference_uid": "FrameOfReferenceUID",
    "accession": "AccessionNumber",
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "study_date": "StudyDate",
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view": "ViewPosition",
    "image_type": "ImageType",
    "intent": "PresentationIntentType",
    "burned_in": "BurnedInAnnotation",
    "photometric": "PhotometricInterpretation",
    "manufacturer": "Manufacturer",
    "model_name": "ManufacturerModelName",
    "field_strength": "MagneticFieldStrength",
    "kernel": "ConvolutionKernel",
    "slice_thickness": "SliceThickness",
    "series_number": "SeriesNumber",
    "instance_number": "InstanceNumber",
    "acquisition_number": "AcquisitionNumber",
    "trigger_time": "TriggerTime",
    "temporal_position": "TemporalPositionIdentifier",
    "echo_time": "EchoTime",
    "echo_number": "EchoNumbers",
    "inversion_time": "InversionTime",
    "flip_angle": "FlipAngle",
    "b_value": "DiffusionBValue",
    "gradient": "DiffusionGradientOrientation",
    "orientation": "ImageOrientationPatient",
    "position": "ImagePositionPatient",
    "pixel_spacing": "PixelSpacing",
    "imager_pixel_spacing": "ImagerPixelSpacing",
    "rows": "Rows",
    "columns": "Columns",
    "frames": "NumberOfFrames",
    "samples": "SamplesPerPixel",
    "units": "Units",
}
"""Fields that are the text of one element."""

_SOURCES = (
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
)
"""Elements from which the other fields are made."""

_CAPITALS = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "ImageType",
    "PresentationIntentType",
    "BurnedInAnnotation",
)
_AGE_CHARACTERS = 4
_DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}

KEYWORDS = tuple(k for k in (*_PLAIN.values(), *_SOURCES) if k != "TransferSyntaxUID")
"""Elements of the dataset that are read; the transfer syntax is in the file meta information."""

VR_OF = {keyword: dictionary_VR(keyword) for keyword in KEYWORDS}
TAG_OF = {keyword: tag_for_keyword(keyword) or 0 for keyword in KEYWORDS}
_in_order_of_fields = itemgetter(*(_PLAIN.get(field, field) for field in Header._fields))
_BLANK: Texts = dict.fromkeys((*KEYWORDS, "TransferSyntaxUID"), "")


def blank_texts() -> Texts:
    """Texts of a header without any element."""
    return _BLANK.copy()


@lru_cache(maxsize=1024)  # most values are those of the file before
def decode_text(value: bytes, encoding: str = "latin-1") -> str:
    r"""Decodes the value of a text element; several values stay joined by backslashes.

    Returns:
        The text in Unicode form NFC; every value is stripped of blanks and NUL bytes.

    Raises:
        UnicodeError: The bytes are no text in ``encoding``.
    """
    text = value.decode(encoding)
    if "\\" in text:
        text = "\\".join([part.strip(" \0") for part in text.split("\\")])
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.strip(" \0\t\r\n")


def compose_header(texts: Texts) -> Header:
    """Makes the header from the texts of its elements, which it changes.

    Raises:
        DicomError: The instance has no identity.
    """
    if not (texts["SOPInstanceUID"] and texts["SOPClassUID"] and texts["StudyInstanceUID"]):
        raise DicomError(Reason.NO_IDENTITY)
    for keyword in _CAPITALS:
        texts[keyword] = texts[keyword].upper()
    sex = texts["PatientSex"].upper()
    texts["sex"] = sex if sex in ("M", "F") else ""
    texts["age_years"] = _age_years(texts)
    acquired = texts["AcquisitionDate"] + texts["AcquisitionTime"]
    texts["acquisition_time"] = texts["AcquisitionDateTime"] or acquired
    texts["content_time"] = texts["ContentDate"] + texts["ContentTime"]
    return Header._make(_in_order_of_fields(texts))


def _age_years(texts: Texts) -> float | None:
    """Reads PatientAge (such as ``045Y``), else the time from birth to the imaging study."""
    age = texts["PatientAge"].upper()
    number, short = age[:-1], len(age) <= _AGE_CHARACTERS
    if short and number.isascii() and number.isdigit() and age[-1] in _DAYS_PER_UNIT:
        return float(int(number) * _DAYS_PER_UNIT[age[-1]] / _DAYS_PER_UNIT["Y"])
    born, seen = _date_of(texts["PatientBirthDate"]), _date_of(texts["StudyDate"])
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / _DAYS_PER_UNIT["Y"]


def _date_of(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
