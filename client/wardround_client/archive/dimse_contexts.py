"""Presentation contexts for images that must come as they are stored.

One context for each pair of SOP class and transfer syntax: in a context of several syntaxes a
PACS may settle for one in which the image is not stored, and recode it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

TRANSFER_SYNTAXES: tuple[uid.UID, ...] = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
)
"""What is lossless first: where a PACS leaves the choice to us, the first is taken."""

_MAXIMUM_CONTEXTS = 127  # 128 (DICOM PS3.8, 9.3.2.2) without the one for the request
MAXIMUM_CLASSES = _MAXIMUM_CONTEXTS // len(TRANSFER_SYNTAXES)

_CLASSES_OF_MODALITY: dict[str, tuple[uid.UID, ...]] = {
    "CR": (uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation),
    "DX": (
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.ComputedRadiographyImageStorage,
    ),
    "MG": (
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.BreastTomosynthesisImageStorage,
    ),
    "CT": (
        uid.CTImageStorage,
        uid.EnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
    ),
    "MR": (
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    ),
    "PT": (
        uid.PositronEmissionTomographyImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
    ),
    "SR": (
        uid.BasicTextSRStorage,
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
    ),
    "SEG": (uid.SegmentationStorage,),
}


def storage_classes(modality: str, named: Iterable[str]) -> tuple[str, ...]:
    """The SOP classes to propose for a series.

    Args:
        modality: Modality of the series.
        named: The SOP classes that the PACS lists; where one is empty, it does not tell.
    """
    classes = set(named)
    if "" in classes:
        usual = _CLASSES_OF_MODALITY.get(modality, (uid.SecondaryCaptureImageStorage,))
        classes = (classes - {""}) | set(usual)
    return tuple(sorted(classes))


def storage_contexts(classes: Sequence[str]) -> list[PresentationContext]:
    """One presentation context for each pair, for at most `MAXIMUM_CLASSES` classes."""
    return [build_context(name, syntax) for name in classes for syntax in TRANSFER_SYNTAXES]
