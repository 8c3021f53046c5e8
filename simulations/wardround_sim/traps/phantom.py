"""Slices whose values are their own places: after rescale, a voxel holds one coordinate in mm.

A case is written three times, for x, y and z. Whoever reads it gets, for each voxel, the place in
the patient at which that voxel truly lies, to compare with where the reader says it lies; that
holds for resampled volumes as well, for a coordinate is a linear function of position.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

Places = NDArray[np.float64]

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "128"))
MODALITIES = {CT: "CT", MR: "MR", PET: "PT"}
SLOPE_MM = 0.005
"""Of the stored values; rounding moves a voxel by half of it."""
LEAST_MM = -160.0
"""Coordinate of stored value 0; 16 bits reach to 167 mm."""
ROWS, COLUMNS = 10, 8
SPACING = (0.9, 0.7)
ORIGIN = np.array([-20.0, 11.0, 30.0])
AXIAL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Direction cosines as in ImageOrientationPatient: along a row, along a column."""


def along_normal(axes: Places, steps: Sequence[float] | float, count: int = 12) -> Places:
    """Places of slices one behind the other, float64, shape (slices, 3).

    Args:
        axes: Direction cosines of the slices.
        steps: Distance of the slices, mm, or every distance.
        count: Slices, where the distance is one.
    """
    gaps = np.full(count - 1, steps) if isinstance(steps, float) else np.array(steps)
    distances = np.concatenate([[0.0], np.cumsum(gaps)])
    places: Places = ORIGIN + distances[:, None] * np.cross(axes[0], axes[1])
    return places


def coordinates(
    position: Places, axes: Places, *, shape: tuple[int, int], spacing: tuple[float, float]
) -> Places:
    """True place of each voxel of a slice, float64, shape (rows, columns, 3)."""
    rows, columns = np.indices(shape)
    down, right = rows * spacing[0], columns * spacing[1]
    places: Places = position + down[..., None] * axes[1] + right[..., None] * axes[0]
    return places


def make_slice(
    number: int,
    position: Places,
    axis: int,
    *,
    axes: Places = AXIAL,
    shape: tuple[int, int] = (ROWS, COLUMNS),
    spacing: tuple[float, float] = SPACING,
    kind: str = CT,
    series: int = 1,
    **elements: Any,
) -> Dataset:
    """Makes one single-frame instance.

    Args:
        number: InstanceNumber, and part of SOPInstanceUID.
        position: ImagePositionPatient.
        axis: Which coordinate the voxels hold: 0, 1 or 2.
        axes: Direction cosines.
        shape: Rows and columns.
        spacing: Between rows and between columns, mm.
        kind: SOP class.
        series: Part of SeriesInstanceUID.
        elements: Replace elements; None removes.
    """
    places = coordinates(position, axes, shape=shape, spacing=spacing)[..., axis]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = _identity(kind, series, number) | {
        "ImagePositionPatient": decimals(position),
        "ImageOrientationPatient": decimals(axes.ravel()),
        "PixelSpacing": decimals(spacing),
        "SliceThickness": "2.5",
        "RescaleSlope": str(SLOPE_MM),
        "RescaleIntercept": str(LEAST_MM),
        **_pixels(places),
    }
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def _identity(kind: str, series: int, number: int) -> dict[str, Any]:
    return {
        "SOPClassUID": kind,
        "SOPInstanceUID": f"2.25.{series}{number:06}",
        "StudyInstanceUID": "2.25.900",
        "SeriesInstanceUID": f"2.25.91{series}",
        "FrameOfReferenceUID": "2.25.920",
        "PatientID": "TRAP",
        "Modality": MODALITIES.get(kind, "OT"),
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceNumber": number,
        **({"Units": "BQML"} if kind == PET else {}),
    }


def _pixels(places: Places) -> dict[str, Any]:
    stored = np.rint((places - LEAST_MM) / SLOPE_MM)
    if not 0 <= stored.min() <= stored.max() < 1 << 16:
        raise ValueError("the phantom leaves the range of its values")
    return image_elements(stored.astype(np.uint16))


def image_elements(stored: NDArray[Any], *, bits: int = 16) -> dict[str, Any]:
    """The Image Pixel module of a grey image.

    Args:
        stored: 8 or 16 bits, shape (rows, columns) or (frames, rows, columns).
        bits: BitsStored.
    """
    return {
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 8 * stored.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.tobytes() + b"\0" * (stored.nbytes % 2),
    }


def decimals(numbers: Sequence[float] | Places, digits: int = 10) -> list[str]:
    """Decimal strings of at most 16 characters, the longest that DICOM allows."""
    return [f"{number:.{digits}f}"[:16] for number in numbers]


def write(dataset: Dataset, path: Path) -> None:
    """Writes a dataset as a DICOM file, in the transfer syntax of its file meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(dataset))


def encode(dataset: Dataset) -> bytes:
    """The bytes of a DICOM file."""
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", UID("1.2.3"))
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", UID("1.2.3"))
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if meta.TransferSyntaxUID.is_encapsulated else "OW"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
