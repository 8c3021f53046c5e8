from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors import reference

from wardround_common import encoding
from wardround_common.errors import ProtocolError

FIELDS = st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=9), st.integers(0, 2**64 - 1)))
TABLES = st.dictionaries(st.text(max_size=8), st.binary(max_size=8), max_size=6)


@given(FIELDS)
def test_packing_is_the_described_one_and_opens_again(fields: list[bytes | str | int]) -> None:
    packed = encoding.pack(*fields)
    assert packed == reference.pack(*fields)
    assert encoding.pack(*encoding.unpack(packed)) == packed
    assert len(encoding.unpack(packed, count=len(fields))) == len(fields)


@given(st.lists(st.binary(max_size=6)), st.lists(st.binary(max_size=6)))
def test_different_lists_of_fields_have_different_bytes(a: list[bytes], b: list[bytes]) -> None:
    assert (encoding.pack(*a) == encoding.pack(*b)) == (a == b)


@given(st.binary(max_size=60))
def test_whatever_opens_is_the_one_form_of_its_fields(data: bytes) -> None:
    try:
        fields = encoding.unpack(data)
    except ProtocolError:
        return
    assert encoding.pack(*fields) == data


@given(st.binary(max_size=60))
def test_whatever_opens_as_a_table_is_its_one_form(data: bytes) -> None:
    try:
        table = encoding.unpack_table(data)
    except ProtocolError:
        return
    assert encoding.pack_table(table) == data


@given(TABLES)
def test_a_table_opens_again(table: dict[str, bytes]) -> None:
    assert encoding.unpack_table(encoding.pack_table(table)) == table


@given(st.lists(st.binary(max_size=6), min_size=1), st.data())
def test_a_record_cut_anywhere_within_a_field_is_refused(fields: list[bytes], data) -> None:
    packed = encoding.pack(*fields)
    ends = {len(encoding.pack(*fields[:k])) for k in range(len(fields) + 1)}
    cut = data.draw(st.integers(0, len(packed)).filter(lambda at: at not in ends))
    with pytest.raises(ProtocolError, match="truncated"):
        encoding.unpack(packed[:cut])


def test_a_table_with_a_name_twice_or_out_of_order_is_refused() -> None:
    a, b = encoding.pack("a", b"1"), encoding.pack("b", b"2")
    for rows in ((a, a), (b, a)):
        with pytest.raises(ProtocolError, match="twice or out of order"):
            encoding.unpack_table(encoding.pack(*rows))


def test_a_table_with_a_value_of_another_size_is_refused() -> None:
    with pytest.raises(ProtocolError, match="got a field of 2 bytes, expected 3"):
        encoding.unpack_table(encoding.pack_table({"a": b"abc", "b": b"ab"}), value_bytes=3)


def test_another_number_of_fields_is_refused() -> None:
    with pytest.raises(ProtocolError, match="got 2 fields, expected 3"):
        encoding.unpack(encoding.pack("a", "b"), count=3)


def test_more_fields_than_any_record_has_are_refused() -> None:
    with pytest.raises(ProtocolError, match="more than 65536"):
        encoding.unpack(bytes(4 * (encoding.MAXIMUM_FIELDS + 1)))


def test_a_field_beyond_the_largest_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MAXIMUM_FIELD_BYTES", 8)
    assert encoding.unpack(encoding.pack(bytes(8))) == [bytes(8)]
    with pytest.raises(ProtocolError):
        encoding.unpack(encoding.pack(bytes(9)))


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_an_integer_without_a_byte_form_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        encoding.pack(number)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_an_integer_field_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="expected 8"):
        encoding.integer(bytes(size))


@pytest.mark.parametrize("field", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80"])
def test_a_text_field_that_is_not_utf8_is_refused(field: bytes) -> None:
    with pytest.raises(ProtocolError, match="UTF-8"):
        encoding.text(field)
