"""Decodes the pixels of one DICOM file: stored values, rescaled values, or the model's input.

Whatever can be refused is refused before a decoder runs and before memory is taken. Functions
here are pure functions of a file, made to run in a worker process, see `wardround_client.workers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from xxhash import xxh3_128

from wardround_client.index.header import Instance
from wardround_client.index.reader import open_dataset, quiet, text_of
from wardround_client.pixels.codecs import decode_frame
from wardround_client.pixels.fragments import split_frames
from wardround_client.pixels.layout import Layout, layout_of, pixel_bytes
from wardround_client.pixels.luts import modality_values
from wardround_client.pixels.plain import read_plain
from wardround_client.pixels.radiograph import model_pixels
from wardround_client.pixels.stored import codec_values, packed_values, valid_mask
from wardround_client.pixels.unchanged import unchanged
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

MAXIMUM_PIXELS_AT_ONCE = 1 << 29
"""Of all frames asked for together."""
_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImage:
    """One image or volume, ready for the cache."""

    pixels: NDArray[np.int16]
    """int16, the shape of the model's input; one unit of it is `radiograph.SCALE` steps."""
    digest: str
    """Of what is stored and of what the model sees; equal for copies of one image, and only then
    do they train alike. A copy of other window or rescale is another image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrames:
    """Frames of one file as stored, before any transformation of values."""

    dataset: FileDataset
    """The file's header."""
    frames: tuple[int, ...]
    """Numbers of the frames, counted from 0."""
    values: NDArray[np.int32]
    """int32, shape (n, rows, columns)."""
    valid: NDArray[np.bool_]
    """bool, the same shape; False marks padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescaledFrames:
    """Frames of one file in the units of its modality."""

    values: NDArray[np.float32]
    """float32, shape (n, rows, columns), such as Hounsfield units; padding is rescaled too."""
    valid: NDArray[np.bool_]
    """bool, the same shape; False marks padding."""


def decode_file(
    path: Path,
    preprocessing: Preprocessing,
    *,
    sop_instance_uid: str,
    instance: Instance | None = None,
) -> DecodedImage | Reason:
    """Decodes a single grey image and prepares it for the model, or says why it cannot.

    Args:
        path: The file.
        preprocessing: Size and fit of the study.
        sop_instance_uid: What the index knows the file by; another one means it was replaced.
        instance: What else the index knows of the file; it must still be so.
    """
    try:
        with unchanged(path, instance), quiet(), np.errstate(all="ignore"):
            dataset = _open(path, sop_instance_uid)
            layout = layout_of(dataset)
            if layout.frames > 1:
                raise DicomError(Reason.MULTI_FRAME)
            values, valid = _frame_reader(dataset, layout)(0)
            pixels = model_pixels(dataset, values, valid, preprocessing)
    except DicomError as error:
        return Reason(error.reason)
    return DecodedImage(pixels=pixels, digest=_digest_of_both(values, pixels))


def decode_frames(
    path: Path, *, sop_instance_uid: str, frames: Sequence[int] | None = None
) -> StoredFrames:
    """Decodes frames of a grey image to stored values; only those asked for, all by default.

    Args:
        path: The file.
        sop_instance_uid: What the index knows the file by; another one means it was replaced.
        frames: Numbers of frames, counted from 0.

    Raises:
        DicomError: The file is no grey image, lacks a frame, or cannot be decoded with certainty.
    """
    with quiet(), np.errstate(all="ignore"):
        dataset = _open(path, sop_instance_uid)
        layout = layout_of(dataset)
        read = _frame_reader(dataset, layout)  # first, for it checks NumberOfFrames
        wanted = tuple(range(layout.frames) if frames is None else frames)
        if not all(0 <= number < layout.frames for number in wanted):
            raise DicomError(Reason.CHANGED)
        if len(wanted) * layout.rows * layout.columns > MAXIMUM_PIXELS_AT_ONCE:
            raise DicomError(Reason.TOO_LARGE)
        shape = (len(wanted), layout.rows, layout.columns)
        values, valid = np.empty(shape, np.int32), np.ones(shape, np.bool_)
        for place, number in enumerate(wanted):
            values[place], mask = read(number)
            if mask is not None:
                valid[place] = mask
    return StoredFrames(dataset=dataset, frames=wanted, values=values, valid=valid)


def rescaled_frames(stored: StoredFrames) -> RescaledFrames:
    """Applies modality LUT or rescale to each frame by what the header says of that frame.

    Raises:
        DicomError: What the header says cannot be applied.
    """
    values = np.empty(stored.values.shape, np.float32)
    with quiet(), np.errstate(all="ignore"):
        for place, number in enumerate(stored.frames):
            frame = stored.values[place]
            values[place] = modality_values(stored.dataset, frame, frame=number)
    return RescaledFrames(values=values, valid=stored.valid)


def digest_of(values: NDArray[Any]) -> str:
    """Digest of stored values and their shape, whatever integer type holds them.

    xxh3 tells copies from other images; whoever can make two images of one digest could as well
    put one image twice into their own archive. SHA-256 took as long as reading and resizing.
    """
    negative = values.dtype.kind == "i" and int(values.min(initial=0)) < 0
    kind = "<i4" if negative or int(values.max(initial=0)) >= 1 << 16 else "<u2"
    content = xxh3_128(repr(values.shape).encode())
    content.update(np.ascontiguousarray(values, kind).data)
    return content.hexdigest()


def _digest_of_both(stored: NDArray[Any], seen: NDArray[np.int16]) -> str:
    """Digest of stored values and of the model's input that window and rescale made of them."""
    return xxh3_128(f"{digest_of(stored)} {digest_of(seen)}".encode()).hexdigest()


def _open(path: Path, sop_instance_uid: str) -> FileDataset:
    dataset = read_plain(path) or open_dataset(path)
    found = text_of(dataset, "SOPInstanceUID")
    if found != sop_instance_uid:
        # pydicom gives up a whole file whose encapsulated pixels have no end.
        raise DicomError(Reason.CHANGED if found else Reason.TRUNCATED)
    return dataset


_Frame = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Stored values, integers, shape (rows, columns), and what is valid of them; None: everything."""


def _frame_reader(dataset: FileDataset, layout: Layout) -> Callable[[int], _Frame]:
    """Checks the pixel data as a whole, and returns what decodes one frame of it.

    Raises:
        DicomError: The bytes do not fit the layout; the function returned raises it as well.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _NATIVE:
        return _native_reader(dataset, layout)
    streams = split_frames(dataset, layout.frames)

    def read(number: int) -> _Frame:
        array = decode_frame(streams[number], syntax, layout)
        if syntax != uid.RLELossless:
            values = codec_values(array, layout)
            return values, valid_mask(dataset, layout, values, None)
        raw = array.view(np.dtype(f"u{layout.bits_allocated // 8}"))
        values = packed_values(raw, layout)
        return values, valid_mask(dataset, layout, values, raw)

    return read


def _native_reader(dataset: FileDataset, layout: Layout) -> Callable[[int], _Frame]:
    data, needed = pixel_bytes(dataset), layout.frames * layout.frame_bytes
    if len(data) < needed:
        raise DicomError(Reason.TRUNCATED)
    if len(data) > needed + needed % 2:
        raise DicomError(Reason.SIZE_MISMATCH)
    big = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    kind = np.dtype(f"{'>' if big else '<'}u{layout.bits_allocated // 8}")
    if big and layout.bits_allocated == 8 and dataset["PixelData"].VR == "OW":
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()  # bytes were swapped in pairs
    count = layout.rows * layout.columns

    def read(number: int) -> _Frame:
        raw = np.frombuffer(data, kind, count, number * layout.frame_bytes)
        raw = raw.reshape(layout.rows, layout.columns).astype(kind.newbyteorder("="), copy=False)
        values = packed_values(raw, layout)
        return values, valid_mask(dataset, layout, values, raw)

    return read
