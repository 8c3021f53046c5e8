"""The allow-list for functional groups of enhanced CT, MR and PET images."""

from __future__ import annotations

from wardround_client.deidentify import terms
from wardround_client.deidentify.rules import (
    Coded,
    Constant,
    Items,
    MappedUid,
    Number,
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
    POSITION,
    REFERENCES,
    REGION,
    REMOVED,
    SPACING,
    VALUES,
    each,
)

_FRAME_CONTENT: dict[str, Rule] = {
    "FrameAcquisitionNumber": COUNT,
    "FrameAcquisitionDuration": NON_NEGATIVE,
    "DimensionIndexValues": Number(0, 999_999, most=16),
    "TemporalPositionIndex": COUNT,
    "StackID": Spelt(terms.counter),
    "InStackPositionNumber": COUNT,
    "CardiacCyclePosition": FRAME_WORD,
    "RespiratoryCyclePosition": FRAME_WORD,
    **CONSTANT_DATES,
}
_MR_GROUPS: dict[str, Rule] = {
    "MRImageFrameTypeSequence": Items(FRAME_TYPE),
    "MREchoSequence": Items(each(MILLISECONDS, "EffectiveEchoTime")),
    "MRTimingAndRelatedParametersSequence": Items(
        each(
            NON_NEGATIVE,
            "RepetitionTime FlipAngle EchoTrainLength RFEchoTrainLength"
            " GradientEchoTrainLength GradientOutput SpecificAbsorptionRateValue",
        )
        | each(FRAME_WORD, "GradientOutputType SpecificAbsorptionRateDefinition")
        | {"OperatingModeSequence": Items(each(FRAME_WORD, "OperatingModeType OperatingMode"))}
    ),
    "MRFOVGeometrySequence": Items(
        each(
            COUNT,
            "MRAcquisitionFrequencyEncodingSteps MRAcquisitionPhaseEncodingStepsInPlane"
            " MRAcquisitionPhaseEncodingStepsOutOfPlane",
        )
        | each(NON_NEGATIVE, "PercentSampling PercentPhaseFieldOfView")
        | each(FRAME_WORD, "InPlanePhaseEncodingDirection")
    ),
    "MRModifierSequence": Items(
        each(
            FRAME_WORD,
            "InversionRecovery FlowCompensation FlowCompensationDirection Spoiling"
            " T2Preparation SpectrallySelectedExcitation SpatialPresaturation PartialFourier"
            " PartialFourierDirection ParallelAcquisition ParallelAcquisitionTechnique",
        )
        | each(
            NON_NEGATIVE,
            "InversionTimes ParallelReductionFactorInPlane"
            " ParallelReductionFactorOutOfPlane ParallelReductionFactorSecondInPlane",
        )
    ),
    "MRImagingModifierSequence": Items(
        each(FRAME_WORD, "MagnetizationTransfer BloodSignalNulling Tagging")
        | each(
            NON_NEGATIVE,
            "TransmitterFrequency PixelBandwidth TagSpacingFirstDimension"
            " TagSpacingSecondDimension TagAngleFirstAxis TagAngleSecondAxis TagThickness",
        )
    ),
    "MRReceiveCoilSequence": Items(
        {"ReceiveCoilName": Constant(REMOVED), "ReceiveCoilManufacturerName": Constant()}
        | each(FRAME_WORD, "ReceiveCoilType QuadratureReceiveCoil")
        | {
            "MultiCoilDefinitionSequence": Items(
                {"MultiCoilElementName": Constant(REMOVED)}
                | each(FRAME_WORD, "MultiCoilElementUsed"),
                most=256,
            )
        }
    ),
    "MRTransmitCoilSequence": Items(
        {"TransmitCoilName": Constant(REMOVED), "TransmitCoilManufacturerName": Constant()}
        | each(FRAME_WORD, "TransmitCoilType")
    ),
    "MRAveragesSequence": Items(each(NON_NEGATIVE, "NumberOfAverages")),
    "MRDiffusionSequence": Items(
        each(NON_NEGATIVE, "DiffusionBValue")
        | each(FRAME_WORD, "DiffusionDirectionality DiffusionAnisotropyType")
        | {"DiffusionGradientDirectionSequence": Items({"DiffusionGradientOrientation": COSINE})}
    ),
    "MRSpatialSaturationSequence": Items(
        each(MILLIMETRES, "SlabThickness")
        | {
            "SlabOrientation": COSINE,
            "MidSlabPosition": POSITION,
        }
    ),
    "MRVelocityEncodingSequence": Items(
        {"VelocityEncodingDirection": COSINE}
        | each(Number(-1e6, 1e6), "VelocityEncodingMinimumValue VelocityEncodingMaximumValue")
    ),
}
_CT_GROUPS: dict[str, Rule] = {
    "CTImageFrameTypeSequence": Items(FRAME_TYPE),
    "CTAcquisitionTypeSequence": Items(
        each(FRAME_WORD, "AcquisitionType ConstantVolumeFlag FluoroscopyFlag")
        | each(Number(-360, 360), "TubeAngle")
    ),
    "CTAcquisitionDetailsSequence": Items(
        each(FRAME_WORD, "RotationDirection")
        | each(
            Number(-1e5, 1e5),
            "RevolutionTime SingleCollimationWidth TotalCollimationWidth"
            " TableHeight GantryDetectorTilt DataCollectionDiameter TableSpeed"
            " TableFeedPerRotation SpiralPitchFactor",
        )
    ),
    "CTReconstructionSequence": Items(
        each(FRAME_WORD, "ReconstructionAlgorithm")
        | {
            "ConvolutionKernel": Spelt(terms.kernel),
            "ConvolutionKernelGroup": Word(terms.KERNEL_GROUP),
            "ReconstructionPixelSpacing": SPACING,
            "ReconstructionTargetCenterPatient": POSITION,
            "ImageFilter": Constant(),
            "ReconstructionDiameter": MILLIMETRES,
            "ReconstructionAngle": MILLIMETRES,
            "ReconstructionFieldOfView": Number(0, 1e5, most=2),
        }
    ),
    "CTGeometrySequence": Items(
        each(MILLIMETRES, "DistanceSourceToDetector DistanceSourceToDataCollectionCenter")
    ),
    "CTExposureSequence": Items(
        each(FRAME_WORD, "ExposureModulationType")
        | each(NON_NEGATIVE, "ExposureTimeInms ExposureInmAs XRayTubeCurrentInmA CTDIvol")
    ),
    "CTXRayDetailsSequence": Items(
        {"FilterType": FRAME_WORD, "FilterMaterial": FRAME_WORD}
        | {"KVP": KILOVOLT}
        | each(NON_NEGATIVE, "CalciumScoringMassFactorPatient")
        | {"FocalSpots": Number(0, 1e3, most=2)}
    ),
    "CTPositionSequence": Items(
        {
            "TablePosition": MILLIMETRES,
            "DataCollectionCenterPatient": POSITION,
            "ReconstructionTargetCenterPatient": POSITION,
        }
    ),
}
_PET_GROUPS: dict[str, Rule] = {
    "PETFrameTypeSequence": Items(FRAME_TYPE),
    "PETFrameCorrectionFactorsSequence": Items(
        each(NON_NEGATIVE, "PrimaryPromptsCountsAccumulated")
        | each(FACTOR, "SliceSensitivityFactor DecayFactor")
    ),
    "PETReconstructionSequence": Items(
        each(FRAME_WORD, "ReconstructionAlgorithm ReconstructionType TimeOfFlightInformationUsed")
        | {
            "IterativeReconstructionMethod": FRAME_WORD,
            "NumberOfSubsets": COUNT,
            "NumberOfIterations": COUNT,
            "ReconstructionDiameter": MILLIMETRES,
        }
    ),
}
GROUPS: dict[str, Rule] = {
    "PixelMeasuresSequence": Items(PLACE),
    "PlanePositionSequence": Items(PLACE),
    "PlaneOrientationSequence": Items(PLACE),
    "FrameContentSequence": Items(_FRAME_CONTENT),
    "FrameVOILUTSequence": Items(VALUES),
    "PixelValueTransformationSequence": Items(VALUES),
    "FrameAnatomySequence": Items(
        {
            "FrameLaterality": Word(terms.SIDE),
            "AnatomicRegionSequence": REGION,
            "PrimaryAnatomicStructureSequence": Coded(),
        }
    ),
    "TemporalPositionSequence": Items(each(NON_NEGATIVE, "TemporalPositionTimeOffset")),
    "CardiacSynchronizationSequence": Items(
        each(
            NON_NEGATIVE,
            "NominalPercentageOfCardiacPhase NominalCardiacTriggerDelayTime"
            " RRIntervalTimeNominal ActualCardiacTriggerDelayTime IntervalsAcquired"
            " IntervalsRejected HeartRate",
        )
    ),
    "IrradiationEventIdentificationSequence": Items({"IrradiationEventUID": MappedUid()}),
    "ReferencedImageSequence": REFERENCES,
    **_MR_GROUPS,
    **_CT_GROUPS,
    **_PET_GROUPS,
}
