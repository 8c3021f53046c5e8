"""What intake knows of one instance: the header elements of the index, one column each."""

from __future__ import annotations

from typing import NamedTuple

from wardround_client.archive.files import ArchiveFile


class Header(NamedTuple):
    """Elements of one instance as text: decoded, stripped, in Unicode form NFC, empty if absent.

    Several values are joined by backslashes, as in the file. Nothing is interpreted here but
    where a field says so: whoever needs a number reads it from the text, or refuses the instance.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    """TransferSyntaxUID of the file; where the file has none, the one it could be read with."""
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    accession: str
    patient_id: str
    issuer: str
    """IssuerOfPatientID."""
    sex: str
    """M, F or empty."""
    age_years: float | None
    """Age at the imaging study from PatientAge, else from birth and study date, or None."""
    study_date: str
    modality: str
    """In capitals, as are the next five."""
    body_part: str
    view: str
    image_type: str
    intent: str
    """PresentationIntentType."""
    burned_in: str
    """BurnedInAnnotation."""
    photometric: str
    """PhotometricInterpretation."""
    manufacturer: str
    model_name: str
    """ManufacturerModelName."""
    field_strength: str
    """MagneticFieldStrength, tesla."""
    kernel: str
    """ConvolutionKernel."""
    slice_thickness: str
    """SliceThickness, mm; decides nothing, see `wardround_client.volumes`."""
    series_number: str
    instance_number: str
    acquisition_number: str
    acquisition_time: str
    """AcquisitionDateTime, else AcquisitionDate and AcquisitionTime joined."""
    content_time: str
    """ContentDate and ContentTime joined."""
    trigger_time: str
    temporal_position: str
    """TemporalPositionIdentifier."""
    echo_time: str
    echo_number: str
    """EchoNumbers."""
    inversion_time: str
    flip_angle: str
    b_value: str
    """DiffusionBValue."""
    gradient: str
    """DiffusionGradientOrientation."""
    orientation: str
    """ImageOrientationPatient."""
    position: str
    """ImagePositionPatient."""
    pixel_spacing: str
    imager_pixel_spacing: str
    rows: str
    columns: str
    frames: str
    """NumberOfFrames."""
    samples: str
    """SamplesPerPixel."""
    units: str
    """Units of PET values."""


class Instance(NamedTuple):
    """One DICOM instance of the archive: the file and what its header says."""

    file: ArchiveFile
    header: Header

    @property
    def path(self) -> bytes:
        """Path below the archive's root; tells copies of one instance apart."""
        return self.file.path
