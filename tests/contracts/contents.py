"""What the archives of the contract tests hold: small, valid, and of many kinds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
)

from wardround_client.archive.source import Wanted
from wardround_sim.synthetic.encode import encode_file
from wardround_sim.synthetic.hospital import TransferSyntax

ROOT = "2.25.4711"
WANTED = Wanted(
    modalities=("CT", "CR", "DX", "SR"),
    study_uids=frozenset(f"{ROOT}.{study}" for study in range(1, 6)),
)


class Item(NamedTuple):
    """One instance of an archive."""

    sop_uid: str
    modality: str
    file: bytes

    @property
    def wanted(self) -> bool:
        """Whether `WANTED` covers it."""
        return self.modality in WANTED.modalities


def contents() -> list[Item]:
    """Two imaging studies of one patient, three of others; every encoding that a PACS keeps."""
    return [
        *(image("CT", (1, 1, n), "explicit_little") for n in range(1, 5)),
        *(image("CT", (1, 2, n), "rle") for n in range(1, 4)),
        image("US", (1, 3, 1), "explicit_little"),
        report((1, 4, 1)),
        *(image("CT", (2, 1, n), "implicit_little") for n in range(1, 3)),
        image("CR", (3, 1, 1), "jpeg_ls", PhotometricInterpretation="MONOCHROME1"),
        image("DX", (4, 1, 1), "jpeg_2000"),
        image("CR", (5, 1, 1), "deflated", PatientName="Müller^Jörg"),
    ]


def image(
    modality: str, place: tuple[int, int, int], syntax: TransferSyntax, **elements: Any
) -> Item:
    """One image; ``place`` numbers its imaging study, series and instance."""
    dataset = _header(modality, place)
    generator = np.random.default_rng(place)
    pixels = generator.integers(0, 4096, (48, 40), dtype=np.uint16)
    values: dict[str, Any] = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | elements).items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    return Item(dataset.SOPInstanceUID, modality, encode_file(dataset, syntax))


def report(place: tuple[int, int, int]) -> Item:
    """One structured report, without content."""
    dataset = _header("SR", place)
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.ValueType = "CONTAINER"
    return Item(dataset.SOPInstanceUID, "SR", encode_file(dataset, "explicit_little"))


def day_of(study: int) -> date:
    """Day of an imaging study: recent, for a PACS is asked day by day up to today."""
    return date.today() - timedelta(days=9 - study)


def dataset_bytes(file: bytes) -> bytes:
    """A file without preamble and file meta information, which each PACS writes anew."""
    meta_length = int.from_bytes(file[140:144], "little")  # FileMetaInformationGroupLength
    return file[144 + meta_length :]


def _header(modality: str, place: tuple[int, int, int]) -> Dataset:
    study, series, number = place
    patient = 1 if study < 3 else study
    classes = {
        "CT": CTImageStorage,
        "CR": ComputedRadiographyImageStorage,
        "DX": DigitalXRayImageStorageForPresentation,
        "US": UltrasoundImageStorage,
        "SR": EnhancedSRStorage,
    }
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = classes[modality]
    dataset.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    dataset.StudyDate = f"{day_of(study):%Y%m%d}"
    dataset.AccessionNumber = f"ACC{study}"
    dataset.Modality = modality
    dataset.PatientName = "Phileak^Planted"
    dataset.PatientID = f"MRNPHI{patient}"
    dataset.StudyInstanceUID = f"{ROOT}.{study}"
    dataset.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    dataset.InstanceNumber = number
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset
