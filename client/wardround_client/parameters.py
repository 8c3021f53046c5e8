"""Model state as named arrays, the only form in which it is sent, summed and stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround_common.errors import ProtocolError


def export_parameters(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copies all trainable parameters, float32, by their names in the model's state."""
    return _export(model.named_parameters())


def export_buffers(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copies the running statistics, float32; integer counters are never exported."""
    return _export(pair for pair in model.named_buffers() if pair[1].is_floating_point())


def load_arrays(model: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copies ``arrays`` into the parameters and buffers of their names; others stay as they are.

    Everything is checked before anything is copied.

    Raises:
        ProtocolError: A name is unknown or of an integer counter, or a shape, a type or a value
            does not fit.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    known = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    for name, array in arrays.items():
        _require_fit(name, array, known)
    with torch.no_grad():
        for name, array in arrays.items():
            known[name].copy_(torch.tensor(array))


def _export(pairs: Iterable[tuple[str, torch.Tensor]]) -> dict[str, NDArray[np.float32]]:
    # numpy's copy in C order: the tensor itself may lie in channels-last order.
    return {
        name: np.array(tensor.detach().cpu().numpy(), dtype=np.float32, order="C")
        for name, tensor in pairs
    }


def _require_fit(name: str, array: NDArray[np.float32], known: Mapping[str, torch.Tensor]) -> None:
    if name not in known:
        raise ProtocolError(f"array {name!r}: got a name this model lacks; do the studies differ?")
    shape = tuple(known[name].shape)
    if array.shape != shape or array.dtype != np.float32:
        got = f"{array.dtype} of shape {array.shape}"
        raise ProtocolError(f"array {name!r}: got {got}, expected float32 of shape {shape}")
    if not np.isfinite(array).all():
        raise ProtocolError(f"array {name!r}: got values that are not finite, expected numbers")
