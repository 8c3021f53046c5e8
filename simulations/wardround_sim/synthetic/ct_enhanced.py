"""DICOM headers of synthetic Enhanced CT: one instance of many frames.

Attributes follow PS3.3: A.38.1 (Enhanced CT Image IOD) with the functional groups of table
A.38-2. The phantom was never exposed, so doses and currents are those of a usual protocol.
"""

from __future__ import annotations

from collections.abc import Sequence as Numbers

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from wardround_sim.synthetic.ct_headers import (
    WINDOW,
    add_stored,
    ds,
    instance_number,
    orientation,
    pixel_spacing,
)
from wardround_sim.synthetic.headers import code, new_dataset
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.synthetic.roster import (
    ImagingStudy,
    Patient,
    dimension_uid,
    frame_of_reference_uid,
    irradiation_uid,
)
from wardround_sim.synthetic.tomography import STORAGE, Tomogram
from wardround_sim.synthetic.voxels import Grid

_FRAME_TYPE = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]


def enhanced_header(
    spec: SyntheticHospital,
    patient: Patient,
    study: ImagingStudy,
    tomogram: Tomogram,
    *,
    left_out: tuple[int, ...] = (),
) -> Dataset:
    """The whole scan as one instance with plain pixels, ready for `encode_file`.

    Frames lie in the order of InstanceNumber; slices ``left_out`` are missing.
    """
    numbers = [n for n in range(spec.scanner.slices) if n not in left_out]
    numbers.sort(key=lambda number: instance_number(spec, number))
    dataset = new_dataset(spec, patient, study)
    _add_series(dataset, spec, study)
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = study.instance_uid
    dataset.ImageType = _FRAME_TYPE
    dataset.InstanceNumber = 1
    dataset.AcquisitionDateTime = f"{dataset.AcquisitionDate}{dataset.AcquisitionTime}"
    del dataset.AcquisitionDate, dataset.AcquisitionTime
    dataset.AcquisitionDuration = 2.0
    dataset.NumberOfFrames = len(numbers)
    dataset.ImageComments = f"Synthetic phantom of {patient.name}"
    add_stored(dataset, tomogram.stored[numbers], spec)
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(spec, study, tomogram)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(tomogram, number, place) for place, number in enumerate(numbers, start=1)
    ]
    _add_dimension(dataset, study)
    return dataset


def turn_frame(dataset: Dataset, place: int, direction: Numbers[float]) -> None:
    """Gives frame ``place``, from 0, an orientation of its own."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    usual = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    del shared.PlaneOrientationSequence
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        own = list(direction) if number == place else list(usual)
        groups.PlaneOrientationSequence = [_item(ImageOrientationPatient=own)]


def _add_series(dataset: Dataset, spec: SyntheticHospital, study: ImagingStudy) -> None:
    """Series, equipment, frame of reference and what is said of the image as a whole."""
    scanner = spec.scanner
    values = {
        "Modality": "CT",
        "SeriesInstanceUID": study.series_uid,
        "SeriesNumber": 2,
        "SeriesDescription": f"Thorax {scanner.kernel}",
        "DeviceSerialNumber": "PHANTOM",
        "BodyPartExamined": "CHEST",
        "PatientPosition": scanner.patient_position,
        "FrameOfReferenceUID": frame_of_reference_uid(study),
        "PositionReferenceIndicator": None,
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ContentQualification": "RESEARCH",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
        "AcquisitionNumber": 1,
        "MultienergyCTAcquisition": "NO",
        "AcquisitionContextSequence": [],
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def _add_dimension(dataset: Dataset, study: ImagingStudy) -> None:
    """Frames have one dimension: their place in the stack."""
    organisation = dimension_uid(study)
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organisation)]
    index = _item(DimensionOrganizationUID=organisation)
    index.DimensionIndexPointer = 0x00209057  # In-Stack Position Number
    index.FunctionalGroupPointer = 0x00209111  # Frame Content Sequence
    dataset.DimensionIndexSequence = [index]


def _frame_groups(tomogram: Tomogram, number: int, place: int) -> Dataset:
    position = tomogram.grid.position(np.array([number, 0, 0], np.float64))
    groups = Dataset()
    groups.FrameContentSequence = [
        _item(
            FrameAcquisitionNumber=1,
            StackID="1",
            InStackPositionNumber=place,
            DimensionIndexValues=place,
            FrameAcquisitionDateTime="20200101101500",
            FrameReferenceDateTime="20200101101500",
            FrameAcquisitionDuration=2.0,
        )
    ]
    groups.PlanePositionSequence = [_item(ImagePositionPatient=[ds(v) for v in position])]
    return groups


def _shared_groups(spec: SyntheticHospital, study: ImagingStudy, tomogram: Tomogram) -> Dataset:
    scanner, form, grid = spec.scanner, STORAGE[spec.scanner.storage], tomogram.grid
    groups = Dataset()
    groups.PixelMeasuresSequence = [
        _item(
            PixelSpacing=[ds(value) for value in pixel_spacing(grid)],
            SliceThickness=ds(scanner.thickness_mm),
        )
    ]
    groups.PlaneOrientationSequence = [
        _item(ImageOrientationPatient=[ds(value) for value in orientation(grid)])
    ]
    groups.PixelValueTransformationSequence = [
        _item(RescaleIntercept=form.intercept, RescaleSlope=1, RescaleType="HU")
    ]
    groups.FrameVOILUTSequence = [_item(WindowCenter=WINDOW[0], WindowWidth=WINDOW[1])]
    groups.FrameAnatomySequence = [
        _item(
            FrameLaterality="U",
            AnatomicRegionSequence=[code("816094009", "SCT", "Chest")],
        )
    ]
    groups.CTImageFrameTypeSequence = [
        _item(
            FrameType=_FRAME_TYPE,
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
        )
    ]
    groups.IrradiationEventIdentificationSequence = [
        _item(IrradiationEventUID=irradiation_uid(study))
    ]
    _add_acquisition(groups, spec, grid)
    return groups


def _add_acquisition(groups: Dataset, spec: SyntheticHospital, grid: Grid) -> None:
    """How the frames were taken and reconstructed."""
    scanner = spec.scanner
    groups.CTAcquisitionTypeSequence = [
        _item(AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")
    ]
    groups.CTAcquisitionDetailsSequence = [
        _item(
            RotationDirection="CW",
            RevolutionTime=0.5,
            SingleCollimationWidth=scanner.thickness_mm,
            TotalCollimationWidth=scanner.thickness_mm,
            TableHeight=150.0,
            GantryDetectorTilt=0.0,
            DataCollectionDiameter=500.0,
        )
    ]
    groups.CTTableDynamicsSequence = [_item(TableSpeed=0.0, TableFeedPerRotation=0.0)]
    groups.CTPositionSequence = [
        _item(
            TablePosition=0.0,
            ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
            DataCollectionCenterPatient=[0.0, 0.0, 0.0],
        )
    ]
    groups.CTGeometrySequence = [
        _item(DistanceSourceToDetector=1000.0, DistanceSourceToDataCollectionCenter=550.0)
    ]
    _add_reconstruction(groups, spec, grid)
    groups.CTExposureSequence = [
        _item(
            ExposureTimeInms=500.0,
            XRayTubeCurrentInmA=200.0,
            ExposureInmAs=100.0,
            ExposureModulationType="NONE",
        )
    ]
    groups.CTXRayDetailsSequence = [
        _item(
            KVP=120,
            FocalSpots=[0.7],
            FilterType="FLAT",
            FilterMaterial="ALUMINUM",
        )
    ]


def _add_reconstruction(groups: Dataset, spec: SyntheticHospital, grid: Grid) -> None:
    scanner, view_mm = spec.scanner, spec.appearance.field_of_view_mm
    groups.CTReconstructionSequence = [
        _item(
            ReconstructionAlgorithm="FILTER_BACK_PROJ",
            ConvolutionKernel=scanner.kernel,
            ConvolutionKernelGroup="LUNG" if scanner.sharpness > 0.5 else "SOFT_TISSUE",
            ReconstructionFieldOfView=[view_mm, view_mm],
            ReconstructionPixelSpacing=[ds(value) for value in pixel_spacing(grid)],
            ReconstructionAngle=360.0,
            ImageFilter="NONE",
        )
    ]


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, Sequence(value) if keyword.endswith("Sequence") else value)  # type: ignore[arg-type]
    return item
