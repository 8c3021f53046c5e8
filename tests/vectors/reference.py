"""Slow second opinions in plain Python integers, sharing no line with wardround.

    X25519 and Ed25519   RFC 7748 section 5, RFC 8032 section 5.1
    HKDF-SHA256          RFC 5869
    GF(2^8), Shamir      by long multiplication and search for inverses, polynomial 0x11b
    mask stream          AES-256-CTR (another mode, another interface of the library)
    packing              four bytes of length before each field

Nothing here runs in constant time: for tests only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, P) % P
_BASE_Y = 4 * pow(5, -1, P) % P

Point = tuple[int, int]


def x25519(scalar: bytes, u: bytes) -> bytes:
    """Montgomery ladder of RFC 7748."""
    k = int.from_bytes(scalar, "little")
    k = (k & ~7 & ~(128 << 8 * 31)) | (64 << 8 * 31)
    x1 = int.from_bytes(u, "little") % 2**255 % P
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in reversed(range(255)):
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a % P, c * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        aa, bb = a * a % P, b * b % P
        e = aa - bb
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def _add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    t = _D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P)
    return x % P, y % P


def _times(scalar: int, point: Point) -> Point:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point, scalar = _add(point, point), scalar >> 1
    return result


def _base_point() -> Point:
    square = (_BASE_Y**2 - 1) * pow(_D * _BASE_Y**2 + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (P - x if x & 1 else x), _BASE_Y


_BASE = _base_point()


def _encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _expanded(secret: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return (scalar & ((1 << 254) - 8)) | 1 << 254, digest[32:]


def ed25519_public(secret: bytes) -> bytes:
    """Public key of RFC 8032."""
    return _encoded(_times(_expanded(secret)[0], _BASE))


def ed25519_sign(secret: bytes, message: bytes) -> bytes:
    """Signature of RFC 8032."""
    scalar, prefix = _expanded(secret)
    public = _encoded(_times(scalar, _BASE))
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER
    point = _encoded(_times(r, _BASE))
    h = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little") % ORDER
    return point + ((r + h * scalar) % ORDER).to_bytes(32, "little")


def hkdf_sha256(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Extract and expand of RFC 5869."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        output, counter = output + block, counter + 1
    return output[:length]


def stream(seed: bytes, size: int, *, chunk_bytes: int = 512 * 1024) -> bytes:
    """Mask stream: AES-256-CTR, chunk c with initial counter block c || 00000002."""
    output = b""
    for chunk in range(-(-size // chunk_bytes)):
        counter = chunk.to_bytes(12, "big") + (2).to_bytes(4, "big")
        encryptor = Cipher(algorithms.AES(seed), modes.CTR(counter)).encryptor()
        output += encryptor.update(bytes(min(chunk_bytes, size - len(output))))
    return output


def times(a: int, b: int) -> int:
    """Product in GF(2^8) by long multiplication."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in reversed(range(8, 15)):
        if product >> bit & 1:
            product ^= 0x11B << (bit - 8)
    return product


def divided(a: int, b: int) -> int:
    """Quotient in GF(2^8) by trying all."""
    return next(q for q in range(256) if times(q, b) == a)


def interpolate_at_zero(shares: Mapping[int, bytes]) -> bytes:
    """Lagrange interpolation, byte by byte."""
    size = len(next(iter(shares.values())))
    result = [0] * size
    for x, share in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = times(weight, divided(other, other ^ x))
        for at in range(size):
            result[at] ^= times(weight, share[at])
    return bytes(result)


def pack(*fields: bytes | str | int) -> bytes:
    """The project's packing, from its description."""
    output = b""
    for field in fields:
        data = field.encode() if isinstance(field, str) else field
        data = data.to_bytes(8, "big") if isinstance(data, int) else data
        output += len(data).to_bytes(4, "big") + data
    return output
