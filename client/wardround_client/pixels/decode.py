"""Decodes the pixels of one DICOM file, with one decoder pinned for each transfer syntax.

Decoders of lossy syntaxes differ by some grey levels, so every site uses the same one. Sizes are
compared before a decoder runs: a file must not be able to ask for more memory than its header
allows. `decode_file` is a pure function of a file; it may run in a worker process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from wardround_client.index.headers import open_dataset, quiet, text_of
from wardround_client.pixels.codestream import coded_size
from wardround_client.pixels.radiograph import model_pixels
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

MAXIMUM_PIXELS = 1 << 26
_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
_PLUGINS = {
    uid.RLELossless: "pylibjpeg",
    uid.JPEGBaseline8Bit: "gdcm",
    uid.JPEGExtended12Bit: "gdcm",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
"""Which of pydicom's decoder plugins reads which compressed transfer syntax."""
_POLARITY = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
_CONTAINERS = (8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImage:
    """One image, ready for the cache."""

    pixels: NDArray[np.int16]
    """int16, shape (rows, columns), standard deviations times `pixels.SCALE`."""
    sha256: str
    """Hash of the decoded stored values and their shape; equal for copies of one image."""


def decode_file(
    path: Path, preprocessing: Preprocessing, *, sop_instance_uid: str
) -> DecodedImage | Reason:
    """Decodes one file and prepares it for the model, or says why it cannot.

    Args:
        path: The file.
        preprocessing: Size and fit of the study.
        sop_instance_uid: What the index knows the file by; another one means it was replaced.
    """
    try:
        with quiet(), np.errstate(all="ignore"):
            dataset = open_dataset(path)
            found = text_of(dataset, "SOPInstanceUID")
            if found != sop_instance_uid:
                # pydicom gives up a whole file whose encapsulated pixels have no end.
                return Reason.CHANGED if found else Reason.TRUNCATED
            stored = stored_values(dataset)
            pixels = model_pixels(dataset, stored, preprocessing)
    except DicomError as error:
        return Reason(error.reason)
    content = hashlib.sha256(repr(stored.shape).encode())
    content.update(np.ascontiguousarray(stored).data)
    return DecodedImage(pixels=pixels, sha256=content.hexdigest())


def stored_values(dataset: FileDataset) -> NDArray[np.int32]:
    """Decodes a grey single image to its stored values, int32, shape (rows, columns).

    Bits outside BitsStored, where older devices kept overlays, are removed.

    Raises:
        DicomError: The image is no grey single image, or cannot be decoded with certainty.
    """
    layout = _layout_of(dataset)
    _check_length(dataset, layout)
    plugin = _plugin_for(dataset)
    try:
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        # pydicom would cut values to BitsStored before we can see that they exceed it.
        options: Any = {"raw": True, "correct_unused_bits": False, "decoding_plugin": plugin}
        array, _ = decoder.as_array(dataset, index=0, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # decoders may raise anything; a panic in Rust is no Exception
        raise DicomError(Reason.DECODE_FAILED) from None
    if array.shape != (layout.rows, layout.columns):
        raise DicomError(Reason.SIZE_MISMATCH)
    packed = not plugin or dataset.file_meta.TransferSyntaxUID == uid.RLELossless
    return _stored_bits(array, layout, packed=packed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The Image Pixel module of one grey image."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool


def _layout_of(dataset: FileDataset) -> _Layout:
    """Reads and checks the Image Pixel module.

    Raises:
        DicomError: It is missing, or describes what intake does not take.
    """
    photometric = text_of(dataset, "PhotometricInterpretation").upper()
    if not photometric or not _pixel_bytes(dataset):
        raise DicomError(Reason.NO_PIXELS)
    if photometric not in _POLARITY or _number(dataset, "SamplesPerPixel", 1) != 1:
        raise DicomError(Reason.COLOUR)
    if _number(dataset, "NumberOfFrames", 1) > 1:
        raise DicomError(Reason.MULTI_FRAME)
    shape = text_of(dataset, "PresentationLUTShape").upper()
    if shape in _POLARITY.values() and shape != _POLARITY[photometric]:
        raise DicomError(Reason.POLARITY)
    stored = _number(dataset, "BitsStored", 0)
    layout = _Layout(
        rows=_number(dataset, "Rows", 0),
        columns=_number(dataset, "Columns", 0),
        bits_allocated=_number(dataset, "BitsAllocated", 0),
        bits_stored=stored,
        high_bit=_number(dataset, "HighBit", stored - 1),
        signed=_number(dataset, "PixelRepresentation", 0) == 1,
    )
    if min(layout.rows, layout.columns) < 1 or layout.bits_allocated not in _CONTAINERS:
        raise DicomError(Reason.NO_PIXELS)
    if not 1 <= layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated:
        raise DicomError(Reason.BROKEN_HEADER)
    if layout.rows * layout.columns > MAXIMUM_PIXELS:
        raise DicomError(Reason.TOO_LARGE)
    return layout


def _pixel_bytes(dataset: FileDataset) -> bytes:
    """The pixel data as stored; empty where there is none, or none that is bytes."""
    try:
        value = dataset.get("PixelData")
    except Exception:  # a wrong VR raises here, in many ways
        raise DicomError(Reason.BROKEN_HEADER) from None
    return value if isinstance(value, bytes) else b""


def _number(dataset: FileDataset, keyword: str, absent: int) -> int:
    text = text_of(dataset, keyword)
    try:
        return int(text) if text else absent
    except ValueError:
        raise DicomError(Reason.BROKEN_HEADER) from None


def _check_length(dataset: FileDataset, layout: _Layout) -> None:
    """Compares the bytes at hand with the size that the header promises.

    Raises:
        DicomError: They are too few, or the codestream is of another size.
    """
    if dataset.file_meta.TransferSyntaxUID in _NATIVE:
        needed = layout.rows * layout.columns * layout.bits_allocated // 8
        if len(_pixel_bytes(dataset)) < needed:
            raise DicomError(Reason.TRUNCATED)
        return
    if dataset.file_meta.TransferSyntaxUID not in _PLUGINS:
        raise DicomError(Reason.NO_DECODER)
    if dataset.file_meta.TransferSyntaxUID == uid.RLELossless:
        return  # has no size of its own; the decoder fills exactly Rows x Columns
    try:
        coded = coded_size(get_frame(_pixel_bytes(dataset), 0, number_of_frames=1))
    except Exception:  # a parser of foreign bytes may raise anything
        raise DicomError(Reason.DECODE_FAILED) from None
    if coded is None:
        raise DicomError(Reason.DECODE_FAILED)
    fits = (coded.rows, coded.columns, coded.components) == (layout.rows, layout.columns, 1)
    if not fits or coded.bits > layout.bits_allocated:
        raise DicomError(Reason.SIZE_MISMATCH)


def _plugin_for(dataset: FileDataset) -> str:
    """Name of the pinned plugin; empty for native pixels.

    Raises:
        DicomError: None is pinned, or it is not installed here.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _NATIVE:
        return ""
    if syntax == uid.JPEGExtended12Bit and _number(dataset, "BitsStored", 0) != 8:
        raise DicomError(Reason.TWELVE_BIT_JPEG)
    if _PLUGINS[syntax] not in get_decoder(syntax).available_plugins:
        raise DicomError(Reason.NO_DECODER)
    return _PLUGINS[syntax]


def _stored_bits(array: NDArray[np.generic], layout: _Layout, *, packed: bool) -> NDArray[np.int32]:
    """Keeps BitsStored bits and extends the sign.

    A codec's values are right-aligned, whatever HighBit says, and must fit BitsStored. Others
    are ``packed``: they end at HighBit, and bits around them are foreign.

    Raises:
        DicomError: A codec's value needs more bits than the header allows.
    """
    kind = np.int32 if layout.signed else np.uint32
    high_bit = layout.high_bit if packed else layout.bits_stored - 1
    wide = array.astype(kind)
    kept = (wide << kind(31 - high_bit)) >> kind(32 - layout.bits_stored)
    # Some codecs leave the sign's extension to the reader: such values are not negative yet.
    unextended = (wide >= 0) & (wide.astype(np.int64) < 1 << layout.bits_stored)
    if not packed and not ((kept == wide) | unextended).all():
        raise DicomError(Reason.SIZE_MISMATCH)
    if layout.bits_stored == 32 and not layout.signed and int(kept.max()) > np.iinfo(np.int32).max:
        raise DicomError(Reason.TOO_LARGE)
    return kept.astype(np.int32)
