"""A numerical chest: what X-rays would meet on their way through an adult, frontal view.

Coordinates are millimetres in the patient's plane: x grows to the right of the image, which is
the patient's left, from the midline; y grows downwards from the middle of the thorax. Every part
adds to one plane of attenuation (1 is about 200 mm of soft tissue); air takes away.
The shapes are drawn by formulas. They resemble a chest; they come from nobody's images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround_sim.synthetic.texture import Plane, smoothstep

_TABLE_STEPS = 4  # a millimetre
_TABLE_Y = np.arange(-320, 320, 1 / _TABLE_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One patient's build."""

    width: float
    """Scale of the thorax from side to side; 1 is average."""
    tissue: float
    """Thickness of fat and muscle; 1 is average."""
    breast: float
    """Size of the breast shadows; 0 none."""
    heart_mm: float
    """Half of the heart's width, millimetres."""
    aorta_mm: float
    """How far the aortic knob stands out, millimetres."""
    rib_spacing_mm: float
    """Distance between neighbouring posterior ribs, millimetres."""
    rib_slope_mm: float
    """How far a posterior rib falls from the spine to the side, millimetres."""
    bone: float
    """Density of the bones; 1 is average."""
    clavicle_mm: float
    """Height of the clavicles' inner ends, millimetres."""
    vessels: float
    """Strength of the vascular markings; 1 is average."""
    phases: tuple[float, ...]
    """Six angles in radians that make the vessel pattern a patient's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """Attenuation of one exposure and where its lungs are."""

    attenuation: Plane
    """Float32, shape (rows, columns); 0 is air, about 1 soft tissue, more through bone."""
    air: Plane
    """Float32, shape (rows, columns): 1 where the full depth of a lung is crossed, else less."""
    body: Plane
    """Float32, shape (rows, columns): 1 inside the outline of the body, 0 outside."""


def draw_anatomy(draw: np.random.Generator, *, female: bool, age_years: int) -> Anatomy:
    """Draws a patient's build; women are a little narrower, hearts and aortas grow with age."""
    older = (age_years - 50) / 35
    stout = float(draw.normal())
    return Anatomy(
        width=float(np.clip((0.94 if female else 1.02) + 0.05 * draw.normal(), 0.82, 1.14)),
        tissue=float(np.clip(1 + 0.16 * stout, 0.7, 1.5)),
        breast=float(np.clip(0.75 + 0.3 * draw.normal() + 0.15 * stout, 0.2, 1.5)) * female,
        heart_mm=float(np.clip(62 + 4 * older + 5 * draw.normal(), 48, 84)),
        aorta_mm=float(np.clip(9 + 4 * older + 2 * draw.normal(), 3, 18)),
        rib_spacing_mm=float(draw.uniform(24, 29)),
        rib_slope_mm=float(draw.uniform(14, 38)),
        bone=float(np.clip(1 - 0.12 * older + 0.12 * draw.normal(), 0.6, 1.35)),
        clavicle_mm=float(draw.uniform(-122, -98)),
        vessels=float(np.clip(1 + 0.25 * draw.normal(), 0.5, 1.7)),
        phases=tuple(draw.uniform(0, 2 * np.pi, 6).tolist()),
    )


def draw_chest(anatomy: Anatomy, x: Plane, y: Plane, *, breath_mm: float) -> Chest:
    """Projects a patient onto the plane.

    Args:
        anatomy: The patient.
        x: Float32, shape (rows, columns), millimetres to the right of the midline.
        y: Float32, shape (rows, columns), millimetres below the middle of the thorax.
        breath_mm: How much lower than usual the diaphragm stands, millimetres.
    """
    across = x / np.float32(anatomy.width)
    side = np.abs(across)
    body, thickness = _body(anatomy, side, y)
    heart = _heart(anatomy, across, y - 0.5 * breath_mm)
    air = _air(anatomy, across, side, y, breath_mm) * (1 - 0.85 * smoothstep(heart * 2.2))
    vessels = _vessels(anatomy, across, side, y) * air
    attenuation = (
        thickness * (0.93 - 0.57 * air)
        + 0.07 * heart
        + 0.16 * anatomy.vessels * vessels
        + body * _breasts(anatomy, side, y)
        - _stomach(anatomy, across, y - breath_mm)
        + body * anatomy.bone * _bones(anatomy, across, side, y, air)
        + body * _middle(anatomy, across, side, y)
    )
    return Chest(attenuation=attenuation.astype(np.float32), air=air, body=body)


def _profile(y: Plane, knots: tuple[tuple[float, float], ...]) -> Plane:
    """Looks a half-width up by height, in a table with rounded corners."""
    table = np.interp(_TABLE_Y, [k[0] for k in knots], [k[1] for k in knots])
    kernel = np.hanning(30 * _TABLE_STEPS + 1)
    padded = np.pad(table, 15 * _TABLE_STEPS, mode="edge")
    table = np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)
    index = ((y - np.float32(_TABLE_Y[0])) * _TABLE_STEPS).astype(np.int32)
    return table.take(index, mode="clip")


def _body(anatomy: Anatomy, side: Plane, y: Plane) -> tuple[Plane, Plane]:
    fat = 12 * (anatomy.tissue - 1)
    half_width = _profile(
        y,
        (
            (-320, 56), (-196, 58), (-172, 100), (-150, 178), (-118, 212), (-60, 190),
            (-20, 166 + fat), (60, 164 + fat), (140, 160 + fat), (320, 166 + 2 * fat),
        ),
    )  # fmt: skip
    inside = half_width - side
    body = smoothstep(inside / 5 + 0.5)
    rim = np.sqrt(np.clip(inside / 62, 0, 1))
    abdomen = 0.26 * smoothstep((y - 60) / 110)
    shoulders = 0.14 * smoothstep((side - 96) / 60) * smoothstep((-40 - y) / 60)
    thickness = anatomy.tissue * (0.42 + 0.58 * rim) * body
    return body, thickness * (1 + abdomen + shoulders)


def _air(anatomy: Anatomy, across: Plane, side: Plane, y: Plane, breath_mm: float) -> Plane:
    lateral = _profile(
        y,
        (
            (-320, 0), (-148, 30), (-138, 62), (-120, 84), (-90, 102), (-40, 124),
            (20, 135), (90, 139), (200, 141), (320, 141),
        ),
    )  # fmt: skip
    left = smoothstep(across / 12 + 0.5)
    knob = anatomy.aorta_mm * np.exp(-(((y + 62) / 17) ** 2)) * left
    medial = 26 + knob + 6 * smoothstep((y + 20) / 60) * (1 - left)
    # The right dome (left in the image) stands higher: the liver is under it.
    dome = 88 + breath_mm + 13 * left
    diaphragm = dome + 34 * np.clip((side - 78) / 58, -1.1, 1.3) ** 2
    from_side = np.sqrt(np.clip((lateral - side) / 46, 0, 1))
    from_top = smoothstep((y + 152) / 60) * 0.4 + 0.6
    from_middle = smoothstep((side - medial) / 13 + 0.3)
    from_below = smoothstep((diaphragm - y) / 8 + 0.4)
    below_gone = 0.72 + 0.28 * smoothstep((diaphragm - y) / 60)
    result: Plane = from_side * from_top * from_middle * from_below * below_gone
    return result


def _heart(anatomy: Anatomy, across: Plane, y: Plane) -> Plane:
    half = anatomy.heart_mm
    dx, dy = across - (half - 42), y - 62
    # Turned so that the apex points down to the patient's left.
    along, up = 0.86 * dx + 0.5 * dy, 0.86 * dy - 0.5 * dx
    muscle = (along / (half * 1.18)) ** 2 + (up / (half * 0.86)) ** 2
    atrium = ((across + 16) / 27) ** 2 + ((y - 44) / 46) ** 2
    # The outflow: a cone from the heart up to the great vessels on the patient's left.
    cone = ((across - 12 - 0.2 * y) / 25) ** 2 + ((y + 2) / 58) ** 2
    result: Plane = _dome(muscle) + 0.5 * _dome(atrium) + 0.5 * _dome(cone)
    return result


def _vessels(anatomy: Anatomy, across: Plane, side: Plane, y: Plane) -> Plane:
    """Radiating lines from each hilum, denser near it, and the hilum itself."""
    first, second, third, fourth, fifth, sixth = anatomy.phases
    left = (across > 0).astype(np.float32)
    dx, dy = side - 28, y - 4 + 10 * left
    radius = np.sqrt(dx * dx + dy * dy) + 1
    angle = np.arctan2(dy, dx) + first * left
    bend = 0.3 * np.sin(radius / 19 + second + 2 * angle)
    coarse = np.clip(np.sin(6 * (angle + bend) + third), 0, 1)
    fine = np.clip(np.sin(15 * (angle - bend) + fourth + radius / 30), 0, 1)
    twigs = np.clip(np.sin(23 * (angle + bend) + fifth - radius / 25), 0, 1)
    beads = 0.6 + 0.4 * np.sin(radius / 9 + sixth + 5 * angle)
    outer = np.clip(radius / 50, 0, 1)
    lines = coarse * coarse + beads * outer * (fine * fine + 0.7 * twigs * twigs)
    hilum = 1.7 * np.exp(-((dx / 20) ** 2) - ((dy / 26) ** 2))
    result: Plane = 0.9 * lines * np.exp(-radius / 52) * np.clip(radius / 18, 0, 1) + hilum
    return result


def _bones(anatomy: Anatomy, across: Plane, side: Plane, y: Plane, air: Plane) -> Plane:
    cage = _profile(y, ((-320, 0), (-156, 34), (-138, 78), (-90, 112), (0, 141), (200, 148)))
    u = side / np.maximum(cage, 30)
    left = (across > 0).astype(np.float32)
    within = smoothstep((1.02 - u) * 14)
    top = smoothstep((y + 158) / 14)
    spacing = anatomy.rib_spacing_mm * (1 + 0.08 * np.clip(y / 150, -1, 1))
    fall = anatomy.rib_slope_mm * u * u - 16 * np.sin(2.6 * u) + 3 * left
    back = _rib((y - fall + 6) / spacing, 0.23)
    back = back * (0.7 + 0.5 * np.square(u * u)) * smoothstep((side - 12) / 12)
    front_line = (y + 62 * u + 26) / (1.12 * spacing)
    front = _rib(front_line, 0.26) * smoothstep((u - 0.35) * 4) * (1 - 0.5 * u)
    ribs = (0.125 * back + 0.085 * front) * within * top * (0.35 + 0.65 * np.sqrt(air))
    wall = 0.07 * np.exp(-(((u - 0.98) / 0.035) ** 2)) * top * smoothstep((110 - y) / 40)
    return ribs + wall + _shoulder_bones(anatomy, side, y)


def _shoulder_bones(anatomy: Anatomy, side: Plane, y: Plane) -> Plane:
    line = anatomy.clavicle_mm - 0.26 * (side - 20) + 9 * np.sin((side - 20) / 24)
    width = 5 + 4 * np.exp(-(((side - 20) / 16) ** 2)) + 0.02 * side
    ends = smoothstep((side - 14) / 8) * smoothstep((156 - side) / 10)
    clavicle = _tube((y - line) / width) * ends
    blade_edge = 112 + 0.1 * (y + 90) + 16 * np.exp(-(((y + 118) / 22) ** 2))
    blade = smoothstep((side - blade_edge) / 6) * smoothstep((172 - side) / 14)
    blade = blade * smoothstep((y + 128) / 12) * smoothstep((18 - 0.4 * (side - 120) - y) / 12)
    ball = np.sqrt(np.clip(1 - ((side - 183) / 23) ** 2 - ((y + 104) / 24) ** 2, 0, 1))
    return 0.12 * clavicle + 0.07 * blade + 0.2 * ball


def _middle(anatomy: Anatomy, across: Plane, side: Plane, y: Plane) -> Plane:
    """Spine, great vessels, windpipe and main bronchi."""
    disc = np.cos(2 * np.pi * y / 25)
    spine = smoothstep((24 - side) / 12) * (0.09 + 0.035 * disc)
    process = np.exp(-((across / 3.2) ** 2) - ((np.abs(disc) - 0.1) / 0.35) ** 2)
    column = 0.09 * np.exp(-((across / 34) ** 2))
    windpipe = _tube((across - 2) / 9.5) * smoothstep((-30 - y) / 14)
    bronchus = _tube((y + 28 - 0.62 * side) / 7) * smoothstep((36 - side) / 10)
    bronchus = bronchus * smoothstep(side / 6)
    return anatomy.bone * (spine + 0.05 * process) + column - 0.15 * windpipe - 0.06 * bronchus


def _breasts(anatomy: Anatomy, side: Plane, y: Plane) -> Plane:
    if anatomy.breast == 0:
        return np.zeros_like(side)
    size = 54 + 14 * anatomy.breast
    dx, dy = (side - 88) / size, (y - 66) / size
    low = np.sqrt(np.clip(1 - dx * dx - dy * dy, 0, 1))
    result: Plane = 0.17 * anatomy.breast * low * smoothstep((dy + 1) / 1.3)
    return result


def _stomach(anatomy: Anatomy, across: Plane, y: Plane) -> Plane:
    """The gas bubble under the left dome; its size is as chance has it."""
    size = 0.5 + 0.5 * np.cos(anatomy.phases[0])
    dx, dy = (across - 70) / (14 + 24 * size), (y - 134 - 6 * size) / (6 + 14 * size)
    result: Plane = (0.12 + 0.16 * size) * _dome(dx * dx + dy * dy)
    return result


def _rib(phase: Plane, half_width: float) -> Plane:
    """Flat bones side by side, one each whole phase, with brighter edges."""
    off = (phase - np.rint(phase)) / half_width
    squared = off * off
    return (0.55 + 0.6 * squared) * np.clip(1.25 - squared * squared, 0, 1)


def _dome(squared: Plane) -> Plane:
    """Height of a rounded lump, 1 in the middle; ``squared`` is 1 at its edge."""
    return np.sqrt(np.clip(1 - squared, 0, 1))


def _tube(off: Plane) -> Plane:
    """Length of the way through a round tube; ``off`` is in radii."""
    return np.sqrt(np.clip(1 - off * off, 0, 1))
