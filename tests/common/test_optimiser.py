from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAdam, FedYogi
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_common import optimiser
from wardround_common.errors import ProtocolError, RoundError, StateError
from wardround_common.optimiser import OptimiserState, Rule
from wardround_common.plan import Algorithm

NAMES = ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadamw")


def algorithm(name: str, **changes: Any) -> Algorithm:
    settings = {
        "server_learning_rate": 0.3,
        "server_momentum": 0.8,
        "second_moment_decay": 0.95,
        "adaptivity": 1e-2,
    }
    return Algorithm(name=name, **(settings | changes))  # type: ignore[arg-type]


def means(rounds: int = 7, size: int = 11, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (rounds, size))


class PlainCoordinate:
    """One weight under one algorithm, written out with Python floats from the papers."""

    def __init__(self, plan: Algorithm) -> None:
        self.plan = plan
        self.m = 0.0
        self.v = plan.adaptivity**2

    def change(self, delta: float) -> float:
        plan = self.plan
        if plan.name in ("fedavg", "fedadamw"):
            return plan.server_learning_rate * delta
        if plan.name == "fedavgm":
            self.m = plan.server_momentum * self.m + delta
            return plan.server_learning_rate * self.m
        self.m = plan.server_momentum * self.m + (1 - plan.server_momentum) * delta
        if plan.name == "fedadam":
            self.v = plan.second_moment_decay * self.v + (1 - plan.second_moment_decay) * delta**2
        elif self.v > delta**2:
            self.v -= (1 - plan.second_moment_decay) * delta**2
        elif self.v < delta**2:
            self.v += (1 - plan.second_moment_decay) * delta**2
        return plan.server_learning_rate * self.m / (math.sqrt(self.v) + plan.adaptivity)


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_equals_the_formula_of_its_paper(name: str) -> None:
    plan = algorithm(name)
    deltas = means()
    state = optimiser.init(plan, deltas.shape[1])
    plain = [PlainCoordinate(plan) for _ in range(deltas.shape[1])]
    for delta in deltas:
        state, change = optimiser.advance(plan, state, delta)
        expected = [one.change(float(d)) for one, d in zip(plain, delta, strict=True)]
        np.testing.assert_allclose(change, expected, rtol=1e-12, atol=1e-15)
    assert state.step == len(deltas)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_adaptive_algorithms_equal_flowers_own_code_apart_from_its_warm_start(name: str) -> None:
    plan = algorithm(name)
    weights = np.linspace(-1, 1, 11)
    flower = {"fedadam": FedAdam, "fedyogi": FedYogi}[name](
        initial_parameters=ndarrays_to_parameters([weights]),
        eta=plan.server_learning_rate,
        beta_1=plan.server_momentum,
        beta_2=plan.second_moment_decay,
        tau=plan.adaptivity,
    )
    state = dataclasses.replace(optimiser.init(plan, 11), second=np.zeros(11))  # Flower: v_0 = 0
    ok = Status(Code.OK, "")
    for server_round, delta in enumerate(means(), start=1):
        answer = FitRes(ok, ndarrays_to_parameters([weights + delta]), 1, {})
        result, _ = flower.aggregate_fit(server_round, [(None, answer)], [])  # type: ignore[list-item]
        assert result is not None
        correction = 1.0  # Flower's FedAdam adds Adam's bias correction; the paper has none
        if name == "fedadam":
            root = math.sqrt(1 - plan.second_moment_decay ** (server_round + 1))
            correction = root / (1 - plan.server_momentum ** (server_round + 1))
        state, change = optimiser.advance(plan, state, delta)
        weights = weights + correction * change
        np.testing.assert_allclose(parameters_to_ndarrays(result)[0], weights, rtol=1e-12)


def test_the_sum_is_made_in_float64_and_cast_once() -> None:
    plan = algorithm("fedavg", server_learning_rate=1.0)
    weights = np.array([1.0], np.float32)
    half_a_unit = 2.0**-24
    mean = np.array([half_a_unit + 2.0**-40])  # float32 arithmetic would drop the last bit first
    _, new = optimiser.apply(plan, optimiser.init(plan, 1), weights, mean)
    assert new.dtype == np.float32
    assert new[0] == np.nextafter(np.float32(1), np.float32(2))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_leaves_its_arguments_alone_and_repeats_to_the_byte(name: str) -> None:
    plan, mean = algorithm(name), means()[0]
    weights = np.linspace(-1, 1, 11, dtype=np.float32)
    state, _ = optimiser.apply(plan, optimiser.init(plan, 11), weights, mean)
    before = [a.tobytes() for a in (state.first, state.second, weights, mean)]
    results = [optimiser.apply(plan, state, weights, mean) for _ in range(2)]
    assert before == [a.tobytes() for a in (state.first, state.second, weights, mean)]
    assert results[0][1].tobytes() == results[1][1].tobytes()
    assert results[0][0].first.tobytes() == results[1][0].first.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_continues_as_if_it_had_never_been_saved(name: str, tmp_path: Path) -> None:
    plan, deltas = algorithm(name), means()
    weights = np.linspace(-1, 1, 11, dtype=np.float32)
    state = optimiser.init(plan, 11)
    straight, resumed = (state, weights), (state, weights)
    for i, delta in enumerate(deltas):
        straight = optimiser.apply(plan, *straight, delta)
        resumed = optimiser.apply(plan, *resumed, delta)
        file = tmp_path / f"{i}.safetensors"
        safetensors.numpy.save_file(optimiser.to_arrays(resumed[0]), file)
        loaded = safetensors.numpy.load_file(file)
        resumed = (optimiser.from_arrays(plan, 11, loaded), resumed[1])
    assert straight[1].tobytes() == resumed[1].tobytes()
    assert resumed[0].step == len(deltas)


DAMAGED = {
    "missing": lambda a: {k: v for k, v in a.items() if k != "first"},
    "unknown": lambda a: a | {"third": a["first"]},
    "short": lambda a: a | {"first": a["first"][1:]},
    "float32": lambda a: a | {"first": a["first"].astype(np.float32)},
    "nan": lambda a: a | {"first": np.full_like(a["first"], np.nan)},
    "negative": lambda a: a | {"second": -a["second"]},
    "step": lambda a: a | {"step": np.array([-1])},
    "step type": lambda a: a | {"step": np.array([1.0])},
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_refused(damage: str) -> None:
    plan = algorithm("fedadam")
    arrays = optimiser.to_arrays(optimiser.init(plan, 4))
    with pytest.raises(StateError, match="optimiser state"):
        optimiser.from_arrays(plan, 4, DAMAGED[damage](arrays))


def test_a_state_of_another_algorithm_is_refused() -> None:
    arrays = optimiser.to_arrays(optimiser.init(algorithm("fedadam"), 4))
    with pytest.raises(StateError):
        optimiser.from_arrays(algorithm("fedavg"), 4, arrays)
    with pytest.raises(ValueError, match="fedavgm"):
        state = optimiser.init(algorithm("fedavg"), 4)
        optimiser.advance(algorithm("fedavgm"), state, np.zeros(4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_mean_that_is_not_finite_is_refused(bad: float) -> None:
    plan = algorithm("fedavg")
    with pytest.raises(ValueError, match="finite"):
        optimiser.advance(plan, optimiser.init(plan, 2), np.array([0.0, bad]))


def test_vectors_that_do_not_fit_are_refused() -> None:
    plan = algorithm("fedavg")
    state = optimiser.init(plan, 2)
    with pytest.raises(ValueError, match="weights"):
        optimiser.apply(plan, state, np.zeros(3, np.float32), np.zeros(2))
    with pytest.raises(ValueError, match="weights"):
        optimiser.apply(plan, state, np.zeros(2), np.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mean"):
        optimiser.apply(plan, state, np.zeros(2, np.float32), np.zeros(2, np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size"):
        optimiser.init(plan, -1)


def test_weights_that_leave_float32_void_the_round() -> None:
    plan = algorithm("fedavg", server_learning_rate=1.0)
    weights = np.full(1, np.finfo(np.float32).max)
    with pytest.raises(RoundError, match="float32"):
        optimiser.apply(plan, optimiser.init(plan, 1), weights, np.array([1e38]))


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=1, max_size=20),
    st.sampled_from(["fedadam", "fedyogi"]),
)
@settings(deadline=None)
def test_the_second_moment_never_becomes_negative(deltas: list[list[float]], name: str) -> None:
    plan = algorithm(name)
    state = optimiser.init(plan, 3)
    for delta in deltas:
        state, change = optimiser.advance(plan, state, np.array(delta))
        assert np.all(state.second >= 0)
        assert np.all(np.isfinite(change))


def test_trained_floats_are_optimised_statistics_averaged_and_counters_kept() -> None:
    assert optimiser.rule_for(np.float32, trained=True) is Rule.OPTIMISE
    assert optimiser.rule_for(np.float32, trained=False) is Rule.AVERAGE
    for counter in (np.int64, np.uint8, np.bool_):
        assert optimiser.rule_for(counter, trained=False) is Rule.KEEP


@pytest.mark.parametrize(
    ("dtype", "trained"),
    [(np.int64, True), (np.float64, False), (np.complex64, False), ("O", True)],
)
def test_a_type_without_a_rule_is_refused(dtype: Any, trained: bool) -> None:
    with pytest.raises(ValueError, match="dtype"):
        optimiser.rule_for(dtype, trained=trained)


def test_running_statistics_become_their_mean_and_nothing_else() -> None:
    mean = np.array([-0.25, 0.5, 4.0])
    variances = np.array([False, True, True])
    got = optimiser.average_buffers(mean, variances=variances, resolution=1e-3)
    assert got.dtype == np.float32
    assert got.tolist() == [-0.25, 0.5, 4.0]


def test_a_variance_that_was_rounded_to_zero_is_raised_to_the_resolution() -> None:
    mean = np.array([0.0, 0.0, 1e-9])
    variances = np.array([False, True, True])
    got = optimiser.average_buffers(mean, variances=variances, resolution=0.5)
    assert got.tolist() == [0.0, 0.5, 0.5]


def test_a_negative_mean_variance_is_refused() -> None:
    with pytest.raises(ProtocolError, match="variance"):
        optimiser.average_buffers(np.array([-1e-9]), variances=np.array([True]), resolution=1e-3)


def test_statistics_that_do_not_fit_are_refused() -> None:
    yes = np.array([True])
    with pytest.raises(ValueError, match="variances"):
        optimiser.average_buffers(np.zeros(2), variances=yes, resolution=1.0)
    with pytest.raises(ValueError, match="finite"):
        optimiser.average_buffers(np.array([np.nan]), variances=yes, resolution=1.0)
    with pytest.raises(ValueError, match="resolution"):
        optimiser.average_buffers(np.zeros(1), variances=yes, resolution=0.0)
    with pytest.raises(RoundError, match="buffers"):
        optimiser.average_buffers(np.array([1e39]), variances=~yes, resolution=1.0)


def test_a_state_cannot_be_changed_in_place() -> None:
    state = OptimiserState(step=0, first=np.zeros(0), second=np.zeros(0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.step = 1  # type: ignore[misc]
