"""DICOM headers of synthetic CT: slices and localizers.

Attributes follow PS3.3: A.3 (Computed Tomography Image IOD). For Enhanced CT see `ct_enhanced`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from wardround_sim.synthetic.headers import new_dataset
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.roster import (
    ImagingStudy,
    Patient,
    frame_of_reference_uid,
    localizer_uid,
    slice_uid,
)
from wardround_sim.synthetic.tomography import STORAGE, Tomogram
from wardround_sim.synthetic.voxels import Grid

WINDOW = (-600, 1500)
"""Centre and width of the display window in the headers: lung."""


def slice_headers(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, tomogram: Tomogram
) -> Iterator[tuple[int, Dataset]]:
    """Yields number and instance of each slice, with plain pixels, ready for `encode_file`.

    It is one and the same dataset each time, for headers of thousands of slices differ in little:
    encode it before taking the next.
    """
    dataset = _ct_dataset(spec, patient, study)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SliceThickness = ds(spec.scanner.thickness_mm)
    dataset.ImageOrientationPatient = [ds(value) for value in orientation(tomogram.grid)]
    dataset.PixelSpacing = [ds(value) for value in pixel_spacing(tomogram.grid)]
    for number, pixels in enumerate(tomogram.stored):
        dataset.SOPInstanceUID = slice_uid(study, number)
        dataset.InstanceNumber = instance_number(spec, number)
        position = tomogram.grid.position(np.array([number, 0, 0], np.float64))
        dataset.ImagePositionPatient = [ds(value) for value in position]
        dataset.SliceLocation = ds(position[2])
        add_stored(dataset, pixels, spec)
        yield number, dataset


def localizer_header(
    spec: SyntheticHospital, patient: Patient, study: ImagingStudy, tomogram: Tomogram
) -> Dataset:
    """A frontal overview, as scanners take it first; it lies in the series of the slices."""
    grid, form = tomogram.grid, STORAGE[spec.scanner.storage]
    depth = np.where(tomogram.stored == form.padding, -form.intercept - 1000, tomogram.stored)
    # Rows of a frontal view run from head to feet.
    shown = depth.mean(axis=1)[:: -1 if grid.slice_mm > 0 else 1]
    dataset = _ct_dataset(spec, patient, study)
    dataset.SOPInstanceUID = localizer_uid(study)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.InstanceNumber = len(tomogram.stored) + 1
    dataset.RescaleType = "US"  # a sum along rays is no Hounsfield unit
    dataset.SliceThickness = ds(abs(grid.row_mm[0]) * grid.shape[1])
    across = 1.0 if grid.column_mm > 0 else -1.0
    dataset.ImageOrientationPatient = [ds(v) for v in (across, 0, 0, 0, 0, -1)]
    dataset.PixelSpacing = [ds(abs(grid.slice_mm)), ds(abs(grid.column_mm))]
    top = grid.shape[0] - 1 if grid.slice_mm > 0 else 0
    corner = grid.position(np.array([top, (grid.shape[1] - 1) / 2, 0]))
    dataset.ImagePositionPatient = [ds(value) for value in corner]
    add_stored(dataset, np.rint(shown).astype(np.int32), spec)
    return dataset


def instance_number(spec: SyntheticHospital, number: int) -> int:
    """InstanceNumber of a slice: counted from the feet or from the head."""
    scanner = spec.scanner
    from_feet = scanner.patient_position == "HFS"
    reverse = scanner.head_first_instances == from_feet
    return scanner.slices - number if reverse else number + 1


def orientation(grid: Grid) -> tuple[float, ...]:
    """ImageOrientationPatient: direction of columns, then of rows, as unit vectors."""
    down, up = grid.row_mm
    pixel = np.hypot(down, up)
    return (
        1.0 if grid.column_mm > 0 else -1.0,
        0.0,
        0.0,
        0.0,
        float(down / pixel),
        float(up / pixel),
    )


def pixel_spacing(grid: Grid) -> tuple[float, float]:
    """PixelSpacing: from row to row, from column to column, mm."""
    return float(np.hypot(*grid.row_mm)), abs(grid.column_mm)


def ds(value: float) -> float:
    """A number that fits a decimal string of 16 characters, off by less than a nanometre."""
    return round(float(value), 7) + 0.0


def add_stored(dataset: Dataset, stored: NDArray[np.int32], spec: SyntheticHospital) -> None:
    """Sets the Image Pixel module of one slice, or of frames one after the other."""
    form = STORAGE[spec.scanner.storage]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = 16
    dataset.BitsStored = form.bits_stored
    dataset.HighBit = form.bits_stored - 1
    dataset.PixelRepresentation = int(form.signed)
    dataset.add_new("PixelData", "OW", stored.astype("<i2" if form.signed else "<u2").tobytes())


def _ct_dataset(spec: SyntheticHospital, patient: Patient, study: ImagingStudy) -> Dataset:
    """What slices and localizers have in common."""
    scanner, form = spec.scanner, STORAGE[spec.scanner.storage]
    dataset = new_dataset(spec, patient, study)
    dataset.SOPClassUID = CTImageStorage
    dataset.SeriesInstanceUID = study.series_uid
    dataset.Modality = "CT"
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = f"Thorax {scanner.kernel}"
    dataset.AcquisitionNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = scanner.patient_position
    dataset.FrameOfReferenceUID = frame_of_reference_uid(study)
    dataset.PositionReferenceIndicator = None
    dataset.BurnedInAnnotation = "NO"
    dataset.ImageComments = f"Synthetic phantom of {patient.name}"
    dataset.KVP = 120
    dataset.ConvolutionKernel = scanner.kernel
    dataset.RescaleIntercept = form.intercept
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = WINDOW
    if scanner.padded:
        dataset.add_new("PixelPaddingValue", "SS" if form.signed else "US", form.padding)
    return dataset
