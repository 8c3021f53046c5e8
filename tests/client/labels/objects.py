"""What the index would know of a few instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from wardround_client.archive.files import ArchiveFile
from wardround_client.index.header import Header, Instance
from wardround_client.index.reader import quiet

COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
STUDY = "1.2.4"


def instance(uid: str, *, sop_class: str = COMPREHENSIVE, **texts: str) -> Instance:
    empty = dict.fromkeys(Header._fields, "") | {"age_years": None}
    known = {"sop_instance_uid": uid, "sop_class_uid": sop_class, "study_uid": STUDY}
    header = Header(**(empty | known | {"patient_id": "MRNPHI1", "issuer": "issuer"} | texts))
    return Instance(ArchiveFile(path=uid.encode(), size_bytes=1, mtime_ns=1), header)


def scanned(dataset: Dataset) -> Instance:
    """The instance as the index knows it."""

    def text(keyword: str) -> str:
        value = dataset.get(keyword, "")
        return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)

    return instance(
        text("SOPInstanceUID"),
        sop_class=text("SOPClassUID"),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        patient_id=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        modality=text("Modality"),
        image_type=text("ImageType"),
        photometric=text("PhotometricInterpretation"),
        orientation=text("ImageOrientationPatient"),
        position=text("ImagePositionPatient"),
        pixel_spacing=text("PixelSpacing"),
        rows=text("Rows"),
        columns=text("Columns"),
    )


CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
LESION, ORGAN = Code("52988006", "SCT", "Lesion"), Code("10200004", "SCT", "Liver")
UPRIGHT = np.eye(3)


def ct_series(
    shape: tuple[int, int, int] = (6, 5, 8),
    *,
    axes: NDArray[np.float64] = UPRIGHT,
    spacing_mm: tuple[float, float, float] = (2.5, 0.7, 0.9),
    series: str = "1.2.6",
) -> list[Dataset]:
    """A CT series, lowest slice first; rows of ``axes``: right, down, along the slices."""
    return [_ct_slice(number, shape, axes, spacing_mm, series) for number in range(shape[0])]


def _ct_slice(
    number: int,
    shape: tuple[int, int, int],
    axes: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
    series: str,
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": CT_CLASS,
        "SOPInstanceUID": f"{series}.{number + 1}",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": "1.2.7",
        "PatientID": "MRNPHI1",
        "PatientName": "Phileak^Planted",
        "IssuerOfPatientID": "issuer",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": [f"{x:.9f}" for x in axes[:2].ravel()],
        "ImagePositionPatient": [f"{x:.6f}" for x in (number * spacing_mm[0] * axes[2] + 10)],
        "PixelSpacing": [str(mm) for mm in spacing_mm[1:]],
        "SliceThickness": "1.0",
        "Rows": shape[1],
        "Columns": shape[2],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "InstanceNumber": number + 1,
        "PixelData": bytes(2 * shape[1] * shape[2]),
    }
    blank = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    values |= dict.fromkeys((*blank, "AccessionNumber", "ReferringPhysicianName"), "")
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def segmentation(
    images: Sequence[Dataset],
    pixels: NDArray[Any],
    *,
    kind: str = "BINARY",
    types: Sequence[Code] = (LESION,),
    uid: str = "1.2.8.1",
    **options: Any,
) -> Dataset:
    """A segmentation as highdicom writes it."""
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"segment {number}",
            segmented_property_category=Code("49755003", "SCT", "Morphologically abnormal"),
            segmented_property_type=code,
            algorithm_type="MANUAL",
        )
        for number, code in enumerate(types, start=1)
    ]
    with quiet():
        return hd.seg.Segmentation(
            images,
            pixels,
            kind,
            segments,
            series_instance_uid="1.2.8",
            series_number=9,
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer="Maker",
            manufacturer_model_name="Model",
            software_versions="1",
            device_serial_number="1",
            **options,
        )
