"""DICOM headers of synthetic radiographs: CR, DX and Secondary Capture.

Attributes follow PS3.3: A.2 (Computed Radiography Image IOD), A.26 (Digital X-Ray Image IOD, for
presentation) and A.8.1 (Secondary Capture Image IOD). The identifiers of a patient stand where
real archives have them: in their own attributes, in a comment and in a private element.
"""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from wardround_sim.synthetic.exposure import Radiograph, pixel_spacing_mm
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.roster import ImagingStudy, Patient, capture_uid, institution

_IMPLEMENTATION_UID = UID("2.25.225961317906443915412838842377283318016")
_DETECTOR_MAGNIFICATION = 1.05


def radiograph_header(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, image: Radiograph
) -> Dataset:
    """A CR or DX instance with plain pixels, ready for `encode_file`."""
    dataset = new_dataset(spec, patient, study)
    dataset.SOPInstanceUID = study.instance_uid
    dataset.SeriesInstanceUID = study.series_uid
    dataset.Modality = spec.modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation = "NO"
    dataset.ImageComments = f"Synthetic phantom of {patient.name}"
    # The detector stands a little behind the patient, so it sees everything larger.
    dataset.ImagerPixelSpacing = [round(pixel_spacing_mm(spec) * _DETECTOR_MAGNIFICATION, 5)] * 2
    _add_grey_pixels(dataset, image.pixels, spec.bits_stored, spec.photometric)
    dataset.WindowCenter, dataset.WindowWidth = image.window
    if spec.modality == "DX":
        _add_dx(dataset, spec)
    else:
        dataset.SOPClassUID = ComputedRadiographyImageStorage
        dataset.PlateType = "PHANTOM"
    return dataset


def capture_header(spec: SyntheticHospital, patient: Patient, study: ImagingStudy) -> Dataset:
    """A screenshot that lies in the study of a good image and is none."""
    dataset = new_dataset(spec, patient, study)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = capture_uid(study.instance_uid)
    dataset.SeriesInstanceUID = capture_uid(study.series_uid)
    # A scanner's dose sheet calls itself CT; only its class and type of image betray it.
    dataset.Modality = "CT" if spec.modality == "CT" else "OT"
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = "CHEST"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SeriesNumber = 99
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = None
    dataset.BurnedInAnnotation = "YES"
    stripes = np.zeros((96, 128), dtype=np.uint16)
    stripes[8::12, 8:120] = 220
    _add_grey_pixels(dataset, stripes, 8, "MONOCHROME2")
    return dataset


def export_protocol(patient: Patient) -> bytes:
    """A text with the name of an image, as export stations leave them; it names the patient."""
    return f"Export protocol of {patient.name}: 1 image\n".encode() * 40


def new_dataset(spec: SyntheticHospital, patient: Patient, study: ImagingStudy) -> Dataset:
    """File meta and the modules of patient, study and equipment, with planted identifiers."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "WARDROUND_SYN_1"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = patient.name
    dataset.PatientID = patient.patient_id
    dataset.IssuerOfPatientID = patient.issuer
    dataset.PatientBirthDate = _da(patient.birth_day)
    dataset.PatientSex = patient.sex
    dataset.PatientAge = f"{study.age_years:03d}Y"
    dataset.StudyInstanceUID = study.study_uid
    dataset.StudyID = "1"
    dataset.AccessionNumber = study.accession_number
    dataset.ReferringPhysicianName = None
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = _da(study.day)
    dataset.ContentDate = dataset.StudyDate
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = "101500"
    dataset.ContentTime = dataset.StudyTime
    dataset.StudyDescription = "Chest CT" if spec.modality == "CT" else "Chest PA"
    dataset.Manufacturer = spec.manufacturer
    dataset.ManufacturerModelName = f"Phantom {spec.modality}"
    dataset.SoftwareVersions = "1"
    dataset.InstitutionName = institution(spec)
    private = dataset.private_block(0x0019, "WARDROUND PHANTOM", create=True)
    private.add_new(0x01, "LO", patient.patient_id)
    return dataset


def _add_grey_pixels(
    dataset: Dataset, pixels: NDArray[np.uint16], bits_stored: int, photometric: str
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 8 if bits_stored == 8 else 16
    dataset.BitsStored = bits_stored
    dataset.HighBit = bits_stored - 1
    dataset.PixelRepresentation = 0
    stored = pixels.astype(np.uint8 if bits_stored == 8 else "<u2")
    dataset.add_new("PixelData", "OB" if bits_stored == 8 else "OW", stored.tobytes())


def _add_dx(dataset: Dataset, spec: SyntheticHospital) -> None:
    """What the Digital X-Ray IOD asks for beyond Computed Radiography."""
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = Sequence([code("816094009", "SCT", "Chest")])
    dataset.ViewCodeSequence = Sequence([code("399348003", "SCT", "postero-anterior")])
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    dataset.PositionerType = "NONE"
    dataset.AcquisitionContextSequence = Sequence([])
    dataset.DetectorType = "DIRECT"
    dataset.DetectorID = "PHANTOM"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if spec.photometric == "MONOCHROME1" else -1
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    dataset.RescaleType = "US"
    inverse = spec.photometric == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.LossyImageCompression = "00"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def _da(day: date) -> str:
    return day.strftime("%Y%m%d")
