"""The site's secret and the pseudonyms made with it.

Threat stopped: whoever sees a pseudonym cannot find the patient by hashing all record numbers,
as with a plain hash. Not stopped: whoever holds the site's secret can.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from wardround_client.storage import make_private_folder
from wardround_common.errors import StateError

SECRET_FILE = "site.secret"  # noqa: S105  (the name of the file)
_SECRET_BYTES = 32


def site_secret(workspace: Path) -> bytes:
    """Reads the site's secret, 32 bytes; creates it on first use, readable by its owner only.

    Raises:
        StateError: The file is there and holds no secret.
    """
    path = workspace / SECRET_FILE
    make_private_folder(workspace)
    if not path.exists():
        _create(path)
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        secret = b""
    if len(secret) != _SECRET_BYTES:
        expected = f"expected {2 * _SECRET_BYTES} hexadecimal digits"
        raise StateError(f"{path}: got no secret, {expected}; restore the file from a backup")
    return secret


def pseudonym(secret: bytes, patient_id: str, issuer: str) -> str:
    """Makes a patient's pseudonym, 64 hexadecimal digits.

    The issuer is part of it: two hospitals under one roof may use the same record number.
    """
    return keyed_hash(secret, "patient", patient_id, issuer)


def mapped_uid(secret: bytes, uid: str) -> str:
    """Makes the UID that stands for another one wherever it occurs, below 2.25 (PS3.5 B.2)."""
    return f"2.25.{int(keyed_hash(secret, 'uid', uid)[:32], 16)}"


def keyed_hash(secret: bytes, *parts: str) -> str:
    """HMAC-SHA256 over parts that are joined so that no two lists of parts are alike."""
    message = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def _create(path: Path) -> None:
    """Writes a new secret beside its place and links it there: whole or not at all."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its secret counts
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
