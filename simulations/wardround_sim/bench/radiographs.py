"""Radiographs for benchmarks of intake; imports neither torch nor MONAI, as workers load it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from wardround_client.pixels.decode import DecodedImage, decode_file
from wardround_client.quarantine import Reason
from wardround_common.intake_plan import Preprocessing

SIDE = 512
"""Rows and columns, pixels."""
_BITS = 12


class Radiograph(NamedTuple):
    """One file on disk."""

    path: Path
    uid: str
    """SOPInstanceUID."""


def write_radiographs(folder: Path, count: int, syntax: UID) -> list[Radiograph]:
    """Writes ``count`` different images of 512 x 512 pixels, 12 bits in 16."""
    folder.mkdir(parents=True)
    return [_write(folder, number, syntax) for number in range(count)]


def decode_radiograph(preprocessing: Preprocessing, image: Radiograph) -> DecodedImage | Reason:
    """What a site's worker does with one file."""
    return decode_file(image.path, preprocessing, sop_instance_uid=image.uid)


def _write(folder: Path, number: int, syntax: UID) -> Radiograph:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = f"2.25.{number + 1}"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"2.25.1{number}", f"2.25.2{number}"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientID, dataset.AccessionNumber = f"{number}", f"{number}"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.add_new("PixelData", "OW", _picture(number).tobytes())
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    path = folder / f"{number:06}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Radiograph(path, str(dataset.SOPInstanceUID))


def _picture(number: int) -> NDArray[np.uint16]:
    """Something smooth with noise, so that compression works about as hard as on an X-ray."""
    generator = np.random.default_rng(number)
    rows, columns = np.indices((SIDE, SIDE))
    wave = 1000 + 2 * rows + columns + 300 * np.sin(rows / (20 + number % 7))
    noisy = wave + generator.normal(0, 20, (SIDE, SIDE))
    image: NDArray[np.uint16] = np.clip(noisy, 0, (1 << _BITS) - 1).astype("<u2")
    return image
