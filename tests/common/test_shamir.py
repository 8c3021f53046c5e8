from __future__ import annotations

import secrets
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vectors import reference
from tests.vectors.loading import ours, published

from wardround_common import shamir


def test_the_shares_of_the_internet_draft_open_its_secret() -> None:
    vector = published()["shamir"]
    shares = {int(x): bytes.fromhex(share) for x, share in vector["shares"].items()}
    assert shamir.combine(shares).hex() == vector["secret"]
    assert reference.interpolate_at_zero(shares).hex() == vector["secret"]


def test_the_shares_of_a_known_polynomial_are_the_known_ones() -> None:
    vector = ours()["shamir"]
    drawn = bytes.fromhex(vector["random"])
    shares = shamir.split(
        bytes.fromhex(vector["secret"]), shares=255, threshold=3, random=lambda size: drawn[:size]
    )
    assert {x: shares[int(x)].hex() for x in vector["shares"]} == vector["shares"]


@st.composite
def sharings(draw: st.DrawFn) -> tuple[bytes, int, int]:
    count = draw(st.integers(1, 12))
    return draw(st.binary(max_size=40)), count, draw(st.integers(1, count))


@settings(max_examples=40, deadline=None)
@given(sharings(), st.randoms(use_true_random=False))
def test_any_threshold_of_the_shares_opens_the_secret(sharing, random) -> None:
    secret, count, threshold = sharing
    shares = shamir.split(secret, shares=count, threshold=threshold, random=secrets.token_bytes)
    assert sorted(shares) == list(range(1, count + 1))
    for size in range(threshold, count + 1):
        subset = random.sample(sorted(shares), size)
        assert shamir.combine({x: shares[x] for x in subset}) == secret


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=1, max_size=3), st.integers(2, 5))
def test_slow_interpolation_over_the_field_finds_the_same(secret: bytes, threshold: int) -> None:
    shares = shamir.split(secret, shares=6, threshold=threshold, random=secrets.token_bytes)
    for subset in combinations(shares, threshold):
        chosen = {x: shares[x] for x in subset}
        assert reference.interpolate_at_zero(chosen) == shamir.combine(chosen) == secret


@pytest.mark.parametrize("known", [1, 2, 255])
def test_one_share_of_two_leaves_every_secret_equally_likely(known: int) -> None:
    shares = np.zeros((256, 256), np.uint8)  # secret, coefficient
    for coefficient in range(256):
        dealt = shamir.split(
            bytes(range(256)),
            shares=255,
            threshold=2,
            random=lambda size, c=coefficient: bytes([c]) * size,
        )
        shares[:, coefficient] = np.frombuffer(dealt[known], np.uint8)
    assert all(np.unique(row).size == 256 for row in shares)


def test_two_shares_of_three_leave_every_secret_equally_likely() -> None:
    pairs = np.zeros((256, 256, 256), np.uint16)  # secret, first and second coefficient
    secrets_, first = (a.astype(np.uint8).ravel() for a in np.indices((256, 256)))
    for second in range(256):
        drawn = first.tobytes() + bytes([second]) * first.size
        dealt = shamir.split(
            secrets_.tobytes(), shares=5, threshold=3, random=lambda size, d=drawn: d[:size]
        )
        two, five = (np.frombuffer(dealt[x], np.uint8).astype(np.uint16) for x in (2, 5))
        pairs[:, :, second] = (256 * two + five).reshape(256, 256)
    for of_one_secret in pairs:
        assert np.bincount(of_one_secret.ravel(), minlength=1 << 16).tolist() == [1] * (1 << 16)


def test_the_random_source_is_asked_for_every_coefficient_once() -> None:
    asked: list[int] = []

    def random(size: int) -> bytes:
        asked.append(size)
        return secrets.token_bytes(size)

    shamir.split(b"12345", shares=7, threshold=5, random=random)
    assert asked == [5 * 4]


@pytest.mark.parametrize(("shares", "threshold"), [(3, 4), (3, 0), (0, 0), (256, 3)])
def test_an_impossible_sharing_is_refused(shares: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="1 <= t <= n <= 255"):
        shamir.split(b"s", shares=shares, threshold=threshold, random=secrets.token_bytes)


@pytest.mark.parametrize(
    "shares", [{}, {0: b"a", 1: b"b"}, {1: b"a", 256: b"b"}, {1: b"a", 2: b""}]
)
def test_shares_that_cannot_belong_together_are_refused(shares: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="one size"):
        shamir.combine(shares)
