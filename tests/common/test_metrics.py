from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround_common import metrics
from wardround_common.auc import auc
from wardround_common.errors import PolicyError, ProtocolError
from wardround_common.metrics import BINS, EDGES, MAXIMUM_LOSS, MetricLayout

LAYOUT = MetricLayout(maximum_sites=4, maximum_cases=1000)
PROBABILITIES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 1.0, 0.5, float(np.nextafter(0.5, 0)), 1 - 2**-17, 2**-30]),
    st.floats(-25, 25).map(lambda logit: float(1 / (1 + np.exp(-logit)))),
)
CASES = st.lists(st.tuples(PROBABILITIES, st.booleans(), st.floats(0, MAXIMUM_LOSS)), max_size=40)
Case = tuple[float, bool, float]


def encode(cases: list[Case], layout: MetricLayout = LAYOUT) -> np.ndarray:
    columns = [[case[i] for case in cases] for i in range(3)]
    return metrics.encode(layout, *columns)


def spread(cases: int, seed: int = 1) -> list[Case]:
    rng = np.random.default_rng(seed)
    labels = rng.random(cases) < 0.4
    scores = 1 / (1 + np.exp(-rng.normal(np.where(labels, 1.5, -1.5), 2)))
    losses = -np.log(np.where(labels, scores, 1 - scores))
    return list(zip(scores.tolist(), labels.tolist(), losses.tolist(), strict=True))


@given(CASES)
def test_counts_and_loss_are_those_of_the_cases(cases: list[Case]) -> None:
    got = metrics.decode(LAYOUT, encode(cases))
    said = [(score >= 0.5, label) for score, label, _ in cases]
    assert got.count == len(cases)
    assert got.confusion.true_positives == said.count((True, True))
    assert got.confusion.false_positives == said.count((True, False))
    assert got.confusion.true_negatives == said.count((False, False))
    assert got.confusion.false_negatives == said.count((False, True))
    if cases:
        assert got.loss == pytest.approx(np.mean([case[2] for case in cases]), abs=2**-17 + 1e-12)
    else:
        assert got.loss is None


@given(CASES)
def test_the_binned_auc_is_within_the_tolerance_it_reports(cases: list[Case]) -> None:
    got = metrics.decode(LAYOUT, encode(cases))
    exact = auc([case[0] for case in cases], [case[1] for case in cases])
    if exact is None:
        assert got.auc is None and got.auc_tolerance is None
    else:
        assert got.auc is not None and got.auc_tolerance is not None
        assert abs(got.auc - exact.value) <= got.auc_tolerance + 1e-12


@given(CASES)
def test_the_calibration_error_is_within_half_a_bin_of_the_exact_one(cases: list[Case]) -> None:
    got = metrics.decode(LAYOUT, encode(cases)).ece
    exact = 0.0
    for k in range(16):
        inside = [case for case in cases if min(int(case[0] * 16), 15) == k]
        exact += abs(sum(case[0] - case[1] for case in inside))
    if cases:
        assert got == pytest.approx(exact / len(cases), abs=1 / 256 + 1e-12)
    else:
        assert got is None


@given(st.lists(CASES, min_size=1, max_size=4))
def test_the_sum_of_sites_says_what_all_their_cases_say(sites: list[list[Case]]) -> None:
    total = sum(encode(cases) for cases in sites)
    together = metrics.decode(LAYOUT, total.astype(np.uint32))
    at_once = metrics.decode(LAYOUT, encode([case for cases in sites for case in cases]))
    assert together == at_once


def test_a_thousand_ordinary_cases_lose_next_to_nothing_to_binning() -> None:
    cases = spread(1000)
    got = metrics.decode(LAYOUT, encode(cases))
    exact = auc([case[0] for case in cases], [case[1] for case in cases])
    assert exact is not None and got.auc is not None and got.auc_tolerance is not None
    assert abs(got.auc - exact.value) < 2e-4
    assert got.auc_tolerance < 3e-3


def test_a_very_confident_model_keeps_its_order() -> None:
    scores = 1 - np.geomspace(1e-4, 0.05, 400)  # all above 0.95: two of 128 equal bins
    labels = np.arange(400) < 150
    labels[::7] ^= True
    got = metrics.decode(LAYOUT, metrics.encode(LAYOUT, scores, labels, np.zeros(400)))
    exact = auc(scores, labels)
    assert exact is not None and got.auc is not None and got.auc_tolerance is not None
    assert abs(got.auc - exact.value) <= got.auc_tolerance < 5e-3


def test_the_roc_rises_from_zero_to_one_and_encloses_the_auc() -> None:
    got = metrics.decode(LAYOUT, encode(spread(300)))
    false, true = np.array(got.roc).T
    assert got.roc[0] == (0, 0)
    assert got.roc[-1] == (1, 1)
    assert np.all(np.diff(false) >= 0) and np.all(np.diff(true) >= 0)
    assert np.trapezoid(true, false) == pytest.approx(got.auc, abs=1e-12)


def test_one_class_gives_what_it_can_and_none_for_the_rest() -> None:
    got = metrics.decode(LAYOUT, metrics.encode(LAYOUT, [0.2, 0.9], [1, 1], [1.5, 0.1]))
    assert got.sensitivity == 0.5
    assert (got.specificity, got.auc, got.auc_tolerance, got.roc) == (None, None, None, ())
    assert got.ece is not None and got.loss is not None


def test_no_case_at_all_decodes_to_none_everywhere() -> None:
    got = metrics.decode(LAYOUT, metrics.encode(LAYOUT, [], [], []))
    assert (got.count, got.loss, got.auc, got.ece, got.roc, got.reliability) == (
        *(0, None, None, None),
        *((), ()),
    )


def test_reliability_points_hold_the_cases_of_their_bin() -> None:
    got = metrics.decode(LAYOUT, metrics.encode(LAYOUT, [0.1, 0.1, 0.99], [0, 1, 1], [0, 0, 0]))
    low, high = got.reliability
    assert (low.count, low.observed, high.count, high.observed) == (2, 0.5, 1, 1.0)
    assert low.predicted == pytest.approx(0.1, abs=1 / 256)
    assert high.predicted == pytest.approx(0.99, abs=1 / 256)


def test_bin_edges_are_exact_and_one_half_is_one_of_them() -> None:
    assert np.all(np.diff(EDGES) > 0)
    assert (EDGES[0], EDGES[-1], EDGES.size) == (0, 1, BINS + 1)
    assert np.all(np.round(EDGES * 2**20) == EDGES * 2**20)
    assert np.array_equal(EDGES, 1 - EDGES[::-1])
    assert 0.5 in EDGES
    assert np.max(np.diff(EDGES)) == 1 / 128
    assert np.isin(np.arange(17) / 16, EDGES).all()


def test_the_most_that_sites_may_send_does_not_wrap() -> None:
    layout = MetricLayout(maximum_sites=64)
    assert int(layout.limits.max()) * 64 < 1 << 31
    worst = metrics.encode(MetricLayout(maximum_sites=4, maximum_cases=2), [1, 1], [0, 0], [64, 64])
    assert np.all(worst <= MetricLayout(maximum_sites=4, maximum_cases=2).limits)


@given(CASES)
def test_no_word_exceeds_its_declared_limit(cases: list[Case]) -> None:
    words = encode(cases)
    assert words.dtype == np.int64
    assert words.shape == (LAYOUT.size,)
    assert np.all((words >= 0) & (words <= LAYOUT.limits))


def test_a_layout_that_could_overflow_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 524287"):
        MetricLayout(maximum_sites=64, maximum_cases=524_288)
    MetricLayout(maximum_sites=64, maximum_cases=524_287)
    with pytest.raises(ValueError, match="1 or more"):
        MetricLayout(maximum_sites=0)


def test_more_cases_than_declared_are_refused() -> None:
    layout = MetricLayout(maximum_sites=4, maximum_cases=2)
    metrics.encode(layout, [0.5] * 2, [1] * 2, [0.1] * 2)
    with pytest.raises(PolicyError, match="3 cases"):
        metrics.encode(layout, [0.5] * 3, [1] * 3, [0.1] * 3)


@pytest.mark.parametrize("bad", [-1e-9, 1 + 1e-9, np.nan, np.inf])
def test_a_probability_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(PolicyError, match="probabilities"):
        metrics.encode(LAYOUT, [bad], [1], [0.1])


@pytest.mark.parametrize("bad", [-1e-9, 64.1, np.nan, np.inf])
def test_a_loss_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(PolicyError, match="losses"):
        metrics.encode(LAYOUT, [0.5], [1], [bad])


def test_shapes_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        metrics.encode(LAYOUT, [0.5], [2], [0.1])
    with pytest.raises(ValueError, match="labels"):
        metrics.encode(LAYOUT, [0.5], [1, 0], [0.1])
    with pytest.raises(ValueError, match="losses"):
        metrics.encode(LAYOUT, [0.5], [1], [0.1, 0.1])
    with pytest.raises(ValueError, match="words"):
        metrics.decode(LAYOUT, np.zeros(LAYOUT.size + 1, np.int64))
    with pytest.raises(ValueError, match="words"):
        metrics.decode(LAYOUT, np.zeros(LAYOUT.size))  # type: ignore[arg-type]


def test_a_word_beyond_what_all_sites_may_send_is_refused() -> None:
    words = encode(spread(10))
    for value in (-1, 4 * LAYOUT.maximum_cases + 1):
        forged = words.copy()
        forged[0] = value
        with pytest.raises(ProtocolError, match="range"):
            metrics.decode(LAYOUT, forged)


@pytest.mark.parametrize("slot", ["count", "confusion", "negatives", "positives"])
def test_counts_that_contradict_each_other_are_refused(slot: str) -> None:
    names = [one.name for one in LAYOUT.slots for _ in range(one.size)]
    forged = encode(spread(10))
    forged[names.index(slot)] += 1
    with pytest.raises(ProtocolError, match="contradict"):
        metrics.decode(LAYOUT, forged)


def test_a_confusion_table_that_moves_a_case_across_the_threshold_is_refused() -> None:
    forged = encode(spread(300))
    assert forged[6] > 0
    forged[3] += 1
    forged[6] -= 1
    with pytest.raises(ProtocolError, match="contradict"):
        metrics.decode(LAYOUT, forged)


def test_a_loss_larger_than_its_cases_can_have_is_refused() -> None:
    forged = encode(spread(10))
    forged[1] = 10 * MAXIMUM_LOSS + 1
    with pytest.raises(ProtocolError, match="contradict"):
        metrics.decode(LAYOUT, forged)
