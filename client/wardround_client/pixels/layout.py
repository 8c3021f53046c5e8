"""The Image Pixel module of a grey image, checked, before anything is decoded or allocated."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import FileDataset

from wardround_client.index.reader import text_of
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

MAXIMUM_PIXELS = 1 << 26
"""Of one frame."""
POLARITY = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""PhotometricInterpretation of grey images, and the PresentationLUTShape that agrees."""
_FLOATS = ("Float", "DoubleFloat")
_CONTAINERS = (8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the header says of the pixels."""

    frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        """Size of one frame that is not compressed."""
        return self.rows * self.columns * self.bits_allocated // 8


def layout_of(dataset: FileDataset) -> Layout:
    """Reads and checks the Image Pixel module.

    Raises:
        DicomError: It is missing, contradicts itself, or describes what intake does not take.
    """
    _require_grey(dataset)
    stored = number_of(dataset, "BitsStored", 0)
    layout = Layout(
        frames=max(1, number_of(dataset, "NumberOfFrames", 1)),
        rows=number_of(dataset, "Rows", 0),
        columns=number_of(dataset, "Columns", 0),
        bits_allocated=number_of(dataset, "BitsAllocated", 0),
        bits_stored=stored,
        high_bit=number_of(dataset, "HighBit", stored - 1),
        signed=number_of(dataset, "PixelRepresentation", 0) == 1,
    )
    if min(layout.rows, layout.columns) < 1 or layout.bits_allocated not in _CONTAINERS:
        raise DicomError(Reason.NO_PIXELS)
    if not 1 <= layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated:
        raise DicomError(Reason.BROKEN_HEADER)
    if layout.rows * layout.columns > MAXIMUM_PIXELS:
        raise DicomError(Reason.TOO_LARGE)
    return layout


def pixel_bytes(dataset: FileDataset) -> bytes | memoryview:
    """The pixel data as stored.

    Raises:
        DicomError: There is none, or none that is bytes.
    """
    try:
        value = dataset.get("PixelData")
        floats = value is None and any(f"{kind}PixelData" in dataset for kind in _FLOATS)
    except MemoryError:
        raise
    except Exception:  # a wrong VR raises here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    if isinstance(value, bytes | memoryview) and len(value):
        return value
    raise DicomError(Reason.FLOAT_PIXELS if floats else Reason.NO_PIXELS)


def number_of(dataset: FileDataset, keyword: str, absent: int) -> int:
    """Reads a whole number.

    Raises:
        DicomError: The element is there and is none.
    """
    try:
        value = dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:  # a wrong VR raises here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    if type(value) is int:  # as nearly always; the rest takes much longer
        return value
    text = text_of(dataset, keyword)
    try:
        return int(text) if text else absent
    except ValueError:
        raise DicomError(Reason.BROKEN_HEADER) from None


def _require_grey(dataset: FileDataset) -> None:
    pixel_bytes(dataset)
    photometric = text_of(dataset, "PhotometricInterpretation").upper()
    if not photometric:
        raise DicomError(Reason.NO_PIXELS)
    if photometric not in POLARITY or number_of(dataset, "SamplesPerPixel", 1) != 1:
        raise DicomError(Reason.COLOUR)
    shape = text_of(dataset, "PresentationLUTShape").upper()
    if shape in POLARITY.values() and shape != POLARITY[photometric]:
        raise DicomError(Reason.POLARITY)
