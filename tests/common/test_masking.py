from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vectors import make_vectors, reference
from tests.vectors.loading import FOLDER, ours, published

from wardround_common.masking import CHUNK_BYTES, add_masks

SEEDS = st.binary(min_size=32, max_size=32)
CHUNK_WORDS = CHUNK_BYTES // 4


def stream_of(seed: bytes, words: int) -> bytes:
    vector = np.zeros(words, np.uint32)
    add_masks(vector, plus=[seed])
    return vector.astype("<u4").tobytes()


def test_our_vectors_are_reproduced_byte_for_byte_by_their_script() -> None:
    assert make_vectors.as_bytes() == (FOLDER / "ours.json").read_bytes()


def test_the_stream_starts_each_chunk_as_the_design_says() -> None:
    stream = stream_of(bytes(range(32)), CHUNK_WORDS + 8)
    for number, start in published()["mask_stream"]["starts"].items():
        at = int(number) * CHUNK_BYTES
        assert stream[at : at + 32].hex() == start


def test_the_stream_has_the_known_answers_at_both_ends_of_its_chunks() -> None:
    vector = ours()["mask_stream"]
    stream = stream_of(bytes.fromhex(vector["seed"]), vector["bytes"] // 4)
    assert hashlib.sha256(stream).hexdigest() == vector["sha256"]
    for at, expected in vector["at"].items():
        assert stream[int(at) : int(at) + 32].hex() == expected


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.sampled_from([1, 5, CHUNK_WORDS - 1, CHUNK_WORDS, CHUNK_WORDS + 1]))
def test_the_stream_is_counter_mode_for_any_seed_and_length(seed: bytes, words: int) -> None:
    assert stream_of(seed, words) == reference.stream(seed, 4 * words)


@settings(max_examples=50, deadline=None)
@given(st.lists(SEEDS, max_size=4), st.lists(SEEDS, max_size=4), st.integers(0, 70))
def test_masks_are_added_and_subtracted_modulo_two_to_the_32(
    plus: list[bytes], minus: list[bytes], words: int
) -> None:
    vector = np.arange(words, dtype=np.uint32) * np.uint32(0x9E3779B1)
    expected = [int(word) for word in vector]
    for sign, seeds in ((1, plus), (-1, minus)):
        for seed in seeds:
            stream = reference.stream(seed, 4 * words)
            for at in range(words):
                mask = int.from_bytes(stream[4 * at : 4 * at + 4], "little")
                expected[at] = (expected[at] + sign * mask) % (1 << 32)
    add_masks(vector, plus=plus, minus=minus)
    assert vector.tolist() == expected


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_a_seed_of_another_size_is_refused_even_one_that_aes_would_take(size: int) -> None:
    with pytest.raises(ValueError, match="expected 32"):
        add_masks(np.zeros(4, np.uint32), plus=[bytes(size)])


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(4, np.int32),
        np.zeros(4, np.float32),
        np.zeros(4, ">u4"),
        np.zeros((2, 2), np.uint32),
        np.zeros(8, np.uint32)[::2],
    ],
)
def test_a_vector_that_is_no_plain_row_of_words_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match="1-D uint32"):
        add_masks(vector, plus=[bytes(32)])
