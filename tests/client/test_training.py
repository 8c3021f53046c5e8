"""Local training: one optimiser over all rounds, bounded moments, equal bytes for equal seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from wardround_client.evaluation import predict
from wardround_client.models import build_model
from wardround_client.parameters import export_parameters
from wardround_client.training import (
    BETAS,
    Moments,
    StepRange,
    TrainingData,
    TrainingResult,
    schedule_factor,
    train_steps,
)
from wardround_common.errors import RoundError
from wardround_common.plan import ModelPlan, Training

Arrays = dict[str, NDArray[np.float32]]
PLAN = Training(batch_size=4, learning_rate=3e-3, augmentation="none", warmup_fraction=0.0)


def _site(labels: list[int], *, scale: float = 1.0) -> TrainingData:
    generator = np.random.default_rng(7)
    images = generator.standard_normal((len(labels), 1, 16, 16), dtype=np.float32)
    images[:, :, 4:12, 4:12] += 2 * np.array(labels, np.float32)[:, None, None, None]
    images *= np.float32(scale)
    return TrainingData(
        gather=lambda indices: images[indices],
        indices=np.arange(len(labels)),
        labels=np.array(labels, np.int64),
    )


MIXED = _site([0, 1] * 8)


def _small() -> nn.Module:
    # No normalisation layer: gradients then grow with the images and the clip has work to do.
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(147, 2))


def _train(
    model: nn.Module, plan: Training = PLAN, data: TrainingData = MIXED, **changes: Any
) -> TrainingResult:
    arguments: dict[str, Any] = {
        "steps": StepRange(first=0, count=4, total=20),
        "seed": (1, 2, 3),
        "moments": None,
    }
    return train_steps(model, data, plan, **(arguments | changes))


def _same(first: Arrays, second: Arrays) -> bool:
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_equal_arguments_give_equal_bytes_and_another_seed_does_not() -> None:
    plan = replace(PLAN, augmentation="standard")
    models = [build_model(ModelPlan(), classes=2, seed=1) for _ in range(3)]
    results = [
        _train(model, plan, seed=seed)
        for model, seed in zip(models, [(1, 2), (1, 2), (1, 3)], strict=True)
    ]
    first, again, other = (export_parameters(model) for model in models)
    assert _same(first, again)
    assert not _same(first, other)
    assert results[0].moments and results[1].moments
    assert _same(results[0].moments.first, results[1].moments.first)
    assert results[0].loss == results[1].loss


def _volumes(labels: list[int]) -> TrainingData:
    generator = np.random.default_rng(7)
    volumes = generator.standard_normal((len(labels), 1, 32, 32, 32), dtype=np.float32)
    volumes[:, :, 12:20, 12:20, 12:20] += (
        2 * np.array(labels, np.float32)[:, None, None, None, None]
    )
    return TrainingData(
        gather=lambda indices: volumes[indices],
        indices=np.arange(len(labels)),
        labels=np.array(labels, np.int64),
    )


def test_a_model_of_volumes_learns_and_equal_arguments_give_equal_bytes() -> None:
    data = _volumes([0, 1] * 8)
    plan = replace(PLAN, augmentation="standard", learning_rate=1e-3)
    steps = StepRange(first=0, count=30, total=30)
    models = [build_model(ModelPlan(), classes=2, seed=1, dimensions=3) for _ in range(2)]
    for model in models:
        _train(model, plan, data, steps=steps)
    assert _same(*(export_parameters(model) for model in models))
    probabilities = predict(models[0], data.gather, data.indices, batch_size=16)
    assert ((probabilities > 0.5) == (data.labels == 1)).all()


def test_training_does_not_move_the_global_generators() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    model = _small()
    torch.manual_seed(3)
    _train(model, replace(PLAN, augmentation="standard"))
    assert torch.equal(torch.rand(3), expected)


def test_a_model_learns_to_tell_two_classes_apart() -> None:
    model = build_model(ModelPlan(), classes=2, seed=1)
    result = _train(model, steps=StepRange(first=0, count=25, total=25))
    probabilities = predict(model, MIXED.gather, MIXED.indices, batch_size=16)
    assert result.examples_seen == 100
    assert ((probabilities > 0.5) == (MIXED.labels == 1)).all()


def test_handing_the_moments_on_continues_the_optimiser_over_rounds() -> None:
    """One site, full batches: two rounds with moments are one round of twice the steps."""
    plan = replace(PLAN, batch_size=16, learning_rate=1e-3)
    whole, parts = _small(), _small()
    _train(whole, plan, steps=StepRange(first=0, count=6, total=6))
    result = _train(parts, plan, steps=StepRange(first=0, count=3, total=6))
    parts.zero_grad()
    _train(
        parts, plan, steps=StepRange(first=3, count=3, total=6), seed=(9,), moments=result.moments
    )
    expected, found = export_parameters(whole), export_parameters(parts)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-6)


def test_without_moments_a_later_round_is_corrected_for_bias_like_a_first_one() -> None:
    """The first AdamW step from zero moments moves each parameter by about the learning rate."""
    model = _small()
    before = export_parameters(model)
    steps = StepRange(first=500, count=1, total=1000)
    plan = replace(PLAN, schedule="constant", weight_decay=0.0)
    _train(model, plan, steps=steps)
    after = export_parameters(model)
    moved = np.abs(after["3.bias"] - before["3.bias"])
    np.testing.assert_allclose(moved, plan.learning_rate, rtol=1e-3)


def test_one_step_is_adamw_as_published() -> None:
    """Loshchilov and Hutter, ICLR 2019, algorithm 2, in float64, at global step 8."""
    model = _small()
    names = list(export_parameters(model))
    generator = np.random.default_rng(2)
    before = export_parameters(model)
    first = {n: 1e-3 * generator.standard_normal(before[n].shape, np.float32) for n in names}
    root = {n: 1e-2 * generator.random(before[n].shape, np.float32) for n in names}
    plan = replace(PLAN, batch_size=16, gradient_clip=1e6, weight_decay=0.1)
    reference = _small()
    logits = reference(torch.from_numpy(MIXED.gather(MIXED.indices)))
    nn.functional.cross_entropy(logits, torch.from_numpy(MIXED.labels)).backward()
    _train(
        model,
        plan,
        steps=StepRange(first=7, count=1, total=100),
        moments=Moments(first=first, root_second=root),
    )
    rate = plan.learning_rate * schedule_factor(plan, 7, 100)
    for name, parameter in reference.named_parameters():
        gradient = parameter.grad.double().numpy()
        mean = BETAS[0] * first[name] + (1 - BETAS[0]) * gradient
        square = BETAS[1] * root[name].astype(float) ** 2 + (1 - BETAS[1]) * gradient**2
        step = mean / (1 - BETAS[0] ** 8) / (np.sqrt(square / (1 - BETAS[1] ** 8)) + 1e-8)
        decay = plan.weight_decay if parameter.ndim > 1 else 0.0
        expected = before[name] * (1 - rate * decay) - rate * step
        np.testing.assert_allclose(export_parameters(model)[name], expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    clip=st.sampled_from([1e-3, 0.1, 1.0, 7.0]),
    scale=st.sampled_from([0.1, 1.0, 100.0, 1e4]),
    rate=st.sampled_from([1e-4, 1e-2, 1.0]),
    count=st.integers(1, 40),
)
def test_moments_never_exceed_the_gradient_clip(
    clip: float, scale: float, rate: float, count: int
) -> None:
    plan = replace(PLAN, gradient_clip=clip, learning_rate=rate)
    data = _site([0, 1] * 8, scale=scale)
    steps = StepRange(first=0, count=count, total=count)
    moments = _train(_small(), plan, data, steps=steps).moments
    assert moments
    for arrays in (moments.first, moments.root_second):
        squares = [np.square(array, dtype=np.float64).sum() for array in arrays.values()]
        assert np.sqrt(sum(squares)) <= clip * (1 + 1e-6)


def test_the_clip_is_reached_so_that_the_bound_above_means_something() -> None:
    plan = replace(PLAN, gradient_clip=0.1)
    steps = StepRange(first=0, count=1, total=1)
    moments = _train(_small(), plan, _site([0, 1] * 8, scale=100), steps=steps).moments
    assert moments
    norm = np.sqrt(sum(np.square(array).sum() for array in moments.root_second.values()))
    np.testing.assert_allclose(norm, 0.1 * np.sqrt(1 - BETAS[1]), rtol=1e-4)


def test_sgd_has_no_moments_and_trains() -> None:
    model = _small()
    before = export_parameters(model)
    result = _train(model, replace(PLAN, optimiser="sgd"))
    assert result.moments is None
    assert not _same(export_parameters(model), before)


def test_a_proximal_term_keeps_the_model_nearer_to_what_was_received() -> None:
    distances = []
    for mu in (0.0, 10.0):
        model = _small()
        before = export_parameters(model)
        plan = replace(PLAN, optimiser="sgd", learning_rate=0.02, proximal_mu=mu)
        _train(model, plan, steps=StepRange(first=0, count=12, total=100))
        after = export_parameters(model)
        distances.append(sum(np.square(after[n] - before[n]).sum() for n in before))
    assert distances[1] < 0.5 * distances[0]


def test_class_weights_act_where_a_site_has_one_class_too() -> None:
    one_class = _site([1] * 8)
    steps = StepRange(first=0, count=1, total=10)
    plain = _train(_small(), PLAN, one_class, steps=steps).loss
    weighted = _train(_small(), replace(PLAN, class_weights=(1.0, 3.0)), one_class, steps=steps)
    np.testing.assert_allclose(weighted.loss, 3 * plain, rtol=1e-6)


def test_augmentation_changes_what_is_learnt_but_not_which_examples_are_seen() -> None:
    seen: list[list[int]] = []
    losses = []
    for augmentation in ("none", "standard"):
        drawn: list[int] = []

        def gather(indices: NDArray[np.int64], drawn: list[int] = drawn) -> NDArray[np.float32]:
            drawn.extend(indices.tolist())
            return MIXED.gather(indices)

        data = replace(MIXED, gather=gather)
        losses.append(_train(_small(), replace(PLAN, augmentation=augmentation), data).loss)
        seen.append(drawn)
    assert seen[0] == seen[1]
    assert losses[0] != losses[1]


def test_only_the_training_examples_are_read() -> None:
    drawn: set[int] = set()

    def gather(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        drawn.update(indices.tolist())
        return MIXED.gather(indices)

    _train(_small(), data=replace(MIXED, gather=gather, indices=np.array([2, 3, 9, 12])))
    assert drawn == {2, 3, 9, 12}


def test_the_schedule_rises_falls_and_does_not_know_rounds() -> None:
    plan = Training(warmup_fraction=0.1)
    factors = [schedule_factor(plan, step, 100) for step in range(100)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert max(factors) == factors[10] == 1.0
    assert factors[0] > 0
    assert 0 < factors[-1] < 0.001


def test_a_constant_schedule_stays_at_the_peak_after_the_rise() -> None:
    plan = Training(schedule="constant", warmup_fraction=0.2)
    assert {schedule_factor(plan, step, 50) for step in range(10, 50)} == {1.0}
    assert schedule_factor(plan, 0, 50) < 1


def test_a_step_beyond_the_run_has_no_learning_rate() -> None:
    assert schedule_factor(Training(), 130, 100) == 0.0


def test_moments_of_another_model_are_misuse() -> None:
    moments = Moments(first={"a": np.zeros(1, np.float32)}, root_second={})
    with pytest.raises(ValueError, match="other names than the model's parameters"):
        _train(_small(), moments=moments)


def test_diverging_training_ends_the_round_instead_of_sending_nonsense() -> None:
    plan = replace(PLAN, optimiser="sgd", learning_rate=1e38, gradient_clip=1e38)
    with pytest.raises(RoundError, match=r"not finite.*lower training\.learning_rate"):
        _train(_small(), plan)
