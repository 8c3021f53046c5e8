"""One CT scan: a patient lies on the table, is scanned, reconstructed and stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround_sim.synthetic.exposure import pixel_spacing_mm
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.scanner import Scanner, Storage
from wardround_sim.synthetic.thorax import Nodule, Thorax, draw_nodules, draw_tissue
from wardround_sim.synthetic.voxels import Grid, Voxels, blend, coverage, ellipsoid

_NODULE_HU = 45
_NOISE_HU = 12.0
_LEAST_HU, _LARGEST_HU = -1023, 3071
_TABLE_BELOW_MM, _TABLE_THICK_MM = 118.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageForm:
    """How Hounsfield units become stored values."""

    intercept: int
    signed: bool
    bits_stored: int
    padding: int
    """PixelPaddingValue: below every stored value of the scan."""


STORAGE: dict[Storage, StorageForm] = {
    "signed": StorageForm(intercept=0, signed=True, bits_stored=16, padding=-2000),
    "unsigned": StorageForm(intercept=-1024, signed=False, bits_stored=12, padding=0),
    "signed_offset": StorageForm(intercept=-1024, signed=True, bits_stored=16, padding=-2000),
    "high_offset": StorageForm(intercept=-8192, signed=False, bits_stored=16, padding=0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tomogram:
    """Stored pixels of a volume, their place, and the truth about them."""

    stored: NDArray[np.int32]
    """Shape (slices, rows, columns), stored values; the first slice is nearest to the feet
    head first, to the head feet first."""
    grid: Grid
    """Where the voxels lie, mm."""
    nodules: tuple[Nodule, ...]
    """Planted lesions; none in a normal scan."""


def scan(
    spec: SyntheticHospital,
    thorax: Thorax,
    draw: np.random.Generator,
    *,
    abnormal: bool,
    tilt_degrees: float = 0.0,
) -> Tomogram:
    """Takes one CT scan of a patient's thorax.

    Args:
        spec: The hospital.
        thorax: The patient.
        draw: Source of all randomness.
        abnormal: Whether there are nodules.
        tilt_degrees: Tilt of the gantry about the x axis.
    """
    scanner = spec.scanner
    lying = _draw_grid(spec, draw, tilt_degrees)
    volume, lung = draw_tissue(thorax, lying, draw)
    nodules: tuple[Nodule, ...] = ()
    if abnormal:
        nodules = draw_nodules(lung, lying, draw, counts=spec.nodules, diameters_mm=spec.nodule_mm)
        for nodule in nodules:
            block, part = ellipsoid(lying, nodule.centre_mm, nodule.semi_axes_mm)
            blend(volume[block], np.float32(min(1.0, spec.lesion_contrast)) * part, _NODULE_HU)
    if scanner.table:
        _add_table(volume, lying)
    volume = _reconstruct(volume, scanner, spec.noise, draw)
    # Where zero lies is the scanner's choice and differs from scan to scan.
    shift = np.round(
        np.array([draw.normal(0, 12), draw.normal(-160, 20), draw.normal(-400, 150)]), 2
    )
    return Tomogram(
        stored=_store(volume, scanner, lying),
        grid=replace(lying, origin_mm=_moved(lying.origin_mm, shift)),
        nodules=tuple(replace(n, centre_mm=_moved(n.centre_mm, shift)) for n in nodules),
    )


def _draw_grid(spec: SyntheticHospital, draw: np.random.Generator, tilt_degrees: float) -> Grid:
    """Places the scan around the lungs, a little off, as technicians do."""
    scanner, pixel = spec.scanner, round(pixel_spacing_mm(spec), 6)
    tilt = math.radians(tilt_degrees)
    right, down, up = ((n - 1) / 2 for n in (spec.columns, spec.rows, scanner.slices))
    off_x, off_y, off_z = draw.normal(0, 6), draw.normal(0, 6), draw.normal(-4, 8)
    way = -1 if scanner.patient_position == "FFS" else 1
    row = (pixel * math.cos(tilt), pixel * math.sin(tilt))
    slice_mm = way * scanner.slice_spacing_mm
    return Grid(
        shape=(scanner.slices, spec.rows, spec.columns),
        origin_mm=(
            off_x - way * right * pixel,
            off_y - down * row[0],
            off_z - up * slice_mm - down * row[1],
        ),
        column_mm=way * pixel,
        row_mm=row,
        slice_mm=slice_mm,
    )


def _add_table(volume: Voxels, grid: Grid) -> None:
    """A hollow slab of carbon fibre, curved a little upwards at its sides."""
    x, y, _ = grid.coordinates()
    below_mm = y - np.float32(_TABLE_BELOW_MM) + x * x / np.float32(1400)
    slab_mm = np.minimum(below_mm, _TABLE_THICK_MM - below_mm)
    inside_mm = np.minimum(slab_mm, 210 - np.abs(x))
    blend(volume, coverage(inside_mm, grid), -150)
    blend(volume, coverage(inside_mm - 3, grid), -900)


def _reconstruct(
    volume: Voxels, scanner: Scanner, noise: float, draw: np.random.Generator
) -> Voxels:
    """Blurs along z by the slice thickness, then adds the noise and edges of the kernel."""
    overlap = scanner.thickness_mm / scanner.slice_spacing_mm
    if overlap > 1:
        volume = _smooth(volume, axis=0, strength=min(1.0, (overlap - 1) / 2))
    grain = draw.standard_normal(volume.shape, dtype=np.float32)
    soft = 1 - scanner.sharpness
    for axis in (1, 2):
        blurred = _smooth(volume, axis=axis, strength=0.3)
        # 0 leaves a blurred volume, 1 a sharpened one.
        volume = blurred + np.float32(2.2 * scanner.sharpness) * (volume - blurred)
        grain = _smooth(grain, axis=axis, strength=soft)
    level = _NOISE_HU * noise * (1 + 2 * scanner.sharpness)
    return volume + np.float32(level) * grain


def _smooth(volume: Voxels, *, axis: int, strength: float) -> Voxels:
    """Mixes each voxel with its two neighbours along an axis; 1 is (1, 2, 1) / 4."""
    side = np.float32(strength / 4)
    lines = np.moveaxis(volume, axis, 0)
    mixed = lines * (1 - 2 * side)
    mixed[1:] += side * lines[:-1]
    mixed[:-1] += side * lines[1:]
    mixed[0] += side * lines[0]
    mixed[-1] += side * lines[-1]
    return np.moveaxis(mixed, 0, axis)


def _store(volume: Voxels, scanner: Scanner, grid: Grid) -> NDArray[np.int32]:
    form = STORAGE[scanner.storage]
    limited = np.clip(volume, _LEAST_HU, _LARGEST_HU)
    stored = np.rint(limited).astype(np.int32) - form.intercept
    if scanner.padded:
        _, rows, columns = grid.shape
        row, column = np.ogrid[:rows, :columns]
        off = np.hypot(row - (rows - 1) / 2, column - (columns - 1) / 2)
        stored[:, off > min(rows, columns) / 2] = form.padding
    return stored


def _moved(
    point: tuple[float, float, float], by: NDArray[np.float64]
) -> tuple[float, float, float]:
    x, y, z = (np.array(point) + by).tolist()
    return x, y, z
