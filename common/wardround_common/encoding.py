"""The one byte form of protocol records: fields in order, each behind its length.

Four bytes of big-endian length, then the field. Signatures, hashes and messages are all built
from it, so no two different lists of fields share a byte form.
"""

from __future__ import annotations

from collections.abc import Mapping

from wardround_common.errors import ProtocolError

MAXIMUM_FIELD_BYTES = 1 << 26
MAXIMUM_FIELDS = 1 << 16

Field = bytes | str | int


def pack(*fields: Field) -> bytes:
    """Joins fields; text as UTF-8, integers as 8 bytes big-endian and never negative.

    Raises:
        OverflowError: An integer is negative or needs more than 8 bytes.
    """
    parts: list[bytes] = []
    for field in fields:
        data = _field_bytes(field)
        parts += (len(data).to_bytes(4, "big"), data)
    return b"".join(parts)


def unpack(data: bytes, *, count: int | None = None) -> list[bytes]:
    """Splits what `pack` joined; with ``count``, exactly that many fields.

    Raises:
        ProtocolError: The bytes are no such list.
    """
    fields: list[bytes] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 > len(data) or size > MAXIMUM_FIELD_BYTES or at + 4 + size > len(data):
            raise ProtocolError(f"record: got a field that ends after byte {len(data)}, truncated?")
        if len(fields) == MAXIMUM_FIELDS:
            raise ProtocolError(f"record: got more than {MAXIMUM_FIELDS} fields")
        fields.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    if count is not None and len(fields) != count:
        raise ProtocolError(f"record: got {len(fields)} fields, expected {count}")
    return fields


def _field_bytes(field: Field) -> bytes:
    if isinstance(field, str):
        return field.encode()
    return field.to_bytes(8, "big") if isinstance(field, int) else field


def pack_table(table: Mapping[str, bytes]) -> bytes:
    """Joins a table of site names and values, sorted by name."""
    return pack(*(pack(name, table[name]) for name in sorted(table)))


def unpack_table(data: bytes, *, value_bytes: int | None = None) -> dict[str, bytes]:
    """Splits what `pack_table` joined; with ``value_bytes``, values of exactly that size.

    Raises:
        ProtocolError: The bytes are no such table, or not in its one form.
    """
    rows = [unpack(row, count=2) for row in unpack(data)]
    names = [text(name) for name, _ in rows]
    if names != sorted(set(names)):
        raise ProtocolError("table: got names twice or out of order")
    if value_bytes is not None:
        for _, value in rows:
            exactly(value, value_bytes)
    return dict(zip(names, (value for _, value in rows), strict=True))


def text(field: bytes) -> str:
    """Decodes a text field; ProtocolError if it is not UTF-8."""
    try:
        return field.decode()
    except UnicodeDecodeError:
        raise ProtocolError("record: got a field that is not UTF-8 text") from None


def integer(field: bytes) -> int:
    """Decodes an integer field; ProtocolError unless it has 8 bytes."""
    return int.from_bytes(exactly(field, 8), "big")


def exactly(field: bytes, size: int) -> bytes:
    """Returns ``field`` if it has ``size`` bytes, else raises ProtocolError."""
    if len(field) != size:
        raise ProtocolError(f"record: got a field of {len(field)} bytes, expected {size}")
    return field
