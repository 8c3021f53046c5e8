"""A numerical thorax in three dimensions: body, lungs, heart, bones, vessels, nodules.

Coordinates are millimetres along the patient's axes (DICOM LPS): x to the left, y to the back,
z to the head, from the middle of the thorax; values are Hounsfield units. The shapes are drawn by
formulas. They resemble a chest; they come from nobody's images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround_sim.synthetic.texture import smooth_noise
from wardround_sim.synthetic.voxels import Capsule, Grid, Voxels, add, blend, coverage

_AIR, _LUNG, _FAT, _MUSCLE, _BLOOD, _SPONGY_BONE, _RIB = -1000, -860, -100, 50, 45, 180, 420
_LUNG_CENTRE_MM, _LUNG_MM = (70.0, 2.0), (55.0, 80.0, 118.0)
_BODY_MM = (165.0, 112.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorax:
    """One patient's build."""

    width: float
    """Scale from side to side; 1 is average."""
    depth: float
    """Scale from front to back; 1 is average."""
    fat_mm: float
    """Thickness of the fat under the skin."""
    heart: float
    """Size of the heart; 1 is average."""
    rib_spacing_mm: float
    """Distance between neighbouring ribs."""
    bone: float
    """Density of the bones; 1 is average."""
    vessels: tuple[Capsule, ...]
    """Pulmonary vessels; outside the lungs they are not drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodule:
    """One planted lesion: an ellipsoid."""

    centre_mm: tuple[float, float, float]
    """x, y, z in the patient's coordinates."""
    semi_axes_mm: tuple[float, float, float]
    """Along x, y and z."""

    @property
    def diameter_mm(self) -> float:
        """Of the ball of equal volume."""
        return 2 * math.prod(self.semi_axes_mm) ** (1 / 3)

    @property
    def volume_ml(self) -> float:
        """Volume of the ellipsoid."""
        return 4 / 3 * math.pi * math.prod(self.semi_axes_mm) / 1000


def draw_thorax(draw: np.random.Generator, *, female: bool, age_years: int) -> Thorax:
    """Draws a patient's build; women are a little narrower, bones thin with age."""
    older = (age_years - 50) / 35
    return Thorax(
        width=float(np.clip((0.95 if female else 1.02) + 0.05 * draw.normal(), 0.84, 1.14)),
        depth=float(np.clip(1 + 0.06 * draw.normal(), 0.85, 1.15)),
        fat_mm=float(np.clip(14 + 6 * draw.normal(), 4, 30)),
        heart=float(np.clip(1 + 0.04 * older + 0.07 * draw.normal(), 0.8, 1.25)),
        rib_spacing_mm=float(draw.uniform(24, 29)),
        bone=float(np.clip(1 - 0.15 * older + 0.12 * draw.normal(), 0.6, 1.4)),
        vessels=tuple(_draw_vessels(draw)),
    )


def draw_tissue(thorax: Thorax, grid: Grid, draw: np.random.Generator) -> tuple[Voxels, Voxels]:
    """Computes Hounsfield units without noise, and how much of each voxel is lung.

    Args:
        thorax: The patient.
        grid: Where the voxels lie.
        draw: For the texture of the lungs and the height of the diaphragm.

    Returns:
        Two arrays, float32, shape (slices, rows, columns): Hounsfield units; 0 to 1.
    """
    x, y, z = grid.coordinates()
    # Shoulders above, a waist below: the outline's scale is a function of height.
    outline = np.interp(z, (-200, -60, 60, 110, 160), (0.97, 1.0, 1.0, 0.93, 0.6)).astype(
        np.float32
    )
    half_width, half_depth = _BODY_MM[0] * thorax.width, _BODY_MM[1] * thorax.depth
    radius = (np.abs(x / half_width) ** 2.4 + np.abs(y / half_depth) ** 2.4) ** np.float32(1 / 2.4)
    skin_mm = (outline - radius) * np.float32(half_depth)
    volume = np.full(grid.shape, _AIR, np.float32)
    blend(volume, coverage(skin_mm, grid), _FAT)
    blend(volume, coverage(skin_mm - np.float32(thorax.fat_mm), grid), _MUSCLE)
    _add_bones(volume, thorax, grid, skin_mm)
    lung = _lung(thorax, grid, breath_mm=float(draw.normal(0, 8)))
    # Blood sinks: the back of a lung is denser. Smooth noise makes secondary lobules.
    density = _LUNG + np.float32(0.45) * y + 22 * smooth_noise(draw, grid.shape[1:], 14)
    blend(volume, lung, density)
    for vessel in thorax.vessels:
        add(volume, vessel, grid, value=_BLOOD, within=lung)
    add(volume, Capsule((0, -8, 20), (0, -4, 170), 8.5, 8.5), grid, value=_AIR)
    return volume, lung


def draw_nodules(
    lung: Voxels,
    grid: Grid,
    draw: np.random.Generator,
    *,
    counts: tuple[int, int],
    diameters_mm: tuple[float, float],
) -> tuple[Nodule, ...]:
    """Draws nodules whose centres lie inside the lungs.

    Args:
        lung: How much of each voxel is lung, float32, shape (slices, rows, columns).
        grid: Where the voxels lie.
        draw: Source of randomness.
        counts: Least and largest number; each is half as likely as the one below.
        diameters_mm: Least and largest diameter.
    """
    places = np.flatnonzero(lung > 0.95)
    if not places.size:
        return ()
    nodules = []
    possible = np.arange(counts[0], counts[1] + 1)
    likely = 0.5 ** np.arange(possible.size)
    for _ in range(int(draw.choice(possible, p=likely / likely.sum()))):
        index = np.array(np.unravel_index(int(draw.choice(places)), lung.shape), np.float64)
        x, y, z = grid.position(index + draw.uniform(-0.5, 0.5, 3)).tolist()
        radius = float(np.exp(draw.uniform(*np.log(diameters_mm)))) / 2
        stretch = np.exp(draw.uniform(-0.2, 0.2, 3))
        a, b, c = (radius * stretch / np.prod(stretch) ** (1 / 3)).tolist()
        nodules.append(Nodule(centre_mm=(x, y, z), semi_axes_mm=(a, b, c)))
    return tuple(nodules)


def _lung(thorax: Thorax, grid: Grid, *, breath_mm: float) -> Voxels:
    """How much of each voxel is lung: two half ellipsoids, less heart, middle and diaphragm."""
    x, y, z = grid.coordinates()
    across = np.abs(x) / np.float32(thorax.width)
    off = (across - _LUNG_CENTRE_MM[0]) / _LUNG_MM[0]
    down = (y - _LUNG_CENTRE_MM[1]) / np.float32(_LUNG_MM[1] * thorax.depth)
    radius = np.sqrt(off * off + down * down)
    # Narrow at the apex, wide at the base.
    reach = np.sqrt(np.clip(1 - (np.clip(z + 20, 0, None) / _LUNG_MM[2]) ** 2, 0, 1))
    inside_mm = (reach.astype(np.float32) - radius) * np.float32(_LUNG_MM[0])
    # The right dome, over the liver, stands higher.
    dome = -104 + np.float32(breath_mm) + 34 * (1 - radius * radius) + 10 * (x < 0)
    size = np.float32(thorax.heart)
    turned = (x - 18 + 0.35 * y) / (56 * size)
    heart = turned**2 + ((y + 34) / (44 * size)) ** 2 + ((z + 52) / (58 * size)) ** 2
    inside_mm = np.minimum(inside_mm, (heart - 1) * np.float32(22))
    return coverage(np.minimum(inside_mm, z - dome), grid)


def _add_bones(volume: Voxels, thorax: Thorax, grid: Grid, skin_mm: Voxels) -> None:
    x, y, z = grid.coordinates()
    phase = (z + np.float32(0.5) * y) / np.float32(thorax.rib_spacing_mm)
    off_mm = np.abs(phase - np.rint(phase)) * np.float32(thorax.rib_spacing_mm)
    wall_mm = np.abs(skin_mm - np.float32(thorax.fat_mm + 12))
    # Ribs are cut by their cage: a band under the muscle, where the rib's own height allows.
    ribs = coverage(np.minimum(5 - wall_mm, 6 - off_mm), grid)
    blend(volume, ribs, _RIB * thorax.bone)
    spine_mm = 17 - np.hypot(x, y - 66 * np.float32(thorax.depth))
    disc = np.cos(z * np.float32(2 * math.pi / 25))
    blend(volume, coverage(spine_mm, grid), (_SPONGY_BONE + 90 * disc) * np.float32(thorax.bone))
    canal_mm = 7 - np.hypot(x, y - 88 * np.float32(thorax.depth))
    blend(volume, coverage(canal_mm, grid), 20)


def _draw_vessels(draw: np.random.Generator) -> list[Capsule]:
    """Branches from each hilum outwards, thinner with every bend."""
    vessels = []
    for side in (-1.0, 1.0):
        for _ in range(16):
            point = np.array([side * 32, 4.0, 0.0]) + draw.normal(0, 5, 3)
            heading = np.array([side * draw.uniform(0.2, 1), draw.normal(), draw.normal()])
            radius = float(draw.uniform(2.2, 4.2))
            for length in draw.uniform(18, 40, 3):
                heading = heading / np.sqrt(np.square(heading).sum())
                end, thin = point + length * heading, 0.72 * radius
                vessels.append(Capsule(_triple(point), _triple(end), radius, thin))
                point, radius, heading = end, thin, heading + draw.normal(0, 0.35, 3)
    return vessels


def _triple(point: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z
