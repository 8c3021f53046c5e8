"""The model between rounds, and the pure step from one opened sum to the next model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround_common import optimiser
from wardround_common.plan import Algorithm
from wardround_common.quantise import OpenedSum
from wardround_common.update import Floats, Shapes, flatten, unflatten


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """Everything a round starts from; a new one replaces it only when a round was opened."""

    parameter_shapes: Shapes
    buffer_shapes: Shapes
    parameters: Floats
    """float32, shape (parameter_shapes.size,)."""
    buffers: Floats
    """Running statistics, float32; empty without batch normalisation."""
    first_moment: Floats
    """Averaged first moment of AdamW under fedadamw, else empty."""
    root_second_moment: Floats
    """Averaged root of the second moment under fedadamw, else empty."""
    optimiser: optimiser.OptimiserState
    completed: int
    """Training rounds that were opened."""

    @classmethod
    def initial(
        cls, algorithm: Algorithm, *, parameters: dict[str, Floats], buffers: dict[str, Floats]
    ) -> ModelState:
        """The state before the first round."""
        shapes, buffer_shapes = Shapes.of(parameters), Shapes.of(buffers)
        moments = shapes.size if algorithm.name == "fedadamw" else 0
        return cls(
            parameter_shapes=shapes,
            buffer_shapes=buffer_shapes,
            parameters=flatten(parameters, shapes),
            buffers=flatten(buffers, buffer_shapes),
            first_moment=np.zeros(moments, np.float32),
            root_second_moment=np.zeros(moments, np.float32),
            optimiser=optimiser.init(algorithm, shapes.size),
            completed=0,
        )

    def arrays(self) -> dict[str, dict[str, Floats]]:
        """What sites receive, by group and name; a site's model hash covers all of it."""
        groups = {"parameters": unflatten(self.parameters, self.parameter_shapes)}
        if self.buffers.size:
            groups["buffers"] = unflatten(self.buffers, self.buffer_shapes)
        if self.first_moment.size:
            groups["first_moment"] = unflatten(self.first_moment, self.parameter_shapes)
            groups["root_second_moment"] = unflatten(self.root_second_moment, self.parameter_shapes)
        return groups

    def model(self) -> dict[str, Floats]:
        """Parameters and running statistics by name: the model itself."""
        named = unflatten(self.parameters, self.parameter_shapes)
        return named | unflatten(self.buffers, self.buffer_shapes)


def after_round(
    algorithm: Algorithm, state: ModelState, opened: OpenedSum, *, resolution: float
) -> ModelState:
    """The next model; ``state`` stays as it was.

    Args:
        algorithm: The study's algorithm.
        state: What the round started from.
        opened: The weighted means of the round.
        resolution: What one unit of the opened sum means for a running statistic.

    Raises:
        RoundError: The new model leaves the range of float32.
        ProtocolError: A mean variance is negative.
    """
    means = opened.means
    following, parameters = optimiser.apply(
        algorithm, state.optimiser, state.parameters, means["weights"]
    )
    buffers = state.buffers
    if buffers.size:
        buffers = optimiser.average_buffers(
            means["buffers"], variances=_variances(state.buffer_shapes), resolution=resolution
        )
    first, root_second = state.first_moment, state.root_second_moment
    if first.size:
        first = means["first_moment"].astype(np.float32)
        # Rounding may leave a mean of roots a step below zero.
        root_second = np.maximum(means["root_second_moment"], 0).astype(np.float32)
    return replace(
        state,
        parameters=parameters,
        buffers=buffers,
        first_moment=first,
        root_second_moment=root_second,
        optimiser=following,
        completed=state.completed + 1,
    )


def _variances(shapes: Shapes) -> NDArray[np.bool_]:
    parts = [
        np.full(int(np.prod(shape, dtype=np.int64)), name.endswith("running_var"))
        for name, shape in shapes.items
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)
