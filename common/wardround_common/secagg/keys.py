"""Secrets of one attempt: two fresh X25519 pairs, pair seeds, sealed boxes, commitments.

Mask and transport keys are apart because pair seeds of lost sites get opened while boxes must
stay closed. Every derivation contains the context of the attempt.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround_common.encoding import pack
from wardround_common.errors import VerificationError

_NONCE = bytes(12)  # a box key seals one box only


def public_key(private: bytes) -> bytes:
    """Public X25519 key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pair_seed(private: bytes, public: bytes, *, context: bytes, sites: tuple[str, str]) -> bytes:
    """s_ij: the mask seed two sites share; the same from either side.

    Raises:
        VerificationError: The public key is a low-order point.
    """
    info = pack("mask", *sorted(sites))
    return _derive(private, public, context, info)


def box_key(private: bytes, public: bytes, *, context: bytes, sites: tuple[str, str]) -> bytes:
    """k_i->j: the key for the box from ``sites[0]`` to ``sites[1]``.

    Raises:
        VerificationError: The public key is a low-order point.
    """
    return _derive(private, public, context, pack("box", *sites))


def seal(key: bytes, shares: bytes, *, context: bytes, sites: tuple[str, str]) -> bytes:
    """Encrypts shares from ``sites[0]`` for ``sites[1]``; AES-256-GCM."""
    return AESGCM(key).encrypt(_NONCE, shares, pack("box 1", context, *sites))


def unseal(key: bytes, box: bytes, *, context: bytes, sites: tuple[str, str]) -> bytes:
    """Opens a box; VerificationError if it was not sealed for exactly this."""
    try:
        return AESGCM(key).decrypt(_NONCE, box, pack("box 1", context, *sites))
    except (InvalidTag, ValueError):
        raise VerificationError(f"box from {sites[0]}: does not open; altered on the way") from None


def commit_pair(context: bytes, seed: bytes) -> bytes:
    """c_ij: commitment to a pair seed; both sites must publish the same."""
    return hashlib.sha256(pack("pair", context, seed)).digest()


def commit_self(context: bytes, seed: bytes) -> bytes:
    """cb_i: commitment to a site's own seed."""
    return hashlib.sha256(pack("self", context, seed)).digest()


def _derive(private: bytes, public: bytes, context: bytes, info: bytes) -> bytes:
    try:
        peer = X25519PublicKey.from_public_bytes(public)
        shared = X25519PrivateKey.from_private_bytes(private).exchange(peer)
    except ValueError:
        raise VerificationError("advert: got a public key that is a low-order point") from None
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=context, info=info).derive(shared)
