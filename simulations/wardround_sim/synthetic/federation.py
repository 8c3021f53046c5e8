"""Many synthetic hospitals from one short description: each is drawn at random from ranges."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field

import numpy as np

from wardround_common.plan import MAXIMUM_SITES
from wardround_common.require import require
from wardround_sim.synthetic.hospital import (
    Appearance,
    Dirt,
    SyntheticHospital,
    TransferSyntax,
)
from wardround_sim.synthetic.seeds import generator

_SYNTAXES: tuple[TransferSyntax, ...] = typing.get_args(TransferSyntax)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticFederation:
    """Hospitals that differ at random; ranges are [smallest, largest]."""

    count: int
    """How many hospitals."""
    name_prefix: str = "site"
    """Names are this and a number: site_01, site_02 …"""
    patients: tuple[int, int] = (20, 60)
    """Patients of a hospital; small hospitals are more common than large ones."""
    studies_per_patient_max: int = 2
    """Each patient has 1 to this many imaging studies."""
    prevalence: tuple[float, float] = (0.3, 0.7)
    """Part of the imaging studies that are abnormal."""
    manufacturers: tuple[str, ...] = (
        "Fictive Imaging",
        "Imaginary Roentgen Works",
        "Made Up Medical",
    )
    """Manufacturers to draw from; hospitals with the same one look similar."""
    transfer_syntaxes: tuple[TransferSyntax, ...] = _SYNTAXES
    """Transfer syntaxes to draw from; all by default."""
    rows: int = 192
    """Rows and columns of the images, pixels."""
    lesion_contrast: float = 1.0
    """Strength of the opacities at all hospitals."""
    noise: tuple[float, float] = (0.8, 2.5)
    """Strength of the quantum noise."""
    label_noise: tuple[float, float] = (0.0, 0.05)
    """Part of the labels that are wrong."""
    variation: float = 1.0
    """How much brightness, contrast and sharpening differ between manufacturers; 0 not at all."""
    dirt: Dirt = field(default_factory=Dirt)
    """What is wrong at every hospital."""

    def __post_init__(self) -> None:
        require(1 <= self.count <= MAXIMUM_SITES, "count", self.count, f"1 to {MAXIMUM_SITES}")
        for name in ("patients", "prevalence", "noise", "label_noise"):
            low, high = getattr(self, name)
            require(low <= high, name, [low, high], "the smaller number first")
        for name in ("manufacturers", "transfer_syntaxes"):
            require(bool(getattr(self, name)), name, [], "at least one")
        require(0 <= self.variation <= 2, "variation", self.variation, "0 to 2")
        # Both ends of all ranges at once: what a hospital would refuse is refused here.
        for end in (0, 1):
            _hospital(self, number=1, draw=generator(end), end=end)

    def hospitals(self, *, seed: int) -> tuple[SyntheticHospital, ...]:
        """Draws the hospitals; a larger federation of the same ranges begins with the same ones."""
        return tuple(
            _hospital(self, number=number, draw=generator(seed, "federation", number))
            for number in range(1, self.count + 1)
        )


def _hospital(
    federation: SyntheticFederation,
    *,
    number: int,
    draw: np.random.Generator,
    end: int | None = None,
) -> SyntheticHospital:
    """One hospital; ``end`` 0 or 1 takes the ends of the ranges instead of drawing within them."""

    def within(bounds: tuple[float, float]) -> float:
        at = draw.random() if end is None else end
        return round(bounds[0] + at * (bounds[1] - bounds[0]), 3)

    # Cubing the draw makes small hospitals common.
    low, high = federation.patients
    at = draw.random() ** 3 if end is None else end
    manufacturer = str(draw.choice(federation.manufacturers))
    return SyntheticHospital(
        name=f"{federation.name_prefix}_{number:02d}",
        patients=round(low + at * (high - low)),
        studies_per_patient_max=federation.studies_per_patient_max,
        prevalence=within(federation.prevalence),
        manufacturer=manufacturer,
        modality="CR" if draw.random() < 0.5 else "DX",
        transfer_syntax=_pick(federation.transfer_syntaxes, draw),
        photometric="MONOCHROME1" if draw.random() < 0.4 else "MONOCHROME2",
        bits_stored=int(draw.choice((8, 10, 12, 14, 16))),
        rows=federation.rows,
        columns=federation.rows,
        lesion_contrast=federation.lesion_contrast,
        noise=within(federation.noise),
        label_noise=within(federation.label_noise),
        female_fraction=round(float(draw.uniform(0.35, 0.65)), 2),
        youngest_years=int(draw.integers(18, 40)),
        oldest_years=int(draw.integers(70, 95)),
        appearance=_appearance(federation, manufacturer, draw),
        dirt=federation.dirt,
    )


def _appearance(
    federation: SyntheticFederation, manufacturer: str, draw: np.random.Generator
) -> Appearance:
    """The manufacturer's look, set up a little differently at each hospital."""
    look, width = generator("manufacturer", manufacturer), federation.variation
    brightness = look.normal(0, 0.18) + draw.normal(0, 0.06)
    contrast = np.exp(width * (look.normal(0, 0.22) + draw.normal(0, 0.08)))
    sharpening = 0.3 + width * (look.uniform(-0.3, 0.6) + draw.uniform(-0.1, 0.1))
    return Appearance(
        brightness=round(float(np.clip(width * brightness, -0.6, 0.6)), 3),
        contrast=round(float(np.clip(contrast, 0.5, 2)), 3),
        sharpening=round(float(np.clip(sharpening, 0, 2)), 3),
        field_of_view_mm=round(float(draw.uniform(345, 345 + 40 * (1 + width) / 2)), 1),
        collimation=round(float(draw.random()), 2),
        rotation_degrees=round(float(draw.uniform(1, 5)), 1),
    )


def _pick(choices: tuple[TransferSyntax, ...], draw: np.random.Generator) -> TransferSyntax:
    return choices[int(draw.integers(len(choices)))]
