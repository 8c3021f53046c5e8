from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround_client.volumes.weights import box_weights, weighted

STEPS = st.lists(st.floats(0.05, 5), min_size=1, max_size=30)


@given(
    steps=STEPS,
    places=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    width=st.floats(0, 40),
)
def test_a_straight_line_is_met_exactly_inside_the_knots(
    steps: list[float], places: list[float], width: float
) -> None:
    knots = np.concatenate([[0.0], np.cumsum(steps)]) - 7
    points = knots[0] + np.array(places) * (knots[-1] - knots[0])
    weights = box_weights(knots, points, width)
    assert weights.inside.all()
    line = weighted(weights, (3 * knots + 1).astype(np.float32))
    np.testing.assert_allclose(line, 3 * points + 1, atol=2e-4)


def test_the_box_averages_the_line_between_the_knots() -> None:
    values = np.array([0, 1, 0, 0, 5], np.float32)
    knots = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    dense = np.linspace(0, 2, 200_001)
    expected = np.interp(dense, knots, values).mean()
    found = weighted(box_weights(knots, np.array([1.0]), 2.0), values)
    assert found[0] == pytest.approx(expected, abs=1e-5)


def test_without_a_box_a_point_is_read_off_between_its_neighbours() -> None:
    weights = box_weights(np.array([0.0, 1.0, 4.0]), np.array([0.25, 2.5, 4.0]), 0.0)
    found = weighted(weights, np.array([10, 20, 80], np.float32))
    np.testing.assert_allclose(found, [12.5, 50, 80])


def test_outside_the_knots_there_is_nothing() -> None:
    weights = box_weights(np.array([0.0, 1.0, 2.0]), np.array([-0.01, 2.01, 2.0]), 1.0)
    assert weights.inside.tolist() == [False, False, True]
    assert weighted(weights, np.ones(3, np.float32)).tolist() == [0, 0, 1]


def test_a_box_narrows_at_the_edge_so_that_its_middle_stays() -> None:
    knots = np.arange(6.0)
    found = weighted(box_weights(knots, np.array([0.5]), 4.0), knots.astype(np.float32))
    assert found[0] == pytest.approx(0.5)
