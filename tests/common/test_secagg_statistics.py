"""Masked vectors must look random, whatever is in them. Keys are fresh in each run, so the
tolerances are chosen for one false alarm in a thousand million runs."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from tests.common.federation import Federation, make_parties, make_terms, zero_vectors

from wardround_common.masking import Words

LENGTH = 1 << 18
Z = 6.5  # standard deviations: two-sided probability 8e-11


@pytest.fixture(scope="module")
def masked() -> dict[str, Words]:
    """Masked vectors of all-zero updates, by site."""
    f = Federation(make_parties(3), make_terms(LENGTH)).until("mask")
    vectors = zero_vectors(f.parties, LENGTH)
    return {name: f.masked(name, vectors[name]).vector for name in f.parties}


def chi_square(counts: np.ndarray) -> float:
    """Deviation from equal counts, in standard deviations of a normal approximation."""
    expected = counts.sum() / counts.size
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.size - 1
    cube_root = (statistic / freedom) ** (1 / 3)  # Wilson and Hilferty, 1931
    return (cube_root - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))


def test_the_bytes_of_a_masked_zero_update_are_uniform(masked: dict[str, Words]) -> None:
    for vector in masked.values():
        for column in vector.view(np.uint8).reshape(-1, 4).T:
            assert abs(chi_square(np.bincount(column, minlength=256))) < Z


def test_as_many_bits_of_a_masked_zero_update_are_set_as_not(masked: dict[str, Words]) -> None:
    for vector in masked.values():
        bits = np.unpackbits(vector.view(np.uint8)).reshape(-1, 32)
        for ones in (*bits.sum(axis=0, dtype=np.int64),):
            assert abs(2 * int(ones) - LENGTH) < Z * math.sqrt(LENGTH)
        assert abs(2 * int(bits.sum()) - bits.size) < Z * math.sqrt(bits.size)


def test_neighbouring_words_and_chunks_do_not_repeat(masked: dict[str, Words]) -> None:
    for vector in masked.values():
        bits = np.unpackbits((vector[1:] ^ vector[:-1]).view(np.uint8))
        assert abs(2 * int(bits.sum()) - bits.size) < Z * math.sqrt(bits.size)
        chunks = vector.reshape(-1, 1 << 17)
        for a, b in pairwise(chunks):
            assert int((a == b).sum()) < 8  # expected 2^-15


def test_masked_vectors_of_different_sites_are_unrelated(masked: dict[str, Words]) -> None:
    for a, b in pairwise(masked.values()):
        for combined in (a ^ b, a + b, a - b):
            counts = np.bincount(combined.view(np.uint8), minlength=256)
            assert abs(chi_square(counts)) < Z


def test_the_statistic_notices_what_is_not_random() -> None:
    assert abs(chi_square(np.bincount(np.zeros(LENGTH, np.uint8), minlength=256))) > Z
    skewed = np.random.default_rng(0).binomial(255, 0.5, LENGTH)
    assert abs(chi_square(np.bincount(skewed, minlength=256))) > Z
