"""What a synthetic hospital is: one entry under ``hospitals`` of a scenario.

Two hospitals with the same description and seed are equal byte for byte. Hospitals may differ in
who comes (age, sex, prevalence), in how their images look and in how their files are encoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from wardround_common.require import require, require_range
from wardround_sim.synthetic.scanner import Scanner

TransferSyntax = Literal[
    "explicit_little", "implicit_little", "deflated", "rle", "jpeg_ls", "jpeg_2000"
]
BESIDE_GOOD = ("not_dicom", "secondary_capture", "localizer", "duplicate_series")
"""Kinds of dirt that lie beside good images."""
CT_ONLY = ("localizer", "duplicate_series", "missing_slice", "tilted", "turned_slice")
"""Kinds of dirt that only series of slices can have."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .-]{0,47}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """How a hospital's detector and display processing make images look."""

    brightness: float = 0.0
    """Shift of the grey level, -1 (dark) to 1 (bright); a tenth of it is one tenth of the range."""
    contrast: float = 1.0
    """Steepness of the grey curve; 1 is a usual chest radiograph."""
    sharpening: float = 0.3
    """Strength of edge enhancement (unsharp mask); 0 turns it off."""
    field_of_view_mm: float = 360.0
    """Shorter side of the image in the patient's plane, millimetres."""
    collimation: float = 0.3
    """Part of the images with black collimated borders, 0 to 1."""
    rotation_degrees: float = 3.0
    """Standard deviation of the patient's rotation in the image plane, degrees."""

    def __post_init__(self) -> None:
        require(-1 <= self.brightness <= 1, "brightness", self.brightness, "-1 to 1")
        require(0.2 <= self.contrast <= 5, "contrast", self.contrast, "0.2 to 5")
        require(0 <= self.sharpening <= 3, "sharpening", self.sharpening, "0 to 3")
        width = self.field_of_view_mm
        require(280 <= width <= 600, "field_of_view_mm", width, "280 to 600 mm")
        require(0 <= self.collimation <= 1, "collimation", self.collimation, "0 to 1")
        degrees = self.rotation_degrees
        require(0 <= degrees <= 15, "rotation_degrees", degrees, "0 to 15 degrees")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirt:
    """How many things are wrong in the archive and its label file.

    Some are extra files beside good images, with as many good studies as the number says; each of
    the others is an extra imaging study of an extra patient, so the number of good studies does
    not depend on the dirt. What breaks one file breaks the middle slice of a CT series.
    """

    not_dicom: int = 0
    """Beside good images: text files with the name of an image."""
    secondary_capture: int = 0
    """Beside good images: screenshots, for CT dose sheets, as Secondary Capture instances."""
    localizer: int = 0
    """CT, beside good images: localizers in the series of the slices."""
    duplicate_series: int = 0
    """CT, beside good images: all files of the series once more."""
    truncated: int = 0
    """Studies whose file ends in the middle of its pixels."""
    altered_copy: int = 0
    """Studies with two files of one SOP Instance UID and different pixels."""
    missing_label: int = 0
    """Studies that the label file does not name."""
    ambiguous_label: int = 0
    """Studies that the label file names twice, with different labels."""
    unknown_codec: int = 0
    """Studies compressed as video (HEVC), for which no site has a decoder."""
    broken_codestream: int = 0
    """Studies in JPEG 2000 whose codestream contradicts itself."""
    crashing_codestream: int = 0
    """Studies in RLE whose segments are noise; some decoders end abruptly on them."""
    wrong_vr: int = 0
    """Studies whose Rows is text under a wrong value representation."""
    no_identity: int = 0
    """Studies whose instance has no SOP Instance UID."""
    huge_size: int = 0
    """Studies whose header claims 60 000 rows and columns."""
    missing_slice: int = 0
    """CT studies that lack one slice in the middle."""
    tilted: int = 0
    """CT studies taken with a tilted gantry."""
    turned_slice: int = 0
    """CT studies with one slice of another orientation."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            count = getattr(self, name)
            require(0 <= count <= 1000, name, count, "0 to 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticHospital:
    """One hospital whose archive is drawn from a numerical chest phantom."""

    name: str
    """Name of the site: lower-case letters, digits, underscores."""
    patients: int = 150
    """Patients with good studies; those of the dirt come on top."""
    studies_per_patient_max: int = 2
    """Each patient has 1 to this many imaging studies of one image each."""
    prevalence: float = 0.5
    """Part of the imaging studies that are abnormal; 0 or 1 gives a site of one class."""
    manufacturer: str = "Fictive Imaging"
    """Manufacturer (0008,0070); plainly fictitious."""
    modality: Literal["CR", "DX", "CT"] = "DX"
    """Modality (0008,0060), and with it the SOP class; CT gives volumes, see ``scanner``."""
    transfer_syntax: TransferSyntax = "explicit_little"
    """How pixels and headers are encoded; all of them lossless."""
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2"
    """Whether the smallest stored value is shown white (1) or black (2)."""
    bits_stored: int = 12
    """Bits of a stored pixel; 8 are stored in bytes, more in 16-bit words."""
    rows: int = 256
    """Rows of an image, pixels."""
    columns: int = 256
    """Columns of an image, pixels."""
    lesion_contrast: float = 1.0
    """Strength of the opacities; 1 is visible with care, 2 plain, 0 none at all."""
    nodules: tuple[int, int] = (1, 3)
    """CT: least and largest number of nodules in an abnormal scan; few are more common."""
    nodule_mm: tuple[float, float] = (8.0, 30.0)
    """CT: least and largest diameter of a nodule; from 30 mm on it is called a mass."""
    noise: float = 1.0
    """Strength of the quantum noise; 1 is a usual exposure, 4 a sixteenth of it."""
    label_objects: tuple[Literal["sr", "seg"], ...] = ()
    """CT: DICOM objects that hold the label besides the label file: a structured report (TID
    1500), a segmentation."""
    label_noise: float = 0.0
    """Part of the labels that are wrong in the label file; the truth file stays right."""
    female_fraction: float = 0.5
    """Part of the patients who are female."""
    youngest_years: int = 20
    """Smallest age at the first study, years."""
    oldest_years: int = 85
    """Largest age at the first study, years."""
    appearance: Appearance = field(default_factory=Appearance)
    scanner: Scanner = field(default_factory=Scanner)
    """For CT; of ``appearance``, CT follows the field of view alone."""
    dirt: Dirt = field(default_factory=Dirt)

    def __post_init__(self) -> None:
        name_fits = _NAME.fullmatch(self.name) is not None
        require(name_fits, "name", self.name, "lower-case letters, digits and underscores")
        text_fits = _TEXT.fullmatch(self.manufacturer) is not None
        require(text_fits, "manufacturer", self.manufacturer, "1 to 48 letters, digits, spaces")
        self._check_people()
        self._check_images()

    def _check_people(self) -> None:
        require(1 <= self.patients <= 100_000, "patients", self.patients, "1 to 100000")
        studies = self.studies_per_patient_max
        require(1 <= studies <= 20, "studies_per_patient_max", studies, "1 to 20")
        for name in ("prevalence", "female_fraction"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        for name in BESIDE_GOOD:
            count, expected = getattr(self.dirt, name), f"at most {self.patients} (patients)"
            require(count <= self.patients, f"dirt.{name}", count, expected)
        radiographs = self.modality != "CT"
        held = list(self.label_objects)
        require(not (radiographs and held), "label_objects", held, "none; only CT has them")
        noisy = bool(held) and self.label_noise > 0
        require(not noisy, "label_noise", self.label_noise, "0 with label_objects, which are true")
        for name in CT_ONLY if radiographs else ():
            count = getattr(self.dirt, name)
            require(count == 0, f"dirt.{name}", count, "0; only CT has it")
        require(0 <= self.label_noise <= 0.5, "label_noise", self.label_noise, "0 to 0.5")
        youngest, oldest = self.youngest_years, self.oldest_years
        require(16 <= youngest <= 95, "youngest_years", youngest, "16 to 95; the phantom is adult")
        expected = f"{youngest} (youngest_years) to 95"
        require(youngest <= oldest <= 95, "oldest_years", oldest, expected)

    def _check_images(self) -> None:
        require(8 <= self.bits_stored <= 16, "bits_stored", self.bits_stored, "8 to 16")
        for name in ("rows", "columns"):
            least = 32 if self.modality == "CT" else 64
            expected = f"{least} to 2048"
            require(least <= getattr(self, name) <= 2048, name, getattr(self, name), expected)
        shorter, longer = sorted((self.rows, self.columns))
        expected = "at most twice the other side"
        require(longer <= 2 * shorter, "rows", f"{self.rows} x {self.columns}", expected)
        contrast = self.lesion_contrast
        require(0 <= contrast <= 10, "lesion_contrast", contrast, "0 to 10")
        require_range("nodules", self.nodules, least=1, largest=20)
        require_range("nodule_mm", self.nodule_mm, least=1, largest=80)
        require(0 <= self.noise <= 20, "noise", self.noise, "0 to 20")
