"""Tiny hospitals: a few valid DICOM files, a label file, a workspace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from wardround_common.intake_plan import Preprocessing
from wardround_common.site_config import Intake, SiteConfig
from wardround_common.study import Member, Study

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"


def picture(seed: int = 0, shape: tuple[int, int] = (40, 32)) -> NDArray[np.uint16]:
    """A smooth 12-bit image, different for each seed."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    wave = 1000 + 40 * rows + 15 * columns + 300 * np.sin(rows / (2 + seed % 5))
    return np.clip(wave + generator.integers(0, 50, shape), 0, 4095).astype(np.uint16)


def image_dataset(pixels: NDArray[Any], number: int = 0, **elements: Any) -> Dataset:
    """A computed radiograph of patient ``number``; elements replace, None removes."""
    bits = 12 if pixels.dtype.itemsize == 2 else 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": COMPUTED_RADIOGRAPHY,
        "SOPInstanceUID": f"2.25.1{number:06}",
        "StudyInstanceUID": f"2.25.2{number:06}",
        "SeriesInstanceUID": f"2.25.3{number:06}",
        "AccessionNumber": f"ACC{number:06}",
        "PatientID": f"MRNPHI{number:06}",
        "PatientName": "Phileak^Planted",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Manufacturer": "Maker",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Writes a dataset as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", UID("1.2.3"))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", UID("1.2.3"))
    dataset.save_as(path, enforce_file_format=True)
    return path


class Hospital:
    """A folder with an archive, a label file and a workspace."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self.archive.mkdir(parents=True)
        self.labels: list[str] = ["StudyInstanceUID,AccessionNumber,label"]
        self.config = SiteConfig(
            site="hospital",
            archive=self.archive,
            labels=folder / "labels.csv",
            workspace=folder / "workspace",
            intake=Intake(processes=0),
        )

    def add(self, number: int, label: int | None = None, **elements: Any) -> Path:
        """Adds the image of patient ``number``; with a label, also its row."""
        if label is not None:
            self.labels.append(f"2.25.2{number:06},ACC{number:06},{label}")
        dataset = image_dataset(picture(number), number, **elements)
        return save(dataset, self.archive / f"{number:06}.dcm")

    def fill(self, count: int) -> Hospital:
        """Adds ``count`` patients, every second one positive."""
        for number in range(count):
            self.add(number, number % 2)
        return self.write_labels()

    def write_labels(self) -> Hospital:
        """Writes the label file."""
        self.config.labels.write_text("\n".join(self.labels) + "\n", encoding="utf-8")
        return self


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path / "hospital")


@pytest.fixture
def new_picture() -> Callable[..., NDArray[np.uint16]]:
    return picture


@pytest.fixture
def new_image() -> Callable[..., Dataset]:
    return image_dataset


@pytest.fixture
def save_image() -> Callable[[Dataset, Path], Path]:
    return save


@pytest.fixture
def new_study() -> Callable[..., Study]:
    """Makes a study of small images; keyword arguments replace its sections."""

    def make(**sections: Any) -> Study:
        members = tuple(Member(site=f"s{n}", key=f"ed25519:{n + 1:064x}") for n in range(3))
        small = {"preprocessing": Preprocessing(rows=24, columns=24)}
        return Study(
            name="chest",
            purpose="a test",
            expires="2099-12-31",
            seed=1,
            coordinator_key="ed25519:" + "f" * 64,
            members=members,
            **(small | sections),
        )

    return make
