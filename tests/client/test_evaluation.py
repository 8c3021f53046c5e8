"""Probabilities and losses of examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wardround_client import evaluation
from wardround_client.evaluation import log_losses, predict
from wardround_client.models import build_model
from wardround_common.plan import ModelPlan

IMAGES = np.random.default_rng(1).standard_normal((7, 1, 32, 32), dtype=np.float32)


def _gather(indices: NDArray[np.int64]) -> NDArray[np.float32]:
    return IMAGES[indices]


def test_probabilities_are_those_of_the_positive_class_in_the_order_asked_for() -> None:
    model = build_model(ModelPlan(), classes=2, seed=1)
    indices = np.array([5, 0, 3])
    found = predict(model, _gather, indices, batch_size=2)
    with torch.inference_mode():
        expected = torch.softmax(model(torch.from_numpy(IMAGES[indices])).double(), 1)[:, 1]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_running_statistics_are_used_and_left_alone_and_the_mode_is_restored() -> None:
    model = build_model(ModelPlan(normalisation="batch"), classes=2, seed=1).train()
    before = [buffer.clone() for buffer in model.buffers()]
    alone = predict(model, _gather, np.array([2]), batch_size=1)
    together = predict(model, _gather, np.arange(7), batch_size=7)
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    assert model.training
    np.testing.assert_allclose(alone[0], together[2], atol=1e-6)


def test_large_volumes_are_read_in_batches_that_bound_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volumes = np.random.default_rng(1).standard_normal((7, 1, 32, 32, 32), dtype=np.float32)
    sizes: list[int] = []

    def gather(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        sizes.append(len(indices))
        return volumes[indices]

    model = build_model(ModelPlan(), classes=2, seed=1, dimensions=3)
    together = predict(model, gather, np.arange(7), batch_size=64)
    assert sizes == [1, 7]
    sizes.clear()
    monkeypatch.setattr(evaluation, "_BATCH_VALUES", 3 * 32**3)
    found = predict(model, gather, np.arange(7), batch_size=64)
    assert sizes == [1, 3, 3, 1]
    np.testing.assert_allclose(found, together, atol=1e-6)
    monkeypatch.setattr(evaluation, "_BATCH_VALUES", 1)
    assert predict(model, gather, np.arange(2), batch_size=64) == pytest.approx(together[:2])


def test_no_example_gives_no_probability() -> None:
    model = build_model(ModelPlan(), classes=2, seed=1)
    assert predict(model, _gather, np.arange(0), batch_size=4).shape == (0,)


def test_a_batch_of_nothing_is_misuse() -> None:
    model = build_model(ModelPlan(), classes=2, seed=1)
    with pytest.raises(ValueError, match="batch_size: got 0, expected 1 or more"):
        predict(model, _gather, np.arange(2), batch_size=0)


def test_the_loss_is_the_cross_entropy_and_stays_finite_for_a_certain_error() -> None:
    losses = log_losses(np.array([0.25, 0.25, 0.0, 1.0]), np.array([1, 0, 1, 0]))
    np.testing.assert_allclose(losses[:2], [np.log(4), -np.log(0.75)])
    np.testing.assert_allclose(losses[2:], 12 * np.log(10))
