"""How a synthetic hospital takes and stores CT: the section ``scanner`` of its description."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from wardround_common.require import require

Storage = Literal["signed", "unsigned", "signed_offset", "high_offset"]
_KERNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _]{0,15}")
_MOST_SLICES = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """A CT scanner and its protocol; makers differ in all of this."""

    slice_spacing_mm: float = 4.0
    """Distance of neighbouring slices."""
    slice_thickness_mm: float | None = None
    """Thickness of a slice; none: the spacing. Thicker ones overlap."""
    coverage_mm: float = 240.0
    """Length of the scan from feet to head."""
    kernel: str = "STANDARD"
    """ConvolutionKernel (0018,1210)."""
    sharpness: float = 0.3
    """What the kernel does: 0 smooth and quiet, 1 sharp and noisy."""
    storage: Storage = "signed"
    """Rescale intercept, sign and bits: ``signed`` 0, 16 bits; ``unsigned`` -1024, 12 bits;
    ``signed_offset`` -1024, signed 16 bits; ``high_offset`` -8192, 16 bits."""
    padded: bool = True
    """Whether pixels beyond the round field of view hold PixelPaddingValue; else they show air."""
    patient_position: Literal["HFS", "FFS"] = "HFS"
    """Head first or feet first, on the back; feet first, columns run to the patient's right."""
    head_first_instances: bool = False
    """Whether InstanceNumber 1 is nearest to the head; else to the feet."""
    enhanced: bool = False
    """One Enhanced CT instance of many frames instead of one CT instance a slice."""
    table: bool = True
    """Whether the table is in the image."""

    @property
    def slices(self) -> int:
        """Number of slices of a volume."""
        return int(self.coverage_mm / self.slice_spacing_mm + 1e-6) + 1

    @property
    def thickness_mm(self) -> float:
        """Thickness of a slice, mm."""
        return self.slice_thickness_mm or self.slice_spacing_mm

    def __post_init__(self) -> None:
        spacing, thickness = self.slice_spacing_mm, self.thickness_mm
        require(0.4 <= spacing <= 12, "slice_spacing_mm", spacing, "0.4 to 12 mm")
        expected = "at least half the spacing, at most 12 mm"
        require(spacing / 2 <= thickness <= 12, "slice_thickness_mm", thickness, expected)
        require(20 <= self.coverage_mm <= 400, "coverage_mm", self.coverage_mm, "20 to 400 mm")
        expected = f"at most {_MOST_SLICES} slices"
        require(4 <= self.slices <= _MOST_SLICES, "slice_spacing_mm", spacing, expected)
        named = _KERNEL.fullmatch(self.kernel) is not None
        require(named, "kernel", self.kernel, "1 to 16 letters, digits, spaces, underscores")
        require(0 <= self.sharpness <= 1, "sharpness", self.sharpness, "0 to 1")
