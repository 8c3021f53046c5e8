"""What a hostile coordinator, network or site may try in legs 3 and 4, and who stops it.

Each test falls when the check that it is about is taken away.
"""

from __future__ import annotations

from collections.abc import Callable
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
    Full,
    again,
    agree,
    federation,
    mask,
    reveal,
    share,
    without,
)

from wardround_common.errors import (
    PolicyError,
    ProtocolError,
    StateError,
    VerificationError,
)
from wardround_common.secagg import site
from wardround_common.secagg.session import Session

# Leg 3: the set that may be opened


@pytest.mark.parametrize("stranger", ["site_04", "site_99"])
def test_a_set_with_a_site_that_sent_no_commitments_is_not_signed(stranger: str) -> None:
    f = federation(5)
    f.advertise()
    f.share(lost=["site_04"])
    f.mask(zero_vectors(f.parties, LENGTH))
    with pytest.raises(ProtocolError, match="was not in leg 2"):
        agree(f, f.agreement.digests | {stranger: bytes(32)})


def test_a_set_without_ourselves_is_not_signed() -> None:
    f = federation().until("agree")
    digests = {name: digest for name, digest in f.agreement.digests.items() if name != A}
    with pytest.raises(VerificationError, match="our own vector is missing or was altered"):
        agree(f, digests)


def test_a_set_with_another_vector_of_ours_is_not_signed() -> None:
    f = federation().until("agree")
    with pytest.raises(VerificationError, match="our own vector is missing or was altered"):
        agree(f, dict(f.agreement.digests) | {A: bytes(32)})


@pytest.mark.parametrize(
    ("count", "opened", "kept", "least"), [(7, 3, 4, 5), (7, 7, 6, 7), (4, 3, 2, 3)]
)
def test_too_small_a_set_is_not_signed(count: int, opened: int, kept: int, least: int) -> None:
    f = federation(count, minimum_opened=opened).until("agree")
    digests = dict(list(f.agreement.digests.items())[:kept])
    expected = f"consistency: got {kept} sites, expected at least {least}"
    with pytest.raises(ProtocolError, match=expected):
        agree(f, digests)


def test_within_an_attempt_no_second_set_is_signed() -> None:
    f = federation().until("agree")
    f.sessions[A], _ = site.agree(f.parties[A], f.sessions[A], without(f, D))
    for digests in (without(f, C), without(f, D)):
        with pytest.raises(ProtocolError, match="leg out of order"):
            agree(f, digests)


def test_within_an_attempt_no_second_set_is_signed_after_a_restart_from_older_memory() -> None:
    f = federation().until("agree")
    agree(f, without(f, D))  # the session that knows of it is lost
    for digests in (without(f, C), without(f, D)):
        with pytest.raises(StateError, match="ledger: changed"):
            agree(f, digests)


def test_across_attempts_no_second_set_is_signed() -> None:
    first = federation().until("agree")
    agree(first, without(first, D))
    second = again(first).until("agree")
    for digests in (without(second, C), second.agreement.digests):
        with pytest.raises(PolicyError, match="another set was signed here before"):
            agree(second, digests)
    agree(second, without(second, D))


def test_a_new_round_may_have_another_set() -> None:
    first = federation().until("agree")
    agree(first, without(first, D))
    second = again(first, round=2, attempt=0).until("agree")
    agree(second, without(second, C))


def test_what_is_signed_stands_in_the_ledger() -> None:
    f = federation().until("agree")
    agree(f, without(f, D))
    facts = f.parties[A].ledger.load(f.terms.run)
    assert (facts.signed_round, facts.signed_sites, facts.opened_round) == (1, (A, B, C), 0)


def test_a_ledger_that_was_rolled_back_before_signing_stops_the_attempt() -> None:
    f = federation()
    before = dict(f.parties[A].ledger.facts)
    f.until("agree")
    f.parties[A].ledger.facts = before
    with pytest.raises(StateError, match="was a backup restored"):
        agree(f, f.agreement.digests)


def test_an_attempt_that_was_given_up_for_a_later_one_is_not_signed() -> None:
    f = federation().until("agree")
    site.advertise(f.parties[A], replace(f.terms, attempt=1))
    with pytest.raises(StateError, match="ledger: changed"):
        agree(f, f.agreement.digests)


# Leg 4: opening


def test_shares_of_one_kind_only_are_revealed_for_each_site() -> None:
    f = federation(7)
    f.advertise()
    f.share()
    f.mask(random_vectors(list(f.parties), LENGTH, seed=3), lost=["site_05"])
    f.agree()
    f.reveal()
    kept = set(f.parties) - {"site_05"}
    for shares in f.reveals.values():
        assert set(shares.self_shares) == kept
        assert {pair for pair in shares.pair_shares if "site_05" not in pair} == set()
        assert len(shares.pair_shares) == 2 * len(kept)


def test_the_shares_of_a_site_are_never_revealed_for_two_sets() -> None:
    f = federation().until("reveal")
    f.sessions[A], _ = site.reveal(f.parties[A], f.sessions[A], f.signatures)
    with pytest.raises(ProtocolError, match="leg out of order"):
        reveal(f, f.signatures)


def test_two_sets_in_one_attempt_open_nothing() -> None:
    # Sites 0 to 2 sign a set without site 4, sites 3 and 4 one without site 0.
    f = federation(5).until("agree")
    left, right = without(f, "site_04"), without(f, A)
    signatures = {}
    for name in f.parties:
        shown = right if name in (D, "site_04") else left
        f.sessions[name], signatures[name] = site.agree(f.parties[name], f.sessions[name], shown)
    for name in (A, D):
        for tried in (
            {peer: signatures[peer] for peer in (A, B, C, D)},
            {peer: signatures[peer] for peer in (B, C, D)},
            {peer: signatures[peer] for peer in (A, B, C)},
            {peer: signatures[peer] for peer in (D, "site_04")},
        ):
            with pytest.raises(ProtocolError, match=r"signature|at least"):
                reveal(f, tried, name)


def test_two_lists_of_commitments_in_one_attempt_open_nothing() -> None:
    # Site 0 masks towards everybody, the others as if site 4 had been lost.
    f = federation(5).until("mask")
    short = [table for table in f.tables if table.site != "site_04"]
    for name in (A, B, C, D):
        f.sessions[name], masked = site.mask(
            f.parties[name],
            f.sessions[name],
            tables=f.tables if name == A else short,
            boxes=f.coordinator.boxes_for(name),
            vector=np.zeros(LENGTH, np.uint32),
        )
        f.coordinator.add_masked(masked)
    digests, signatures = f.coordinator.close_masked().digests, {}
    for name in (A, B, C, D):
        f.sessions[name], signatures[name] = site.agree(f.parties[name], f.sessions[name], digests)
    for name in (A, B):
        with pytest.raises(VerificationError, match="consistency: signature"):
            reveal(f, signatures, name)


def test_fewer_signatures_than_the_threshold_open_nothing() -> None:
    f = federation(7).until("reveal")
    few = dict(list(f.signatures.items())[:4])
    with pytest.raises(ProtocolError, match="got 4 signatures on our set, expected at least 5"):
        reveal(f, few)
    reveal(f, dict(list(f.signatures.items())[:5]))


def test_a_signature_of_a_site_outside_the_set_does_not_count() -> None:
    f = federation(5)
    f.advertise()
    f.share()
    f.mask(zero_vectors(f.parties, LENGTH), lost=["site_04"])
    f.agree()
    extra = f.agreement.sign(f.parties["site_04"].identity)
    with pytest.raises(ProtocolError, match="outside the agreed set"):
        reveal(f, f.signatures | {"site_04": extra})


def test_a_signature_under_another_site_s_name_does_not_count() -> None:
    f = federation().until("reveal")
    with pytest.raises(VerificationError, match="consistency: signature"):
        reveal(f, dict(f.signatures) | {B: f.signatures[C]})


def test_signatures_of_another_attempt_do_not_count() -> None:
    first = federation().until("reveal")
    second = again(first).until("reveal")
    with pytest.raises(VerificationError, match="consistency: signature"):
        reveal(second, first.signatures)


def test_a_crash_between_signing_and_revealing_loses_nothing_and_repeats_nothing() -> None:
    f = federation().until("reveal")
    stored = f.sessions[A].to_bytes()
    f.sessions[A] = Session.from_bytes(stored)
    first = reveal(f, f.signatures)
    assert set(first.self_shares) == set(f.parties)
    f.sessions[A] = Session.from_bytes(stored)  # the crash came after the shares had left
    with pytest.raises(StateError, match="ledger: changed"):
        reveal(f, f.signatures)


def test_a_ledger_that_was_rolled_back_before_revealing_stops_the_attempt() -> None:
    f = federation().until("agree")
    before = dict(f.parties[A].ledger.facts)
    f.agree()
    f.parties[A].ledger.facts = before
    with pytest.raises(StateError, match="was a backup restored"):
        reveal(f, f.signatures)


def test_a_round_is_opened_once_even_if_the_session_says_otherwise() -> None:
    f = federation().until("reveal")
    facts = replace(f.sessions[A].facts, opened_round=f.terms.round)
    f.parties[A].ledger.save(f.terms.run, facts)
    f.sessions[A] = replace(f.sessions[A], facts=facts)
    with pytest.raises(PolicyError, match="was opened here before"):
        reveal(f, f.signatures)


def test_that_a_round_was_opened_stands_in_the_ledger() -> None:
    f = federation().until("reveal")
    reveal(f, f.signatures)
    assert f.parties[A].ledger.load(f.terms.run).opened_round == 1


def test_secrets_are_gone_from_the_session_after_revealing() -> None:
    f = federation().until("reveal")
    secret = f.sessions[A]
    done, _ = site.reveal(f.parties[A], secret, f.signatures)
    left = done.to_bytes()
    for value in (secret.mask_private, secret.transport_private, secret.self_seed):
        assert value in secret.to_bytes()
        assert value not in left
    assert all(share[:32] not in left for share in secret.received.values())


# Any leg


@pytest.mark.parametrize("phase", ["advertised", "shared", "masked", "signed", "done"])
def test_a_leg_out_of_order_is_refused(phase: str) -> None:
    f = federation().until("reveal")
    f.sessions[A] = replace(f.sessions[A], phase=phase)
    legs: dict[str, Callable[[], object]] = {
        "advertised": lambda: share(f, f.adverts),
        "shared": lambda: mask(f, f.tables),
        "masked": lambda: agree(f, f.agreement.digests),
        "signed": lambda: reveal(f, f.signatures),
    }
    for expected, leg in legs.items():
        if expected != phase:
            with pytest.raises(ProtocolError, match=f"this site is {phase}, expected {expected}"):
                leg()


def test_a_session_never_shows_its_secrets() -> None:
    session = federation().until("reveal").sessions[A]
    assert repr(session) == "Session(signed, round 1, attempt 0)"


def test_nothing_is_sent_when_the_ledger_cannot_be_written() -> None:
    f = federation().until("agree")
    for step in (
        lambda party: site.advertise(party, replace(f.terms, round=2)),
        lambda party: site.agree(party, f.sessions[A], f.agreement.digests),
    ):
        with pytest.raises(OSError):
            step(replace(f.parties[A], ledger=Full(dict(f.parties[A].ledger.facts))))
    f.agree()
    with pytest.raises(OSError):
        site.reveal(
            replace(f.parties[A], ledger=Full(dict(f.parties[A].ledger.facts))),
            f.sessions[A],
            f.signatures,
        )


def test_a_set_without_a_required_site_is_not_signed() -> None:
    parties = make_parties(4)
    names = list(parties)
    strict = {
        name: replace(party, required_sites=frozenset({names[3]}))
        for name, party in parties.items()
    }
    federation = Federation(strict, make_terms(5))
    with pytest.raises(ProtocolError, match="requires is missing"):
        federation.run(random_vectors(names, 5, seed=1), lost={"mask": [names[3]]})


def test_one_models_evaluation_is_signed_for_one_set_only_even_in_another_run() -> None:
    parties = make_parties(4)
    names = list(parties)
    vectors = random_vectors(names, 5, seed=1)
    Federation(parties, make_terms(5, kind="test")).run(vectors)
    again = make_terms(5, kind="test", run=b"2" * 16)
    with pytest.raises(PolicyError, match="another set was signed"):
        Federation(parties, again).run(vectors, lost={"mask": [names[0]]})
    other_model = make_terms(5, kind="test", run=b"3" * 16, model_sha256=b"n" * 32)
    Federation(parties, other_model).run(vectors, lost={"mask": [names[0]]})
