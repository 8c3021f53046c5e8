"""Which examples a step sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround_client.sampling import draw_batches
from wardround_common.plan import Training


@given(
    examples=st.integers(1, 40),
    count=st.integers(1, 9),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_natural_sampling_sees_every_example_equally_often_up_to_one(
    examples: int, count: int, batch_size: int, seed: int
) -> None:
    plan = Training(batch_size=batch_size)
    labels = np.zeros(examples, np.int64)
    batches = draw_batches(labels, plan, count, np.random.default_rng(seed))
    times = np.bincount(batches.reshape(-1), minlength=examples)
    assert batches.shape == (count, batch_size)
    assert times.max() - times.min() <= 1


def test_balanced_sampling_draws_each_class_equally_often_in_every_batch() -> None:
    labels = np.array([0] * 3 + [1] * 40, np.int64)
    plan = Training(batch_size=8, sampling="balanced")
    batches = draw_batches(labels, plan, 5, np.random.default_rng(1))
    assert (labels[batches].sum(axis=1) == 4).all()


def test_balanced_sampling_at_a_site_of_one_class_draws_from_that_class() -> None:
    plan = Training(batch_size=4, sampling="balanced")
    batches = draw_batches(np.ones(6, np.int64), plan, 3, np.random.default_rng(1))
    assert sorted(np.bincount(batches.reshape(-1))) == [2] * 6


def test_a_site_without_examples_is_misuse() -> None:
    with pytest.raises(ValueError, match="no training example"):
        draw_batches(np.zeros(0, np.int64), Training(), 1, np.random.default_rng(1))
