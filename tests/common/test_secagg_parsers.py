from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.federation import Federation, make_parties, make_terms

from wardround_common.encoding import pack, unpack, unpack_table
from wardround_common.errors import ProtocolError
from wardround_common.identity import Identity
from wardround_common.messages import Ticket, pack_mask_request, unpack_mask_request
from wardround_common.secagg.records import Agreement, Commitments, Facts, Reveal, Shared
from wardround_common.secagg.site import Session
from wardround_common.secagg.terms import Advert, Terms

Parser = Callable[[bytes], object]
PARSERS: dict[str, Parser] = {
    "terms": Terms.from_bytes,
    "advert": Advert.from_bytes,
    "commitments": Commitments.from_bytes,
    "shared": Shared.from_bytes,
    "agreement": Agreement.from_bytes,
    "reveal": Reveal.from_bytes,
    "facts": Facts.from_bytes,
    "session": Session.from_bytes,
    "ticket": Ticket.from_bytes,
    "mask request": unpack_mask_request,
    "table": unpack_table,
}


@lru_cache
def samples() -> dict[str, bytes]:
    """A true record of each kind, from an attempt that lost a site."""
    f = Federation(make_parties(4), make_terms(8))
    f.advertise()
    f.share()
    vectors = {name: np.zeros(8, np.uint32) for name in f.parties}
    f.mask(vectors, lost=["site_03"])
    f.agree()
    session = f.sessions["site_00"].to_bytes()
    f.reveal()
    tables = tuple(table.to_bytes() for table in f.tables)
    return {
        "terms": f.terms.to_bytes(),
        "advert": f.adverts[0].to_bytes(),
        "commitments": tables[0],
        "shared": f.shared["site_00"].to_bytes(),
        "agreement": f.agreement.to_bytes(),
        "reveal": f.reveals["site_00"].to_bytes(),
        "facts": Facts(round=3, attempt=1, signed_round=3, signed_sites=("a", "b")).to_bytes(),
        "session": session,
        "ticket": Ticket.signed(Identity.generate(), f.terms.to_bytes()).to_bytes(),
        "mask request": pack_mask_request(tables, f.coordinator.boxes_for("site_00")),
        "table": pack(pack("a", b"1"), pack("b", b"2")),
    }


def written(found: object) -> bytes | None:
    """The bytes of a parsed record, where it can be written."""
    if isinstance(found, tuple):
        return pack_mask_request(*found)
    write = getattr(found, "to_bytes", None)
    return None if write is None else write()


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """A true record after a few changes: bytes turned, cut out, put in, doubled."""
    data = bytearray(samples()[kind])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        new = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[at:end]) * 2)))
        data[at:end] = new
    return bytes(data)


@pytest.mark.parametrize("kind", PARSERS)
def test_a_true_record_is_read_and_written_the_same(kind: str) -> None:
    data = samples()[kind]
    assert written(PARSERS[kind](data)) in (data, None)


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_and_any_damage_give_our_error_or_the_one_form(kind: str, data) -> None:
    found = data.draw(st.one_of(st.binary(max_size=200), damaged(kind)))
    try:
        record = PARSERS[kind](found)
    except ProtocolError:
        return
    assert written(record) in (found, None)


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=30, deadline=None)
@given(fields=st.lists(st.one_of(st.binary(max_size=64), st.integers(0, 2**64 - 1)), max_size=13))
def test_any_fields_give_our_error_or_the_one_form(kind: str, fields: list[bytes | int]) -> None:
    data = pack(*fields)
    try:
        record = PARSERS[kind](data)
    except ProtocolError:
        return
    assert written(record) in (data, None)


@pytest.mark.parametrize("kind", PARSERS)
def test_a_record_that_ends_early_is_refused(kind: str) -> None:
    data = samples()[kind]
    accepted = 0
    for size in range(len(data)):
        try:
            record = PARSERS[kind](data[:size])
        except ProtocolError:
            continue
        accepted += 1
        assert kind in ("table",) or written(record) == data[:size]
    assert accepted <= (2 if kind == "table" else 0)


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, (1 << 26) + 1, 1 << 20])
def test_a_declared_size_is_checked_before_anything_is_allocated(kind: str, size: int) -> None:
    data = size.to_bytes(4, "big") + samples()[kind][4:]
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            PARSERS[kind](data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("advert", 1),
        ("advert", 2),
        ("advert", 3),
        ("advert", 4),
        ("commitments", 2),
        ("commitments", 3),
        ("agreement", 0),
        ("agreement", 1),
        ("terms", 1),
        ("terms", 2),
        ("terms", 7),
        ("terms", 8),
        ("session", 2),
        ("session", 3),
    ],
)
def test_a_field_of_fixed_size_has_that_size(kind: str, place: int) -> None:
    fields = unpack(samples()[kind])
    for wrong in (fields[place][:-1], fields[place] + b"\0", b""):
        changed = [*fields[:place], wrong, *fields[place + 1 :]]
        with pytest.raises(ProtocolError, match="expected"):
            PARSERS[kind](pack(*changed))


def test_shares_and_commitments_of_another_size_are_refused() -> None:
    reveal = Reveal.from_bytes(samples()["reveal"])
    name, pair = next(iter(reveal.self_shares)), next(iter(reveal.pair_shares))
    for wrong in (
        replace(reveal, self_shares={**reveal.self_shares, name: bytes(31)}),
        replace(reveal, pair_shares={**reveal.pair_shares, pair: bytes(33)}),
    ):
        with pytest.raises(ProtocolError, match="expected 32"):
            Reveal.from_bytes(wrong.to_bytes())
    table = Commitments.from_bytes(samples()["commitments"])
    wrong_table = replace(table, pairs={**table.pairs, name: bytes(31)})
    with pytest.raises(ProtocolError, match="expected 32"):
        Commitments.from_bytes(wrong_table.to_bytes())


def test_a_pair_of_shares_without_two_names_is_refused() -> None:
    data = pack(b"", pack(pack("site_00", bytes(32))))
    with pytest.raises(ProtocolError, match="pair without two names"):
        Reveal.from_bytes(data)
