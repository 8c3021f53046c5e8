"""Breaks files on purpose, each kind as archives have it; the kinds are those of `Dirt`."""

from __future__ import annotations

from collections.abc import Callable

from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import HEVCMP51

from wardround_sim.synthetic.encode import encode_file, save_file
from wardround_sim.synthetic.hospital import TransferSyntax
from wardround_sim.synthetic.roster import Fault
from wardround_sim.synthetic.seeds import generator

_J2K_CODING_STYLE = b"\xff\x52"
_RLE_HEADER_BYTES = 64


def encode_with_fault(dataset: Dataset, syntax: TransferSyntax, fault: Fault) -> bytes:
    """The complete file, broken if ``fault`` is one that breaks a file.

    Args:
        dataset: As for `encode_file`; it is changed in place.
        syntax: How to encode it, unless the fault is one of another transfer syntax.
        fault: Any fault.
    """
    if fault == "truncated":
        content = encode_file(dataset, syntax)
        return content[: len(content) * 2 // 5]
    if fault in _BREAKS:
        return _BREAKS[fault](dataset)
    return encode_file(dataset, syntax)


def _unknown_codec(dataset: Dataset) -> bytes:
    video = generator(dataset.SOPInstanceUID, "video").bytes(2000)
    dataset.file_meta.TransferSyntaxUID = HEVCMP51
    return _save_encapsulated(dataset, video)


def _broken_codestream(dataset: Dataset) -> bytes:
    encode_file(dataset, "jpeg_2000")
    frame = bytearray(_first_frame(dataset))
    style = frame.index(_J2K_CODING_STYLE)
    # Width and height of code blocks: exponents beyond what the standard allows (T.800, A.6.1).
    frame[style + 10 : style + 12] = b"\x3c\x3c"
    return _save_encapsulated(dataset, bytes(frame))


def _crashing_codestream(dataset: Dataset) -> bytes:
    encode_file(dataset, "rle")
    frame = _first_frame(dataset)
    # The table of segments stays, so that the noise is read as their content.
    noise = generator(dataset.SOPInstanceUID, "noise").bytes(len(frame) - _RLE_HEADER_BYTES)
    return _save_encapsulated(dataset, frame[:_RLE_HEADER_BYTES] + noise)


def _wrong_vr(dataset: Dataset) -> bytes:
    dataset.add_new("Rows", "LO", "many")
    return encode_file(dataset, "explicit_little")


def _no_identity(dataset: Dataset) -> bytes:
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    del dataset.SOPInstanceUID
    return encode_file(dataset, "explicit_little")


def _huge_size(dataset: Dataset) -> bytes:
    dataset.Rows = dataset.Columns = 60_000
    return encode_file(dataset, "explicit_little")


def _first_frame(dataset: Dataset) -> bytes:
    frames = int(dataset.get("NumberOfFrames", 1))
    return get_frame(dataset.PixelData, 0, number_of_frames=frames)


def _save_encapsulated(dataset: Dataset, frame: bytes) -> bytes:
    frames = int(dataset.get("NumberOfFrames", 1))
    dataset.add_new("PixelData", "OB", encapsulate([frame] * frames))
    dataset["PixelData"].is_undefined_length = True
    return save_file(dataset)


_BREAKS: dict[Fault, Callable[[Dataset], bytes]] = {
    "unknown_codec": _unknown_codec,
    "broken_codestream": _broken_codestream,
    "crashing_codestream": _crashing_codestream,
    "wrong_vr": _wrong_vr,
    "no_identity": _no_identity,
    "huge_size": _huge_size,
}
