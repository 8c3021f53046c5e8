"""The allow-list: every element that a rebuilt image may have, with its rule.

Image Pixel module, LUT tables and what names patient and study are made in
`wardround_client.deidentify.rebuild`; everything else of an image is here or nowhere. Ranges end
at one million, so that no date and no record number of seven digits passes as a number.
"""

from __future__ import annotations

from wardround_client.deidentify import terms
from wardround_client.deidentify.groups import GROUPS
from wardround_client.deidentify.rules import (
    Coded,
    Constant,
    Items,
    KnownClass,
    MappedUid,
    Number,
    Pointer,
    Rule,
    Spelt,
    Word,
)
from wardround_client.deidentify.shared import (
    CONSTANT_DATES,
    COSINE,
    COUNT,
    FACTOR,
    FRAME_TYPE,
    FRAME_WORD,
    KILOVOLT,
    MILLIMETRES,
    MILLISECONDS,
    NON_NEGATIVE,
    PLACE,
    REFERENCES,
    REGION,
    REMOVED,
    SPACING,
    VALUES,
    VIEW,
    each,
)

_MULTI_FRAME: dict[str, Rule] = {
    "SharedFunctionalGroupsSequence": Items(GROUPS, most=1),
    "PerFrameFunctionalGroupsSequence": Items(GROUPS, most=99_999),
    "DimensionOrganizationSequence": Items({"DimensionOrganizationUID": MappedUid()}),
    "DimensionOrganizationType": FRAME_WORD,
    "DimensionIndexSequence": Items(
        {
            "DimensionIndexPointer": Pointer(),
            "FunctionalGroupPointer": Pointer(),
            "DimensionOrganizationUID": MappedUid(),
        }
    ),
    "ContentQualification": FRAME_WORD,
    "RepresentativeFrameNumber": COUNT,
    "AcquisitionDuration": NON_NEGATIVE,
    "ResonantNucleus": FRAME_WORD,
    "ApplicableSafetyStandardAgency": FRAME_WORD,
    "PulseSequenceName": Constant(REMOVED),
    "KSpaceFiltering": Constant("NONE"),
    "DeviceSerialNumber": Constant(REMOVED),
    "SoftwareVersions": Constant(REMOVED),
    "ManufacturerModelName": Constant(REMOVED),
    **FRAME_TYPE,
    **each(
        FRAME_WORD,
        "EchoPulseSequence MultipleSpinEcho MultiPlanarExcitation PhaseContrast"
        " TimeOfFlightContrast SteadyStatePulseSequence EchoPlanarPulseSequence"
        " SaturationRecovery SpectrallySelectedSuppression OversamplingPhase"
        " GeometryOfKSpaceTraversal RectilinearPhaseEncodeReordering"
        " SegmentedKSpaceTraversal CoverageOfKSpace CardiacSynchronizationTechnique"
        " RespiratoryMotionCompensationTechnique RespiratorySignalSource"
        " BulkMotionCompensationTechnique",
    ),
    **each(COUNT, "NumberOfKSpaceTrajectories"),
}
_PIXELS: dict[str, Rule] = {
    "SamplesPerPixel": Number(1, 1),
    "PhotometricInterpretation": Word(frozenset({"MONOCHROME1", "MONOCHROME2"})),
    "NumberOfFrames": COUNT,
    "Rows": Number(1, 65_535),
    "Columns": Number(1, 65_535),
    "BitsAllocated": Number(1, 32),
    "BitsStored": Number(1, 32),
    "HighBit": Number(0, 31),
    "PixelRepresentation": Number(0, 1),
}
_SCANNER: dict[str, Rule] = {
    "KVP": KILOVOLT,
    "ConvolutionKernel": Spelt(terms.kernel),
    "ReconstructionDiameter": MILLIMETRES,
    "GantryDetectorTilt": Number(-90, 90),
    "DistanceSourceToDetector": MILLIMETRES,
    "DistanceSourceToPatient": MILLIMETRES,
    "EstimatedRadiographicMagnificationFactor": Number(0, 1e3),
    "ScanningSequence": Word(terms.SCAN),
    "SequenceVariant": Word(terms.SCAN),
    "ScanOptions": Word(terms.SCAN),
    "MRAcquisitionType": Word(terms.SCAN),
    "MagneticFieldStrength": Number(0, 30),
    "RepetitionTime": MILLISECONDS,
    "EchoTime": MILLISECONDS,
    "InversionTime": MILLISECONDS,
    "FlipAngle": Number(0, 360),
    "EchoTrainLength": COUNT,
    "EchoNumbers": Number(0, 999, most=8),
    "DiffusionBValue": NON_NEGATIVE,
    "DiffusionGradientOrientation": COSINE,
    "TemporalPositionIdentifier": COUNT,
    "NumberOfTemporalPositions": COUNT,
}
_PET: dict[str, Rule] = {
    **each(Word(terms.NUCLEAR), "Units CountsSource SeriesType CorrectedImage DecayCorrection"),
    "NumberOfSlices": COUNT,
    "NumberOfTimeSlices": COUNT,
    "ImageIndex": Number(0, 999_999),
    "FrameReferenceTime": Number(-1e6, 1e6),
    "ActualFrameDuration": NON_NEGATIVE,
    "DecayFactor": FACTOR,
    "DoseCalibrationFactor": FACTOR,
    "CollimatorType": Word(terms.NUCLEAR),
    "RadiopharmaceuticalInformationSequence": Items({"RadionuclideCodeSequence": Coded()}),
}
_PROJECTION: dict[str, Rule] = {
    "PresentationIntentType": Word(terms.INTENT),
    "ViewPosition": Word(terms.VIEW),
    "ImagerPixelSpacing": SPACING,
    "NominalScannedPixelSpacing": SPACING,
    "PixelSpacingCalibrationType": Word(terms.PIXELS),
    "DetectorType": Word(terms.PROJECTION),
    "PositionerType": Word(terms.PROJECTION),
    "FieldOfViewShape": Word(terms.PROJECTION),
    "PixelIntensityRelationship": Word(terms.PIXELS),
    "PixelIntensityRelationshipSign": Number(-1, 1),
    "PresentationLUTShape": Word(terms.PIXELS),
    "BreastImplantPresent": Word(terms.YES_NO),
    "PartialView": Word(terms.YES_NO),
    "AnatomicRegionSequence": REGION,
    "ViewCodeSequence": VIEW,
    "AcquisitionContextSequence": Coded(most=0),
}
_EMPTY = (
    "PatientBirthDate StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID"
    " SeriesNumber AcquisitionNumber PositionReferenceIndicator PatientID PatientName"
)
ALLOWED: dict[str, Rule] = {
    **each(Constant(), _EMPTY),
    **CONSTANT_DATES,
    "SOPClassUID": KnownClass(),
    "SOPInstanceUID": MappedUid(),
    "StudyInstanceUID": MappedUid(),
    "SeriesInstanceUID": MappedUid(),
    "FrameOfReferenceUID": MappedUid(),
    "SynchronizationFrameOfReferenceUID": MappedUid(),
    "ImageType": Word(terms.IMAGE_TYPE, leading=True),
    "Modality": Word(terms.MODALITY),
    "Manufacturer": Spelt(terms.maker),
    "PatientSex": Word(terms.SEX),
    "PatientAge": Spelt(terms.age),
    "BodyPartExamined": Word(terms.BODY_PART),
    "Laterality": Word(terms.SIDE),
    "ImageLaterality": Word(terms.SIDE),
    "PatientPosition": Word(terms.PATIENT_POSITION),
    "PatientOrientation": Spelt(terms.orientation),
    "InstanceNumber": COUNT,
    "SliceLocation": MILLIMETRES,
    **_PIXELS,
    "PixelPaddingValue": Number(-32_768, 65_535),
    "PixelPaddingRangeLimit": Number(-32_768, 65_535),
    "BurnedInAnnotation": Word(frozenset({"NO"})),
    "LossyImageCompression": Word(terms.LOSSY),
    "LossyImageCompressionRatio": Number(0, 1e5, most=8),
    "LossyImageCompressionMethod": Word(terms.LOSSY),
    "ReferencedImageSequence": REFERENCES,
    "SourceImageSequence": REFERENCES,
    **PLACE,
    **VALUES,
    **_SCANNER,
    **_PET,
    **_PROJECTION,
    **_MULTI_FRAME,
}
ENHANCED: dict[str, Rule] = ALLOWED | {
    # Exactly four values (PS3.3 C.8.16.1).
    "ImageType": Word(terms.IMAGE_TYPE, other="OTHER", most=4),
}
"""The allow-list for images with functional groups."""
