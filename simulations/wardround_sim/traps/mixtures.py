"""Traps of company: several volumes in one series, copies, and images that do not belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydicom import Dataset

from wardround_client.quarantine import Reason
from wardround_sim.traps.case import Build, Case, of_slices
from wardround_sim.traps.geometry import CORONAL, STEP_MM, stack
from wardround_sim.traps.phantom import (
    AXIAL,
    COLUMNS,
    MR,
    PET,
    ROWS,
    along_normal,
    make_slice,
)

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MIDDLE = 5


def other_pixels(slices: Sequence[Dataset], voxel: int = 0) -> list[Dataset]:
    """Changes one voxel of each slice by the smallest step, less than a position error shows."""
    for dataset in slices:
        values = np.frombuffer(dataset.PixelData, np.uint16).copy()
        values[voxel] += 1
        dataset.PixelData = values.tobytes()
    return list(slices)


def renumbered(slices: Sequence[Dataset], first: int) -> list[Dataset]:
    """Gives slices identities of their own."""
    for number, dataset in enumerate(slices):
        dataset.SOPInstanceUID = f"2.25.7{first + number:06}"
        dataset.InstanceNumber = first + number
    return list(slices)


def _passes(*each: Mapping[str, Any], **shared: Any) -> Build:
    """The same stack several times, told apart by some elements and by one voxel."""

    def build(axis: int) -> list[Dataset]:
        slices: list[Dataset] = []
        for number, elements in enumerate(each):
            again = stack(axis, **(shared | dict(elements)))
            if number:
                other_pixels(again, voxel=number)
            slices += renumbered(again, 100 * number)
        return slices

    return build


def _with(*others: Mapping[str, Any], place: int = _MIDDLE, **elements: Any) -> Build:
    """A stack and further slices, by default at the place of one of its own."""

    def build(axis: int) -> list[Dataset]:
        slices = stack(axis)
        for number, other in enumerate(others):
            position = along_normal(AXIAL, STEP_MM)[place]
            slices.append(make_slice(50 + number, position, axis, **(elements | dict(other))))
        return slices

    return build


def _odd_one(**elements: Any) -> Build:
    """A stack of which the sixth slice differs in some elements."""
    return lambda axis: stack(axis, each=lambda n: elements if n == _MIDDLE else {})


def _copied(*, twice: bool = True, **elements: Any) -> Build:
    """A stack and a copy of its sixth slice, under the same SOPInstanceUID."""

    def build(axis: int) -> list[Dataset]:
        copy = make_slice(6, along_normal(AXIAL, STEP_MM)[_MIDDLE], axis, **elements)
        return [*stack(axis), copy if twice else other_pixels([copy])[0]]

    return build


def _moved(axis: int) -> list[Dataset]:
    places = along_normal(AXIAL, STEP_MM)
    return [*stack(axis), make_slice(6, places[7], axis)]


def _same_place(*, equal: bool) -> Build:
    def build(axis: int) -> list[Dataset]:
        again = [make_slice(50, along_normal(AXIAL, STEP_MM)[_MIDDLE], axis)]
        return [*stack(axis), *(again if equal else other_pixels(again))]

    return build


def _beside_itself(axis: int) -> list[Dataset]:
    place = along_normal(AXIAL, STEP_MM)[_MIDDLE] + [20.0, 0.0, 0.0]
    return [*stack(axis), make_slice(50, place, axis)]


def _with_coronal(count: int) -> Build:
    def build(axis: int) -> list[Dataset]:
        others = stack(axis, along_normal(CORONAL, STEP_MM, count), axes=CORONAL)
        return [*stack(axis), *renumbered(others, 100)]

    return build


def _clock(start: int) -> dict[str, Any]:
    """Every slice has its own time, as scanners write it."""
    return {
        "AcquisitionDate": "20260101",
        "each": lambda n: {"AcquisitionTime": f"{start + n:06}.50"},
    }


def _at(phase: int) -> Callable[[int], dict[str, Any]]:
    return lambda n: {"AcquisitionTime": f"{100000 + 10 * n + phase}"}


def _cine(axis: int) -> list[Dataset]:
    """Phases of one place after the other, each place at its own time."""
    slices: list[Dataset] = []
    for phase in range(3):
        again = stack(
            axis,
            kind=MR,
            TriggerTime=str(40 * phase),
            each=_at(phase),
        )
        if phase:
            other_pixels(again, voxel=phase)
        slices += renumbered(again, 100 * phase)
    return slices


def _second_pass_broken_off(axis: int) -> Sequence[Dataset]:
    slices = _passes({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2})(axis)
    return slices[:-1]


def _two_series(axis: int) -> list[Dataset]:
    return [*stack(axis), *stack(axis, series=2)]


def _steps_interleaved(axis: int) -> Sequence[Dataset]:
    """Odd and even slices are acquisitions of their own, each scanned twice, untold."""
    slices = _passes({}, {})(axis)
    for number, dataset in enumerate(slices):
        dataset.AcquisitionNumber = number % 2
    return slices


_COLOUR = {
    "PhotometricInterpretation": "RGB",
    "SamplesPerPixel": 3,
    "PlanarConfiguration": 0,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelData": bytes(ROWS * COLUMNS * 3),
}
_SHEET = {
    "kind": SECONDARY_CAPTURE,
    "Modality": "CT",
    "ImageType": ["DERIVED", "SECONDARY", "RESULTS"],
}
_LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "axes": CORONAL}
_TWO, _THREE = (12, 12), (12, 12, 12)
_SPLIT = frozenset({"split"})
_ONE_LOST = {Reason.TOO_FEW_SLICES: 1, Reason.MISSING_SLICE: 11}


def _split(name: str, build: Build, volumes: tuple[int, ...] = _TWO) -> Case:
    return Case(name=name, make=of_slices(build), volumes=volumes, flags=_SPLIT)


def _kept(name: str, build: Build, **refused: int) -> Case:
    reasons = {Reason[reason]: count for reason, count in refused.items()}
    return Case(name=name, make=of_slices(build), volumes=(12,), refused=reasons)


def _refused(name: str, build: Build, refused: Mapping[Reason, int]) -> Case:
    return Case(name=name, make=of_slices(build), refused=refused)


COPIES = (
    _kept("place twice, equal pixels", _same_place(equal=True), DUPLICATE_COPY=1),
    _refused(
        "place twice, other pixels", _same_place(equal=False), {Reason.DUPLICATE_POSITION: 13}
    ),
    _refused("two slices side by side", _beside_itself, {Reason.DUPLICATE_POSITION: 13}),
    _kept("SOPInstanceUID twice, equal pixels", _copied(), DUPLICATE_COPY=1),
    _refused(
        "SOPInstanceUID twice, other pixels", _copied(twice=False), {Reason.DUPLICATE_CONFLICT: 13}
    ),
    _refused(
        "SOPInstanceUID twice, other place",
        _moved,
        {Reason.DUPLICATE_CONFLICT: 2, Reason.MISSING_SLICE: 11},
    ),
)

STRANGERS = (
    _kept("localizer in the series", _with(_LOCALIZER), IMAGE_TYPE=1),
    _kept("localizer labelled axial", _with({"axes": CORONAL}), TOO_FEW_SLICES=1),
    _kept("dose sheet in the series", _with(_SHEET), SECONDARY_CAPTURE=1),
    _kept(
        "dose sheet without position",
        _with(_SHEET | {"ImagePositionPatient": None, "ImageOrientationPatient": None}),
        SECONDARY_CAPTURE=1,
    ),
    _kept("colour image in the series", _with(_COLOUR), COLOUR=1),
    _kept("thick image of a derived type", _with({"ImageType": ["DERIVED"]}), TOO_FEW_SLICES=1),
    _split("coronal reformat in the series", _with_coronal(5), (5, 12)),
    _kept("two coronal images in the series", _with_coronal(2), TOO_FEW_SLICES=2),
    _refused(
        "one slice of another frame of reference",
        _odd_one(FrameOfReferenceUID="2.25.921"),
        _ONE_LOST,
    ),
    _refused("one slice of another pixel spacing", _odd_one(spacing=(0.8, 0.7)), _ONE_LOST),
    _refused("one slice of another size", _odd_one(shape=(ROWS, COLUMNS + 2)), _ONE_LOST),
    _refused("one slice of another kernel", _odd_one(ConvolutionKernel="SHARP"), _ONE_LOST),
)

SEVERAL = (
    Case(name="two series in one folder", make=of_slices(_two_series), volumes=_TWO),
    _split(
        "two time points, numbered",
        _passes({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, kind=MR),
    ),
    _split("two passes, by the clock", _passes(_clock(100000), _clock(100100))),
    _refused(
        "two passes, clocks overlap",
        _passes(_clock(100000), _clock(100005)),
        {Reason.DUPLICATE_POSITION: 24},
    ),
    _split("two acquisitions merged", _passes({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2})),
    _refused(
        "second acquisition broken off",
        _second_pass_broken_off,
        {Reason.DUPLICATE_POSITION: 23},
    ),
    _refused(
        "odd and even slices numbered apart",
        _steps_interleaved,
        {Reason.DUPLICATE_POSITION: 24},
    ),
    _refused(
        "two passes, nothing tells them apart", _passes({}, {}), {Reason.DUPLICATE_POSITION: 24}
    ),
    _split("heart phases, by trigger time", _cine, _THREE),
    _split(
        "two echoes",
        _passes({"EchoTime": "4.2"}, {"EchoTime": "98"}, kind=MR),
    ),
    _split(
        "diffusion: b-values and directions",
        _passes(
            {"DiffusionBValue": 0.0},
            {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [1.0, 0.0, 0.0]},
            {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0.0, 1.0, 0.0]},
            kind=MR,
        ),
        _THREE,
    ),
    _split(
        "two inversion times", _passes({"InversionTime": "50"}, {"InversionTime": "800"}, kind=MR)
    ),
    _split(
        "magnitude and phase",
        _passes(
            {"ImageType": ["ORIGINAL", "PRIMARY", "M", "FFE"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P", "FFE"]},
            kind=MR,
        ),
    ),
    _split(
        "water and fat",
        _passes(
            {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
            {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]},
            kind=MR,
        ),
    ),
    _split("two kernels", _passes({"ConvolutionKernel": "SOFT"}, {"ConvolutionKernel": "BONE"})),
    Case(
        name="PET slices of two units",
        make=of_slices(
            lambda axis: stack(
                axis, kind=PET, each=lambda n: {"Units": "CNTS"} if n > _MIDDLE else {}
            )
        ),
        refused={Reason.MIXED_UNITS: 12},
    ),
)

CASES = (*COPIES, *STRANGERS, *SEVERAL)
