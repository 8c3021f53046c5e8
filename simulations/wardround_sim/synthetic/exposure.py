"""One radiograph: a patient is positioned, exposed, and the image processed for display."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround_sim.synthetic.anatomy import Anatomy, Chest, draw_chest
from wardround_sim.synthetic.hospital import Appearance, SyntheticHospital
from wardround_sim.synthetic.texture import Plane, box_blur, smooth_noise, smoothstep

_MARKER = np.array(
    [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0],
     [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=np.float32,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Opacity:
    """One planted lesion, in the pixels of the image."""

    row: float
    """Row of its centre; 0 is the middle of the first pixel."""
    column: float
    """Column of its centre."""
    radius_px: float
    """Distance at which its mean strength has fallen to one half, pixels."""
    radius_mm: float
    """The same in the patient's plane, millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph:
    """Stored pixels and the truth about them."""

    pixels: NDArray[np.uint16]
    """Shape (rows, columns), as stored: inverted under MONOCHROME1."""
    opacities: tuple[Opacity, ...]
    """Planted lesions; none in a normal image."""
    window: tuple[int, int]
    """Centre and width of a sensible linear display window, stored values."""


def expose(
    spec: SyntheticHospital, anatomy: Anatomy, draw: np.random.Generator, *, abnormal: bool
) -> Radiograph:
    """Takes one radiograph of a patient."""
    x, y = _position(spec, draw)
    chest = draw_chest(anatomy, x, y, breath_mm=float(draw.normal(0, 9)))
    attenuation = chest.attenuation + 0.02 * chest.air * smooth_noise(draw, x.shape, 9)
    texture = smooth_noise(draw, x.shape, 20)
    attenuation += 0.012 * chest.body * texture
    opacities: tuple[Opacity, ...] = ()
    if abnormal:
        shade, opacities = _draw_opacities(spec, chest, np.tanh(texture), draw)
        attenuation += np.float32(spec.lesion_contrast) * shade
    quantum = draw.standard_normal(x.shape, dtype=np.float32)
    attenuation += np.float32(0.008 * spec.noise) * np.exp(attenuation / 2) * quantum
    grey = _display(attenuation, chest.body, spec.appearance, draw)
    grey = _mark(_collimate(grey, spec.appearance, draw), draw)
    return _store(grey, spec, opacities)


def _position(spec: SyntheticHospital, draw: np.random.Generator) -> tuple[Plane, Plane]:
    """Where each pixel lies in the patient: rotated, shifted, and bent a little."""
    spacing = pixel_spacing_mm(spec)
    angle = np.deg2rad(draw.normal(0, spec.appearance.rotation_degrees))
    zoom = float(np.clip(draw.normal(1, 0.05), 0.85, 1.15))
    right = (np.arange(spec.columns, dtype=np.float32) - (spec.columns - 1) / 2) * spacing
    down = (np.arange(spec.rows, dtype=np.float32) - (spec.rows - 1) / 2) * spacing
    shift_x, shift_y = draw.normal(0, 8), draw.normal(-12, 9)
    cosine, sine = np.float32(np.cos(angle) / zoom), np.float32(np.sin(angle) / zoom)
    x = cosine * right[None, :] + sine * down[:, None] - np.float32(shift_x)
    y = cosine * down[:, None] - sine * right[None, :] - np.float32(shift_y)
    x += 2.5 * smooth_noise(draw, x.shape, 3)
    y += 3.5 * smooth_noise(draw, x.shape, 3)
    return x, y


def pixel_spacing_mm(spec: SyntheticHospital) -> float:
    """Distance of neighbouring pixels in the patient's plane, millimetres."""
    return spec.appearance.field_of_view_mm / min(spec.rows, spec.columns)


def _draw_opacities(
    spec: SyntheticHospital, chest: Chest, fray: Plane, draw: np.random.Generator
) -> tuple[Plane, tuple[Opacity, ...]]:
    spacing = pixel_spacing_mm(spec)
    places = np.flatnonzero(chest.air > 0.45)
    shade = np.zeros_like(chest.air)
    found = []
    for _ in range(int(draw.choice((1, 2, 3), p=(0.5, 0.3, 0.2)))):
        row, column = divmod(int(draw.choice(places)), spec.columns)
        radius = float(draw.uniform(18, 40)) / spacing
        _add_blob(shade, fray, (row, column, radius), draw)
        found.append(Opacity(row=row, column=column, radius_px=radius, radius_mm=radius * spacing))
    return shade * np.sqrt(chest.air) * (1 + 0.3 * fray), tuple(found)


def _add_blob(
    shade: Plane, fray: Plane, place: tuple[int, int, float], draw: np.random.Generator
) -> None:
    """Adds an elliptical bell with a frayed edge to ``shade``, where it is not negligible."""
    row, column, radius = place
    reach = int(3.5 * radius) + 1
    near = (
        slice(max(0, row - reach), row + reach + 1),
        slice(max(0, column - reach), column + reach + 1),
    )
    down = np.arange(shade.shape[0], dtype=np.float32)[near[0], None] - row
    right = np.arange(shade.shape[1], dtype=np.float32)[None, near[1]] - column
    stretch, turn = float(draw.uniform(0.75, 1.33)), float(draw.uniform(0, math.pi))
    along = (math.cos(turn) * down + math.sin(turn) * right) * (stretch / radius)
    beside = (math.cos(turn) * right - math.sin(turn) * down) / (stretch * radius)
    # exp(-ln 2 * squared) is one half at the radius; the frayed field is about 0 on average.
    squared = (along * along + beside * beside) * (1 + 0.45 * fray[near])
    shade[near] += float(draw.uniform(0.24, 0.54)) * np.exp(-math.log(2) * squared)


def _display(
    attenuation: Plane, body: Plane, appearance: Appearance, draw: np.random.Generator
) -> Plane:
    """Grey levels 0 to 1, bones bright: unsharp mask and an S-shaped characteristic curve."""
    radius = max(2, min(attenuation.shape) // 40)
    soft = box_blur(attenuation, radius)
    sharp = attenuation + np.float32(appearance.sharpening) * (attenuation - soft)
    # Automatic exposure: stout and slim patients come out alike.
    usual = float((soft * body).sum(dtype=np.float64) / body.sum(dtype=np.float64))
    level = usual + float(draw.normal(-0.04, 0.02)) - 0.22 * appearance.brightness
    slope = 4.2 * appearance.contrast
    return (1 / (1 + np.exp(-slope * (sharp - level)))).astype(np.float32)


def _collimate(grey: Plane, appearance: Appearance, draw: np.random.Generator) -> Plane:
    wanted = draw.random() < appearance.collimation
    borders = np.abs(draw.normal(0, 0.035, 4)) * min(grey.shape)
    if not wanted:
        return grey
    rows = np.arange(grey.shape[0], dtype=np.float32)[:, None]
    columns = np.arange(grey.shape[1], dtype=np.float32)[None, :]
    upper, lower = rows - borders[0], grey.shape[0] - 1 - rows - borders[1]
    left, right = columns - borders[2], grey.shape[1] - 1 - columns - borders[3]
    nearest = np.minimum(np.minimum(upper, lower), np.minimum(left, right))
    return grey * smoothstep((nearest / 2 + 0.5).astype(np.float32))


def _mark(grey: Plane, draw: np.random.Generator) -> Plane:
    """Lays a lead letter L on the patient's left, as radiographers do."""
    size = max(1, min(grey.shape) // 128)
    letter = np.kron(_MARKER, np.ones((size, size), dtype=np.float32))
    height, width = letter.shape
    top = int(grey.shape[0] * draw.uniform(0.05, 0.12))
    left = int(grey.shape[1] * draw.uniform(0.86, 0.92))
    patch = grey[top : top + height, left : left + width]
    np.maximum(patch, 0.97 * letter[:, : patch.shape[1]], out=patch)
    return grey


def _store(grey: Plane, spec: SyntheticHospital, opacities: tuple[Opacity, ...]) -> Radiograph:
    largest = (1 << spec.bits_stored) - 1
    shown = 1 - grey if spec.photometric == "MONOCHROME1" else grey
    pixels = np.rint(np.clip(0.02 + 0.94 * shown, 0, 1) * largest).astype(np.uint16)
    window = (round(0.49 * largest), round(0.96 * largest))
    return Radiograph(pixels=pixels, opacities=opacities, window=window)
