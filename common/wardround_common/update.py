"""Named arrays: how models travel, and how they become one flat vector."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround_common.encoding import pack
from wardround_common.errors import ProtocolError

MAXIMUM_VALUES = 1 << 28
MAXIMUM_DIMENSIONS = 8

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Shapes:
    """Names and shapes of the arrays of a model, sorted by name; the order of the flat vector."""

    items: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.items]
        if names != sorted(set(names)):
            raise ProtocolError("model: got array names twice or out of order")
        lengths = [n for _, shape in self.items for n in shape]
        possible = all(0 <= n <= MAXIMUM_VALUES for n in lengths) and all(
            len(shape) <= MAXIMUM_DIMENSIONS for _, shape in self.items
        )
        if not possible or self.size > MAXIMUM_VALUES:
            raise ProtocolError(f"model: got impossible shapes, expected {MAXIMUM_VALUES} values")

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        total = 0
        for _, shape in self.items:
            product = 1
            for n in shape:
                product *= n
            total += product
        return total

    @classmethod
    def of(cls, arrays: Arrays) -> Shapes:
        """The shapes of ``arrays``."""
        return cls(tuple((name, tuple(arrays[name].shape)) for name in sorted(arrays)))


def flatten(arrays: Arrays, shapes: Shapes) -> Floats:
    """Joins named arrays to one vector, float32, shape (shapes.size,).

    Raises:
        ProtocolError: A name is missing or unknown, or an array has another type or shape.
    """
    if set(arrays) != {name for name, _ in shapes.items}:
        unlike = sorted(set(arrays) ^ {name for name, _ in shapes.items})
        raise ProtocolError(f"model: got other arrays than expected, first {unlike[0]!r}")
    vector = np.empty(shapes.size, np.float32)
    at = 0
    for name, shape in shapes.items:
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape:
            got = f"{array.dtype} {array.shape}"
            raise ProtocolError(f"model: {name}: got {got}, expected float32 {shape}")
        vector[at : at + array.size] = array.ravel()
        at += array.size
    return vector


def unflatten(vector: Floats, shapes: Shapes) -> dict[str, Floats]:
    """Splits one vector into named arrays, views of it.

    Raises:
        ProtocolError: The vector has another length than the shapes.
    """
    if vector.shape != (shapes.size,):
        raise ProtocolError(f"model: got {vector.shape} values, expected ({shapes.size},)")
    arrays, at = {}, 0
    for name, shape in shapes.items:
        size = int(np.prod(shape, dtype=np.int64))
        arrays[name] = vector[at : at + size].reshape(shape)
        at += size
    return arrays


def model_sha256(arrays: Arrays) -> bytes:
    """Identity of a model: SHA-256 over names, shapes and little-endian float32 bytes."""
    digest = hashlib.sha256(b"wardround model 1\n")
    for name in sorted(arrays):
        array = np.asarray(arrays[name], dtype="<f4", order="C")
        digest.update(pack(name, *array.shape) + array.nbytes.to_bytes(8, "big"))
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.digest()


def groups_sha256(groups: Mapping[str, Arrays]) -> bytes:
    """Identity of all that a site receives: its arrays, each name behind that of its group."""
    named = {f"{group}/{name}": a for group, arrays in groups.items() for name, a in arrays.items()}
    return model_sha256(named)
