"""Rules that several parts of the allow-list use."""

from __future__ import annotations

from dataclasses import replace

from wardround_client.deidentify import terms
from wardround_client.deidentify.rules import (
    Coded,
    Constant,
    Items,
    KnownClass,
    MappedUid,
    Number,
    Rule,
    Word,
)

_NO_DATE, _NO_TIME, REMOVED = "19000101", "000000", "REMOVED"
MILLIMETRES = Number(-1e4, 1e4)
COSINE = Number(-1.01, 1.01, most=3, decimals=5)
POSITION = Number(-1e4, 1e4, most=3, decimals=4)
SPACING = Number(1e-6, 1e4, most=2, decimals=4)
FACTOR = Number(-1e6, 1e6, decimals=0, digits=6)
"""What pixel values are multiplied by, or moved by."""
MILLISECONDS = Number(0, 1e6)
KILOVOLT = Number(0, 1e4, decimals=1)
COUNT = Number(0, 99_999)
FRAME_WORD = Word(terms.FRAME)
NON_NEGATIVE = Number(0, 1e6)

REFERENCES = Items(
    {
        "ReferencedSOPClassUID": KnownClass(),
        "ReferencedSOPInstanceUID": MappedUid(),
        "ReferencedFrameNumber": Number(1, 99_999, most=1000),
    },
    most=2000,
    needed=("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
)
REGION = Coded({"AnatomicRegionModifierSequence": Coded()})
VIEW = Coded({"ViewModifierCodeSequence": Coded()})
PLACE: dict[str, Rule] = {
    "PixelSpacing": SPACING,
    "SliceThickness": Number(0, 1e4),
    "SpacingBetweenSlices": Number(-1e4, 1e4, decimals=4),
    "ImageOrientationPatient": replace(COSINE, most=6),
    "ImagePositionPatient": POSITION,
}
VALUES: dict[str, Rule] = {
    "RescaleIntercept": FACTOR,
    "RescaleSlope": FACTOR,
    "RescaleType": Word(terms.RESCALE_TYPE, other="US"),
    "WindowCenter": Number(-1e6, 1e6, most=16, decimals=1),
    "WindowWidth": Number(0, 1e6, most=16, decimals=1),
    "VOILUTFunction": Word(terms.PIXELS),
}
FRAME_TYPE: dict[str, Rule] = {
    "FrameType": Word(terms.FRAME, other="OTHER"),
    "PixelPresentation": Constant("MONOCHROME"),
    "VolumetricProperties": FRAME_WORD,
    "VolumeBasedCalculationTechnique": FRAME_WORD,
    "ComplexImageComponent": FRAME_WORD,
    "AcquisitionContrast": FRAME_WORD,
}


def each(rule: Rule, keywords: str) -> dict[str, Rule]:
    """Gives each of the keywords, which are parted by spaces, the same rule."""
    return dict.fromkeys(keywords.split(), rule)


CONSTANT_DATES: dict[str, Rule] = {
    **each(Constant(_NO_DATE), "SeriesDate AcquisitionDate ContentDate"),
    **each(Constant(_NO_TIME), "SeriesTime AcquisitionTime ContentTime"),
    **each(
        Constant(_NO_DATE + _NO_TIME),
        "AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime"
        " DecayCorrectionDateTime",
    ),
}
