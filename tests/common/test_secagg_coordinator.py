"""What hostile sites may try against the coordinator in legs 0 to 4.

Each test falls when the check that it is about is taken away.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from tests.common.federation import (
    Federation,
    make_parties,
    make_terms,
    random_vectors,
    zero_vectors,
)
from tests.common.hostile import (
    LENGTH,
    A,
    B,
    C,
    D,
    again,
    agree,
    federation,
    resigned,
    reveal,
)

from wardround_common.errors import (
    ProtocolError,
    RoundError,
    VerificationError,
)
from wardround_common.secagg import keys, site
from wardround_common.secagg.records import Masked, Reveal, Shared
from wardround_common.secagg.terms import Advert


def test_the_coordinator_takes_adverts_of_members_once() -> None:
    f = federation()
    _, advert = site.advertise(f.parties[A], f.terms)
    stranger = replace(advert, site="stranger")
    with pytest.raises(ProtocolError, match="no member, or twice"):
        f.coordinator.add_advert(stranger)
    f.coordinator.add_advert(advert)
    with pytest.raises(ProtocolError, match="no member, or twice"):
        f.coordinator.add_advert(advert)


def test_the_coordinator_refuses_forged_and_replayed_adverts() -> None:
    f = federation()
    _, advert = site.advertise(f.parties[A], f.terms)
    _, other = site.advertise(f.parties[A], replace(f.terms, attempt=1))
    with pytest.raises(VerificationError, match="advert: signature"):
        f.coordinator.add_advert(replace(advert, mask_key=other.mask_key))
    with pytest.raises(VerificationError, match="other terms"):
        f.coordinator.add_advert(other)


def test_a_site_that_copies_another_s_key_is_lost_alone() -> None:
    f = federation()
    _, advert = site.advertise(f.parties[A], f.terms)
    f.coordinator.add_advert(advert)
    pair = advert.mask_key, keys.public_key(b"t" * 32)
    copied = Advert.signed(f.parties[B].identity, B, keys=pair, base=advert.base)
    with pytest.raises(ProtocolError, match="another site's key"):
        f.coordinator.add_advert(copied)


def one_shared(f: Federation, name: str = A) -> Shared:
    f.sessions[name], shared = site.share(f.parties[name], f.sessions[name], f.adverts)
    return shared


def test_the_coordinator_takes_commitments_of_the_roster_once() -> None:
    f = federation(5)
    f.advertise(lost=["site_04"])
    shared = one_shared(f)
    f.coordinator.add_shared(shared)
    with pytest.raises(ProtocolError, match="outside the roster, or twice"):
        f.coordinator.add_shared(shared)
    outside = replace(shared, commitments=replace(shared.commitments, site="site_04"))
    with pytest.raises(ProtocolError, match="outside the roster, or twice"):
        f.coordinator.add_shared(outside)


def test_the_coordinator_refuses_commitments_that_were_altered() -> None:
    f = federation().until("share")
    shared = one_shared(f)
    with pytest.raises(VerificationError, match="commitments: signature"):
        f.coordinator.add_shared(
            replace(shared, commitments=replace(shared.commitments, own=b"0" * 32))
        )


def test_the_coordinator_refuses_boxes_and_commitments_for_another_roster() -> None:
    f = federation().until("share")
    shared = one_shared(f)
    pairs = {peer: c for peer, c in shared.commitments.pairs.items() if peer != C}
    for changed in (
        replace(shared, boxes={peer: box for peer, box in shared.boxes.items() if peer != C}),
        replace(shared, boxes={**shared.boxes, A: shared.boxes[B]}),
        replace(shared, commitments=resigned(f, shared.commitments, pairs=pairs)),
    ):
        with pytest.raises(ProtocolError, match="not for this roster"):
            f.coordinator.add_shared(changed)


def test_the_coordinator_passes_on_no_box_of_another_size() -> None:
    f = federation().until("share")
    shared = one_shared(f)
    for box in (b"", bytes(143), bytes(145), bytes(1 << 20)):
        with pytest.raises(ProtocolError, match="another size"):
            f.coordinator.add_shared(replace(shared, boxes={**shared.boxes, C: box}))


def test_the_coordinator_notices_two_sites_that_commit_to_different_pair_seeds() -> None:
    f = federation().until("share")
    f.coordinator.add_shared(one_shared(f, A))
    shared = one_shared(f, B)
    pairs = dict(shared.commitments.pairs) | {A: bytes(32)}
    wrong = replace(shared, commitments=resigned(f, shared.commitments, pairs=pairs))
    with pytest.raises(VerificationError, match="do not fit"):
        f.coordinator.add_shared(wrong)


def test_the_coordinator_takes_one_vector_of_each_site_that_committed() -> None:
    f = federation(5)
    f.advertise()
    f.share(lost=["site_04"])
    masked = f.masked(A, np.zeros(LENGTH, np.uint32))
    f.coordinator.add_masked(masked)
    with pytest.raises(ProtocolError, match="twice"):
        f.coordinator.add_masked(masked)
    with pytest.raises(ProtocolError, match="was not in leg 1"):
        f.coordinator.add_masked(replace(masked, site="site_04"))


@pytest.mark.parametrize(
    "garbage",
    [
        np.zeros(LENGTH + 1, np.uint32),
        np.zeros(LENGTH - 1, np.uint32),
        np.zeros(0, np.uint32),
        np.zeros(LENGTH, np.float32),
        np.zeros(LENGTH, np.int32),
        np.zeros((1, LENGTH), np.uint32),
        np.zeros(LENGTH, ">u4"),
    ],
)
def test_the_coordinator_refuses_a_vector_of_another_length_or_type(garbage: np.ndarray) -> None:
    f = federation().until("mask")
    context, identity = f.coordinator.roster.context(), f.parties[A].identity
    masked = Masked.signed(identity, context, site=A, vector=garbage)
    with pytest.raises(ProtocolError, match="vector of site_00: got"):
        f.coordinator.add_masked(masked)


def test_the_coordinator_refuses_a_vector_that_was_altered_or_replayed() -> None:
    first = federation().until("mask")
    replayed = first.masked(A, np.zeros(LENGTH, np.uint32))
    f = again(first).until("mask")
    masked = f.masked(A, np.zeros(LENGTH, np.uint32))
    altered = masked.vector.copy()
    altered[3] += 1
    with pytest.raises(VerificationError, match="another digest than the vector's"):
        f.coordinator.add_masked(replace(masked, vector=altered))
    with pytest.raises(VerificationError, match="another digest than the vector's"):
        f.coordinator.add_masked(replace(masked, digest=bytes(32)))
    for wrong in (replayed, replace(masked, site=B)):
        with pytest.raises(VerificationError, match="masked: signature"):
            f.coordinator.add_masked(wrong)


def test_a_vector_that_comes_late_is_not_added() -> None:
    f = federation().until("mask")
    vectors = random_vectors(list(f.parties), LENGTH, seed=9)
    late = f.masked(D, vectors[D])
    f.mask(vectors, lost=[D])
    with pytest.raises(RuntimeError, match="not at masked"):
        f.coordinator.add_masked(late)
    f.agree()
    opened = f.reveal()
    assert np.array_equal(opened, vectors[A] + vectors[B] + vectors[C])
    assert all(D not in shares.self_shares for shares in f.reveals.values())


def test_the_coordinator_takes_one_true_signature_of_each_contributing_site() -> None:
    f = federation(5)
    f.advertise()
    f.share()
    f.mask(zero_vectors(f.parties, LENGTH), lost=["site_04"])
    signature = agree(f, f.agreement.digests)
    for wrong in (f.agreement.sign(f.parties[B].identity), bytes(64), signature[:63], b""):
        with pytest.raises(VerificationError, match="consistency: signature"):
            f.coordinator.add_signature(A, wrong)
    f.coordinator.add_signature(A, signature)
    with pytest.raises(ProtocolError, match="twice"):
        f.coordinator.add_signature(A, signature)
    with pytest.raises(ProtocolError, match="was not in leg 2"):
        f.coordinator.add_signature("site_04", f.agreement.sign(f.parties["site_04"].identity))


def test_the_coordinator_takes_the_shares_it_asked_for_and_once() -> None:
    f = federation(5)
    f.advertise()
    f.share()
    f.mask(zero_vectors(f.parties, LENGTH), lost=["site_04"])
    f.agree()
    shares = reveal(f, f.signatures)
    fewer = {name: s for name, s in shares.self_shares.items() if name != B}
    for wrong in (
        replace(shares, self_shares=fewer),
        replace(shares, self_shares={**shares.self_shares, "site_04": bytes(32)}),
        replace(shares, pair_shares={}),
        replace(shares, pair_shares={**shares.pair_shares, (A, B): bytes(32)}),
    ):
        with pytest.raises(ProtocolError, match="not those that were asked for"):
            f.coordinator.add_reveal(A, wrong)
    with pytest.raises(ProtocolError, match="did not sign in leg 3"):
        f.coordinator.add_reveal("site_04", shares)
    f.coordinator.add_reveal(A, shares)
    with pytest.raises(ProtocolError, match="twice"):
        f.coordinator.add_reveal(A, shares)


def opened_with_liars(count: int, liars: Collection[str], lost: Collection[str]) -> None:
    """Runs an attempt in which some sites reveal garbage; the sum must be right all the same."""
    f = Federation(make_parties(count), make_terms(LENGTH))
    vectors = random_vectors(list(f.parties), LENGTH, seed=count)
    f.advertise()
    f.share()
    f.mask(vectors, lost=lost)
    f.agree()
    for name in f.signatures:
        shares = reveal(f, f.signatures, name)
        if name in liars:
            shares = Reveal(
                self_shares=dict.fromkeys(shares.self_shares, b"lie!" * 8),
                pair_shares=dict.fromkeys(shares.pair_shares, b"lie!" * 8),
            )
        f.coordinator.add_reveal(name, shares)
    opened = f.coordinator.open()
    kept = [vectors[name] for name in vectors if name not in lost]
    assert np.array_equal(opened, np.sum(kept, axis=0, dtype=np.uint32))


@pytest.mark.parametrize(
    ("count", "liars", "lost"),
    [(4, [A], []), (4, [D], []), (7, [A, B], []), (7, [B], [A]), (10, [A, C], ["site_09"])],
)
def test_wrong_shares_are_noticed_and_the_sum_opened_by_others(
    count: int, liars: list[str], lost: list[str]
) -> None:
    opened_with_liars(count, liars, lost)


def test_one_liar_does_not_void_a_large_round_wherever_its_name_sorts() -> None:
    # With 32 sites the first thousands of subsets in order all contain the first site.
    opened_with_liars(32, [A], [])


def test_too_many_wrong_shares_void_the_round() -> None:
    with pytest.raises(RoundError, match="do not open its commitment"):
        opened_with_liars(4, [A, B], [])


def test_a_dealer_that_shared_a_wrong_pair_seed_is_bypassed_through_the_other_dealer() -> None:
    f = federation().until("mask")
    vectors = random_vectors(list(f.parties), LENGTH, seed=4)
    f.mask(vectors, lost=[D])
    f.agree()
    for name in f.signatures:
        shares = reveal(f, f.signatures, name)
        wrong = {pair: bytes(32) for pair in shares.pair_shares if pair[0] == D}
        f.coordinator.add_reveal(name, replace(shares, pair_shares={**shares.pair_shares, **wrong}))
    opened = f.coordinator.open()
    assert np.array_equal(opened, vectors[A] + vectors[B] + vectors[C])


def test_a_pair_seed_that_both_dealers_shared_wrongly_voids_the_round() -> None:
    f = federation().until("mask")
    f.mask(zero_vectors(f.parties, LENGTH), lost=[D])
    f.agree()
    for name in f.signatures:
        shares = reveal(f, f.signatures, name)
        f.coordinator.add_reveal(
            name, replace(shares, pair_shares=dict.fromkeys(shares.pair_shares, bytes(32)))
        )
    with pytest.raises(RoundError, match="open no commitment"):
        f.coordinator.open()


def test_the_coordinator_s_legs_out_of_order_are_our_own_mistake() -> None:
    f = federation()
    core = f.coordinator
    for too_early in (
        core.close_shared,
        core.close_masked,
        core.close_signatures,
        core.open,
        lambda: core.roster,
        lambda: core.agreement,
        lambda: core.add_signature(A, bytes(64)),
    ):
        with pytest.raises(RuntimeError):
            too_early()
    f.run(zero_vectors(f.parties, LENGTH))
    for too_late in (
        core.close_adverts,
        core.open,
        lambda: core.add_advert(f.adverts[0]),
        lambda: core.add_shared(f.shared[A]),
        lambda: core.add_reveal(A, f.reveals[A]),
    ):
        with pytest.raises(RuntimeError, match="this attempt is at opened"):
            too_late()
