"""The parts of a study that intake follows: which images, which labels, how they are prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wardround_common.require import require, require_range


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """Where the one label of an imaging study comes from; codes are ``value|scheme``."""

    source: Literal["csv", "sr", "seg"] = "csv"
    """The site's label file, a structured report (TID 1500), or a segmentation."""
    column: str = "label"
    """csv: column that holds the class number."""
    concept: str = ""
    """sr: code of the concept that carries the label, such as ``121071|DCM`` (Finding)."""
    values: tuple[tuple[str, ...], ...] = ()
    """sr, coded finding: for each class the codes that mean it."""
    unit: str = ""
    """sr, measurement: UCUM code of its unit; a value in another unit is refused."""
    positive_from: float | None = None
    """sr, measurement: class 1 from this value on."""
    segments: tuple[str, ...] = ()
    """seg: codes of the segmented property types that count."""
    minimum_ml: float = 0.0
    """seg: class 1 if the segments hold more than this volume, ml."""

    def __post_init__(self) -> None:
        codes = (*((self.concept,) if self.concept else ()), *self.segments)
        for code in (*codes, *(code for group in self.values for code in group)):
            value, _, scheme = code.partition("|")
            require(bool(value and scheme), "labels", code, "a code such as 121071|DCM")
        require(self.minimum_ml >= 0, "minimum_ml", self.minimum_ml, "0 or more")
        if self.source == "sr":
            require(bool(self.concept), "concept", self.concept, "a code such as 121071|DCM")
            measured = self.positive_from is not None
            one = measured != bool(self.values)
            require(one, "values", self.values, "either values or positive_from with sr")
            require(measured == bool(self.unit), "unit", self.unit, "a unit with positive_from")
            fits = measured or len(self.values) == 2
            require(fits, "values", self.values, "one list of codes for each of two classes")
        if self.source == "seg":
            require(bool(self.segments), "segments", self.segments, "at least one code with seg")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredData:
    """The data a study expects at a site; a range is its least and largest value."""

    positive_fraction: tuple[float, float] | None = None
    """Fraction of examples of class 1."""
    female_fraction: tuple[float, float] | None = None
    """Fraction of patients of female sex, among those whose sex is stated."""
    median_age_years: tuple[float, float] | None = None
    """Median age of the patients at the imaging study, years."""
    median_slice_spacing_mm: tuple[float, float] | None = None
    """Median distance of the slices of volumes, mm."""
    manufacturers: tuple[str, ...] = ()
    """Makers of the scanners, compared without case; empty: any."""

    def __post_init__(self) -> None:
        for name in ("positive_fraction", "female_fraction"):
            require_range(name, getattr(self, name), least=0, largest=1)
        require_range("median_age_years", self.median_age_years, least=0)
        require_range("median_slice_spacing_mm", self.median_slice_spacing_mm, least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRule:
    """Which images of an archive take part; an empty list accepts everything."""

    modalities: tuple[str, ...] = ("CR", "DX")
    """DICOM Modality (0008,0060)."""
    body_parts: tuple[str, ...] = ()
    """DICOM BodyPartExamined (0018,0015), compared without case."""
    views: tuple[str, ...] = ()
    """DICOM ViewPosition (0018,5101)."""
    excluded_image_types: tuple[str, ...] = ("LOCALIZER", "SECONDARY", "DERIVED\\SECONDARY")
    """Images whose ImageType (0008,0008) contains any of these values are left out."""
    kernels: tuple[str, ...] = ()
    """DICOM ConvolutionKernel (0018,1210) of CT, compared without case."""
    minimum_slices: int = 1
    """Volumes of fewer slices are left out; single images are not concerned."""
    slice_spacing_mm: tuple[float, float] | None = None
    """Least and largest distance of a volume's slices, mm; none accepts any."""
    labels: LabelRule = field(default_factory=LabelRule)
    """Where the label of an imaging study comes from."""
    declared: DeclaredData = field(default_factory=DeclaredData)
    """What the study says of the data it expects; a site's data report compares."""

    def __post_init__(self) -> None:
        require(bool(self.modalities), "modalities", self.modalities, "at least one, such as DX")
        types = self.excluded_image_types
        require(all(t.strip() for t in types), "excluded_image_types", types, "no empty text")
        require(self.minimum_slices >= 1, "minimum_slices", self.minimum_slices, "1 or more")
        require_range("slice_spacing_mm", self.slice_spacing_mm, least=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePreprocessing:
    """From a volume with its affine to the model's input grid.

    Triples are in the order slices, rows, columns of the model's grid.
    """

    orientation: Literal["patient", "acquired"] = "patient"
    """``patient``: slices run to the head, rows to the back, columns to the left (LPS axes).
    ``acquired``: the axes as scanned, flipped and swapped to lie nearest to those."""
    spacing_mm: tuple[float, float, float] = (2.5, 2.5, 2.5)
    """Distance of the grid's voxels, mm."""
    shape: tuple[int, int, int] = (64, 96, 96)
    """Number of the grid's voxels; what lies outside the volume is filled."""
    window: tuple[float, float] | None = None
    """Values shown as -1 and 1, after rescale (Hounsfield units for CT); what lies beyond is
    clipped. None: mean 0 and standard deviation 1 of each volume."""
    placement: Literal["centre", "foreground"] = "centre"
    """Where the grid's middle lies: in the middle of the volume, or of its foreground."""
    foreground_above: float = -500.0
    """Voxels above this value, after rescale, are foreground."""
    irregular: Literal["refuse", "resample"] = "refuse"
    """Tilted or unevenly spaced slices: refused, or resampled from their true positions; the
    site's report counts these volumes."""

    def __post_init__(self) -> None:
        spacing, shape = self.spacing_mm, self.shape
        require(all(0.1 <= s <= 50 for s in spacing), "spacing_mm", spacing, "0.1 to 50 mm each")
        require(all(8 <= n <= 512 for n in shape), "shape", shape, "8 to 512 voxels each")
        require_range("window", self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From decoded pixels to the model's input; part of what makes sites comparable."""

    rows: int = 96
    """Rows of the model's input image, pixels; for single images."""
    columns: int = 96
    """Columns of the model's input image, pixels; for single images."""
    fit: Literal["stretch", "pad"] = "pad"
    """``pad`` keeps the aspect ratio and fills the border; ``stretch`` does not."""
    volume: VolumePreprocessing | None = None
    """Set for volumes of CT, MR or PET; then the keys above say nothing."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the model's input without batch and channel: two or three numbers."""
        return self.volume.shape if self.volume else (self.rows, self.columns)

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("columns", self.columns)):
            require(16 <= value <= 1024, name, value, "16 to 1024 pixels")
