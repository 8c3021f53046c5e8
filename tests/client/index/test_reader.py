from __future__ import annotations

import logging
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from wardround_client.index import reader, walker
from wardround_client.index.elements import TAG_OF
from wardround_client.index.reader import (
    open_dataset,
    parse_header,
    quiet,
    read_below,
    read_header,
)
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

Make = Callable[..., Dataset]
Save = Callable[[Dataset, Path], Path]
Picture = Callable[..., object]


def _reason(path: Path) -> str:
    with pytest.raises(DicomError) as caught:
        read_header(path)
    return caught.value.reason


def test_a_header_is_stripped_and_in_capitals(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    image = new_image(new_picture(), PatientID=" MRN1 ", Modality="CR ", PatientSex="F")
    image.PatientAge = "006M"
    header = read_header(save_image(image, tmp_path / "a"))
    assert (header.patient_id, header.modality, header.sex) == ("MRN1", "CR", "F")
    assert header.image_type == "ORIGINAL\\PRIMARY"
    assert header.age_years == pytest.approx(0.5)


def test_age_comes_from_the_birth_date_where_none_is_stated(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    dates = {"PatientBirthDate": "19700101", "StudyDate": "20200101"}
    image = new_image(new_picture(), **dates)
    age = read_header(save_image(image, tmp_path / "a")).age_years
    assert age == pytest.approx(50, abs=0.01)


def test_the_same_record_number_in_two_character_sets_is_the_same_text(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    found = set()
    for charset in ("ISO_IR 100", "ISO_IR 192"):
        image = new_image(new_picture(), PatientID="Mü1", SpecificCharacterSet=charset)
        found.add(read_header(save_image(image, tmp_path / charset)).patient_id)
    assert found == {"Mü1"}


def test_a_broken_number_is_told_from_an_absent_one(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    image = new_image(new_picture(), SliceThickness="1.25", EchoTime="90")
    content = save_image(image, tmp_path / "a").read_bytes().replace(b"1.25", b"1,25")
    (tmp_path / "a").write_bytes(content)
    for read in (read_header, parse_header):
        header = read(tmp_path / "a")
        assert (header.slice_thickness, header.echo_time) == ("1,25", "90")
        assert header.inversion_time == ""


def test_a_broken_element_that_decides_nothing_counts_as_absent(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    content = save_image(new_image(new_picture()), tmp_path / "a").read_bytes()
    maker, rows = b"\x08\0\x70\0LO\x06\0", b"\x28\0\x10\0US"
    (tmp_path / "a").write_bytes(content.replace(maker, maker[:4] + b"UL\x06\0"))
    assert read_header(tmp_path / "a").manufacturer == ""
    (tmp_path / "a").write_bytes(content.replace(rows, rows[:4] + b"UL"))
    assert _reason(tmp_path / "a") == Reason.BROKEN_HEADER


@pytest.mark.parametrize(
    ("place", "name", "wanted"),
    [
        (reader, "read_partial", ()),
        (Dataset, "get_item", (TAG_OF["EchoTime"],)),
        (Dataset, "get", ("PatientID",)),
    ],
)
def test_want_of_memory_is_no_fault_of_the_file(
    tmp_path: Path,
    new_image: Make,
    new_picture: Picture,
    save_image: Save,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    wanted: tuple[object, ...],
) -> None:
    def want(*given: Any, **named: Any) -> Any:
        if not wanted or given[1] in wanted:
            raise MemoryError
        return read(*given, **named)

    path, read = save_image(new_image(new_picture()), tmp_path / "a"), getattr(place, name)
    monkeypatch.setattr(place, name, want)
    with pytest.raises(MemoryError):
        parse_header(path)


@pytest.mark.parametrize("error", [OverflowError, ValueError])
def test_a_value_that_cannot_be_interpreted_costs_its_file_alone(
    tmp_path: Path,
    new_image: Make,
    new_picture: Picture,
    save_image: Save,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def fail(_: object) -> None:
        raise error

    path = save_image(new_image(new_picture()), tmp_path / "a")
    for module in (reader, walker):
        monkeypatch.setattr(module, "compose_header", fail)
    assert _reason(path) == Reason.BROKEN_HEADER


def test_an_age_without_end_counts_as_absent(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    with quiet():
        image = new_image(new_picture(), PatientAge="9" * 5000 + "Y")
        path = save_image(image, tmp_path / "a")
    assert read_header(path).age_years is None
    assert parse_header(path).age_years is None


def test_a_file_below_a_root_gives_its_header_or_a_reason(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    path = save_image(new_image(new_picture()), tmp_path / "b" / "a")
    assert read_below(os.fsencode(tmp_path), b"b/a") == read_header(path)
    assert read_below(os.fsencode(tmp_path), b"absent") is Reason.UNREADABLE


@pytest.mark.parametrize("content", [b"", b"root:x:0:0\n" * 40, b"\0" * 300, b"DICM"])
def test_what_is_no_dicom_is_not_read_as_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert _reason(tmp_path / "a") == Reason.NOT_DICOM


def test_a_record_number_in_two_unicode_forms_is_the_same_text(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    charset = {"SpecificCharacterSet": "ISO_IR 192"}
    found = set()
    for number, name in enumerate(("M\u00fc1", "Mu\u03081")):
        image = new_image(new_picture(), PatientID=name, **charset)
        found.add(read_header(save_image(image, tmp_path / f"{number}")).patient_id)
    assert found == {"M\u00fc1"}


def test_a_file_without_preamble_is_read(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    path = save_image(new_image(new_picture()), tmp_path / "a")
    path.write_bytes(path.read_bytes()[132:])
    assert read_header(path).modality == "CR"


def test_an_instance_without_identity_is_refused(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    image = new_image(new_picture(), StudyInstanceUID=None)
    assert _reason(save_image(image, tmp_path / "a")) == Reason.NO_IDENTITY


def test_a_deflated_bomb_is_refused_before_it_is_inflated(
    tmp_path: Path,
    new_image: Make,
    new_picture: Picture,
    save_image: Save,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = new_image(new_picture())
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save_image(image, tmp_path / "a")
    assert read_header(path).modality == "CR"
    monkeypatch.setattr(reader, "MAXIMUM_FILE_BYTES", 1 << 20)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(8 << 20)) + deflater.flush()
    content = path.read_bytes()
    start = len(content) - len(content.split(b"1.2.840.10008.1.2.1.99")[1])
    path.write_bytes(content[:start] + bomb)
    assert _reason(path) == Reason.TOO_LARGE


def test_reading_neither_warns_nor_logs_a_value(
    tmp_path: Path,
    new_image: Make,
    new_picture: Picture,
    save_image: Save,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = new_image(new_picture(), PatientAge="PHILEAKED", AccessionNumber="PHILEAK" * 9)
        path = save_image(image, tmp_path / "a")
    caplog.clear()
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        read_header(path)
    assert not heard
    assert not caplog.records


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 900), junk=st.binary(min_size=1, max_size=40))
def test_any_damage_gives_a_header_or_a_reason(
    tmp_path: Path,
    new_image: Make,
    new_picture: Picture,
    save_image: Save,
    position: int,
    junk: bytes,
) -> None:
    path = save_image(new_image(new_picture(), SpecificCharacterSet="ISO_IR 192"), tmp_path / "a")
    content = bytearray(path.read_bytes())
    content[position : position + len(junk)] = junk
    path.write_bytes(content)
    try:
        read_header(path)
    except DicomError as error:
        assert Reason(error.reason)


def test_a_missing_transfer_syntax_is_the_one_that_was_read_with(
    tmp_path: Path, new_image: Make, new_picture: Picture, save_image: Save
) -> None:
    path = save_image(new_image(new_picture()), tmp_path / "a")
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\x08\x00\x08\x00CS") :])
    assert open_dataset(path).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
