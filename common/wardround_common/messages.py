"""What travels between coordinator and sites, to and from Flower's records.

The only place that knows the records' keys. A request carries a random nonce for one recipient;
a reply carries the site's signature over leg, nonce and body, because Flower does not bind a
reply to the node that sent it. Vectors and models ride in ArrayRecords, everything else is one
packed body. A failure at a site travels as the name of its error class, never as text.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.lib import format as npy
from numpy.typing import NDArray

from wardround_common.encoding import pack, pack_table, unpack, unpack_table
from wardround_common.errors import ProtocolError
from wardround_common.identity import Identity, verify
from wardround_common.update import MAXIMUM_DIMENSIONS, MAXIMUM_VALUES

NONCE_BYTES = 16

LEGS = {
    "hello": "query.hello",
    "initial": "query.initial",
    "train": "train",
    "evaluate": "evaluate",
    "share": "query.share",
    "masked": "query.masked",
    "consistency": "query.consistency",
    "unmask": "query.unmask",
}
"""Flower's message type of each leg."""

_NPY_HEADER_BYTES = 1024
_BODY, _ERROR_NAME = "body", re.compile(r"[A-Za-z]{1,40}")

Vectors = Mapping[str, Mapping[str, NDArray[np.generic]]]
"""Arrays by group and name."""

EncodedArrays = dict[str, ArrayRecord]
"""The same in Flower's records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Coordinator to one site."""

    leg: str
    nonce: bytes
    body: bytes = b""
    arrays: Vectors = field(default_factory=dict)

    def to_record(self, arrays: EncodedArrays) -> RecordDict:
        """As Flower's record, with arrays that may be shared by the requests of a leg."""
        config = ConfigRecord({"nonce": self.nonce, "body": self.body})
        return RecordDict({_BODY: config, **arrays})

    @classmethod
    def from_record(cls, leg: str, record: RecordDict) -> Request:
        """Reads Flower's record; ProtocolError if it is no request."""
        config = _config(record, {"nonce": bytes, "body": bytes})
        nonce, body = bytes(config["nonce"]), bytes(config["body"])  # type: ignore[arg-type]
        if len(nonce) != NONCE_BYTES:
            raise ProtocolError(f"request: got a nonce of {len(nonce)} bytes, expected 16")
        return cls(leg=leg, nonce=nonce, body=body, arrays=_from_arrays(record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One site to the coordinator, signed."""

    site: str
    error: str
    """Name of an error class; empty when all went well."""
    body: bytes
    signature: bytes
    arrays: Vectors = field(default_factory=dict)

    @classmethod
    def signed(
        cls, identity: Identity, site: str, request: Request, *, body: bytes, arrays: Vectors
    ) -> Reply:
        """A site's answer to ``request``."""
        signature = identity.sign("reply", site, request.leg, request.nonce, "", body)
        return cls(site=site, error="", body=body, signature=signature, arrays=arrays)

    @classmethod
    def failed(cls, identity: Identity, site: str, request: Request, *, error: str) -> Reply:
        """A site's answer when it cannot or will not; only the error's name leaves."""
        signature = identity.sign("reply", site, request.leg, request.nonce, error, b"")
        return cls(site=site, error=error, body=b"", signature=signature)

    def verify(self, key: bytes, request: Request) -> None:
        """Raises VerificationError unless ``key`` signed this answer to ``request``."""
        fields = (self.site, request.leg, request.nonce, self.error, self.body)
        verify(key, self.signature, "reply", *fields)

    def to_record(self) -> RecordDict:
        """As Flower's record."""
        config = ConfigRecord(
            {
                "site": self.site,
                "error": self.error,
                "body": self.body,
                "signature": self.signature,
            }
        )
        return RecordDict({_BODY: config, **encode_arrays(self.arrays)})

    @classmethod
    def from_record(cls, record: RecordDict) -> Reply:
        """Reads Flower's record; ProtocolError if it is no reply."""
        kinds = {"site": str, "error": str, "body": bytes, "signature": bytes}
        config = _config(record, kinds)
        error = str(config["error"])
        if error and not _ERROR_NAME.fullmatch(error):
            raise ProtocolError("reply: got something else than an error's name")
        return cls(
            site=str(config["site"]),
            error=error,
            body=bytes(config["body"]),  # type: ignore[arg-type]
            signature=bytes(config["signature"]),  # type: ignore[arg-type]
            arrays=_from_arrays(record),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leg 0: the terms of an attempt, signed by the coordinator."""

    terms: bytes
    """`secagg.terms.Terms` in their byte form."""
    signature: bytes

    @classmethod
    def signed(cls, identity: Identity, terms: bytes) -> Ticket:
        """Signs the terms."""
        return cls(terms=terms, signature=identity.sign("ticket", terms))

    def verify(self, key: bytes) -> None:
        """Raises VerificationError unless the coordinator signed this."""
        verify(key, self.signature, "ticket", self.terms)

    def to_bytes(self) -> bytes:
        """The ticket in its one byte form."""
        return pack(self.terms, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ticket:
        """Parses the byte form; ProtocolError if it is none."""
        terms, signature = unpack(data, count=2)
        return cls(terms=terms, signature=signature)


def pack_mask_request(tables: tuple[bytes, ...], boxes: Mapping[str, bytes]) -> bytes:
    """Body of leg 2: all commitment tables, and the boxes for one site."""
    return pack(pack(*tables), pack_table(boxes))


def unpack_mask_request(body: bytes) -> tuple[tuple[bytes, ...], dict[str, bytes]]:
    """Reads the body of leg 2; ProtocolError if it is none."""
    tables, boxes = unpack(body, count=2)
    return tuple(unpack(tables)), unpack_table(boxes)


def record_bytes(record: RecordDict) -> int:
    """Payload of a record in bytes: arrays and packed fields, without Flower's framing."""
    total = sum(len(a.data) for r in record.array_records.values() for a in r.values())
    for config in record.config_records.values():
        total += sum(len(value) for value in config.values() if isinstance(value, (bytes, str)))
    return total


def _config(record: RecordDict, kinds: Mapping[str, type]) -> ConfigRecord:
    config = record.config_records.get(_BODY)
    if config is None or set(config) != set(kinds):
        raise ProtocolError(f"record: got other fields than {', '.join(sorted(kinds))}")
    for name, kind in kinds.items():
        if not isinstance(config[name], kind):
            raise ProtocolError(f"record: {name}: got another type than {kind.__name__}")
    return config


def encode_arrays(arrays: Vectors) -> EncodedArrays:
    """Copies arrays into Flower's records, by group."""
    return {
        group: ArrayRecord({name: Array(np.asarray(a, order="C")) for name, a in named.items()})
        for group, named in arrays.items()
    }


def _from_arrays(record: RecordDict) -> dict[str, dict[str, NDArray[np.generic]]]:
    return {
        group: {name: _decode_array(array) for name, array in named.items()}
        for group, named in record.array_records.items()
    }


def _decode_array(array: Array) -> NDArray[np.generic]:
    if array.dtype not in ("float32", "uint32") or len(array.shape) > MAXIMUM_DIMENSIONS:
        got = f"{array.dtype[:40]!r} of {len(array.shape)} dimensions"
        raise ProtocolError(f"array: got {got}, expected float32 or uint32")
    size = math.prod(array.shape)
    if min(array.shape, default=0) < 0 or size > MAXIMUM_VALUES:
        raise ProtocolError(f"array: got an impossible shape, expected {MAXIMUM_VALUES} values")
    return _read_npy(array.data, np.dtype(array.dtype), tuple(array.shape))


def _read_npy(
    data: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> NDArray[np.generic]:
    """Reads numpy's file form, which Flower uses, but believes nothing its header says.

    `numpy.load` would open archives and allocate whatever the header asks for.
    """
    stream = io.BytesIO(data)
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError
        found = npy.read_array_header_1_0(stream, max_header_size=_NPY_HEADER_BYTES)
    except Exception:  # numpy promises no particular one
        raise ProtocolError("array: got bytes that are not in numpy's form 1.0") from None
    start = stream.tell()
    if found != (shape, False, dtype) or len(data) - start != 4 * math.prod(shape):
        raise ProtocolError("array: got other content than its description")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).copy()
