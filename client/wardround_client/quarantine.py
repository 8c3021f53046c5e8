"""Why a file or an image takes no part: stable reason codes, each with its meaning and its cure.

Intake never stops at one bad file. Whatever is left out is counted under exactly one of these
codes, so that the counts of a report add up to the files found. The codes are part of the
report's format: they may be added to, and never change their meaning.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One reason for leaving something out; the value is the stable code.

    Attributes:
        explanation: What was found, in one line.
        cure: What the site can do about it, in one line.
    """

    explanation: str
    cure: str

    def __new__(cls, code: str, explanation: str = "", cure: str = "") -> Reason:
        """Makes a member from its code, its meaning and its cure."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.explanation = explanation
        member.cure = cure
        return member

    # Files
    NOT_REGULAR = (
        "not-a-regular-file",
        "A link, pipe or device; intake follows none, so that it cannot leave the archive.",
        "Put the file itself into the archive.",
    )
    UNREADABLE = (
        "unreadable",
        "The operating system did not let the file or folder be read.",
        "Give the account that runs wardround the right to read it, then prepare again.",
    )
    NOT_DICOM = (
        "not-dicom",
        "The file is empty or no DICOM file.",
        "Nothing, if it is a note or a label file; otherwise export the image again.",
    )
    DICOMDIR = (
        "dicomdir",
        "A DICOMDIR lists other files and holds no image.",
        "Nothing; the archive is scanned without it.",
    )
    BROKEN_HEADER = (
        "broken-header",
        "A header element that intake needs cannot be read.",
        "Export the image again from the system that holds the original.",
    )
    NO_IDENTITY = (
        "no-identity",
        "SOPClassUID, SOPInstanceUID or StudyInstanceUID is missing.",
        "Export the image again; it cannot be told apart from others.",
    )
    # Cohort rule
    NOT_AN_IMAGE = (
        "not-an-image",
        "A report, segmentation, presentation state or other object without an image.",
        "Nothing; it is not what a study of images asks for.",
    )
    SECONDARY_CAPTURE = (
        "secondary-capture",
        "A secondary capture: a screenshot, a dose sheet or a scanned page.",
        "Nothing; add the original image if it is missing.",
    )
    FOR_PROCESSING = (
        "for-processing",
        "Raw detector data that the maker's software has yet to turn into an image.",
        "Export the image for presentation as well.",
    )
    OTHER_MODALITY = (
        "other-modality",
        "Modality is none that the study asks for.",
        "Nothing, if the study's cohort rule is right.",
    )
    OTHER_BODY_PART = (
        "other-body-part",
        "BodyPartExamined is none that the study asks for, or is empty.",
        "Check how this device fills BodyPartExamined; tell the consortium if its word differs.",
    )
    OTHER_VIEW = (
        "other-view",
        "ViewPosition is none that the study asks for, or is empty.",
        "Check how this device fills ViewPosition; tell the consortium if its word differs.",
    )
    IMAGE_TYPE = (
        "image-type",
        "ImageType is one that the study leaves out, such as a localizer.",
        "Nothing; it is not a diagnostic image of this study.",
    )
    BURNED_IN = (
        "burned-in-annotation",
        "The header says that text is burned into the image; it may name the patient.",
        "Export the image without annotation.",
    )
    NO_PATIENT = (
        "no-patient",
        "PatientID is missing, so the split by patient cannot be made with certainty.",
        "Give each patient a pseudonym in PatientID when the archive is exported.",
    )
    # Labels
    LABEL_MISSING = (
        "label-missing",
        "No row, report or segmentation holds a label for this imaging study.",
        "Label it where the study's labels come from, by its StudyInstanceUID or its images.",
    )
    LABEL_OUT_OF_RANGE = (
        "label-out-of-range",
        "The label is no class of the study: another number, code or unit than it names.",
        "In a label file, write the number of the class, counted from 0.",
    )
    LABEL_CONFLICT = (
        "label-conflict",
        "Several rows, reports or segmentations give this imaging study different labels.",
        "Keep the one that is right, or let the right report name the others as predecessors.",
    )
    LABEL_KEYS_DISAGREE = (
        "label-keys-disagree",
        "StudyInstanceUID and AccessionNumber point to different rows or imaging studies.",
        "Correct the row's keys, or leave AccessionNumber empty.",
    )
    ACCESSION_SHARED = (
        "accession-shared",
        "Several imaging studies share this AccessionNumber, and the row has no StudyInstanceUID.",
        "Name the imaging study by StudyInstanceUID.",
    )
    # Copies
    DUPLICATE_COPY = (
        "duplicate-copy",
        "A further copy of an image that is already counted.",
        "Nothing; one copy is used.",
    )
    DUPLICATE_CONFLICT = (
        "duplicate-conflict",
        "Files with one SOPInstanceUID differ in header or pixels; none of them is used.",
        "Find out which one is right and take the others out of the archive.",
    )
    MIXED_PATIENTS = (
        "mixed-patients",
        "Instances of one imaging study name different patients.",
        "Correct PatientID or IssuerOfPatientID where patients were merged or mistaken.",
    )
    # Pixels
    CHANGED = (
        "changed-meanwhile",
        "The file changed between scan and decoding.",
        "Prepare again once nothing writes into the archive.",
    )
    NO_PIXELS = (
        "no-pixels",
        "The file holds no pixel data, or its description is missing.",
        "Export the image again with its pixels.",
    )
    FLOAT_PIXELS = (
        "float-pixels",
        "Pixels are stored as floating-point numbers, as computed maps are; intake takes integers.",
        "Nothing, if the map is no image of this study; otherwise export it with integers.",
    )
    COLOUR = (
        "colour",
        "A colour or palette image; the model takes grey images only.",
        "Export the grey original.",
    )
    MULTI_FRAME = (
        "multi-frame",
        "Several frames in one instance; this study takes single images.",
        "Export single-frame instances.",
    )
    POLARITY = (
        "polarity-contradiction",
        "PhotometricInterpretation and PresentationLUTShape contradict each other.",
        "Correct the device's export settings; guessing would invert the image.",
    )
    TOO_LARGE = (
        "too-large",
        "File or image is larger than intake takes; it may be a decompression bomb.",
        "Check the image; export it in its usual size.",
    )
    TRUNCATED = (
        "truncated",
        "There are fewer pixel bytes than Rows and Columns ask for.",
        "Export the image again.",
    )
    SIZE_MISMATCH = (
        "size-mismatch",
        "The compressed image's own size or depth differs from what the header says.",
        "Export the image again, uncompressed if need be.",
    )
    FRAMES_UNCLEAR = (
        "frames-unclear",
        "Which compressed fragments make which frame is not said, or said wrongly.",
        "Export the image again with an offset table, or uncompressed.",
    )
    NO_DECODER = (
        "no-decoder",
        "No decoder is pinned for this transfer syntax, or it is not installed.",
        "Install wardround[site] in full, or export in an uncompressed transfer syntax.",
    )
    DECODE_FAILED = (
        "decode-failed",
        "The decoder refused the compressed image.",
        "Export the image again.",
    )
    BROKEN_LUT = (
        "broken-lut",
        "Rescale, modality LUT, VOI LUT or window cannot be applied as written.",
        "Correct the device's export settings.",
    )
    CONSTANT = (
        "constant-image",
        "Every pixel is equal or padding; there is nothing to see.",
        "Nothing, if the exposure failed; otherwise export the image again.",
    )
    # Worker processes
    DECODER_CRASHED = (
        "decoder-crashed",
        "The process that read this file ended abruptly; the others went on.",
        "Keep the file away from the archive and export the image again.",
    )
    DECODER_TIMEOUT = (
        "decoder-timeout",
        "Reading took longer than intake.decode_seconds.",
        "Raise intake.decode_seconds if the image is large; otherwise export it again.",
    )
    DECODER_MEMORY = (
        "decoder-memory",
        "Reading needed more memory than intake.decode_memory_gb.",
        "Raise intake.decode_memory_gb if the image is large; otherwise export it again.",
    )
    READ_FAILED = (
        "read-failed",
        "Reading raised an error that wardround did not expect; the other files went on.",
        "Report it as a bug, with the output of `wardround-site archive explain` for the file.",
    )
    # Volumes
    NO_GEOMETRY = (
        "no-geometry",
        "Orientation, position or pixel spacing is missing, so there is no place in millimetres.",
        "Export the original series; secondary reconstructions often lack it.",
    )
    BROKEN_GEOMETRY = (
        "broken-geometry",
        "Orientation, position or pixel spacing cannot be what it says.",
        "Export the series again from the system that holds the original.",
    )
    MISSING_SLICE = (
        "missing-slice",
        "A gap between two slices shows that at least one is missing.",
        "Send the whole series to the archive again.",
    )
    UNEVEN_SPACING = (
        "uneven-spacing",
        "The distance between slices varies, and the study refuses such volumes.",
        "Nothing; only the study can allow resampling (preprocessing.volume.irregular).",
    )
    TILTED = (
        "tilted",
        "The slices are shifted against each other, as with a tilted gantry; the study refuses it.",
        "Nothing; only the study can allow resampling (preprocessing.volume.irregular).",
    )
    DUPLICATE_POSITION = (
        "duplicate-position",
        "Several slices lie at one place, and nothing in the header tells them apart.",
        "Export the series again; two acquisitions may have been merged into one.",
    )
    NOT_A_VOLUME = (
        "not-a-volume",
        "Images of this kind (SOPClassUID) are no slices of a CT, MR or PET volume.",
        "Nothing; the study asks for volumes.",
    )
    MIXED_UNITS = (
        "mixed-units",
        "The slices of one volume state different units.",
        "Export the series again; two reconstructions may have been merged into one.",
    )
    TOO_FEW_SLICES = (
        "too-few-slices",
        "The series has fewer slices than the study asks for, or than a volume needs.",
        "Nothing, if the series is a localizer or a sample.",
    )
    OTHER_SPACING = (
        "other-spacing",
        "The distance between slices is outside what the study asks for.",
        "Nothing, if the study's cohort rule is right.",
    )
    OTHER_KERNEL = (
        "other-kernel",
        "ConvolutionKernel is none that the study asks for.",
        "Nothing, if the study's cohort rule is right.",
    )
    # Labels from DICOM objects
    LABEL_UNREADABLE = (
        "label-unreadable",
        "The structured report or segmentation that holds the label cannot be read.",
        "Export it again from the system that made it.",
    )
    LABEL_MISALIGNED = (
        "label-misaligned",
        "The segmentation lies on another frame of reference or grid than the images.",
        "Segment the images of this series themselves.",
    )
    LABEL_NOT_FINAL = (
        "label-not-final",
        "The structured report that holds the label is partial or preliminary.",
        "Complete the report, then prepare again.",
    )
    LABEL_UNANCHORED = (
        "label-unanchored",
        "The report or segmentation refers to no image, or to images of several imaging studies.",
        "Export it with the reference to the images of the one imaging study it is about.",
    )
    # De-identification
    NOT_REBUILT = (
        "not-rebuilt",
        "A kind of image that often shows its patient's name; de-identification leaves it out.",
        "Nothing; only CR, DX, mammography, CT, MR and PET images are rebuilt.",
    )
    # Network
    NOT_RETRIEVED = (
        "not-retrieved",
        "The PACS lists this instance and did not hand it over.",
        "Look into the PACS's own log; then prepare again.",
    )
    STORE_TOO_SMALL = (
        "store-too-small",
        "The series does not fit into the store of fetched files (intake.store_gb).",
        "Raise intake.store_gb, then prepare again.",
    )
