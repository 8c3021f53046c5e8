from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.federation import (
    LEGS,
    Federation,
    MemoryLedger,
    make_parties,
    make_terms,
    random_vectors,
)
from tests.vectors import reference

from wardround_common.errors import RoundError
from wardround_common.masking import Words
from wardround_common.quantise import Segment, VectorPlan, decode, encode
from wardround_common.secagg.site import Party
from wardround_common.secagg.terms import threshold

Lost = dict[str, list[str]]
RING = 1 << 32
PARTIES = make_parties(12)


def fresh(sites: Iterable[str]) -> dict[str, Party]:
    """The named sites with an empty ledger each."""
    return {name: replace(PARTIES[name], ledger=MemoryLedger()) for name in sites}


@st.composite
def federations(draw: st.DrawFn, largest: int = 12) -> tuple[list[str], Lost]:
    """Sites, and who falls silent at which leg, within what the protocol survives."""
    count = draw(st.integers(3, largest))
    alive = sorted(PARTIES)[:count]
    lost: Lost = {"advertise": draw(st.lists(st.sampled_from(alive), unique=True))[: count - 3]}
    alive = [name for name in alive if name not in lost["advertise"]]
    least = max(threshold(len(alive)), 3)
    for leg in LEGS[1:]:
        gone = draw(st.lists(st.sampled_from(alive), unique=True, max_size=len(alive) - least))
        lost[leg], alive = gone, [name for name in alive if name not in gone]
    return sorted(PARTIES)[:count], lost


def plain_sum(vectors: Mapping[str, Words], names: set[str], length: int) -> list[int]:
    return [sum(int(vectors[name][at]) for name in names) % RING for at in range(length)]


def contributing(sites: list[str], lost: Lost) -> set[str]:
    return set(sites) - {name for leg in ("advertise", "share", "mask") for name in lost[leg]}


def shuffled(seed: int) -> Callable[[Iterable[str]], list[str]]:
    draw = random.Random(seed)

    def arrival(names: Iterable[str]) -> list[str]:
        order = sorted(names)
        draw.shuffle(order)
        return order

    return arrival


@settings(max_examples=60, deadline=None)
@given(federations(), st.integers(1, 300), st.integers(0, 2**32))
def test_the_opened_sum_is_the_plain_sum_whoever_is_lost_and_whatever_the_order(
    drawn: tuple[list[str], Lost], length: int, seed: int
) -> None:
    sites, lost = drawn
    vectors = random_vectors(sites, length, seed=seed)
    federation = Federation(fresh(sites), make_terms(length), arrival=shuffled(seed))
    opened = federation.run(vectors, lost=lost)
    kept = contributing(sites, lost)
    assert set(federation.agreement.digests) == kept
    assert opened.tolist() == plain_sum(vectors, kept, length)


def test_a_sum_over_several_chunks_of_the_stream_is_exact() -> None:
    length = 2 * 131072 + 17
    parties = make_parties(4)
    vectors = random_vectors(list(parties), length, seed=5)
    opened = Federation(parties, make_terms(length)).run(vectors, lost={"mask": ["site_01"]})
    kept = [vectors[name].astype(np.uint64) for name in vectors if name != "site_01"]
    assert np.array_equal(opened, (sum(kept) % RING).astype(np.uint32))


@settings(max_examples=12, deadline=None)
@given(federations(largest=6), st.integers(1, 40), st.integers(0, 2**32))
def test_a_slow_second_implementation_makes_the_same_vectors_and_opens_the_same_sum(
    drawn: tuple[list[str], Lost], length: int, seed: int
) -> None:
    sites, lost = drawn
    vectors = random_vectors(sites, length, seed=seed)
    federation = Federation(fresh(sites), make_terms(length), arrival=shuffled(seed))
    federation.advertise(lost["advertise"])
    federation.share(lost["share"])
    secret = Secrets(federation)
    sent: dict[str, list[int]] = {}
    for name in sorted(set(federation.shared) - set(lost["mask"])):
        masked = federation.masked(name, vectors[name])
        federation.coordinator.add_masked(masked)
        sent[name] = masked.vector.tolist()
        assert sent[name] == secret.masked(name, vectors[name].tolist())
    federation.agreement = federation.coordinator.close_masked()
    federation.agree(lost["agree"])
    opened = federation.reveal(lost["reveal"])
    assert opened.tolist() == open_slowly(federation, sent)
    assert opened.tolist() == plain_sum(vectors, set(sent), length)


class Secrets:
    """What every site of a federation knows, computed again in plain integers."""

    def __init__(self, federation: Federation) -> None:
        self._sessions = {name: federation.sessions[name] for name in federation.shared}
        self._keys = {advert.site: advert.mask_key for advert in federation.adverts}
        adverts = [
            reference.pack(a.site, a.mask_key, a.transport_key, a.base, a.signature)
            for a in sorted(federation.adverts, key=lambda advert: advert.site)
        ]
        n = len(adverts)
        base = hashlib.sha256(reference.pack("base", federation.terms.to_bytes())).digest()
        counts = (n, 2 * n // 3 + 1, federation.terms.minimum_opened)
        self.context = hashlib.sha256(reference.pack("ctx", base, *counts, *adverts)).digest()

    def masked(self, name: str, vector: list[int]) -> list[int]:
        result = add(vector, self._sessions[name].self_seed, 1)
        for peer in self._sessions:
            if peer != name:
                result = add(result, self.pair(name, peer), 1 if peer > name else -1)
        return result

    def pair(self, name: str, peer: str) -> bytes:
        shared = reference.x25519(self._sessions[name].mask_private, self._keys[peer])
        info = reference.pack("mask", *sorted((name, peer)))
        return reference.hkdf_sha256(shared, salt=self.context, info=info, length=32)


def add(vector: list[int], seed: bytes, sign: int) -> list[int]:
    stream = reference.stream(seed, 4 * len(vector))
    words = [int.from_bytes(stream[at : at + 4], "little") for at in range(0, len(stream), 4)]
    return [(a + sign * b) % RING for a, b in zip(vector, words, strict=True)]


def open_slowly(federation: Federation, sent: Mapping[str, list[int]]) -> list[int]:
    points = {site: x for x, site in enumerate(sorted(a.site for a in federation.adverts), 1)}
    total = [sum(words) % RING for words in zip(*sent.values(), strict=True)]
    for name in sent:
        seed = reference.interpolate_at_zero(
            {points[by]: reveal.self_shares[name] for by, reveal in federation.reveals.items()}
        )
        total = add(total, seed, -1)
    for gone in set(federation.shared) - set(sent):
        for name in sent:
            for dealer, other in ((gone, name), (name, gone)):
                seed = reference.interpolate_at_zero(
                    {
                        points[by]: reveal.pair_shares[dealer, other]
                        for by, reveal in federation.reveals.items()
                    }
                )
            total = add(total, seed, -1 if gone > name else 1)
    return total


@pytest.mark.parametrize("count", [3, 4, 7, 10])
@pytest.mark.parametrize("leg", LEGS)
def test_one_site_lost_beyond_the_tolerance_voids_the_round(leg: str, count: int) -> None:
    names, terms = sorted(PARTIES)[:count], make_terms(8)
    vectors = random_vectors(names, 8, seed=1)
    spare = count - (3 if leg == "advertise" else threshold(count))
    Federation(fresh(names), terms).run(vectors, lost={leg: names[:spare]})
    with pytest.raises(RoundError, match="got"):
        Federation(fresh(names), terms).run(vectors, lost={leg: names[: spare + 1]})


def test_the_opened_set_is_never_smaller_than_the_study_allows() -> None:
    parties = make_parties(7)
    vectors, terms = random_vectors(list(parties), 4, seed=2), make_terms(4, minimum_opened=7)
    with pytest.raises(RoundError, match="vectors: got 6 sites, expected at least 7"):
        Federation(parties, terms).run(vectors, lost={"mask": ["site_03"]})


@pytest.mark.parametrize(
    ("sites", "survives"), [(3, 0), (4, 1), (8, 2), (10, 3), (16, 5), (32, 10)]
)
def test_the_threshold_survives_as_many_drop_outs_as_is_said(sites: int, survives: int) -> None:
    assert sites - threshold(sites) == survives
    assert 2 * threshold(sites) > sites


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 8), st.integers(0, 2**32), st.integers(1, 50))
def test_the_opened_mean_is_the_weighted_mean_within_rounding(
    count: int, seed: int, size: int
) -> None:
    rng = np.random.default_rng(seed)
    plan = VectorPlan(
        segments=(Segment(name="weights", size=size, limit=2.0, bounded_norm=True),),
        counts=3,
        maximum_sites=count,
    )
    parties = fresh(sorted(PARTIES)[:count])
    updates, weights, counts, vectors = {}, {}, {}, {}
    for name in parties:
        direction = rng.normal(size=size)
        updates[name] = (direction / np.linalg.norm(direction) * rng.uniform(0, 1.99)).astype("f4")
        weights[name], counts[name] = rng.uniform(0.01, 1), rng.integers(0, 1000, 3)
        vectors[name] = encode(
            plan, {"weights": updates[name]}, weight=weights[name], counts=counts[name]
        )
    opened = Federation(parties, make_terms(plan.length)).run(vectors)
    found = decode(plan, opened, sites=count)
    total = sum(weights.values())
    mean = sum(weights[name] * updates[name].astype(np.float64) for name in parties) / total
    assert np.allclose(found.means["weights"], mean, atol=4 * count / plan.q_max / total)
    assert found.weight == pytest.approx(total, abs=count / plan.q_max)
    assert found.counts.tolist() == sum(counts.values()).tolist()
