"""Traps of values and encodings in volumes: rescale, bits, padding, transfer syntaxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from wardround_client.quarantine import Reason
from wardround_sim.traps.case import Case, Make, of_slices
from wardround_sim.traps.geometry import stack
from wardround_sim.traps.phantom import (
    LEAST_MM,
    ORIGIN,
    PET,
    SLOPE_MM,
    encode,
    image_elements,
    write,
)

_COARSE_MM = 0.0075
"""Step of values of 12 bits."""
_PADDING = 65535
_LARGE: dict[str, Any] = {"shape": (40, 36)}
"""The encoder of JPEG 2000 makes no smaller images."""


def _stored(dataset: Dataset) -> Any:
    return np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)


def _changed(change: Callable[[Dataset, int], None], **elements: Any) -> Make:
    """Applies a change to each slice, given its number counted from 0."""

    def build(axis: int) -> Sequence[Dataset]:
        slices = stack(axis, **elements)
        for number, dataset in enumerate(slices):
            change(dataset, number)
        return slices

    return of_slices(build)


def _update(dataset: Dataset, **elements: Any) -> None:
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)


def _own_slope(dataset: Dataset, number: int) -> None:
    slope = SLOPE_MM * (1 + number / 10)
    stored = np.rint(_stored(dataset) * SLOPE_MM / slope).astype(np.uint16)
    _update(dataset, RescaleSlope=f"{slope:.8f}", PixelData=stored.tobytes())


def _own_intercept(dataset: Dataset, number: int) -> None:
    moved = _stored(dataset) - np.uint16(200 * number)
    _update(dataset, RescaleIntercept=str(LEAST_MM + number), PixelData=moved.tobytes())


def _falling_slope(dataset: Dataset, _: int) -> None:
    turned = (65535 - _stored(dataset)).astype(np.uint16)
    intercept = LEAST_MM + 65535 * SLOPE_MM
    _update(
        dataset,
        RescaleSlope=str(-SLOPE_MM),
        RescaleIntercept=f"{intercept:.3f}",
        PixelData=turned.tobytes(),
    )


def _signed(dataset: Dataset, _: int) -> None:
    moved = (_stored(dataset).astype(np.int32) - 32768).astype(np.int16)
    _update(dataset, RescaleIntercept=f"{LEAST_MM + 32768 * SLOPE_MM:.3f}", **image_elements(moved))


def _twelve_bits(axis: int, *, signed: bool) -> Sequence[Dataset]:
    """12 bits, in the lower part of 16; what the upper 4 bits hold is foreign."""
    slices = stack(axis)
    least = ORIGIN[axis] - 1
    for dataset in slices:
        places = _stored(dataset) * SLOPE_MM + LEAST_MM
        stored = np.rint((places - least) / _COARSE_MM).astype(np.int32)
        intercept = least
        if signed:
            stored, intercept = (stored - 2048) & 0xFFF, least + 2048 * _COARSE_MM
        else:
            stored[::2] |= 0x5000
        _update(dataset, RescaleSlope=str(_COARSE_MM), RescaleIntercept=f"{intercept:.4f}")
        _update(dataset, **image_elements(stored.astype(np.uint16), bits=12))
        dataset.PixelRepresentation = int(signed)
    return slices


def _corner_padded(dataset: Dataset, _: int) -> None:
    values = _stored(dataset).copy()
    values[0, 0] = _PADDING
    _update(dataset, PixelPaddingValue=_PADDING, PixelData=values.tobytes())


def _range_padded(dataset: Dataset, _: int) -> None:
    values = _stored(dataset).copy()
    values[0, :2] = 3, 7
    limits = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 10}
    _update(dataset, PixelData=values.tobytes(), **limits)


def _compressed(syntax: UID, plugin: str) -> Make:
    def change(dataset: Dataset, _: int) -> None:
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)

    return _changed(change)


def _jpeg_2000(dataset: Dataset) -> None:
    dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)


def _with_syntax(syntax: UID) -> Make:
    def change(dataset: Dataset, _: int) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = _stored(dataset).byteswap().tobytes()

    return _changed(change)


def _jpeg_lossless(folder: Path, axis: int) -> None:
    for number, dataset in enumerate(stack(axis)):
        path = folder / f"{number:03}.dcm"
        write(dataset, path)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        kind = gdcm.TransferSyntax.JPEGLosslessProcess14_1
        change.SetTransferSyntax(gdcm.TransferSyntax(kind))
        change.SetInput(reader.GetImage())
        change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()


def _without_preamble(folder: Path, axis: int) -> None:
    for number, dataset in enumerate(stack(axis)):
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        data = encode(dataset)
        # Preamble, prefix, then the group of file meta information, which states its length.
        length = int.from_bytes(data[140:144], "little")
        (folder / f"{number:03}").write_bytes(data[144 + length :])


def _one_broken(change: Callable[[Dataset], None], **elements: Any) -> Make:
    return _changed(lambda dataset, number: change(dataset) if number == 5 else None, **elements)


def _cut_off(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:100]


def _undecodable(dataset: Dataset) -> None:
    _jpeg_2000(dataset)
    data = bytearray(dataset.PixelData)
    data[120:-16] = bytes(len(data) - 136)
    dataset.PixelData = bytes(data)


def _film(dataset: Dataset) -> None:
    dataset.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML


def _plain(**elements: Any) -> Make:
    return of_slices(lambda axis: stack(axis, **elements))


_TWELVE = (12,)
_NO_LUT = {Reason.BROKEN_LUT: 12}

VALUES = (
    Case(name="PET, slope of each slice", make=_changed(_own_slope, kind=PET), volumes=_TWELVE),
    Case(name="CT, intercept of each slice", make=_changed(_own_intercept), volumes=_TWELVE),
    Case(name="falling slope", make=_changed(_falling_slope), volumes=_TWELVE),
    Case(name="signed, 16 bits", make=_changed(_signed), volumes=_TWELVE),
    Case(
        name="signed, 12 bits",
        make=of_slices(lambda axis: _twelve_bits(axis, signed=True)),
        volumes=_TWELVE,
    ),
    Case(
        name="overlay in the bits above BitsStored",
        make=of_slices(lambda axis: _twelve_bits(axis, signed=False)),
        volumes=_TWELVE,
    ),
    Case(name="padding value", make=_changed(_corner_padded), volumes=_TWELVE, padded=12),
    Case(name="padding range", make=_changed(_range_padded), volumes=_TWELVE, padded=24),
    Case(
        name="CT without rescale",
        make=_plain(RescaleSlope=None, RescaleIntercept=None),
        refused=_NO_LUT,
    ),
    Case(name="CT with slope alone", make=_plain(RescaleIntercept=None), refused=_NO_LUT),
    Case(name="CT, values not Hounsfield's", make=_plain(RescaleType="Z_EFF"), refused=_NO_LUT),
    Case(name="slope 0", make=_plain(RescaleSlope="0"), refused=_NO_LUT),
    Case(
        name="MONOCHROME1 in CT",
        make=_plain(PhotometricInterpretation="MONOCHROME1"),
        refused={Reason.POLARITY: 12},
    ),
)

ENCODINGS = (
    Case(name="RLE", make=_compressed(RLELossless, "pylibjpeg"), volumes=_TWELVE),
    Case(name="JPEG-LS", make=_compressed(JPEGLSLossless, "pyjpegls"), volumes=_TWELVE),
    Case(
        name="JPEG 2000",
        make=_changed(lambda dataset, _: _jpeg_2000(dataset), **_LARGE),
        volumes=_TWELVE,
    ),
    Case(name="JPEG lossless", make=_jpeg_lossless, volumes=_TWELVE),
    Case(name="big endian", make=_with_syntax(ExplicitVRBigEndian), volumes=_TWELVE),
    Case(name="deflated", make=_with_syntax(DeflatedExplicitVRLittleEndian), volumes=_TWELVE),
    Case(name="implicit, without preamble", make=_without_preamble, volumes=_TWELVE),
    Case(name="one slice cut off", make=_one_broken(_cut_off), refused={Reason.TRUNCATED: 12}),
    Case(
        name="one slice that no decoder reads",
        make=_one_broken(_undecodable, **_LARGE),
        refused={Reason.DECODE_FAILED: 12},
    ),
    Case(
        name="one slice in a syntax for films",
        make=_one_broken(_film),
        refused={Reason.NO_DECODER: 12},
    ),
)

CASES = (*VALUES, *ENCODINGS)
