"""Server optimisers: how the opened mean of the sites' updates becomes the next model.

FedAvg    McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
          Decentralized Data": x += lr * mean.
FedAvgM   Hsu et al. 2019, "Measuring the Effects of Non-Identical Data Distribution for
          Federated Visual Classification": v = beta * v + mean; x += lr * v. A steady mean
          therefore moves the model 1 / (1 - beta) times as far as with FedAvg.
FedAdam,  Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2: moments m and v
FedYogi   of the mean, x += lr * m / (sqrt(v) + tau); v starts at tau^2, no bias correction.
FedAdamW  The sites' AdamW with moments carried between rounds. Those are plain means of their
          own segments, so what is left for this module is FedAvg.

Pure functions on one flat vector. Every site repeats the step and compares hashes, so only +, -,
*, / and sqrt are used: IEEE 754 rounds those alike on every machine. The arithmetic is float64;
the new weights are cast to float32 once.

What is not a weight has a rule of its own (`rule_for`): running statistics are averaged and never
see momentum, integer counters are never touched.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wardround_common.errors import ProtocolError, RoundError, StateError
from wardround_common.plan import Algorithm

Doubles = NDArray[np.float64]

_FLOAT32_LARGEST = float(np.finfo(np.float32).max)
_WITH_FIRST = ("fedavgm", "fedadam", "fedyogi")
_WITH_SECOND = ("fedadam", "fedyogi")


class Rule(enum.Enum):
    """What becomes of one array of a model after a round."""

    OPTIMISE = "optimise"
    """A trained parameter: `apply` moves it along the opened mean."""
    AVERAGE = "average"
    """A running statistic: `average_buffers` replaces it by the opened mean."""
    KEEP = "keep"
    """An integer counter: never sent, never changed."""


@dataclass(frozen=True, slots=True)
class OptimiserState:
    """What an optimiser remembers between rounds; both vectors are empty where it needs none."""

    step: int
    """Steps made so far."""
    first: Doubles
    """First moment (momentum), float64, shape (size,) or (0,)."""
    second: Doubles
    """Second moment, float64, shape (size,) or (0,)."""


def rule_for(dtype: DTypeLike, *, trained: bool) -> Rule:
    """Says what becomes of an array of type ``dtype``.

    Raises:
        ValueError: The type is neither float32 nor an integer, or an integer is to be trained.
    """
    kind = np.dtype(dtype)
    if kind == np.float32:
        return Rule.OPTIMISE if trained else Rule.AVERAGE
    if kind.kind in "iub" and not trained:
        return Rule.KEEP
    expected = "float32" if trained else "float32 or an integer type"
    raise ValueError(f"dtype: got {kind}, expected {expected}")


def init(algorithm: Algorithm, size: int) -> OptimiserState:
    """The state before the first round, for ``size`` weights.

    Raises:
        ValueError: ``size`` is negative.
    """
    if size < 0:
        raise ValueError(f"size: got {size}, expected 0 or more")
    sizes = _sizes(algorithm, size)
    second = np.full(sizes["second"], algorithm.adaptivity * algorithm.adaptivity)
    return OptimiserState(step=0, first=np.zeros(sizes["first"]), second=second)


def apply(
    algorithm: Algorithm, state: OptimiserState, weights: NDArray[np.float32], mean: Doubles
) -> tuple[OptimiserState, NDArray[np.float32]]:
    """Makes one step; the arguments stay as they are.

    Args:
        algorithm: The study's algorithm.
        state: What the last step returned, or `init`.
        weights: The model of the last round, float32, shape (size,).
        mean: Opened weighted mean of the updates, float64, shape (size,).

    Returns:
        The next state and the next weights, float32, shape (size,).

    Raises:
        RoundError: The new weights leave the range of float32; the model stays as it was.
        ValueError: Shapes, types or values do not fit.
    """
    if weights.dtype != np.float32 or weights.shape != mean.shape:
        got = f"{weights.dtype} {weights.shape}"
        raise ValueError(f"weights: got {got}, expected float32 {mean.shape}")
    following, change = advance(algorithm, state, mean)
    return following, _to_float32(weights.astype(np.float64) + change, "weights")


def advance(
    algorithm: Algorithm, state: OptimiserState, mean: Doubles
) -> tuple[OptimiserState, Doubles]:
    """The next state and the change that this step makes to the weights, both in float64.

    Raises:
        ValueError: ``mean`` or ``state`` does not fit, or a value is not finite.
    """
    _require_doubles(mean, "mean")
    sizes = _sizes(algorithm, mean.size)
    if state.first.size != sizes["first"] or state.second.size != sizes["second"]:
        raise ValueError(f"state: does not belong to {algorithm.name} with {mean.size} weights")
    first, second, direction = state.first, state.second, mean
    if algorithm.name == "fedavgm":
        first = direction = algorithm.server_momentum * first + mean
    elif algorithm.name in _WITH_SECOND:
        first = algorithm.server_momentum * first + (1 - algorithm.server_momentum) * mean
        second = _second_moment(algorithm, second, mean * mean)
        direction = first / (np.sqrt(second) + algorithm.adaptivity)
    following = OptimiserState(step=state.step + 1, first=first, second=second)
    return following, algorithm.server_learning_rate * direction


def average_buffers(
    mean: Doubles, *, variances: NDArray[np.bool_], resolution: float
) -> NDArray[np.float32]:
    """Turns the opened mean of running statistics into the next ones.

    Statistics travel as values, not as differences. A site's variance is never negative, and
    neither is its quantised form, so no honest mean is: a negative one is refused. A tiny variance
    may however be quantised to zero, and normalisation would then divide by its epsilon alone; such
    values are raised to the resolution of the sum, the smallest value that it can tell from zero.

    Args:
        mean: Opened weighted mean, float64, shape (size,).
        variances: Which entries are variances, shape (size,).
        resolution: What one unit of the opened integer sum stands for in ``mean``.

    Returns:
        float32, shape (size,).

    Raises:
        ProtocolError: A variance is negative; some site sent what it must not.
        RoundError: A value leaves the range of float32.
        ValueError: Shapes, types or values do not fit.
    """
    _require_doubles(mean, "mean")
    if variances.dtype != np.bool_ or variances.shape != mean.shape:
        raise ValueError(f"variances: got {variances.shape}, expected bool {mean.shape}")
    if not 0 < resolution < np.inf:
        raise ValueError(f"resolution: got {resolution}, expected above 0")
    if np.any(mean[variances] < 0):
        raise ProtocolError("buffers: got a negative variance, expected 0 or more; a site errs")
    raised = np.where(variances, np.maximum(mean, resolution), mean)
    return _to_float32(raised, "buffers")


def to_arrays(state: OptimiserState) -> dict[str, NDArray[np.generic]]:
    """The state as named arrays, for a checkpoint."""
    return {"step": np.array([state.step], np.int64), "first": state.first, "second": state.second}


def from_arrays(
    algorithm: Algorithm, size: int, arrays: Mapping[str, NDArray[np.generic]]
) -> OptimiserState:
    """Restores what `to_arrays` gave.

    Raises:
        StateError: The arrays are damaged or belong to another algorithm or model.
    """
    if set(arrays) != {"step", "first", "second"}:
        raise StateError(f"optimiser state: got {sorted(arrays)}, expected first, second, step")
    step = arrays["step"]
    if step.dtype != np.int64 or step.shape != (1,) or step[0] < 0:
        raise StateError("optimiser state: step is damaged; resume from an older checkpoint")
    moments = {}
    for name, length in _sizes(algorithm, size).items():
        moment = arrays[name]
        if moment.dtype != np.float64 or moment.shape != (length,):
            got, expected = f"{moment.dtype} {moment.shape}", f"float64 ({length},)"
            raise StateError(f"optimiser state: {name}: got {got}, expected {expected}")
        if not np.all(np.isfinite(moment)):
            raise StateError(f"optimiser state: {name} is damaged; resume from an older checkpoint")
        moments[name] = moment.astype(np.float64)
    if np.any(moments["second"] < 0):
        raise StateError("optimiser state: second is damaged; resume from an older checkpoint")
    return OptimiserState(step=int(step[0]), first=moments["first"], second=moments["second"])


def _sizes(algorithm: Algorithm, size: int) -> dict[str, int]:
    return {
        "first": size if algorithm.name in _WITH_FIRST else 0,
        "second": size if algorithm.name in _WITH_SECOND else 0,
    }


def _second_moment(algorithm: Algorithm, second: Doubles, square: Doubles) -> Doubles:
    decay = algorithm.second_moment_decay
    if algorithm.name == "fedadam":
        moment: Doubles = decay * second + (1 - decay) * square
    else:
        moment = second - (1 - decay) * square * np.sign(second - square)
    return moment


def _require_doubles(values: Doubles, name: str) -> None:
    if values.dtype != np.float64 or values.ndim != 1:
        raise ValueError(f"{name}: got {values.dtype} {values.shape}, expected one float64 vector")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name}: got a value that is not finite")


def _to_float32(values: Doubles, name: str) -> NDArray[np.float32]:
    # The comparison is also false for NaN, so a moment that overflowed is caught here as well.
    if not np.all(np.abs(values) <= _FLOAT32_LARGEST):
        raise RoundError(f"{name}: left the range of float32; lower algorithm.server_learning_rate")
    return values.astype(np.float32)
