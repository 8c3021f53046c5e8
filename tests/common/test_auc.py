from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround_common.auc import auc

# Scores on a coarse grid, so that ties are common.
CASES = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60)


def sample(
    rng: np.random.Generator, positives: int, negatives: int, shift: float
) -> tuple[np.ndarray, np.ndarray]:
    scores = np.concatenate((rng.normal(shift, 1, positives), rng.normal(0, 1, negatives)))
    return scores, np.repeat([1, 0], [positives, negatives])


@given(CASES)
def test_the_estimate_is_the_part_of_pairs_in_order(cases: list[tuple[int, bool]]) -> None:
    got = auc([score for score, _ in cases], [label for _, label in cases])
    positives = [score for score, label in cases if label]
    negatives = [score for score, label in cases if not label]
    if not positives or not negatives:
        assert got is None
        return
    wins = [(p > n) + (p == n) / 2 for p, n in itertools.product(positives, negatives)]
    assert got is not None
    assert got.value == pytest.approx(sum(wins) / len(wins), abs=1e-12)
    assert 0 <= got.low <= got.value + 1e-12
    assert got.value - 1e-12 <= got.high <= 1
    assert (got.positives, got.negatives) == (len(positives), len(negatives))


@given(CASES)
def test_swapping_the_classes_mirrors_estimate_and_interval(
    cases: list[tuple[int, bool]],
) -> None:
    scores, labels = [score for score, _ in cases], [label for _, label in cases]
    one, other = auc(scores, labels), auc(scores, [not label for label in labels])
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        mirrored = (1 - other.value, 1 - other.high, 1 - other.low)
        assert (one.value, one.low, one.high) == pytest.approx(mirrored, abs=1e-9)


def test_the_variance_is_delongs_written_out_over_all_pairs() -> None:
    scores, labels = sample(np.random.default_rng(3), 40, 70, 1.0)
    scores = np.round(scores, 1)
    x, y = scores[labels == 1], scores[labels == 0]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    theta = psi.mean()
    s10 = sum((row.mean() - theta) ** 2 for row in psi) / (len(x) - 1)
    s01 = sum((column.mean() - theta) ** 2 for column in psi.T) / (len(y) - 1)
    half = 1.959963984540054 * np.sqrt(s10 / len(x) + s01 / len(y)) / (theta * (1 - theta))
    got = auc(scores, labels)
    assert got is not None
    for end, sign in ((got.low, -1), (got.high, 1)):
        assert np.log(end / (1 - end)) == pytest.approx(np.log(theta / (1 - theta)) + sign * half)


def test_the_interval_agrees_with_a_bootstrap() -> None:
    rng = np.random.default_rng(11)
    scores, labels = sample(rng, 120, 150, 1.2)
    got = auc(scores, labels)
    assert got is not None
    x, y = scores[labels == 1], scores[labels == 0]
    values = []
    for _ in range(2000):
        drawn = np.concatenate((rng.choice(x, x.size), rng.choice(y, y.size)))
        again = auc(drawn, labels)
        assert again is not None
        values.append(again.value)
    low, high = np.quantile(values, [0.025, 0.975])
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.01)


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(shift: float) -> None:
    rng = np.random.default_rng(17)
    # Two normal populations: AUC = Phi(shift / sqrt 2).
    truth = {0.5: 0.6381631950841185, 2.0: 0.9213503964748575}[shift]
    inside = 0
    for _ in range(1000):
        got = auc(*sample(rng, 40, 60, shift))
        assert got is not None
        inside += got.low <= truth <= got.high
    assert 930 <= inside <= 975


def test_a_perfect_order_of_few_cases_is_not_called_certain() -> None:
    got = auc([0.1, 0.2, 0.3, 0.7, 0.8, 0.9, 0.95], [0, 0, 0, 1, 1, 1, 1])
    assert got is not None
    assert (got.value, got.high) == (1.0, 1.0)
    assert got.low == pytest.approx(0.025 ** (1 / 3))


def test_the_wrong_way_round_is_as_uncertain() -> None:
    got = auc([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1])
    assert got is not None
    assert (got.value, got.low) == (0.0, 0.0)
    assert got.high == pytest.approx(1 - 0.025**0.5)


def test_one_case_of_a_class_says_nothing_about_the_interval() -> None:
    got = auc([0.5, 0.1, 0.9], [1, 0, 0])
    assert got is not None
    assert (got.value, got.low, got.high) == (0.5, 0.0, 1.0)


def test_one_class_or_no_case_has_no_auc() -> None:
    assert auc([0.1, 0.2], [1, 1]) is None
    assert auc([0.1, 0.2], [0, 0]) is None
    assert auc([], []) is None


def test_scores_and_labels_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        auc([np.nan, 0.2], [0, 1])
    with pytest.raises(ValueError, match="neither"):
        auc([0.1, 0.2], [0, 2])
    with pytest.raises(ValueError, match="shape"):
        auc([0.1, 0.2], [0])
    with pytest.raises(ValueError, match="level"):
        auc([0.1, 0.2], [0, 1], level=1.0)


def test_a_higher_level_gives_a_wider_interval() -> None:
    scores, labels = sample(np.random.default_rng(1), 30, 30, 1.0)
    narrow, wide = auc(scores, labels, level=0.8), auc(scores, labels, level=0.99)
    assert narrow is not None and wide is not None
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
