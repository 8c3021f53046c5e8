"""Turns a dataset with plain pixels into the bytes of a DICOM file of some transfer syntax."""

from __future__ import annotations

import io

from pydicom import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from wardround_sim.synthetic.hospital import TransferSyntax

_PLAIN: dict[TransferSyntax, UID] = {
    "explicit_little": ExplicitVRLittleEndian,
    "implicit_little": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
# The encoder is named: pydicom's order of preference depends on what else is installed.
_COMPRESSED: dict[TransferSyntax, tuple[UID, str]] = {
    "rle": (RLELossless, "pylibjpeg"),
    "jpeg_ls": (JPEGLSLossless, "pyjpegls"),
    "jpeg_2000": (JPEG2000Lossless, "pylibjpeg"),
}


def encode_file(dataset: Dataset, syntax: TransferSyntax) -> bytes:
    """The complete file: preamble, file meta information, dataset.

    Args:
        dataset: With file meta and unencapsulated PixelData; it is changed in place.
        syntax: How to encode it; every choice is lossless.
    """
    if syntax in _COMPRESSED:
        uid, plugin = _COMPRESSED[syntax]
        # A new UID would be right for lossy pixels; these are the same, and must stay the same.
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(uid, encoding_plugin=plugin, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = _PLAIN[syntax]
    return save_file(dataset)


def save_file(dataset: Dataset) -> bytes:
    """The complete file of a dataset whose pixels are encoded as its file meta says."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
