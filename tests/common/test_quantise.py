from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_common.errors import PolicyError, VerificationError
from wardround_common.quantise import Segment, VectorPlan, clip, decode, encode

WEIGHTS = Segment(name="weights", size=6, limit=2.0, bounded_norm=True)
BUFFERS = Segment(name="buffers", size=3, limit=50.0, bounded_norm=False)
PLAN = VectorPlan(segments=(WEIGHTS, BUFFERS), counts=2, maximum_sites=4)
ZERO = {"weights": np.zeros(6, np.float32), "buffers": np.zeros(3, np.float32)}
COUNTS = np.array([1, 2], np.int64)
AT_WEIGHT = 9


def words(*, weight: float = 1.0, counts: np.ndarray = COUNTS, **parts: object) -> np.ndarray:
    arrays = {name: np.asarray(values, np.float32) for name, values in parts.items()}
    return encode(PLAN, ZERO | arrays, weight=weight, counts=counts)


def opened(vector: object, sites: int = 1) -> None:
    decode(PLAN, np.asarray(vector, np.uint32), sites=sites)


@st.composite
def contributions(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], float, np.ndarray]:
    floats = st.floats(-1, 1, width=32)
    direction = np.array(draw(st.lists(floats, min_size=6, max_size=6)), np.float32)
    weights, _ = clip(direction, WEIGHTS.limit)
    buffers = np.array(draw(st.lists(floats, min_size=3, max_size=3)), np.float32) * 50
    weight = draw(st.floats(1e-6, 1))
    counts = draw(st.lists(st.integers(0, PLAN.q_max), min_size=2, max_size=2))
    return {"weights": weights, "buffers": buffers}, weight, np.array(counts, np.int64)


@given(contributions())
def test_each_word_is_the_rounded_product_in_exact_arithmetic(drawn) -> None:
    parts, weight, counts = drawn
    vector = encode(PLAN, parts, weight=weight, counts=counts)
    at = 0
    for segment in PLAN.segments:
        for value in parts[segment.name]:
            exact = Fraction(float(value)) * Fraction(weight) * PLAN.q_max
            exact /= Fraction(segment.limit)
            got = int(vector[at].view(np.int32))
            assert abs(got - exact) <= Fraction(1, 2) + Fraction(1, 10**5)
            assert abs(got) <= PLAN.q_max
            at += 1
    assert int(vector[at]) == round(weight * PLAN.q_max)
    assert vector[at + 1 :].tolist() == counts.tolist()


@settings(deadline=None)
@given(st.lists(contributions(), min_size=1, max_size=4))
def test_the_sum_of_honest_sites_opens_to_the_weighted_mean(drawn) -> None:
    total = np.zeros(PLAN.length, np.uint32)
    for parts, weight, counts in drawn:
        total += encode(PLAN, parts, weight=weight, counts=counts)
    found = decode(PLAN, total, sites=len(drawn))
    weight_sum = sum(weight for _, weight, _ in drawn)
    assert found.weight == pytest.approx(weight_sum, abs=len(drawn) / PLAN.q_max)
    assert found.counts.tolist() == sum(counts for *_, counts in drawn).tolist()
    for segment in PLAN.segments:
        terms = [weight * parts[segment.name].astype(np.float64) for parts, weight, _ in drawn]
        mean = sum(terms) / weight_sum
        tolerance = 2 * len(drawn) * segment.limit / PLAN.q_max / weight_sum
        assert np.allclose(found.means[segment.name], mean, rtol=1e-9, atol=tolerance)


def test_the_largest_contributions_of_all_sites_do_not_wrap() -> None:
    full = np.array([2, 0, 0, 0, 0, 0], np.float32)
    counts = np.full(2, PLAN.q_max)
    for sign in (1, -1):
        buffers = np.full(3, sign * 50, np.float32)
        vector = encode(
            PLAN, {"weights": sign * full, "buffers": buffers}, weight=1.0, counts=counts
        )
        found = decode(PLAN, vector * np.uint32(4), sites=4)
        assert found.means["weights"].tolist() == (sign * full).tolist()
        assert found.means["buffers"].tolist() == buffers.tolist()
        assert found.counts.tolist() == [4 * PLAN.q_max] * 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "size"), [("weights", 6), ("buffers", 3)])
def test_values_that_are_not_finite_never_leave(name: str, size: int, bad: float) -> None:
    values = np.zeros(size, np.float32)
    values[-1] = bad
    with pytest.raises(PolicyError, match=rf"{name}: got magnitude"):
        words(**{name: values})
    with pytest.raises(PolicyError, match="not finite"):
        clip(values, 1.0)


def test_an_update_beyond_the_norm_never_leaves() -> None:
    words(weights=np.full(6, 2 / np.sqrt(6) - 1e-6))
    with pytest.raises(PolicyError, match=r"weights: got magnitude 2\.0"):
        words(weights=np.full(6, 2 / np.sqrt(6) + 1e-5))


def test_a_statistic_beyond_its_range_never_leaves() -> None:
    words(buffers=[50, -50, 50])
    with pytest.raises(PolicyError, match=r"buffers: got magnitude 50\.5"):
        words(buffers=[0, -50.5, 0])


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.0000001, 2.0, np.inf, np.nan])
def test_a_weight_outside_its_range_never_leaves(weight: float) -> None:
    with pytest.raises(PolicyError, match="weight: got"):
        words(weight=weight)


@pytest.mark.parametrize("count", [-1, PLAN.q_max + 1, 1 << 40, -(1 << 40)])
def test_a_count_outside_its_range_never_leaves(count: int) -> None:
    with pytest.raises(PolicyError, match="counts: got one outside"):
        words(counts=np.array([count, 0], np.int64))


def test_what_does_not_fit_the_plan_is_our_own_mistake() -> None:
    wrong: list[dict[str, np.ndarray]] = [
        {"weights": np.zeros(6, np.float32)},
        ZERO | {"more": np.zeros(1, np.float32)},
        ZERO | {"weights": np.zeros(5, np.float32)},
        ZERO | {"weights": np.zeros(6)},
        ZERO | {"weights": np.zeros((6, 1), np.float32)},
    ]
    for parts in wrong:
        with pytest.raises(ValueError, match=r"plan|got"):
            encode(PLAN, parts, weight=1.0, counts=COUNTS)
    for counts in (np.zeros(3, np.int64), np.zeros((2, 1), np.int64)):
        with pytest.raises(ValueError, match="do not fit"):
            words(counts=counts)
    for length in (PLAN.length - 1, PLAN.length + 1):
        with pytest.raises(ValueError, match="expected"):
            opened(np.zeros(length))


@pytest.mark.parametrize("word", [0, 2 * PLAN.q_max + 1, 1 << 31, (1 << 32) - 1])
def test_an_opened_weight_out_of_range_is_garbage(word: int) -> None:
    vector = words() * np.uint32(2)
    vector[AT_WEIGHT] = word
    with pytest.raises(VerificationError, match="weight out of range"):
        opened(vector, sites=2)


@pytest.mark.parametrize(("at", "name"), [(0, "weights"), (5, "weights"), (6, "buffers")])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_opened_value_out_of_range_is_garbage(at: int, name: str, sign: int) -> None:
    vector = words(weight=0.25)
    inside = sign * (int(vector[AT_WEIGHT]) + 1)
    vector[at] = np.uint32(inside % (1 << 32))
    if name == "buffers":
        opened(vector)
    vector[at] = np.uint32((inside + sign) % (1 << 32))
    with pytest.raises(VerificationError, match=f"{name} out of range"):
        opened(vector)


def test_an_opened_norm_above_the_limit_is_garbage_though_each_value_is_small() -> None:
    vector = words()
    vector[:6] = PLAN.q_max // 2  # norm sqrt(6) / 2 of the limit
    with pytest.raises(VerificationError, match="norm of weights above"):
        opened(vector)


@pytest.mark.parametrize("count", [2 * PLAN.q_max + 1, 1 << 31, (1 << 32) - 1])
def test_an_opened_count_out_of_range_is_garbage(count: int) -> None:
    vector = words() * np.uint32(2)
    vector[-1] = count
    with pytest.raises(VerificationError, match="count out of range"):
        opened(vector, sites=2)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=PLAN.length, max_size=PLAN.length))
def test_any_words_open_within_the_declared_ranges_or_not_at_all(drawn: list[int]) -> None:
    try:
        found = decode(PLAN, np.array(drawn, np.uint32), sites=3)
    except VerificationError:
        return
    assert 0 < found.weight <= 3
    assert np.abs(found.means["buffers"]).max() <= 50 * (1 + 3 / found.weight / PLAN.q_max)
    assert found.counts.min() >= 0 and found.counts.max() <= 3 * PLAN.q_max


@settings(deadline=None)
@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=40),
    st.floats(1e-3, 1e3),
)
def test_a_clipped_update_fits_its_limit_and_keeps_its_direction(
    values: list[float], limit: float
) -> None:
    before = np.array(values, np.float32)
    after, clipped = clip(before, limit)
    norm = np.linalg.norm(before.astype(np.float64))
    assert np.linalg.norm(after.astype(np.float64)) <= limit
    assert clipped == (norm > limit)
    if clipped:
        assert after == pytest.approx(before * (limit / norm), rel=1e-5, abs=limit * 1e-5)
    else:
        assert after is before


@pytest.mark.parametrize("sites", [1, 3, 16, 64])
def test_the_ring_has_room_for_every_site(sites: int) -> None:
    plan = VectorPlan(segments=(), counts=0, maximum_sites=sites)
    assert sites * plan.q_max < 1 << 31 <= (sites + 1) * (plan.q_max + 1)
    assert plan.length == 1


def test_long_segments_are_quantised_in_pieces_as_in_one() -> None:
    size = (1 << 16) + 3
    plan = VectorPlan(
        segments=(Segment(name="weights", size=size, limit=1.0, bounded_norm=True),),
        counts=0,
        maximum_sites=4,
    )
    values = np.random.default_rng(1).normal(size=size)
    values = (values / np.linalg.norm(values) * 0.999).astype(np.float32)
    vector = encode(plan, {"weights": values}, weight=0.5, counts=np.zeros(0, np.int64))
    expected = np.rint(values.astype(np.float64) * (0.5 * plan.q_max)).astype(np.int32)
    assert np.array_equal(vector[:size].view(np.int32), expected)
