from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from wardround_client.index.elements import (
    HEADER_END,
    KEYWORDS,
    TAG_OF,
    VR_OF,
    blank_texts,
    compose_header,
    decode_text,
)
from wardround_client.index.header import Header
from wardround_client.index.reader import quiet, text_of
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

IDENTITY = {"SOPInstanceUID": "1", "SOPClassUID": "2", "StudyInstanceUID": "3"}


def compose(**texts: Any) -> Header:
    return compose_header(blank_texts() | IDENTITY | texts)


@given(
    value=st.one_of(
        st.binary(max_size=20),
        st.text("AB \\\0\t\n\u00e4\u0085\u00a0", max_size=12).map(lambda t: t.encode("latin-1")),
    ),
    keyword=st.sampled_from(
        ["PatientID", "ImageType", "StudyDate", "AcquisitionTime", "PatientAge"]
    ),
)
def test_bytes_become_the_same_text_as_by_pydicom(value: bytes, keyword: str) -> None:
    tag = Tag(keyword)
    raw = RawDataElement(tag, VR_OF[keyword], len(value), value, 0, False, True)
    with quiet():
        expected = text_of(Dataset({tag: raw}), keyword)
    if b"\x1b" not in value:  # escape sequences are for pydicom alone
        assert decode_text(value) == expected


@pytest.mark.parametrize(
    ("texts", "field", "expected"),
    [
        ({"Modality": "ct"}, "modality", "CT"),
        ({"ImageType": "Original\\Primary"}, "image_type", "ORIGINAL\\PRIMARY"),
        ({"PatientSex": "f"}, "sex", "F"),
        ({"PatientSex": "O"}, "sex", ""),
        ({"PatientAge": "045Y"}, "age_years", 45.0),
        ({"PatientAge": "026W"}, "age_years", pytest.approx(0.5, abs=0.01)),
        ({"PatientAge": "Y"}, "age_years", None),
        ({"PatientAge": "9" * 400 + "Y"}, "age_years", None),
        ({"PatientAge": "9" * 5000 + "D"}, "age_years", None),
        (
            {"PatientBirthDate": "20000101", "StudyDate": "20100101"},
            "age_years",
            pytest.approx(10, abs=0.01),
        ),
        ({"PatientBirthDate": "20100101", "StudyDate": "20000101"}, "age_years", None),
        ({"PatientBirthDate": "20001301", "StudyDate": "20100101"}, "age_years", None),
        (
            {"AcquisitionDate": "20200101", "AcquisitionTime": "10"},
            "acquisition_time",
            "2020010110",
        ),
        ({"AcquisitionDateTime": "2021", "AcquisitionTime": "10"}, "acquisition_time", "2021"),
        ({"ContentDate": "20200101", "ContentTime": "11"}, "content_time", "2020010111"),
        ({"Manufacturer": "Maker"}, "manufacturer", "Maker"),
    ],
)
def test_fields_come_from_their_elements(texts: dict[str, str], field: str, expected: Any) -> None:
    assert getattr(compose(**texts), field) == expected


@pytest.mark.parametrize("keyword", IDENTITY)
def test_a_header_without_identity_is_refused(keyword: str) -> None:
    with pytest.raises(DicomError, match=Reason.NO_IDENTITY):
        compose(**{keyword: ""})


def test_every_element_lies_before_the_end_of_the_header() -> None:
    assert all(0x00080000 < TAG_OF[keyword] < HEADER_END for keyword in KEYWORDS)


def test_every_field_has_its_own_element() -> None:
    marked = compose(**{k: f"<{k}>" for k in KEYWORDS if k not in IDENTITY})
    texts = [value for value in marked if isinstance(value, str) and value.startswith("<")]
    assert len(texts) == len(set(texts))
    assert len(texts) == len(Header._fields) - len(IDENTITY) - 3  # syntax, sex and age apart
