"""Builds one de-identified image: see `wardround_client.deidentify`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

from wardround_client.deidentify.allowed import ALLOWED, ENHANCED
from wardround_client.deidentify.luts import rebuilt_tables
from wardround_client.deidentify.rules import Maker
from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.pixels.decode import StoredFrames, decode_frames
from wardround_client.pixels.layout import Layout, layout_of
from wardround_client.pseudonym import pseudonym
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

IMAGE_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.CTImageStorage,
        uid.EnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
        uid.PositronEmissionTomographyImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
    }
)
"""Kinds of image that rarely have text burned in; no other is rebuilt."""
_CAPTURED = frozenset({"SECONDARY", "SCREEN SAVE", "SCREENSHOT"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_IMPLEMENTATION_UID = "2.25.158206387391302841720437091653249016581"
_IMPLEMENTATION_NAME = "WARDROUND"
_METHOD = "wardround: rebuilt from an allow list"
_NAME_DIGITS = 16
_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_READ = [*ENHANCED, *_TABLES, "IssuerOfPatientID", "SpecificCharacterSet"]
"""All that is read of an original's header; the rest is not even looked at."""


def rebuild(source: FileDataset, stored: StoredFrames | None, *, secret: bytes) -> Dataset:
    """Builds a new image of what the allow-list lets through.

    The same image and secret always give the same dataset.

    Args:
        source: The original's header, which stays as it is.
        stored: Its pixels; None builds a header alone.
        secret: The site's.

    Raises:
        DicomError: The kind of image may show its patient's name, names no patient, or its
            header cannot be read.
    """
    with quiet():
        _require_fit(source)
        layout = layout_of(stored.dataset) if stored else None
        signed = layout.signed if layout else text_of(source, "PixelRepresentation") == "1"
        allowed = ENHANCED if "SharedFunctionalGroupsSequence" in source else ALLOWED
        made = Maker(secret, signed=signed).rebuilt(source, allowed)
        big_endian = source.file_meta.get("TransferSyntaxUID") == uid.ExplicitVRBigEndian
        for keyword in _TABLES:
            if tables := rebuilt_tables(source, keyword, big_endian=big_endian):
                setattr(made, keyword, tables)
        _name_patient(made, source, secret)
        if layout is not None and stored is not None:
            _set_pixels(made, stored, layout)
        made.file_meta = _file_meta(made)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltFile:
    """One de-identified image as a DICOM file."""

    patient: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    content: bytes
    """The whole file: preamble, file meta, dataset."""


def rebuild_file(path: Path, *, secret: bytes) -> RebuiltFile | Reason:
    """Builds one file anew, or says why it is left out; a work item of `workers.run_guarded`.

    Args:
        path: The original.
        secret: The site's.
    """
    try:
        with quiet():
            header = open_dataset(path, tags=_READ)
            _require_fit(header)
            stored = decode_frames(path, sop_instance_uid=text_of(header, "SOPInstanceUID"))
            made = rebuild(header, stored, secret=secret)
            content = encode(made)
    except DicomError as error:
        return Reason(error.reason)
    except MemoryError:  # the worker process has a reason of its own for it
        raise
    except Exception:  # a parser of foreign bytes may raise anything, also lazily
        return Reason.BROKEN_HEADER
    return RebuiltFile(
        patient=made.PatientID,
        study_uid=made.StudyInstanceUID,
        series_uid=made.SeriesInstanceUID,
        sop_instance_uid=made.SOPInstanceUID,
        content=content,
    )


def encode(made: Dataset) -> bytes:
    """Writes a rebuilt dataset as a DICOM file, Explicit VR Little Endian."""
    buffer = io.BytesIO()
    with quiet():
        dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def _require_fit(source: Dataset) -> None:
    """Refuses kinds of image that may show who the patient is, and what has no identity.

    Raises:
        DicomError: With the reason.
    """
    sop_class = text_of(source, "SOPClassUID")
    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    types = set(text_of(source, "ImageType").upper().split("\\"))
    annotations = {a.strip() for a in text_of(source, "BurnedInAnnotation").upper().split("\\")}
    checks: tuple[tuple[Reason, bool], ...] = (
        (Reason.SECONDARY_CAPTURE, (sop_class + ".").startswith(_SECONDARY_CAPTURE + ".")),
        (Reason.NOT_REBUILT, sop_class not in IMAGE_CLASSES or bool(types & _CAPTURED)),
        (Reason.NO_IDENTITY, not all(text_of(source, keyword) for keyword in uids)),
        (Reason.NO_PATIENT, not text_of(source, "PatientID")),
        (Reason.BURNED_IN, bool(annotations - {"", "NO"})),
    )
    for reason, holds in checks:
        if holds:
            raise DicomError(reason)


def _name_patient(made: Dataset, source: Dataset, secret: bytes) -> None:
    """Sets what names patient and imaging study, and says that identifiers are gone."""
    issuer = text_of(source, "IssuerOfPatientID")
    made.PatientID = pseudonym(secret, text_of(source, "PatientID"), issuer)
    made.PatientName = made.PatientID[:_NAME_DIGITS]
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        if keyword not in made:
            setattr(made, keyword, "")
    for keyword in ("AccessionNumber", "ReferringPhysicianName"):
        setattr(made, keyword, "")
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = _METHOD
    made.LongitudinalTemporalInformationModified = "REMOVED"


def _set_pixels(made: Dataset, stored: StoredFrames, layout: Layout) -> None:
    """Sets the Image Pixel module; values are right-aligned, so that no bit is without meaning."""
    size = layout.bits_allocated // 8
    content = stored.values.astype(f"<{'i' if layout.signed else 'u'}{size}").tobytes()
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = text_of(stored.dataset, "PhotometricInterpretation").upper()
    if "NumberOfFrames" in made or layout.frames > 1:
        made.NumberOfFrames = layout.frames
    made.Rows, made.Columns = layout.rows, layout.columns
    made.BitsAllocated, made.BitsStored = layout.bits_allocated, layout.bits_stored
    made.HighBit = layout.bits_stored - 1
    made.PixelRepresentation = int(layout.signed)
    made.add_new("PixelData", "OW" if size > 1 else "OB", content + bytes(len(content) % 2))


def _file_meta(made: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid.UID(_IMPLEMENTATION_UID)
    meta.ImplementationVersionName = _IMPLEMENTATION_NAME
    return meta
