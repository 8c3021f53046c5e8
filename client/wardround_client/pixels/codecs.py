"""Decodes one compressed frame, with one decoder pinned for each transfer syntax.

Decoders of lossy syntaxes differ by some grey levels, so every site uses the same one. A frame's
own size is compared with the header's before a decoder sees it: a file must not be able to ask
for more memory than its header allows.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from wardround_client.pixels.codestream import coded_size
from wardround_client.pixels.layout import Layout
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

PLUGINS = {
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
_END_OF_STREAM = b"\xff\xd9"
"""The last marker of JPEG, JPEG-LS and JPEG 2000 alike; fill bytes may follow."""
_TAIL_BYTES = 64
_RLE_HEADER_BYTES = 64
_RLE_GAIN = 64
"""PackBits makes at most 128 bytes of 2."""


def decode_frame(frame: bytes, syntax: uid.UID, layout: Layout) -> NDArray[np.generic]:
    """Decodes one frame; shape (rows, columns), any integer type.

    Raises:
        DicomError: No decoder is pinned or installed, the frame is of another size than the
            header says, or the decoder refuses it.
    """
    if syntax not in PLUGINS:
        raise DicomError(Reason.NO_DECODER)
    if syntax == uid.RLELossless:
        _check_segments(frame, layout)
    else:
        _check_size(frame, layout)
    try:
        array = _decode(frame, syntax, layout)
    except (KeyboardInterrupt, SystemExit, MemoryError, DicomError):
        raise
    except BaseException:  # decoders may raise anything; a panic in Rust is no Exception
        raise DicomError(Reason.DECODE_FAILED) from None
    if array.shape != (layout.rows, layout.columns):
        raise DicomError(Reason.SIZE_MISMATCH)
    return array


def _check_size(frame: bytes, layout: Layout) -> None:
    """Compares the codestream's own size with the header's."""
    coded = coded_size(frame)
    if coded is None:
        raise DicomError(Reason.DECODE_FAILED)
    fits = (coded.rows, coded.columns, coded.components) == (layout.rows, layout.columns, 1)
    if not fits or coded.bits > layout.bits_allocated:
        raise DicomError(Reason.SIZE_MISMATCH)
    # Decoders fill what is missing of a stream with grey, and say nothing.
    if not coded.whole or not frame[-_TAIL_BYTES:].rstrip(b"\x00\xff").endswith(_END_OF_STREAM):
        raise DicomError(Reason.TRUNCATED)


def _check_segments(frame: bytes, layout: Layout) -> None:
    """Checks the RLE header (DICOM PS3.5 G.5), and that the bytes can suffice."""
    if len(frame) < _RLE_HEADER_BYTES:
        raise DicomError(Reason.TRUNCATED)
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != layout.bits_allocated // 8:
        raise DicomError(Reason.SIZE_MISMATCH)
    lengths = [b - a for a, b in pairwise([*offsets[:count], len(frame)])]
    if offsets[0] != _RLE_HEADER_BYTES or min(lengths[:-1], default=1) < 1:
        raise DicomError(Reason.DECODE_FAILED)
    if min(lengths) * _RLE_GAIN < layout.rows * layout.columns:
        raise DicomError(Reason.TRUNCATED)


def _decode(frame: bytes, syntax: uid.UID, layout: Layout) -> NDArray[np.generic]:
    decoder = get_decoder(syntax)
    plugin = PLUGINS[syntax]
    if plugin not in decoder.available_plugins:
        raise DicomError(Reason.NO_DECODER)
    if syntax == uid.JPEGExtended12Bit and layout.bits_stored != 8:
        return _decode_with_gdcm(frame, syntax, layout)
    options: dict[str, Any] = {
        "raw": True,
        # pydicom would cut values to BitsStored before we can see that they exceed it.
        "correct_unused_bits": False,
        "decoding_plugin": plugin,
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    array, _ = decoder.as_array(encapsulate([frame], has_bot=False), index=0, **options)
    return array


def _decode_with_gdcm(frame: bytes, syntax: uid.UID, layout: Layout) -> NDArray[np.generic]:
    """Decodes JPEG Extended of 12 bits, which pydicom's plugin does not hand to GDCM.

    GDCM gives the values that dcmtk's dcmdjpeg gives, without a difference.
    """
    import gdcm  # noqa: PLC0415  (rarely needed, and large)

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    bits = layout.bits_stored
    image.SetPixelFormat(gdcm.PixelFormat(1, layout.bits_allocated, bits, bits - 1, 0))
    decoded = image.GetBuffer().encode("utf-8", "surrogateescape")
    kind = f"<u{layout.bits_allocated // 8}"
    values: NDArray[np.generic] = np.frombuffer(decoded, kind).reshape(layout.rows, layout.columns)
    return values
