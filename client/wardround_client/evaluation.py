"""What a model says about examples, and how far that is from their labels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround_client.training import Gather

_LEAST_PROBABILITY = 1e-12
_BATCH_VALUES = 1 << 22
"""Pixels or voxels of a batch: the first layer alone needs some 250 bytes for each."""


def predict(
    model: nn.Module, gather: Gather, indices: NDArray[np.int64], *, batch_size: int
) -> NDArray[np.float64]:
    """Probability of the positive class for each example, float64, shape (n,).

    The model is left in the mode, training or evaluation, in which it was.

    Args:
        model: On any device.
        gather: Reads examples by index.
        indices: Which ones, int64, shape (n,).
        batch_size: Most examples at once; large volumes go in smaller batches, so that memory
            does not grow with their size.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected 1 or more")
    device = next(model.parameters()).device
    if not indices.size:
        return np.empty(0, np.float64)
    batch_size = max(1, min(batch_size, _BATCH_VALUES // gather(indices[:1]).size))
    was_training = model.training
    model.eval()
    probabilities = np.empty(len(indices), np.float64)
    with torch.inference_mode():
        for start in range(0, len(indices), batch_size):
            part = slice(start, start + batch_size)
            logits = model(torch.from_numpy(gather(indices[part])).to(device))
            probabilities[part] = torch.softmax(logits.double(), dim=1)[:, 1].cpu().numpy()
    model.train(was_training)
    return probabilities


def log_losses(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cross-entropy of each example in nats, float64, shape (n,); at most 27.6.

    Args:
        probabilities: Probability of the positive class, float64, shape (n,).
        labels: 0 or 1, int64, shape (n,).
    """
    of_truth = np.where(labels == 1, probabilities, 1 - probabilities)
    losses: NDArray[np.float64] = -np.log(np.maximum(of_truth, _LEAST_PROBABILITY))
    return losses
