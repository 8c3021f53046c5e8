from __future__ import annotations

import io
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wardround_common import messages
from wardround_common.errors import ProtocolError, VerificationError
from wardround_common.identity import Identity
from wardround_common.messages import (
    LEGS,
    Reply,
    Request,
    Ticket,
    encode_arrays,
    pack_mask_request,
    record_bytes,
    unpack_mask_request,
)

IDENTITY = Identity.from_secret(bytes(range(32)))
REQUEST = Request(leg="share", nonce=bytes(16), body=b"body")
REPLY = Reply.signed(IDENTITY, "site_a", REQUEST, body=b"answer", arrays={})
KINDS = st.sampled_from([np.float32, np.uint32])
NAMED = st.dictionaries(
    st.sampled_from(["parameters", "buffers"]),
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        KINDS.flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
        ),
        min_size=1,
        max_size=3,
    ),
    max_size=2,
)


def request_with(array: Array) -> Request:
    config = ConfigRecord({"nonce": bytes(16), "body": b""})
    record = RecordDict({"body": config, "group": ArrayRecord({"name": array})})
    return Request.from_record("train", record)


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version, allow_pickle=False)
    return stream.getvalue()


def header(text: str) -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


def described(
    data: bytes,
    *,
    dtype: str = "float32",
    shape: tuple[int, ...] = (2,),
    stype: str = "numpy.ndarray",
) -> Array:
    return Array(dtype=dtype, shape=shape, stype=stype, data=data)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(LEGS)), st.binary(max_size=50), NAMED)
def test_a_request_arrives_as_it_was_sent(leg: str, body: bytes, arrays) -> None:
    request = Request(leg=leg, nonce=bytes(range(16)), body=body, arrays=arrays)
    found = Request.from_record(leg, request.to_record(encode_arrays(arrays)))
    assert (found.leg, found.nonce, found.body) == (leg, request.nonce, body)
    for group, named in arrays.items():
        for name, array in named.items():
            got = found.arrays[group][name]
            assert (got.dtype, got.shape) == (array.dtype, array.shape)
            assert got.tobytes() == array.tobytes() and got.flags.writeable


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12), st.binary(max_size=50), NAMED)
def test_a_reply_arrives_as_it_was_sent_and_verifies(site: str, body: bytes, arrays) -> None:
    reply = Reply.signed(IDENTITY, site, REQUEST, body=body, arrays=arrays)
    found = Reply.from_record(reply.to_record())
    assert (found.site, found.error, found.body) == (site, "", body)
    found.verify(IDENTITY.public_key, REQUEST)


def test_a_failure_carries_the_name_of_the_error_and_nothing_else() -> None:
    reply = Reply.failed(IDENTITY, "site_a", REQUEST, error="PolicyError")
    found = Reply.from_record(reply.to_record())
    assert (found.error, found.body, found.arrays) == ("PolicyError", b"", {})
    found.verify(IDENTITY.public_key, REQUEST)


@pytest.mark.parametrize(
    "changed",
    [
        {"site": "site_b"},
        {"body": b"other"},
        {"error": "PolicyError"},
        {"signature": bytes(64)},
        {"signature": b""},
    ],
)
def test_a_reply_that_was_altered_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        replace(REPLY, **changed).verify(IDENTITY.public_key, REQUEST)


@pytest.mark.parametrize("changed", [{"nonce": bytes([1]) * 16}, {"leg": "masked"}])
def test_a_reply_to_another_request_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        REPLY.verify(IDENTITY.public_key, replace(REQUEST, **changed))


def test_a_reply_of_another_key_is_refused() -> None:
    with pytest.raises(VerificationError):
        REPLY.verify(Identity.generate().public_key, REQUEST)


@pytest.mark.parametrize("error", ["Not a name", "x" * 41, "Ünlaut", "a\n", "ValueError: /data"])
def test_an_error_that_is_no_name_is_refused(error: str) -> None:
    reply = replace(REPLY, error=error)
    with pytest.raises(ProtocolError, match="an error's name"):
        Reply.from_record(reply.to_record())


GOOD: dict[str, object] = {"site": "a", "error": "", "body": b"", "signature": b""}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {name: value for name, value in GOOD.items() if name != "error"},
        GOOD | {"extra": 1},
        GOOD | {"site": b"a"},
        GOOD | {"site": ["a"]},
        GOOD | {"body": "text"},
        GOOD | {"body": 5},
        GOOD | {"body": [b"a"]},
        GOOD | {"signature": 1.5},
        GOOD | {"error": True},
    ],
)
def test_a_reply_with_other_fields_is_refused(fields: dict) -> None:
    with pytest.raises(ProtocolError, match="record: "):
        Reply.from_record(RecordDict({"body": ConfigRecord(fields)}))


@pytest.mark.parametrize("nonce", [b"", bytes(15), bytes(17), "text", 5])
def test_a_request_without_a_proper_nonce_is_refused(nonce: object) -> None:
    config = ConfigRecord({"nonce": nonce, "body": b""})  # type: ignore[dict-item]
    with pytest.raises(ProtocolError, match="nonce"):
        Request.from_record("share", RecordDict({"body": config}))


def test_a_record_without_a_body_is_refused() -> None:
    for record in (
        RecordDict(),
        RecordDict({"body": MetricRecord({"a": 1})}),
        RecordDict({"body": ArrayRecord({"a": described(npy(np.zeros(2, np.float32)))})}),
        RecordDict({"other": ConfigRecord({"nonce": bytes(16), "body": b""})}),
    ):
        with pytest.raises(ProtocolError):
            Request.from_record("share", record)
        with pytest.raises(ProtocolError):
            Reply.from_record(record)


TWO = np.array([1, 2], np.float32)
SPLIT = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


def hostile_arrays() -> list[Array]:
    plain = npy(TWO)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w"):
        pass
    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([{}], object), allow_pickle=True)
    return [
        described(plain, shape=(3,)),
        described(plain, shape=(1, 2)),
        described(plain, shape=()),
        described(plain, shape=(-2,)),
        described(plain, shape=(-1, -2)),
        described(plain, shape=(0, -1)),
        described(plain, shape=(2**31,) * 200),
        described(plain, shape=(2**31,) * 8),
        described(plain, shape=(2**2000,)),
        described(plain, shape=(2,) + (1,) * 8),
        described(npy(TWO.reshape(2, *(1,) * 8)), shape=(2, *(1,) * 8)),
        described(plain, shape=(2**28 + 1,)),
        described(plain, dtype="uint32"),
        described(plain, dtype="float64"),
        described(plain, dtype="object"),
        described(plain, dtype="O" * 100_000),
        described(npy(np.zeros(2)), dtype="float32"),
        described(npy(TWO.astype(">f4"))),
        described(npy(np.asfortranarray(np.ones((2, 3), np.float32))), shape=(2, 3)),
        described(npy(TWO, version=(2, 0))),
        described(npy(TWO, version=(3, 0))),
        described(plain[:-1]),
        described(plain[:-8]),
        described(plain + b"\0"),
        described(plain + bytes(2000)),
        described(b""),
        described(bytes(8)),
        described(b"\x93NUMPY\x01\x00\xff\xff" + bytes(100)),
        described(b"\x93NUMPY\x09\x00" + plain[8:]),
        described(archive.getvalue(), shape=()),
        described(objects.getvalue(), shape=(1,)),
        described(header(SPLIT % ("(" * 300)) + bytes(8)),
        described(header(SPLIT % "2**9999") + bytes(8)),
        described(header(SPLIT % "-2,") + bytes(8)),
        described(header(SPLIT % "2.0,") + bytes(8)),
        described(header("{}") + bytes(8)),
        described(header("__import__('os')") + bytes(8)),
        described(header("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}") + bytes(8)),
        described(
            header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}") + bytes(8)
        ),
    ]


@pytest.mark.parametrize("place", range(len(hostile_arrays())))
def test_a_hostile_array_gives_our_error(place: int) -> None:
    with pytest.raises(ProtocolError, match="array: got"):
        request_with(hostile_arrays()[place])


def test_an_array_beyond_the_largest_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    request_with(described(npy(TWO)))
    monkeypatch.setattr(messages, "MAXIMUM_VALUES", 1)
    with pytest.raises(ProtocolError, match="impossible shape"):
        request_with(described(npy(TWO)))


@pytest.mark.parametrize("count", [2**24, 2**34, 2**60, 2**200])
def test_nothing_is_allocated_for_what_a_header_says(count: int) -> None:
    array = described(header(SPLIT % f"{count},") + bytes(8))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            request_with(array)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_to_an_array_gives_our_error_or_an_array_as_described(data) -> None:
    raw = bytearray(npy(np.arange(6, dtype=np.uint32).reshape(2, 3)))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    dtype = data.draw(st.sampled_from(["float32", "uint32", "int32", ""]))
    shape = tuple(data.draw(st.lists(st.integers(-2, 6), max_size=4)) or (2, 3))
    stype = data.draw(st.sampled_from(["numpy.ndarray", "", "torch"]))
    array = described(bytes(raw), dtype=dtype, shape=shape, stype=stype)
    try:
        found = request_with(array).arrays["group"]["name"]
    except ProtocolError:
        return
    assert (str(found.dtype), found.shape) == (dtype, shape)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["site", "error", "body", "signature", "nonce", "x"]),
        st.one_of(st.binary(max_size=20), st.text(max_size=9), st.integers(0, 9), st.booleans()),
    )
)
def test_any_fields_give_our_error_or_a_record(fields: dict) -> None:
    record = RecordDict({"body": ConfigRecord(fields)})
    for read in (lambda: Request.from_record("share", record), lambda: Reply.from_record(record)):
        try:
            read()
        except ProtocolError:
            continue


def test_a_ticket_verifies_for_its_terms_only() -> None:
    ticket = Ticket.signed(IDENTITY, b"terms")
    assert Ticket.from_bytes(ticket.to_bytes()) == ticket
    ticket.verify(IDENTITY.public_key)
    for changed in (
        replace(ticket, terms=b"other"),
        replace(ticket, signature=IDENTITY.sign("advert", b"terms")),
    ):
        with pytest.raises(VerificationError, match="ticket"):
            changed.verify(IDENTITY.public_key)


@given(st.lists(st.binary(max_size=9)), st.dictionaries(st.text(max_size=5), st.binary(max_size=9)))
def test_the_body_of_leg_2_opens_again(tables: list[bytes], boxes: dict[str, bytes]) -> None:
    assert unpack_mask_request(pack_mask_request(tuple(tables), boxes)) == (tuple(tables), boxes)


def test_the_payload_of_a_record_is_counted() -> None:
    record = Reply.signed(
        IDENTITY, "site_a", REQUEST, body=b"12345", arrays={"masked": {"words": TWO}}
    ).to_record()
    assert record_bytes(record) == len("site_a") + 5 + 64 + len(npy(TWO))
