from __future__ import annotations

import base64
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from tests.client.labels.objects import ct_series

from wardround_client.deidentify.allowed import ALLOWED, ENHANCED
from wardround_client.deidentify.folder import rebuild_folder
from wardround_client.deidentify.groups import GROUPS
from wardround_client.deidentify.rebuild import RebuiltFile, rebuild, rebuild_file
from wardround_client.deidentify.rules import Coded, Constant, Items, Maker, Rule
from wardround_client.deidentify.terms import kernel, orientation
from wardround_client.index.reader import quiet
from wardround_client.pixels.decode import decode_frames
from wardround_client.pseudonym import mapped_uid, pseudonym
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits
from wardround_common.errors import ArchiveError

SECRET = bytes(range(32))
LIMITS = Limits(seconds=60, memory_bytes=4 << 30)


def ct(number: int = 0, **elements: Any) -> Dataset:
    """One CT slice with values in every kept element; elements replace, None removes."""
    dataset = ct_series((6, 16, 20))[number]
    pixels = np.random.default_rng(number).integers(0, 4096, (16, 20)).astype("<u2")
    values: dict[str, Any] = {
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "WindowCenter": "40",
        "WindowWidth": "400",
        "KVP": "120",
        "PatientAge": "047Y",
        "BodyPartExamined": "HEAD",
        "ConvolutionKernel": "B30f",
        "Manufacturer": "SIEMENS",
        "PatientSex": "F",
        "PatientPosition": "HFS",
        "SeriesNumber": "3",
        "AcquisitionNumber": "2",
        "PositionReferenceIndicator": "",
    }
    for keyword, value in (values | elements).items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def words(text: str) -> list[str]:
    return text.split()


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with quiet():
        dataset.save_as(path, enforce_file_format=True)
    return path


def rebuilt(path: Path) -> RebuiltFile:
    made = rebuild_file(path, secret=SECRET)
    assert isinstance(made, RebuiltFile), made
    return made


def parsed(made: RebuiltFile) -> Dataset:
    return dcmread(BytesIO(made.content))


def spellings(plant: str) -> Iterator[bytes]:
    """Forms in which a text may hide in bytes, in capitals."""
    for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "shift_jis"):
        coded = plant.encode(codec)
        yield coded.upper()
        yield coded[::-1].upper()
        yield coded.hex().encode().upper()
    for lead in range(3):  # the part of base64 that does not depend on the neighbours
        coded64 = base64.b64encode(bytes(lead) + plant.encode())
        yield coded64[4 : len(coded64) // 4 * 4 - 4].upper()


def found_in(content: bytes, plants: Mapping[str, str]) -> list[str]:
    with quiet():
        shown = str(dcmread(BytesIO(content))).encode()
    text = content.upper() + b"\0" + shown.upper()
    return [
        place
        for place, plant in plants.items()
        if any(spelling in text for spelling in spellings(plant))
    ]


class Planter:
    """Hands out identifiers, a new one for each place."""

    def __init__(self) -> None:
        self.plants: dict[str, str] = {}

    def name(self, place: str) -> str:
        return self.plants.setdefault(
            place, f"PHI{chr(65 + len(self.plants) // 26)}LEAK{len(self.plants):04}"
        )

    def number(self, place: str) -> str:
        return self.plants.setdefault(place, f"7654{len(self.plants):04}")

    def date(self, place: str) -> str:
        return self.plants.setdefault(place, f"19{30 + len(self.plants) % 60}0317")


def _plant_texts(dataset: Dataset, plant: Planter) -> None:
    for keyword in words(
        "PatientName OtherPatientNames PatientMotherBirthName InstitutionName"
        " InstitutionAddress ReferringPhysicianName PerformingPhysicianName OperatorsName"
        " StationName StudyDescription SeriesDescription ImageComments PatientComments"
        " AdditionalPatientHistory ProtocolName DeviceSerialNumber ManufacturerModelName"
        " SoftwareVersions PatientAddress MedicalRecordLocator RequestingPhysician"
        " RequestedProcedureDescription DerivationDescription BodyPartExamined"
        " ConvolutionKernel Manufacturer ViewPosition PatientPosition ImageType RescaleType"
        " WindowCenterWidthExplanation ScanOptions PatientOrientation"
    ):
        _force(dataset, keyword, plant.name(keyword))
    for keyword in words("StudyDate SeriesDate AcquisitionDate ContentDate PatientBirthDate"):
        _force(dataset, keyword, plant.date(keyword))
    for keyword in words(
        "PatientID AccessionNumber StudyID OtherPatientIDs AdmissionID"
        " PatientTelephoneNumbers SeriesNumber AcquisitionNumber InstanceNumber SliceThickness"
        " KVP PatientWeight"
    ):
        _force(dataset, keyword, plant.number(keyword))
    _force(dataset, "EthnicGroup", "\x1b$B" + plant.name("an escape sequence"))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        _force(dataset, keyword, f"1.2.{plant.number(keyword)}.4")


def _force(dataset: Dataset, keyword: str, value: str) -> None:
    """Sets an element to a text, whatever its type says."""
    dataset.add(DataElement(Tag(keyword), "LO", value))


def _plant_structures(dataset: Dataset, plant: Planter) -> None:
    code, nested, reference = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = plant.number("a local code"), "99LOCAL"
    code.CodeMeaning = plant.name("a local code's meaning")
    nested.add_new(Tag(0x00411001), "LO", plant.name("a private element in an item"))
    nested.StudyDescription = plant.name("a description in an item")
    known = Dataset()
    known.CodeValue, known.CodingSchemeDesignator = "69536005", "SCT"
    known.CodeMeaning = plant.name("a known code's meaning")
    known.AnatomicRegionModifierSequence = [code]
    dataset.AnatomicRegionSequence = [known, code]
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = f"1.2.{plant.number('a reference')}"
    reference.PurposeOfReferenceCodeSequence = [code]
    reference.ReferencedFrameNumber = plant.number("a frame number")
    dataset.ReferencedImageSequence = [reference]
    dataset.RequestAttributesSequence = [nested]
    dataset.add_new(Tag(0x00110010), "LO", plant.name("a private creator"))
    dataset.add_new(Tag(0x00111001), "UN", plant.name("a private element").encode())
    dataset.add_new(Tag(0x00111002), "SQ", [nested])
    dataset.add_new(Tag(0x00091099), "LO", plant.name("a private element without creator"))
    dataset.add_new(Tag(0x60003000), "OW", plant.name("an overlay").encode() + b"\0")
    dataset.add_new(Tag(0x60000022), "LO", plant.name("an overlay's description"))
    dataset.add_new(Tag(0x50003000), "OW", plant.name("a curve").encode() + b"\0")
    dataset.add_new(Tag(0x00282000), "OB", bytes(128) + plant.name("a colour profile").encode())
    dataset.add_new(Tag(0x00880200), "SQ", [nested])
    dataset.add_new(Tag(0xFFFCFFFC), "OB", plant.name("trailing padding").encode() + b"\0")
    dataset.add_new(Tag(0x00189999), "UN", plant.name("an unknown element").encode())


def _plant_file_meta(dataset: Dataset, plant: Planter) -> None:
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = plant.name("source AE")
    meta.SendingApplicationEntityTitle = plant.name("sending AE")
    meta.ImplementationVersionName = plant.name("version name")
    meta.ImplementationClassUID = f"1.2.{plant.number('implementation class')}"
    meta.PrivateInformationCreatorUID = f"1.2.{plant.number('private creator UID')}"
    meta.PrivateInformation = plant.name("private information").encode()
    dataset.preamble = plant.name("preamble").encode().ljust(128, b"\0")


def _hide_in_unused_bits(dataset: Dataset, text: str) -> None:
    """Writes a text into the four bits above BitsStored, two pixels for each letter."""
    pixels = np.frombuffer(dataset.PixelData, "<u2").copy()
    nibbles = np.array([n for letter in text.encode() for n in (letter >> 4, letter & 15)])
    pixels[: nibbles.size] |= (nibbles << 12).astype(np.uint16)
    dataset.PixelData = pixels.tobytes()


def test_no_planted_identifier_is_left_in_a_rebuilt_file(tmp_path: Path) -> None:
    plant, dataset = Planter(), ct()
    _plant_texts(dataset, plant)
    _plant_structures(dataset, plant)
    _plant_file_meta(dataset, plant)
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    hidden = plant.name("bits above BitsStored")
    _hide_in_unused_bits(dataset, hidden)
    folder = tmp_path / plant.name("folder") / plant.name("name")
    path = save(dataset, folder / f"{plant.name('file')}.dcm")
    assert len(plant.plants) > 75 and len(set(plant.plants.values())) == len(plant.plants)
    hides_elsewhere = {"folder", "name", "file", "bits above BitsStored"}
    planted = {k: v for k, v in plant.plants.items() if k not in hides_elsewhere}
    with quiet():
        assert set(found_in(path.read_bytes(), planted)) == set(planted)  # the search works
    made = rebuilt(path)
    assert found_in(made.content, plant.plants) == []
    assert (np.frombuffer(parsed(made).PixelData, "<u2") < 4096).all()


def test_bytes_after_the_dataset_are_not_copied(tmp_path: Path) -> None:
    path = save(ct(), tmp_path / "a.dcm")
    clean = rebuilt(path).content
    padding = b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 12) + b"PHILEAK00001"
    path.write_bytes(path.read_bytes() + padding)
    assert rebuilt(path).content == clean
    path.write_bytes(path.read_bytes() + b"PHILEAK00002 and more")
    made = rebuild_file(path, secret=SECRET)
    assert isinstance(made, Reason) or made.content == clean


def _texts_in(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR != "SQ":
            yield str(element.value).upper()


def _spoilt(allowed: Mapping[str, Rule], value: str, *, depth: int = 0) -> Dataset:
    """A dataset with ``value`` in every element of an allow-list, nested ones included."""
    dataset = Dataset()
    for keyword, rule in allowed.items():
        if isinstance(rule, (Items, Coded)):
            item = _spoilt(rule.allowed, value, depth=depth + 1)
            if isinstance(rule, Coded):
                item.CodeValue, item.CodingSchemeDesignator = "69536005", "SCT"
                item.CodeMeaning = value
            dataset.add(DataElement(Tag(keyword), "SQ", [item, item]))
        else:
            dataset.add(DataElement(Tag(keyword), "LO", value))
    return dataset


def _remade(value: str, allowed: Mapping[str, Rule]) -> Dataset:
    with quiet():
        return Maker(SECRET, signed=False).rebuilt(_spoilt(allowed, value), allowed)


IDENTIFIERS = [
    "Phileak^Anna",
    "PHILEAK",
    "76543210",
    "19450317",
    "1945-03-17",
    "17.03.1945",
    "7654321",
    "1.2.840.76543210.1",
    "HEAD PHILEAK",
    "CHEST\\PHILEAK",
    "120\\76543210",
    "1\\2\\3\\76543210",
    "7654321Y",
    "B30PHILEAK",
    "SIEMENS PHILEAK",
]


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_no_allowed_element_lets_an_identifier_through(identifier: str) -> None:
    for allowed in (ALLOWED, ENHANCED):
        made = _remade(identifier, allowed)
        shown = "\n".join(_texts_in(made))
        hashed = "".join(re.findall(r"2\.25\.[0-9]+", shown))
        rest = re.sub(r"2\.25\.[0-9]+", "", shown)
        for part in re.split(r"[\\^ .-]", identifier.upper()):
            if part in ("PHILEAK", "ANNA", "76543210", "7654321", "19450317", "1945"):
                assert part not in rest, part
        assert identifier not in hashed


@settings(max_examples=25, deadline=None)  # a busy machine is no error
@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz ^"), min_size=5, max_size=20))
def test_no_allowed_element_lets_a_word_through(word: str) -> None:
    made = _remade(f"{word}xqx", ENHANCED)
    assert f"{word}xqx".upper() not in "\n".join(_texts_in(made))


def test_every_rule_names_an_element_of_the_standard() -> None:
    def keywords(allowed: Mapping[str, Rule]) -> Iterator[str]:
        for keyword, rule in allowed.items():
            yield keyword
            if isinstance(rule, (Items, Coded)):
                assert dictionary_VR(keyword) == "SQ"
                yield from keywords(rule.allowed)
            else:
                assert dictionary_VR(keyword) != "SQ" and not isinstance(rule, Items)

    assert len(list(keywords(ENHANCED))) > 200


def test_no_free_text_is_allowed() -> None:
    def check(allowed: Mapping[str, Rule]) -> None:
        for keyword, rule in allowed.items():
            if isinstance(rule, (Items, Coded)):
                check(rule.allowed)
            elif dictionary_VR(keyword) in ("DA", "TM", "DT", "PN", "LT", "ST", "UT", "UC", "OB"):
                assert isinstance(rule, Constant), keyword

    check(ENHANCED)


def test_pixels_geometry_and_values_are_kept(tmp_path: Path) -> None:
    dataset = ct()
    made = parsed(rebuilt(save(dataset, tmp_path / "a.dcm")))
    for keyword in words(
        "Rows Columns BitsAllocated BitsStored PixelRepresentation ImagePositionPatient"
        " PixelSpacing ImageOrientationPatient SliceThickness RescaleSlope RescaleIntercept"
        " WindowCenter KVP WindowWidth Modality ImageType BodyPartExamined PatientSex"
        " ConvolutionKernel InstanceNumber"
    ):
        assert made[keyword].value == dataset[keyword].value, keyword
    assert np.array_equal(made.pixel_array, dataset.pixel_array)
    assert (made.PatientAge, made.Manufacturer) == ("045Y", "Siemens")
    assert made.PatientIdentityRemoved == "YES" and made.StudyDate == ""


def test_the_same_image_and_secret_give_the_same_bytes(tmp_path: Path) -> None:
    path = save(ct(), tmp_path / "a.dcm")
    first = rebuilt(path)
    assert rebuilt(path) == first
    other = rebuild_file(path, secret=bytes(32))
    assert isinstance(other, RebuiltFile)
    assert not {first.patient, first.study_uid, first.sop_instance_uid} & {
        other.patient,
        other.study_uid,
        other.sop_instance_uid,
    }


def test_a_series_stays_one_series_of_one_patient(tmp_path: Path) -> None:
    paths = [save(ct(number), tmp_path / f"{number}.dcm") for number in range(3)]
    files = [rebuilt(path) for path in paths]
    assert len({(made.patient, made.study_uid, made.series_uid) for made in files}) == 1
    assert len({made.sop_instance_uid for made in files}) == 3
    assert len({parsed(made).FrameOfReferenceUID for made in files}) == 1
    assert files[0].patient == pseudonym(SECRET, "MRNPHI1", "issuer")


def test_a_reference_finds_the_image_under_its_new_uid(tmp_path: Path) -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID = ct().SOPClassUID
    reference.ReferencedSOPInstanceUID = ct(1).SOPInstanceUID
    made = parsed(rebuilt(save(ct(ReferencedImageSequence=[reference]), tmp_path / "a.dcm")))
    other = rebuilt(save(ct(1), tmp_path / "b.dcm"))
    found = made.ReferencedImageSequence[0].ReferencedSOPInstanceUID
    assert found == other.sop_instance_uid == mapped_uid(SECRET, ct(1).SOPInstanceUID)


def test_a_mapped_uid_is_valid_and_at_most_128_bits() -> None:
    for number in range(50):
        made = mapped_uid(SECRET, f"1.2.{number}")
        assert uid.UID(made).is_valid and int(made.removeprefix("2.25.")) < 1 << 128


def test_a_known_code_gets_the_dictionarys_meaning(tmp_path: Path) -> None:
    codes = []
    for value, scheme in (("69536005", "SCT"), ("T-D1100", "SRT"), ("1", "SCT"), ("X", "DCM")):
        codes.append(Dataset())
        codes[-1].CodeValue, codes[-1].CodingSchemeDesignator = value, scheme
        codes[-1].CodeMeaning = "Phileak"
    made = parsed(rebuilt(save(ct(AnatomicRegionSequence=codes), tmp_path / "a.dcm")))
    found = [(item.CodeValue, item.CodingSchemeDesignator) for item in made.AnatomicRegionSequence]
    assert found == [("69536005", "SCT")] * 2
    assert all(item.CodeMeaning.startswith("Head") for item in made.AnatomicRegionSequence)


@pytest.mark.parametrize(
    ("given_age", "kept"),
    [("047Y", "045Y"), ("097Y", "090Y"), ("011M", "000Y"), ("47", None), ("Y047", None)],
)
def test_age_is_rounded_down(tmp_path: Path, given_age: str, kept: str | None) -> None:
    dataset = ct()
    _force(dataset, "PatientAge", given_age)
    assert parsed(rebuilt(save(dataset, tmp_path / "a.dcm"))).get("PatientAge") == kept


def _lut(values: list[int], bits: int = 12) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), 0, bits])
    item.add_new("LUTData", "OW", np.array(values, "<u2").tobytes())
    item.LUTExplanation, item.ModalityLUTType = "Phileak", "PHILEAK"
    return item


def test_a_lookup_table_is_kept_only_if_it_rises_or_falls(tmp_path: Path) -> None:
    rising = ct(ModalityLUTSequence=[_lut([0, 1, 1, 4000])])
    del rising.RescaleSlope, rising.RescaleIntercept
    made = parsed(rebuilt(save(rising, tmp_path / "a.dcm"))).ModalityLUTSequence[0]
    assert list(np.frombuffer(made.LUTData, "<u2")) == [0, 1, 1, 4000]
    assert "LUTExplanation" not in made and made.ModalityLUTType == "US"
    spelling = [ord(letter) for letter in "Phileak"]
    short = _lut([0, 1, 2])
    short.LUTDescriptor = [4, 0, 12]
    short["LUTData"].VR, short["LUTData"].value = "US", [0, 1, 2]
    for item in (_lut(spelling, 8), _lut([0, 5000]), short):
        path = save(ct(VOILUTSequence=[item]), tmp_path / "b.dcm")
        assert rebuild_file(path, secret=SECRET) == Reason.BROKEN_LUT


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, Reason.NOT_REBUILT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, Reason.NOT_REBUILT),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN),
        ({"BurnedInAnnotation": ["NO", "YES"]}, Reason.BURNED_IN),
        ({"BurnedInAnnotation": ["YES", "YES"]}, Reason.BURNED_IN),
        ({"BurnedInAnnotation": "MAYBE"}, Reason.BURNED_IN),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, Reason.NOT_REBUILT),
        ({"ImageType": ["DERIVED", "PRIMARY", "SCREEN SAVE"]}, Reason.NOT_REBUILT),
        ({"PatientID": ""}, Reason.NO_PATIENT),
        ({"SeriesInstanceUID": ""}, Reason.NO_IDENTITY),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, Reason.COLOUR),
    ],
)
def test_what_may_show_a_name_is_not_rebuilt(
    tmp_path: Path, elements: dict[str, Any], reason: Reason
) -> None:
    path = save(ct(**elements), tmp_path / "a.dcm")
    assert rebuild_file(path, secret=SECRET) == reason


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        *((name, name) for name in ("B30f", "Br40d", "I26f", "FC52", "STANDARD", "C", "3")),
        *((name, "") for name in ("Ann85f", "JD60", "M85", "B850", "B30x", "br40", "FC5")),
    ],
)
def test_a_kernel_is_one_of_a_maker_and_no_initials(text: str, kept: str) -> None:
    assert kernel(text) == kept


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("KVP", "120.7654321", "120.8"),
        ("WindowCenter", "1960.0101", "1960"),
        ("WindowCenter", "0.00123456", "0.00123"),
        ("WindowWidth", "400", "400"),
        ("SliceLocation", "1234.567891", "1234.57"),
        ("SliceLocation", "12345.678901", None),
        ("SliceThickness", "0.625", "0.625"),
        ("PixelSpacing", "0.7654321\\0.6640625", "0.7654\\0.6641"),
        ("ImagePositionPatient", "-1.7654321\\0\\100.25", "-1.7654\\0\\100.25"),
        ("RescaleSlope", "0.00123456789", "0.00123457"),
        ("RescaleIntercept", "-1024", "-1024"),
    ],
)
def test_numbers_keep_the_decimals_that_a_viewer_needs(
    keyword: str, value: str, kept: str | None
) -> None:
    dataset = Dataset()
    _force(dataset, keyword, value)
    found = Maker(SECRET, signed=False).rebuilt(dataset, ALLOWED).get(keyword)
    numbers = None if found is None else [float(n) for n in np.atleast_1d(found)]
    assert numbers == (None if kept is None else [float(n) for n in kept.split("\\")])


def test_a_frames_numbers_are_cut_as_well() -> None:
    item = Dataset()
    item.TubeAngle = 12.7654321
    dataset = Dataset()
    dataset.CTAcquisitionTypeSequence = [item]
    made = Maker(SECRET, signed=False).rebuilt(dataset, GROUPS)
    assert made.CTAcquisitionTypeSequence[0].TubeAngle == 12.77


@pytest.mark.parametrize("signed", [False, True])
def test_padding_keeps_its_value_whatever_type_it_was_written_in(
    tmp_path: Path, signed: bool
) -> None:
    dataset = ct(PixelRepresentation=int(signed), BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    made = parsed(rebuilt(save(dataset, tmp_path / "a.dcm")))
    assert made.PixelPaddingValue == (-2000 if signed else 63536)


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_rebuilt_by_patient_study_and_series(tmp_path: Path) -> None:
    archive, out = tmp_path / "PHILEAK", tmp_path / "out"
    paths = [save(ct(number), archive / f"PHILEAK{number}.dcm") for number in range(3)]
    paths.append(save(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), archive / "capture.dcm"))
    paths.append(save(ct(1), archive / "copy.dcm"))
    found = rebuild_folder(paths, out, secret=SECRET, processes=0, limits=LIMITS)
    assert found.written == 3
    assert found.refused == {Reason.SECONDARY_CAPTURE: 1, Reason.DUPLICATE_COPY: 1}
    one = rebuilt(paths[0])
    folder = Path(one.patient, one.study_uid, one.series_uid)
    assert _files(out) == [folder / f"{number:05}.dcm" for number in (1, 2, 3)]
    assert (out / folder / "00001.dcm").read_bytes() == one.content
    assert "PHILEAK" not in repr(found)


def test_files_are_rebuilt_in_guarded_processes(tmp_path: Path) -> None:
    paths = [save(ct(number), tmp_path / f"{number}.dcm") for number in range(2)]
    found = rebuild_folder(paths, tmp_path / "out", secret=SECRET, processes=1, limits=LIMITS)
    assert found.written == 2 and not found.refused


def test_any_damage_gives_a_file_or_a_reason(tmp_path: Path) -> None:
    path = save(ct(), tmp_path / "a.dcm")
    whole = path.read_bytes()
    generator = np.random.default_rng(6)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in generator.integers(128, len(whole) - 640, 3):
            damaged[place] = int(generator.integers(256))
        path.write_bytes(damaged)
        assert isinstance(rebuild_file(path, secret=SECRET), (RebuiltFile, Reason))


def test_numbers_too_large_for_their_element_are_left_out() -> None:
    dataset = Dataset()
    _force(dataset, "RepresentativeFrameNumber", "70000")
    _force(dataset, "Rows", "12.5")
    _force(dataset, "KVP", "nan")
    _force(dataset, "EchoTime", "1\\2")
    made = Maker(SECRET, signed=False).rebuilt(dataset, ENHANCED)
    assert [(element.keyword, element.value) for element in made] == [
        ("KVP", None),
        ("EchoTime", None),
    ]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("L", "L"), ("AF", "AF"), ("ALH", "ALH"), ("AP", ""), ("LL", ""), ("ARFL", ""), ("X", "")],
)
def test_an_orientation_names_no_two_opposite_sides(text: str, kept: str) -> None:
    assert orientation(text) == kept


def test_a_reference_without_a_known_class_is_left_out(tmp_path: Path) -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.76543210"
    reference.ReferencedSOPInstanceUID = "1.2.3"
    path = save(ct(ReferencedImageSequence=[reference]), tmp_path / "a.dcm")
    assert "ReferencedImageSequence" not in parsed(rebuilt(path))


def test_what_a_parser_raises_becomes_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("Phileak")

    monkeypatch.setattr("wardround_client.deidentify.rebuild.decode_frames", fail)
    assert rebuild_file(save(ct(), tmp_path / "a.dcm"), secret=SECRET) == Reason.BROKEN_HEADER


def test_a_header_alone_can_be_rebuilt(tmp_path: Path) -> None:
    path = save(ct(), tmp_path / "a.dcm")
    made = rebuild(dcmread(path, stop_before_pixels=True), None, secret=SECRET)
    whole = parsed(rebuilt(path))
    del whole.PixelData
    assert made.to_json() == whole.to_json()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ArchiveError, match="new or empty"):
        rebuild_folder([], tmp_path, secret=SECRET, processes=0, limits=LIMITS)


def _errors(path: Path) -> set[str]:
    """What dciodvfy finds wrong, by element and kind of error."""
    command = ["dciodvfy", "-new", str(path)]
    found = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    lines = (found.stderr + found.stdout).decode(errors="replace").splitlines()
    return {line for line in lines if line.startswith("Error")}


@pytest.fixture
def validator() -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is absent: it comes with Debian's dicom3tools")


@pytest.mark.usefixtures("validator")
def test_a_rebuilt_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "made.dcm"
    path.write_bytes(rebuilt(save(ct(), tmp_path / "a.dcm")).content)
    assert _errors(path) == set()


def _is_rebuilt(path: Path) -> bool:
    return isinstance(rebuild_file(path, secret=SECRET), RebuiltFile)


@pytest.mark.slow
@pytest.mark.usefixtures("validator")
def test_rebuilding_adds_no_error_to_a_real_file(tmp_path: Path, shared_data: Path) -> None:
    corpus = [path for path in (shared_data / "dicom_corpus").rglob("*") if path.is_file()]
    made = tmp_path / "made.dcm"
    added, count = {}, 0
    for path in filter(_is_rebuilt, corpus):
        count += 1
        made.write_bytes(rebuilt(path).content)
        if new := _errors(made) - _errors(path):
            added[path.name] = new
    assert added == {} and count > 70


def _geometry(dataset: Dataset) -> Iterator[tuple[int, list[float]]]:
    wanted = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    for element in dataset.iterall():
        if element.keyword in wanted and any(map(float, element.value or ())):
            yield element.tag, [float(value) for value in element.value]


@pytest.mark.slow
def test_pixels_and_geometry_of_real_files_are_kept(shared_data: Path) -> None:
    corpus = [path for path in (shared_data / "dicom_corpus").rglob("*") if path.is_file()]
    for path in filter(_is_rebuilt, corpus):
        made = parsed(rebuilt(path))
        with quiet():
            source = dcmread(path)
            stored = decode_frames(path, sop_instance_uid=source.SOPInstanceUID)
            pixels = made.pixel_array.reshape(stored.values.shape)
            assert np.array_equal(pixels, stored.values), path.name
            kept, original = list(_geometry(made)), list(_geometry(source))
            assert [tag for tag, _ in kept] == [tag for tag, _ in original], path.name
            for (_, ours), (_, theirs) in zip(kept, original, strict=True):
                assert np.allclose(ours, theirs, rtol=0, atol=5.1e-5), path.name
