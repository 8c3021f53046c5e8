"""Traps of single grey images: polarity, LUTs, bits, padding, and what is no grey image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from wardround_client.quarantine import Reason
from wardround_sim.traps.case import Case, Make
from wardround_sim.traps.phantom import ORIGIN, image_elements, make_slice, write

CR = "1.2.840.10008.5.1.4.1.1.1"
SIZE = 32
_ROWS, _COLUMNS = np.indices((SIZE, SIZE))
STORED = (600 + 70 * _ROWS + 31 * _COLUMNS).astype(np.uint16)
"""12 bits; no two rows and no two columns alike."""
SHOWN: NDArray[np.float64] = STORED.astype(np.float64)
_ABSENT = ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept")


def radiograph(stored: NDArray[Any] = STORED, *, bits: int = 12, **elements: Any) -> Dataset:
    """Makes a computed radiograph; elements replace, None removes."""
    values: dict[str, Any] = dict.fromkeys(_ABSENT) | image_elements(stored, bits=bits) | elements
    return make_slice(1, ORIGIN, 0, kind=CR, Modality="CR", **values)


def _file(dataset_of: Mapping[str, Any], stored: NDArray[Any] = STORED, **options: Any) -> Make:
    def make(folder: Path, _: int) -> None:
        dataset = radiograph(stored, **(options | dict(dataset_of)))
        write(dataset, folder / "radiograph.dcm")

    return make


def _compressed(syntax: Any, plugin: str) -> Make:
    def make(folder: Path, _: int) -> None:
        dataset = radiograph()
        dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        write(dataset, folder / "radiograph.dcm")

    return make


def _lut(table: NDArray[Any], first: int, bits: int) -> Items:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(table), first, bits])
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return Items([item])


_CURVE = np.round(4095 * (np.arange(4096) / 4095) ** 2).astype(np.uint16)
_MODALITY_LUT = {"ModalityLUTSequence": _lut(_CURVE, 0, 12)}
_VOI_LUT = {"VOILUTSequence": _lut(4095 - _CURVE, 0, 12)}
_SHORT_LUT = {"VOILUTSequence": _lut(_CURVE[:9], 0, 12)}
_SHORT_LUT["VOILUTSequence"][0].LUTDescriptor = [4096, 0, 12]
_WINDOW = {"WindowCenter": "2000", "WindowWidth": "1000"}
_WINDOWED = np.clip(SHOWN, 2000 - 0.5 - 999 / 2, 2000 - 0.5 + 999 / 2)
_PADDED = np.where(_COLUMNS < 4, 4095, STORED).astype(np.uint16)
_KNOWN = np.where(_COLUMNS < 4, np.nan, SHOWN)
_RGB = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
_FRAMES = np.stack([STORED, STORED])


def _shown(name: str, make: Make, shown: NDArray[Any] = SHOWN) -> Case:
    return Case(name=f"radiograph: {name}", make=make, single=True, shown=shown)


def _refused(name: str, make: Make, reason: Reason) -> Case:
    return Case(name=f"radiograph: {name}", make=make, single=True, refused={reason: 1})


READ = (
    _shown("MONOCHROME2", _file({})),
    _shown("MONOCHROME1", _file({"PhotometricInterpretation": "MONOCHROME1"}), -SHOWN),
    _shown("modality LUT", _file(_MODALITY_LUT), _CURVE[STORED].astype(np.float64)),
    _shown("VOI LUT that inverts", _file(_VOI_LUT), 4095.0 - _CURVE[STORED]),
    _shown(
        "VOI LUT after modality LUT",
        _file(_MODALITY_LUT | _VOI_LUT),
        4095.0 - _CURVE[_CURVE[STORED]],
    ),
    _shown(
        "VOI LUT and MONOCHROME1",
        _file(_VOI_LUT | {"PhotometricInterpretation": "MONOCHROME1"}),
        _CURVE[STORED] - 4095.0,
    ),
    _shown("window", _file(_WINDOW), _WINDOWED),
    _shown(
        "falling slope",
        _file({"RescaleSlope": "-1", "RescaleIntercept": "4095"}),
        -SHOWN,
    ),
    _shown("signed", _file({}, (STORED.astype(np.int16) - 2000).astype(np.int16))),
    _shown("overlay above BitsStored", _file({}, STORED | np.uint16(0xA000))),
    _shown("padding", _file({"PixelPaddingValue": 4095}, _PADDED), _KNOWN),
    _shown(
        "padding and MONOCHROME1",
        _file({"PixelPaddingValue": 4095, "PhotometricInterpretation": "MONOCHROME1"}, _PADDED),
        -_KNOWN,
    ),
    _shown(
        "two spacings that differ",
        _file({"ImagerPixelSpacing": ["0.2", "0.2"], "PixelSpacing": ["0.15", "0.15"]}),
    ),
    _shown("RLE", _compressed(RLELossless, "pylibjpeg")),
    _shown("JPEG-LS", _compressed(JPEGLSLossless, "pyjpegls")),
    _shown("JPEG 2000", _compressed(JPEG2000Lossless, "pylibjpeg")),
)

REFUSED = (
    _refused(
        "colour",
        _file(_RGB, np.zeros((3 * SIZE, SIZE), np.uint8), bits=8, Rows=SIZE),
        Reason.COLOUR,
    ),
    _refused("palette", _file({"PhotometricInterpretation": "PALETTE COLOR"}), Reason.COLOUR),
    _refused("several frames", _file({"NumberOfFrames": 2}, _FRAMES), Reason.MULTI_FRAME),
    _refused("polarity contradicts", _file({"PresentationLUTShape": "INVERSE"}), Reason.POLARITY),
    _refused("slope 0", _file({"RescaleSlope": "0", "RescaleIntercept": "1"}), Reason.BROKEN_LUT),
    _refused(
        "LUT shorter than it says",
        _file(_SHORT_LUT),
        Reason.BROKEN_LUT,
    ),
    _refused("pixels cut off", _file({"Rows": 4 * SIZE}), Reason.TRUNCATED),
    _refused("no pixels", _file({"PixelData": None}), Reason.NO_PIXELS),
    _refused("constant", _file({}, np.full((SIZE, SIZE), 7, np.uint16)), Reason.CONSTANT),
)

CASES = (*READ, *REFUSED)
