"""Many CT files whose headers are as long and as nested as a scanner's, for `index`.

Every file has its own identity and place; all else is that of its kind. Most are explicit VR
with sequences of defined or undefined length, one in eight is implicit VR, as some archives
convert to; all carry a maker's private elements and a kilobyte of private bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

_SLICES = 100
"""Files in a folder."""
_IMPLICIT_EVERY = 8
_SIDE = 512
_NUMBER = 90_000_000
"""Stands for the file's number in a kind's header, and in the UIDs of its folder."""
_FOLDER = 80_000_000


def write_files(folder: Path, count: int, *, side: int = _SIDE) -> list[Path]:
    """Writes ``count`` files of ``side`` x ``side`` 16-bit pixels into folders of 100."""
    kinds = list(_kinds(side))
    pixels = bytes(range(256)) * (2 * side * side // 256)
    paths = []
    for number in range(count):
        series = number // _SLICES
        path = folder / f"patient{series // 4:05}" / f"series{series:06}" / f"{number:08}.dcm"
        if number % _SLICES == 0:
            path.parent.mkdir(parents=True)
        implicit = number % _IMPLICIT_EVERY == _IMPLICIT_EVERY - 1
        header = kinds[-1] if implicit else kinds[series % (len(kinds) - 1)]
        header = header.replace(b"%d" % _NUMBER, b"%d" % (_NUMBER + 1 + number))
        path.write_bytes(header.replace(b"%d" % _FOLDER, b"%d" % (_FOLDER + 1 + series)) + pixels)
        paths.append(path)
    return paths


def _kinds(side: int) -> Iterator[bytes]:
    """Headers up to the pixels: explicit VR twice, then implicit VR."""
    for implicit, undefined in ((False, False), (False, True), (True, False)):
        dataset = _ct_slice(side, undefined=undefined)
        dataset.file_meta = FileMetaDataset()
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.add_new("PixelData", "OW", bytes(2 * side * side))
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        yield buffer.getvalue()[: -2 * side * side]


def _ct_slice(side: int, *, undefined: bool) -> Dataset:
    """One slice without its pixels."""
    dataset = Dataset()
    dataset.update(_identity())
    for keyword, value in _TEXTS.items():
        setattr(dataset, keyword, value)
    dataset.Rows = dataset.Columns = side
    for name in ("ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence"):
        setattr(dataset, name, [_reference()])
    dataset.ReferencedImageSequence = [_reference() for _ in range(3)]
    dataset.RequestAttributesSequence = [_request()]
    dataset.ProcedureCodeSequence = [_code()]
    _add_private(dataset)
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    return dataset


def _identity() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.3.12.2.1107.5.1.4.75679.30000021{_FOLDER}.{_NUMBER}"
    dataset.StudyInstanceUID = f"1.3.12.2.1107.5.1.4.75679.30000021111613{_FOLDER}"
    dataset.SeriesInstanceUID = f"1.3.12.2.1107.5.1.4.75679.3000002111161412{_FOLDER}"
    dataset.FrameOfReferenceUID = f"1.3.12.2.1107.5.1.4.75679.1.{_FOLDER}"
    dataset.PatientID, dataset.AccessionNumber = f"P{_FOLDER}", f"A{_FOLDER}"
    dataset.InstanceNumber = _NUMBER
    dataset.ImagePositionPatient = [-249.51171875, -415.01171875, _NUMBER]
    return dataset


def _reference() -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CTImageStorage
    item.ReferencedSOPInstanceUID = f"1.3.12.2.1107.5.1.4.75679.3000002111.{_FOLDER}"
    return item


def _code() -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "CTTHKM", "99LOCAL"
    item.CodeMeaning = "CT thorax with contrast medium"
    return item


def _request() -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepDescription = "CT thorax"
    item.ScheduledProtocolCodeSequence = [_code()]
    item.ScheduledProcedureStepID = item.RequestedProcedureID = f"A{_FOLDER}"
    return item


def _add_private(dataset: Dataset) -> None:
    """A maker's elements: texts, numbers and a kilobyte of bytes."""
    texts = dataset.private_block(0x0009, "BENCH CT VA0 COAD", create=True)
    for offset in range(16):
        texts.add_new(offset, "LO", f"private text number {offset}")
    numbers = dataset.private_block(0x0029, "BENCH CSA HEADER", create=True)
    for offset in range(8):
        numbers.add_new(offset, "FD", offset / 7)
    numbers.add_new(0x10, "OB", bytes(1024))


_TEXTS: dict[str, object] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "InstanceCreationDate": "20240117",
    "InstanceCreationTime": "111954.671000",
    "StudyDate": "20240117",
    "SeriesDate": "20240117",
    "AcquisitionDate": "20240117",
    "ContentDate": "20240117",
    "StudyTime": "111613.593000",
    "SeriesTime": "111902.140000",
    "AcquisitionTime": "111941.480381",
    "ContentTime": "111941.480381",
    "Modality": "CT",
    "Manufacturer": "Maker",
    "InstitutionName": "Generated hospital",
    "InstitutionAddress": "No street 1, Nowhere",
    "ReferringPhysicianName": "Nobody^N",
    "StationName": "CT75679",
    "StudyDescription": "Thorax^01_Thorax_routine (adult)",
    "SeriesDescription": "Thorax 1.0 Br40 3",
    "InstitutionalDepartmentName": "Radiology",
    "PhysiciansOfRecord": "Nobody^N",
    "PerformingPhysicianName": "Nobody^N",
    "OperatorsName": "Nobody",
    "ManufacturerModelName": "Generated scanner",
    "PatientName": "Generated^Patient",
    "PatientBirthDate": "19570302",
    "PatientSex": "F",
    "PatientAge": "066Y",
    "PatientWeight": "71",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "SPIRAL",
    "SliceThickness": "1",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "75679",
    "SoftwareVersions": "generated 1.0",
    "ProtocolName": "01_Thorax_routine",
    "ReconstructionDiameter": "384",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "165",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "112",
    "Exposure": "46",
    "FilterType": "FLAT",
    "GeneratorPower": "13",
    "FocalSpots": "1.2",
    "DateOfLastCalibration": "20240117",
    "TimeOfLastCalibration": "073004.000000",
    "ConvolutionKernel": ["Br40d", "3"],
    "PatientPosition": "FFS",
    "ExposureModulationType": "XYZ_EC",
    "EstimatedDoseSaving": 34.5,
    "CTDIvol": 3.11,
    "StudyID": "1",
    "SeriesNumber": "3",
    "AcquisitionNumber": "2",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PositionReferenceIndicator": "",
    "SliceLocation": "-1320.5",
    "ImageComments": "",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": [0.9765625, 0.9765625],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 1907,
    "WindowCenter": [50, -600],
    "WindowWidth": [350, 1200],
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    "RequestingPhysician": "Nobody^N",
    "RequestedProcedureDescription": "CT thorax",
    "PerformedProcedureStepStartDate": "20240117",
    "PerformedProcedureStepStartTime": "111613.671000",
    "PerformedProcedureStepID": "CT20240117111613",
}
"""What a routine chest CT says; none of it is of a person."""
