"""Mask streams: the AES-256-GCM keystream, added to vectors over the integers modulo 2^32.

Chunk c of 512 KiB is what AES-256-GCM under the seed encrypts zeros to with nonce c (96-bit
big-endian), without the tag; this equals AES-256-CTR with initial counter block c || 00000002.
Words are little-endian. A seed is used for one vector of one attempt only, so no nonce repeats.

Stops: anyone without the seed learns nothing from a masked vector. Does not stop: whoever has
the seed; and nothing here authenticates, the protocol around it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

CHUNK_BYTES = 512 * 1024
SEED_BYTES = 32
_TAG_BYTES = 16
_ZEROS = bytes(CHUNK_BYTES)

Words = NDArray[np.uint32]


def add_masks(vector: Words, *, plus: Sequence[bytes], minus: Sequence[bytes] = ()) -> None:
    """Adds the streams of ``plus`` and subtracts those of ``minus``, in place, modulo 2^32.

    Works chunk by chunk, so the vector passes through the cache once, however many seeds.

    Args:
        vector: uint32, shape (length,), contiguous.
        plus: Seeds of 32 bytes.
        minus: Seeds of 32 bytes.

    Raises:
        ValueError: The vector has another type, or a seed another size.
    """
    if vector.dtype != np.uint32 or vector.ndim != 1 or not vector.flags.c_contiguous:
        raise ValueError(f"vector: got {vector.dtype} {vector.shape}, expected 1-D uint32")
    adders, subtracters = [_cipher(s) for s in plus], [_cipher(s) for s in minus]
    buffer = bytearray(CHUNK_BYTES + _TAG_BYTES)
    for number, chunk in _chunks(vector):
        nonce, size = number.to_bytes(12, "big"), chunk.nbytes
        target = memoryview(buffer)[: size + _TAG_BYTES]
        mask = np.frombuffer(buffer, dtype="<u4", count=chunk.size)
        zeros = _ZEROS if size == CHUNK_BYTES else _ZEROS[:size]
        for cipher in adders:
            cipher.encrypt_into(nonce, zeros, None, target)
            np.add(chunk, mask, out=chunk)
        for cipher in subtracters:
            cipher.encrypt_into(nonce, zeros, None, target)
            np.subtract(chunk, mask, out=chunk)


def _chunks(vector: Words) -> Iterator[tuple[int, Words]]:
    step = CHUNK_BYTES // 4
    for number, start in enumerate(range(0, vector.size, step)):
        yield number, vector[start : start + step]


def _cipher(seed: bytes) -> AESGCM:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"seed: got {len(seed)} bytes, expected {SEED_BYTES}")
    return AESGCM(seed)
