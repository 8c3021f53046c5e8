"""Identities: pinned Ed25519 keys, and signatures bound to what they are for.

A signature covers a label with a version and the length-prefixed fields, so one made for one
purpose never verifies for another. Stops: forged and swapped records. Does not stop: a stolen
key; revoke it by a new version of the study.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from wardround_common.encoding import Field, pack
from wardround_common.errors import ConfigError, VerificationError

_PRIME = (1 << 255) - 19
_ORDER_8_Y = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER_Y = frozenset({0, 1, _PRIME - 1, _ORDER_8_Y, _PRIME - _ORDER_8_Y})

SIGNATURE_BYTES = 64
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """A signing key; its representation never shows the secret."""

    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Identity({self.public_key.hex()})"

    @classmethod
    def generate(cls) -> Identity:
        """A new identity from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: bytes) -> Identity:
        """The identity of 32 secret bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(secret))

    @property
    def public_key(self) -> bytes:
        """Public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def public_text(self) -> str:
        """Public key as it stands in a study."""
        return f"ed25519:{self.public_key.hex()}"

    def sign(self, label: str, *fields: Field) -> bytes:
        """Signs the fields for the purpose ``label``; 64 bytes."""
        return self._key.sign(_signed_bytes(label, fields))

    def save(self, path: Path) -> None:
        """Writes the secret key to a new file that only its owner can read.

        Raises:
            ConfigError: The file exists.
        """
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigError(f"{path.name}: key file exists; move it away first") from None
        with os.fdopen(handle, "w") as file:
            file.write(self._key.private_bytes_raw().hex() + "\n")
            file.flush()
            os.fsync(file.fileno())


def require_strong_key(key: bytes) -> None:
    """Refuses public keys of small order, for which OpenSSL accepts forged signatures.

    The y coordinates of the eight torsion points of edwards25519, in any encoding.

    Raises:
        ConfigError: The key is one of them.
    """
    y = (int.from_bytes(key, "little") & ((1 << 255) - 1)) % _PRIME
    if y in _SMALL_ORDER_Y:
        raise ConfigError("key: got a point of small order, expected a real Ed25519 public key")


def load_identity(path: Path) -> Identity:
    """Reads a key that `Identity.save` wrote.

    Raises:
        ConfigError: It is missing, readable by others, or no key.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path.name}: key file cannot be read; check path and owner") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path.name}: key file is open to others; run chmod 600 on it")
    try:
        return Identity.from_secret(bytes.fromhex(text))
    except ValueError:
        raise ConfigError(f"{path.name}: got no key, expected 64 hexadecimal digits") from None


def verify(key: bytes, signature: bytes, label: str, *fields: Field) -> None:
    """Raises VerificationError unless ``signature`` is ``key``'s over exactly this."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed_bytes(label, fields))
    except (InvalidSignature, ValueError):
        raise VerificationError(f"{label}: signature does not fit the pinned key") from None


def _signed_bytes(label: str, fields: tuple[Field, ...]) -> bytes:
    return pack("wardround 1", label, *fields)
