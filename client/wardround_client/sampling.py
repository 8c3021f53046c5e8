"""Which examples each optimiser step sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wardround_common.plan import Training


def draw_batches(
    labels: NDArray[np.int64], plan: Training, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draws positions in ``labels``, int64, shape (count, plan.batch_size).

    ``natural`` goes through one shuffle of all examples after the other, so none is seen twice
    before each was seen once. ``balanced`` does so within each class the site has and takes the
    classes in turn; a site of one class then simply draws from that class.

    Raises:
        ValueError: There is no example.
    """
    if len(labels) == 0:
        raise ValueError("labels: got no training example, expected at least one")
    size = count * plan.batch_size
    if plan.sampling == "natural":
        drawn = _shuffled(np.arange(len(labels)), size, generator)
    else:
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        share = -(-size // len(members))
        turns = [_shuffled(positions, share, generator) for positions in members]
        drawn = np.stack(turns, axis=1).reshape(-1)[:size]
    return drawn.reshape(count, plan.batch_size)


def _shuffled(
    positions: NDArray[np.int64], size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    def shuffles() -> Iterator[NDArray[np.int64]]:
        for _ in range(-(-size // len(positions))):
            yield generator.permutation(positions)

    return np.concatenate(list(shuffles()))[:size]
