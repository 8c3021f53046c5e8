"""Traps of enhanced multi-frame instances: everything is in the functional groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from wardround_client.quarantine import Reason
from wardround_sim.traps.case import Case, Make
from wardround_sim.traps.geometry import STEP_MM
from wardround_sim.traps.phantom import (
    AXIAL,
    COLUMNS,
    LEAST_MM,
    MR,
    ORIGIN,
    ROWS,
    SLOPE_MM,
    SPACING,
    Places,
    along_normal,
    coordinates,
    decimals,
    image_elements,
    make_slice,
    write,
)

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
_SHUFFLED = (3, 0, 7, 11, 1, 9, 4, 2, 10, 6, 8, 5)
_IN_GROUPS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
)
"""Elements that single-frame instances have in the header itself."""
_TYPES = {ENHANCED_CT: "CTImageFrameTypeSequence", ENHANCED_MR: "MRImageFrameTypeSequence"}


def item(**elements: Any) -> Items:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return Items([dataset])


def rescale(slope: float, intercept: float, units: str = "HU") -> Items:
    """The pixel value transformation macro."""
    return item(RescaleSlope=str(slope), RescaleIntercept=str(intercept), RescaleType=units)


def frame(place: Places, axis: int, *, slope: float = SLOPE_MM, **macros: Any) -> Dataset:
    """One frame: its functional groups, and its stored values as ``PixelData``."""
    places = coordinates(place, AXIAL, shape=(ROWS, COLUMNS), spacing=SPACING)[..., axis]
    group = Dataset()
    group.PlanePositionSequence = item(ImagePositionPatient=decimals(place))
    for keyword, value in macros.items():
        setattr(group, keyword, value)
    group.PixelData = np.rint((places - LEAST_MM) / slope).astype(np.uint16).tobytes()
    return group


def enhanced(
    frames: Sequence[Dataset], *, kind: str = ENHANCED_CT, number: int = 1, **shared: Any
) -> Dataset:
    """Makes one enhanced instance; ``shared`` replaces macros of the shared groups."""
    data = b"".join(group.PixelData for group in frames)
    stored = np.frombuffer(data, np.uint16).reshape(len(frames), ROWS, COLUMNS)
    for group in frames:
        del group.PixelData
    macros = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=decimals(AXIAL.ravel())),
        "PixelMeasuresSequence": item(PixelSpacing=decimals(SPACING), SliceThickness="2.5"),
        "PixelValueTransformationSequence": rescale(SLOPE_MM, LEAST_MM),
        _TYPES[kind]: item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
    }
    elements: dict[str, Any] = dict.fromkeys(_IN_GROUPS) | image_elements(stored)
    return make_slice(
        number,
        ORIGIN,
        0,
        kind=kind,
        Modality="CT" if kind == ENHANCED_CT else "MR",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        NumberOfFrames=len(frames),
        SharedFunctionalGroupsSequence=item(**{k: v for k, v in (macros | shared).items() if v}),
        PerFrameFunctionalGroupsSequence=Items(frames),
        **elements,
    )


def _one(build: Callable[[int], Dataset], syntax: Any = None) -> Make:
    def make(folder: Path, axis: int) -> None:
        dataset = build(axis)
        if syntax == ExplicitVRBigEndian:
            dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            dataset.PixelData = np.frombuffer(dataset.PixelData, np.uint16).byteswap().tobytes()
        elif syntax is not None:
            dataset.compress(syntax, generate_instance_uid=False, encoding_plugin="pylibjpeg")
        write(dataset, folder / "enhanced.dcm")

    return make


def _places() -> Places:
    return along_normal(AXIAL, STEP_MM)


def _plain(axis: int) -> Dataset:
    return enhanced([frame(_places()[n], axis) for n in _SHUFFLED])


def _two_echoes(axis: int) -> Dataset:
    frames = [
        frame(place, axis, MREchoSequence=item(EffectiveEchoTime=time))
        for place in _places()
        for time in (4.2, 98.0)
    ]
    return enhanced(frames, kind=ENHANCED_MR)


def _diffusion(axis: int) -> Dataset:
    direction = item(DiffusionGradientOrientation=[0.0, 0.6, 0.8])
    kinds: tuple[dict[str, Any], ...] = (
        {"DiffusionBValue": 0.0},
        {"DiffusionBValue": 900.0, "DiffusionGradientDirectionSequence": direction},
    )
    frames = [
        frame(place, axis, MRDiffusionSequence=item(**kind))
        for kind in kinds
        for place in _places()
    ]
    return enhanced(frames, kind=ENHANCED_MR)


def _own_rescale(axis: int) -> Dataset:
    slopes = [SLOPE_MM + 1e-4 * n for n in range(12)]
    frames = [
        frame(place, axis, slope=slope, PixelValueTransformationSequence=rescale(slope, LEAST_MM))
        for place, slope in zip(_places(), slopes, strict=True)
    ]
    return enhanced(frames, PixelValueTransformationSequence=None)


def _rescale_of_some(axis: int) -> Dataset:
    frames = [frame(place, axis) for place in _places()]
    frames[0].PixelValueTransformationSequence = rescale(SLOPE_MM, LEAST_MM)
    return enhanced(frames, PixelValueTransformationSequence=None)


def _perfusion(axis: int) -> Dataset:
    frames = [frame(place, axis) for place in _places()]
    unspecified = rescale(SLOPE_MM, LEAST_MM, "US")
    return enhanced(frames, PixelValueTransformationSequence=unspecified)


def _with_localizer(axis: int) -> Dataset:
    kind = item(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    frames = [frame(place, axis) for place in _places()]
    for place in _places()[:2]:
        frames.append(frame(place, axis, CTImageFrameTypeSequence=kind))
    return enhanced(frames)


def _time_points(axis: int) -> Dataset:
    frames = [
        frame(place, axis, FrameContentSequence=item(TemporalPositionIndex=index))
        for index in (1, 2, 3)
        for place in _places()
    ]
    return enhanced(frames)


def _group_lost(axis: int) -> Dataset:
    dataset = _plain(axis)
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]
    return dataset


def _groups_lost(axis: int) -> Dataset:
    dataset = _plain(axis)
    del dataset.PerFrameFunctionalGroupsSequence
    return dataset


def _frame_lost(axis: int) -> Dataset:
    return enhanced([frame(place, axis) for n, place in enumerate(_places()) if n != 5])


def _place_lost(axis: int) -> Dataset:
    frames = [frame(place, axis) for place in _places()]
    del frames[5].PlanePositionSequence
    return enhanced(frames)


def _shared_place(axis: int) -> Dataset:
    """All frames at one place: a perfusion series of one slice."""
    frames = [frame(_places()[0], axis) for _ in range(12)]
    for group in frames:
        del group.PlanePositionSequence
    return enhanced(frames, PlanePositionSequence=item(ImagePositionPatient=decimals(ORIGIN)))


def _two_instances(folder: Path, axis: int) -> None:
    for number in (1, 2):
        write(
            enhanced([frame(place, axis) for place in _places()], number=number),
            folder / f"{number}.dcm",
        )


def _several_frames_in_a_plain_class(axis: int) -> Dataset:
    dataset = _plain(axis)
    dataset.SOPClassUID, dataset.Modality = MR, "MR"
    return dataset


_TWELVE, _TWO = (12,), (12, 12)
_SPLIT = frozenset({"split"})

CASES = (
    Case(name="enhanced CT, frames shuffled", make=_one(_plain), volumes=_TWELVE),
    Case(name="enhanced CT, RLE", make=_one(_plain, RLELossless), volumes=_TWELVE),
    Case(name="enhanced CT, big endian", make=_one(_plain, ExplicitVRBigEndian), volumes=_TWELVE),
    Case(
        name="enhanced MR, two echoes interleaved",
        make=_one(_two_echoes),
        volumes=_TWO,
        flags=_SPLIT,
    ),
    Case(name="enhanced MR, diffusion", make=_one(_diffusion), volumes=_TWO, flags=_SPLIT),
    Case(name="enhanced CT, rescale of each frame", make=_one(_own_rescale), volumes=_TWELVE),
    Case(
        name="enhanced CT, rescale of one frame only",
        make=_one(_rescale_of_some),
        refused={Reason.BROKEN_LUT: 1},
    ),
    Case(
        name="enhanced CT, values not Hounsfield's",
        make=_one(_perfusion),
        refused={Reason.BROKEN_LUT: 1},
    ),
    Case(
        name="enhanced CT with localizer frames",
        make=_one(_with_localizer),
        volumes=_TWELVE,
        flags=frozenset({"frames-left-out"}),
    ),
    Case(
        name="enhanced CT, three time points",
        make=_one(_time_points),
        volumes=(12, 12, 12),
        flags=_SPLIT,
    ),
    Case(name="two enhanced CT of one place", make=_two_instances, volumes=_TWO, flags=_SPLIT),
    Case(
        name="enhanced CT, frame missing",
        make=_one(_frame_lost),
        refused={Reason.MISSING_SLICE: 1},
    ),
    Case(
        name="enhanced CT, one frame without place",
        make=_one(_place_lost),
        refused={Reason.NO_GEOMETRY: 1},
    ),
    Case(
        name="enhanced CT, fewer groups than frames",
        make=_one(_group_lost),
        refused={Reason.BROKEN_HEADER: 1},
    ),
    Case(
        name="enhanced CT without groups",
        make=_one(_groups_lost),
        refused={Reason.NO_GEOMETRY: 1},
    ),
    Case(
        name="enhanced CT, all frames at one place",
        make=_one(_shared_place),
        refused={Reason.TOO_FEW_SLICES: 1},
    ),
    Case(
        name="several frames in a class of single frames",
        make=_one(_several_frames_in_a_plain_class),
        refused={Reason.MULTI_FRAME: 1},
    ),
)
