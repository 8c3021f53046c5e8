"""Labels of synthetic CT as DICOM objects: a structured report, a segmentation.

Both say what is true of the scan. A study that the label file does not name has no object; one
that it names twice, with different labels, has a second object without any nodule.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code

from wardround_sim.synthetic.roster import ImagingStudy, label_uid
from wardround_sim.synthetic.tomography import Tomogram
from wardround_sim.synthetic.voxels import ellipsoid

VOLUME, NODULE, NORMAL = "118565006|SCT", "27925004|SCT", "17621005|SCT"
"""Codes in the objects: measured concept, finding or property of class 1, finding of class 0."""
_MAKER, _MODEL = "Fictive Reading Room", "Phantom Reader"


def nodule_mask(tomogram: Tomogram) -> NDArray[np.uint8]:
    """1 where nodules fill half of a voxel or more, uint8, shape (slices, rows, columns)."""
    mask = np.zeros(tomogram.grid.shape, np.uint8)
    for nodule in tomogram.nodules:
        block, part = ellipsoid(tomogram.grid, nodule.centre_mm, nodule.semi_axes_mm)
        mask[block] |= part >= 0.5
    return mask


def report_object(
    images: Sequence[Dataset], study: ImagingStudy, tomogram: Tomogram, *, label: int
) -> Dataset:
    """A TID 1500 report of the finding and of the nodules' volume in millilitres.

    Args:
        images: Headers of all instances of the series.
        study: The imaging study.
        tomogram: The scan.
        label: 1 reports its nodules, 0 reports none.
    """
    volume_ml = sum(nodule.volume_ml for nodule in tomogram.nodules) if label else 0.0
    finding = _code(NODULE, "Nodule") if label else _code(NORMAL, "Normal")
    measured = hd.sr.Measurement(
        name=_code(VOLUME, "Volume"),
        value=round(volume_ml, 3),
        unit=CodedConcept("ml", "UCUM", "millilitre"),
    )
    reader = hd.sr.PersonObserverIdentifyingAttributes(name="Phantom^Reader")
    observer = hd.sr.ObserverContext(
        observer_type=CodedConcept("121006", "DCM", "Person"),
        observer_identifying_attributes=reader,
    )
    middle = images[len(images) // 2]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=label_uid(study, "tracking", label), identifier="nodules"
        ),
        finding_type=finding,
        measurements=[measured],
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(middle.SOPClassUID, middle.SOPInstanceUID)
        ],
    )
    tree = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=CodedConcept("24627-2", "LN", "CT Chest"),
        imaging_measurements=[group],
        title=CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=list(images),
        content=tree,
        series_instance_uid=label_uid(study, "sr series"),
        series_number=20,
        sop_instance_uid=label_uid(study, "sr", label),
        instance_number=1 + label,
        is_complete=True,
        is_final=True,
        is_verified=False,
        manufacturer=_MAKER,
    )
    return _dated(report, study)


def segmentation_object(
    images: Sequence[Dataset], study: ImagingStudy, tomogram: Tomogram, *, label: int
) -> Dataset:
    """A binary segmentation of the nodules on the grid of the series; arguments as above."""
    mask = nodule_mask(tomogram) * np.uint8(label)
    if len(images) == 1 and "PerFrameFunctionalGroupsSequence" in images[0]:
        mask = mask[_frame_order(images[0], tomogram)]
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="nodules",
        segmented_property_category=Code("49755003", "SCT", "Morphologically abnormal structure"),
        segmented_property_type=_code(NODULE, "Nodule"),
        algorithm_type="MANUAL",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty segmentation is meant here
        segmentation = hd.seg.Segmentation(
            list(images),
            mask,
            "BINARY",
            [segment],
            series_instance_uid=label_uid(study, "seg series"),
            series_number=21,
            sop_instance_uid=label_uid(study, "seg", label),
            instance_number=1 + label,
            omit_empty_frames=False,
            manufacturer=_MAKER,
            manufacturer_model_name=_MODEL,
            software_versions="1",
            device_serial_number="PHANTOM",
        )
    organisation = label_uid(study, "seg dimension", label)
    for item in (
        *segmentation.DimensionOrganizationSequence,
        *segmentation.DimensionIndexSequence,
    ):
        item.DimensionOrganizationUID = organisation
    return _dated(segmentation, study)


def _frame_order(image: Dataset, tomogram: Tomogram) -> list[int]:
    """Slice of each frame of an enhanced instance."""
    first, step = tomogram.grid.origin_mm[2], tomogram.grid.slice_mm
    heights = [
        float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        for groups in image.PerFrameFunctionalGroupsSequence
    ]
    return [round((height - first) / step) for height in heights]


def _code(code: str, meaning: str) -> CodedConcept:
    value, _, scheme = code.partition("|")
    return CodedConcept(value, scheme, meaning)


def _dated(dataset: Dataset, study: ImagingStudy) -> Dataset:
    """Sets the times, which highdicom takes from the clock, to those of the study."""
    day = study.day.strftime("%Y%m%d")
    for keyword in ("ContentDate", "SeriesDate", "InstanceCreationDate"):
        if keyword in dataset:
            setattr(dataset, keyword, day)
    for keyword in ("ContentTime", "SeriesTime", "InstanceCreationTime"):
        if keyword in dataset:
            setattr(dataset, keyword, "101500")
    for item in dataset.get("ContributingEquipmentSequence", []):
        item.ContributionDateTime = f"{day}101500"
    return dataset
