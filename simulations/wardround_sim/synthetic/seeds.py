"""Names a source of randomness, so that each patient's draw depends on nothing drawn before it."""

from __future__ import annotations

import hashlib
import uuid

import numpy as np

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wardround:synthetic")


def digest(*parts: object) -> bytes:
    """SHA-256 of the parts' text, 32 bytes; a different number of parts is a different text."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def generator(*parts: object) -> np.random.Generator:
    """A generator of its own for this list of parts."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest(*parts)[:16], "big")))


def derived_uid(*parts: object) -> str:
    """A DICOM UID under 2.25 (a UUID of version 5) for this list of parts."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest(*parts).hex()).int}"
