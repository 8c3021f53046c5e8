from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.pixels.plain import read_plain
from wardround_common.errors import DicomError
from wardround_sim.bench.fuzzing import damaged

KEYWORDS = (
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTFunction",
    "PresentationLUTShape",
)
Make = Callable[..., Dataset]
Save = Callable[[Dataset, Path], Path]


def assert_alike(found: FileDataset, path: Path) -> None:
    """Compares with pydicom; numbers as numbers, for pydicom writes them anew."""
    try:
        expected = open_dataset(path)
    except DicomError:
        return  # something that decides nothing cannot be read; so be it
    assert found.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert bytes(found.PixelData) == expected.PixelData
    for keyword in KEYWORDS:
        assert _numbers(found, keyword) == _numbers(expected, keyword), keyword


def _numbers(dataset: FileDataset, keyword: str) -> object:
    try:
        text = text_of(dataset, keyword)
        return [float(part) for part in text.split("\\")]
    except ValueError:
        return text
    except DicomError:
        return "broken"


@pytest.fixture
def usual(new_image: Make, new_picture: Any) -> Make:
    """An image with everything that is taken, and sequences of both kinds before it."""

    def make(**elements: Any) -> Dataset:
        inner, item = Dataset(), Dataset()
        inner.CodeValue = "1"
        item.PurposeOfReferenceCodeSequence = Sequence([inner])
        item.PurposeOfReferenceCodeSequence.is_undefined_length = True
        usual: dict[str, Any] = {
            "SourceImageSequence": Sequence([item, item]),
            "ReferencedImageSequence": Sequence([item]),
            "PixelPaddingValue": 4000,
            "WindowCenter": [1000, 2000],
            "WindowWidth": [500, 600],
            "RescaleSlope": 1,
            "RescaleIntercept": "-1024",
            "VOILUTFunction": "LINEAR",
            "PresentationLUTShape": "IDENTITY",
        }
        dataset = new_image(new_picture(3), 3, **(usual | elements))
        for name in ("SourceImageSequence", "ReferencedImageSequence"):
            if name in dataset:
                dataset[name].is_undefined_length = name == "SourceImageSequence"
        item.is_undefined_length_sequence_item = True
        return dataset

    return make


def test_a_plain_file_is_read_as_pydicom_reads_it(
    tmp_path: Path, usual: Make, save_image: Save
) -> None:
    path = save_image(usual(), tmp_path / "a.dcm")
    found = read_plain(path)
    assert found is not None
    assert_alike(found, path)


@pytest.mark.parametrize(
    "elements",
    [
        {"ModalityLUTSequence": [Dataset()]},
        {"VOILUTSequence": [Dataset()]},
        {"SharedFunctionalGroupsSequence": [Dataset()]},
        {"PerFrameFunctionalGroupsSequence": [Dataset()]},
        {"FloatPixelData": bytes(4)},
        {"DataSetTrailingPadding": bytes(4)},
    ],
)
def test_whatever_is_unusual_is_left_to_pydicom(
    tmp_path: Path, usual: Make, save_image: Save, elements: dict[str, Any]
) -> None:
    assert read_plain(save_image(usual(**elements), tmp_path / "a.dcm")) is None


def test_another_syntax_a_cut_or_a_missing_file_are_left_to_pydicom(
    tmp_path: Path, usual: Make, save_image: Save
) -> None:
    path = save_image(usual(), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-1])
    assert read_plain(path) is None
    assert read_plain(tmp_path / "gone") is None
    implicit = usual()
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert read_plain(save_image(implicit, tmp_path / "b.dcm")) is None
    other = (tmp_path / "c.dcm").write_bytes(b"")
    assert other == 0 and read_plain(tmp_path / "c.dcm") is None


def test_elements_out_of_order_are_left_to_pydicom(
    tmp_path: Path, usual: Make, save_image: Save
) -> None:
    path = save_image(usual(), tmp_path / "a.dcm")
    rows, columns = b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"
    content = path.read_bytes().replace(rows, b"?" * 8).replace(columns, rows)
    path.write_bytes(content.replace(b"?" * 8, columns))
    assert read_plain(path) is None


def test_damaged_files_are_read_alike_or_left_to_pydicom(
    tmp_path: Path, usual: Make, save_image: Save
) -> None:
    content = save_image(usual(), tmp_path / "a.dcm").read_bytes()
    path, taken = tmp_path / "damaged.dcm", 0
    with quiet():
        for number in range(400):
            path.write_bytes(damaged(content, 11, number))
            found = read_plain(path)
            if found is not None:
                taken += 1
                assert_alike(found, path)
    assert taken > 50


def test_every_real_file_is_read_alike_or_left_to_pydicom(shared_data: Path) -> None:
    taken = 0
    with quiet():
        for folder in ("dicom_corpus", "cxr"):
            for path in sorted((shared_data / folder).rglob("*")):
                found = read_plain(path) if path.is_file() else None
                if found is not None:
                    taken += 1
                    assert_alike(found, path)
    assert taken > 250
