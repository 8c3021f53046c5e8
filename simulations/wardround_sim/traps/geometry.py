"""Traps of place: order, orientation, gaps, tilt, and headers that lie or break off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from wardround_client.quarantine import Reason
from wardround_sim.traps.case import Case, Make, of_slices
from wardround_sim.traps.phantom import (
    AXIAL,
    Places,
    along_normal,
    decimals,
    encode,
    make_slice,
    write,
)

STEP_MM = 2.5
SAGITTAL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
CORONAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FEET_FIRST = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
SHUFFLED = (5, 2, 11, 8, 1, 12, 3, 9, 7, 10, 4, 6)
UNEVEN = (2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 4.1, 4.1, 4.1, 4.1, 4.1)
WITHIN_ONE_PERCENT = (*[2.5] * 6, *[2.52] * 5)
TILT = np.tan(np.radians(18.5))


def turned(about_x: float, about_z: float) -> Places:
    """Axial slices turned by two angles, degrees."""
    (s, c), (t, d) = ((np.sin(np.radians(a)), np.cos(np.radians(a))) for a in (about_x, about_z))
    tip = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    spin = np.array([[d, -t, 0], [t, d, 0], [0, 0, 1]])
    axes: Places = AXIAL @ (spin @ tip).T
    return axes


def stack(
    axis: int,
    places: Places | None = None,
    *,
    axes: Places = AXIAL,
    each: Callable[[int], Mapping[str, Any]] = lambda _: {},
    **elements: Any,
) -> list[Dataset]:
    """One series of parallel slices.

    Args:
        axis: Which coordinate the voxels hold.
        places: Of the slices; twelve, 2.5 mm apart, where None.
        axes: Direction cosines.
        each: Elements of the slice of a number, counted from 0.
        elements: Arguments of `make_slice`, and elements of every slice.
    """
    places = along_normal(axes, STEP_MM) if places is None else places
    return [
        make_slice(n + 1, place, axis, **({"axes": axes} | elements | dict(each(n))))
        for n, place in enumerate(places)
    ]


def _sheared(steps: Sequence[float] | float = STEP_MM) -> Places:
    """Places of slices of a tilted gantry: orientation is tilted, the table moves along z."""
    axes = turned(18.5, 0)
    places = along_normal(axes, steps)
    moved = (places - places[0]) @ np.cross(*axes)
    shifted: Places = places + TILT * moved[:, None] * axes[1]
    return shifted


def _without(*gone: int) -> Make:
    return of_slices(lambda axis: [s for n, s in enumerate(stack(axis)) if n not in gone])


def _plain(places: Places | None = None, **arguments: Any) -> Make:
    return of_slices(lambda axis: stack(axis, places, **arguments))


def _one(**elements: Any) -> Make:
    """Changes elements of the sixth slice alone."""
    return _plain(each=lambda n: elements if n == 5 else {})


def _patched(old: bytes, new: bytes) -> Make:
    """Overwrites a text in the sixth file with one that no DICOM library would write."""

    def make(folder: Path, axis: int) -> None:
        for number, dataset in enumerate(stack(axis)):
            path = folder / f"{number:03}.dcm"
            write(dataset, path)
            if number == 5:
                if old not in encode(dataset):
                    raise ValueError("the text to overwrite is not there")
                path.write_bytes(path.read_bytes().replace(old, new.ljust(len(old))))

    return make


def _wandering() -> Places:
    places = along_normal(AXIAL, STEP_MM)
    places[::2, 0] += 0.4
    return places


def _jittering() -> Places:
    return along_normal(AXIAL, STEP_MM) + np.random.default_rng(1).uniform(-5e-4, 5e-4, (12, 3))


def _rotating(number: int) -> dict[str, Any]:
    return {"axes": turned(0, np.degrees(5e-4)) if number == 5 else AXIAL}


_POSITION = b"-20.0000000000\\11.0000000000\\42.5000000000"
_TWELVE = (12,)
_LOST = {Reason.MISSING_SLICE: 11}
_SLABS = (*[STEP_MM] * 5, 40.0, *[STEP_MM] * 5)

ORDER = (
    Case(name="axial", make=_plain(), volumes=_TWELVE),
    Case(
        name="InstanceNumber shuffled",
        make=_plain(each=lambda n: {"InstanceNumber": SHUFFLED[n]}),
        volumes=_TWELVE,
    ),
    Case(name="InstanceNumber missing", make=_plain(InstanceNumber=None), volumes=_TWELVE),
    Case(name="InstanceNumber all equal", make=_plain(InstanceNumber=1), volumes=_TWELVE),
    Case(
        name="InstanceNumber descending",
        make=_plain(each=lambda n: {"InstanceNumber": 12 - n}),
        volumes=_TWELVE,
    ),
    Case(
        name="files in reverse order",
        make=of_slices(lambda axis: stack(axis)[::-1]),
        volumes=_TWELVE,
    ),
    Case(name="feet first", make=_plain(axes=FEET_FIRST), volumes=_TWELVE),
    Case(name="sagittal", make=_plain(axes=SAGITTAL), volumes=_TWELVE),
    Case(name="coronal", make=_plain(axes=CORONAL), volumes=_TWELVE),
    Case(name="oblique", make=_plain(axes=turned(20, 0)), volumes=_TWELVE),
    Case(name="double oblique", make=_plain(axes=turned(-25, 40)), volumes=_TWELVE),
    Case(
        name="double oblique, cosines of 6 digits",
        make=_plain(
            axes=turned(31, -17),
            ImageOrientationPatient=decimals(turned(31, -17).ravel(), 6),
        ),
        volumes=_TWELVE,
    ),
    Case(name="positions rounded to 0.001 mm", make=_plain(_jittering()), volumes=_TWELVE),
    Case(
        name="spacing varies by less than 1 %",
        make=_plain(along_normal(AXIAL, WITHIN_ONE_PERCENT)),
        volumes=_TWELVE,
        flags=frozenset({"rounded"}),
    ),
)

IRREGULAR = (
    Case(name="slice missing", make=_without(5), refused={Reason.MISSING_SLICE: 11}),
    Case(name="two slices missing", make=_without(4, 5), refused={Reason.MISSING_SLICE: 10}),
    Case(
        name="slice missing, study resamples",
        make=_without(5),
        irregular="resample",
        volumes=(11,),
        flags=frozenset({"missing-slice"}),
    ),
    Case(
        name="two slabs 40 mm apart, study resamples",
        make=_plain(along_normal(AXIAL, _SLABS)),
        irregular="resample",
        refused={Reason.MISSING_SLICE: 12},
    ),
    Case(
        name="uneven spacing",
        make=_plain(along_normal(AXIAL, UNEVEN)),
        refused={Reason.UNEVEN_SPACING: 12},
    ),
    Case(
        name="uneven spacing, study resamples",
        make=_plain(along_normal(AXIAL, UNEVEN)),
        irregular="resample",
        volumes=_TWELVE,
        flags=frozenset({"uneven"}),
    ),
    Case(
        name="tilted gantry",
        make=_plain(_sheared(), axes=turned(18.5, 0)),
        refused={Reason.TILTED: 12},
    ),
    Case(
        name="tilted gantry, study resamples",
        make=_plain(_sheared(), axes=turned(18.5, 0)),
        irregular="resample",
        volumes=_TWELVE,
        flags=frozenset({"tilted"}),
    ),
    Case(
        name="tilted and uneven",
        make=_plain(_sheared(UNEVEN), axes=turned(18.5, 0)),
        refused={Reason.UNEVEN_SPACING: 12},
    ),
    Case(
        name="tilted and uneven, study resamples",
        make=_plain(_sheared(UNEVEN), axes=turned(18.5, 0)),
        irregular="resample",
        volumes=_TWELVE,
        flags=frozenset({"tilted", "uneven"}),
    ),
    Case(
        name="every second slice shifted sideways",
        make=_plain(_wandering()),
        refused={Reason.UNEVEN_SPACING: 12},
    ),
    Case(
        name="one slice turned by 0.03 degrees",
        make=of_slices(lambda axis: stack(axis, shape=(10, 48), each=_rotating)),
        refused={Reason.BROKEN_GEOMETRY: 12},
    ),
)

LIES = (
    Case(name="SpacingBetweenSlices lies", make=_plain(SpacingBetweenSlices=7), volumes=_TWELVE),
    Case(name="SliceThickness lies", make=_plain(SliceThickness="10"), volumes=_TWELVE),
    Case(name="GantryDetectorTilt lies", make=_plain(GantryDetectorTilt="18.5"), volumes=_TWELVE),
    Case(
        name="SliceLocation lies",
        make=_plain(each=lambda n: {"SliceLocation": str(-3 * n)}),
        volumes=_TWELVE,
    ),
)

BROKEN = (
    Case(
        name="no position",
        make=_plain(ImagePositionPatient=None),
        refused={Reason.NO_GEOMETRY: 12},
    ),
    Case(
        name="no position in one slice",
        make=_one(ImagePositionPatient=None),
        refused={Reason.NO_GEOMETRY: 1, **_LOST},
    ),
    Case(
        name="no orientation",
        make=_plain(ImageOrientationPatient=None),
        refused={Reason.NO_GEOMETRY: 12},
    ),
    Case(name="no spacing", make=_plain(PixelSpacing=None), refused={Reason.NO_GEOMETRY: 12}),
    Case(
        name="position is not a number",
        make=_patched(_POSITION, b"nan\\11.0\\42.5"),
        refused={Reason.BROKEN_GEOMETRY: 1, **_LOST},
    ),
    Case(
        name="position infinite",
        make=_patched(_POSITION, b"-20.0\\inf\\42.5"),
        refused={Reason.BROKEN_GEOMETRY: 1, **_LOST},
    ),
    Case(
        name="position with commas",
        make=_patched(_POSITION, b"-20,0\\11,0\\42,5"),
        refused={Reason.BROKEN_GEOMETRY: 1, **_LOST},
    ),
    Case(
        name="position of two numbers",
        make=_patched(_POSITION, b"-20.0\\11.0"),
        refused={Reason.BROKEN_GEOMETRY: 1, **_LOST},
    ),
    Case(
        name="position absurdly large",
        make=_patched(_POSITION, b"-20.0\\11.0\\1e300"),
        refused={Reason.BROKEN_GEOMETRY: 1, **_LOST},
    ),
    Case(
        name="orientation not orthonormal",
        make=_plain(ImageOrientationPatient=["1", "0", "0", "0", "2", "0"]),
        refused={Reason.BROKEN_GEOMETRY: 12},
    ),
    Case(
        name="spacing zero",
        make=_plain(PixelSpacing=["0", "0.7"]),
        refused={Reason.BROKEN_GEOMETRY: 12},
    ),
    Case(
        name="spacing negative",
        make=_plain(PixelSpacing=["-0.9", "0.7"]),
        refused={Reason.BROKEN_GEOMETRY: 12},
    ),
    Case(
        name="single slice",
        make=_plain(along_normal(AXIAL, STEP_MM, 1)),
        refused={Reason.TOO_FEW_SLICES: 1},
    ),
    Case(
        name="two slices",
        make=_plain(along_normal(AXIAL, STEP_MM, 2)),
        refused={Reason.TOO_FEW_SLICES: 2},
    ),
)

CASES = (*ORDER, *IRREGULAR, *LIES, *BROKEN)
