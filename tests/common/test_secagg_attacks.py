"""What a hostile coordinator, network or site may try in legs 0 to 2, and who stops it.

Each test falls when the check that it is about is taken away.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.common.federation import (
    Federation,
    MemoryLedger,
    make_parties,
    make_terms,
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
    federation,
    mask,
    own_advert,
    put,
    resigned,
    share,
)
from tests.vectors.loading import published

from wardround_common.encoding import pack
from wardround_common.errors import (
    PolicyError,
    ProtocolError,
    StateError,
    VerificationError,
)
from wardround_common.identity import Identity
from wardround_common.secagg import keys, site
from wardround_common.secagg.records import Commitments
from wardround_common.secagg.terms import Advert, Roster, Terms

LOW_ORDER = bytes.fromhex(published()["x25519_low_order"]["public"][2])


# Leg 0: joining


def test_a_round_that_was_opened_here_is_never_joined_again() -> None:
    done = federation()
    done.run(zero_vectors(done.parties, LENGTH))
    for attempt in (1, 2, 1000):
        with pytest.raises(PolicyError, match="was opened here before"):
            site.advertise(done.parties[A], replace(done.terms, attempt=attempt))
    site.advertise(done.parties[A], replace(done.terms, round=2))


@pytest.mark.parametrize(("round_", "attempt"), [(5, 2), (5, 1), (5, 0), (4, 9), (0, 0)])
def test_an_attempt_is_joined_once_and_never_an_earlier_one(round_: int, attempt: int) -> None:
    party = make_parties(3)[A]
    terms = make_terms(LENGTH, round=5, attempt=2)
    site.advertise(party, terms)
    with pytest.raises(PolicyError, match=r"was joined before|was opened here before"):
        site.advertise(party, replace(terms, round=round_, attempt=attempt))


def test_the_ledgers_of_two_runs_are_apart() -> None:
    party = make_parties(3)[A]
    site.advertise(party, make_terms(LENGTH, round=5))
    site.advertise(party, make_terms(LENGTH, round=1, run=b"q" * 16))
    assert party.ledger.load(b"r" * 16).round == 5


def test_keys_are_fresh_in_every_attempt() -> None:
    f = federation().until("share")
    second = again(f).until("share")
    used = [a.mask_key for a in f.adverts + second.adverts]
    used += [a.transport_key for a in f.adverts + second.adverts]
    assert len(set(used)) == len(used)


# Leg 1: the roster


@pytest.mark.parametrize("field", ["mask_key", "transport_key"])
def test_a_key_that_the_coordinator_put_in_place_of_a_site_s_is_refused(field: str) -> None:
    f = federation().until("share")
    forged = replace(f.adverts[1], **{field: keys.public_key(b"c" * 32)})
    with pytest.raises(VerificationError, match="advert: signature"):
        share(f, put(f.adverts, forged))


def test_an_advert_signed_by_another_member_is_refused() -> None:
    f = federation().until("share")
    pair = f.adverts[1].mask_key, f.adverts[1].transport_key
    foreign = Advert.signed(f.parties[C].identity, B, keys=pair, base=f.adverts[1].base)
    with pytest.raises(VerificationError, match="advert: signature"):
        share(f, put(f.adverts, foreign))


def test_an_unsigned_advert_is_refused() -> None:
    f = federation().until("share")
    with pytest.raises(VerificationError):
        share(f, put(f.adverts, replace(f.adverts[1], signature=bytes(64))))


def test_a_stranger_in_the_roster_is_refused_though_it_signs_correctly() -> None:
    f = federation().until("share")
    stranger = Identity.generate()
    pair = keys.public_key(b"1" * 32), keys.public_key(b"2" * 32)
    advert = Advert.signed(stranger, "stranger", keys=pair, base=f.terms.base())
    with pytest.raises(ProtocolError, match="no member of the study"):
        share(f, [*f.adverts, advert])


def test_a_site_that_stands_twice_in_the_roster_is_refused() -> None:
    f = federation().until("share")
    with pytest.raises(ProtocolError, match="twice"):
        share(f, [*f.adverts, f.adverts[1]])


def test_one_mask_key_for_two_sites_is_refused() -> None:
    f = federation().until("share")
    copied = own_advert(f, B, mask_key=f.adverts[2].mask_key)
    with pytest.raises(ProtocolError, match="one mask key for two sites"):
        share(f, put(f.adverts, copied))


def test_a_roster_beyond_the_ring_s_limit_is_refused() -> None:
    f = federation(4, maximum_sites=4).until("share")
    narrow = {
        name: replace(s, terms=replace(f.terms, maximum_sites=3)) for name, s in f.sessions.items()
    }
    base = narrow[A].terms.base()
    adverts = [
        Advert.signed(
            f.parties[a.site].identity, a.site, keys=(a.mask_key, a.transport_key), base=base
        )
        for a in f.adverts
    ]
    with pytest.raises(ProtocolError, match="at most 3"):
        site.share(f.parties[A], narrow[A], adverts)


@pytest.mark.parametrize("kept", [1, 2])
def test_a_roster_below_the_smallest_sum_is_refused(kept: int) -> None:
    f = federation().until("share")
    with pytest.raises(ProtocolError, match=f"adverts: got {kept} sites, expected at least 3"):
        share(f, f.adverts[:kept])


def test_a_roster_below_the_study_s_own_smallest_sum_is_refused() -> None:
    f = federation(5, minimum_opened=5).until("share")
    with pytest.raises(ProtocolError, match="adverts: got 4 sites, expected at least 5"):
        share(f, f.adverts[:4])


def test_a_roster_without_the_own_advert_is_refused() -> None:
    f = federation().until("share")
    with pytest.raises(VerificationError, match="our own is missing or was altered"):
        share(f, f.adverts[1:])


@pytest.mark.parametrize("field", ["mask_key", "transport_key"])
def test_an_own_advert_with_an_older_key_is_refused(field: str) -> None:
    f = federation().until("share")
    older = own_advert(f, A, **{field: keys.public_key(b"o" * 32)})
    with pytest.raises(VerificationError, match="our own is missing or was altered"):
        share(f, put(f.adverts, older))


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 1},
        {"round": 2},
        {"run": b"q" * 16},
        {"model_sha256": b"n" * 32},
        {"study_sha256": b"t" * 32},
        {"layout_sha256": b"k" * 32},
        {"kind": "validation"},
        {"step": 10},
        {"minimum_opened": 4},
    ],
)
def test_an_advert_for_other_terms_is_refused(change: dict[str, object]) -> None:
    # Replayed from another attempt, round or run; or made for another model than ours.
    f = federation().until("share")
    party = replace(f.parties[B], ledger=MemoryLedger())
    _, other = site.advertise(party, replace(f.terms, **change))
    with pytest.raises(VerificationError, match="other terms than ours"):
        share(f, put(f.adverts, other))


def test_a_peer_s_key_of_low_order_is_refused() -> None:
    f = federation().until("share")
    for field in ("mask_key", "transport_key"):
        with pytest.raises(VerificationError, match="low-order"):
            share(f, put(f.adverts, own_advert(f, B, **{field: LOW_ORDER})))


def test_sites_that_were_given_different_models_never_send_a_vector() -> None:
    parties = make_parties(6)
    halves = []
    for model, names in ((b"m" * 32, (0, 1, 2)), (b"n" * 32, (3, 4, 5))):
        chosen = {f"site_{k:02}": parties[f"site_{k:02}"] for k in names}
        halves.append(Federation(chosen, make_terms(LENGTH, model_sha256=model)).until("share"))
    adverts = halves[0].adverts + halves[1].adverts
    for half in halves:
        for name in half.parties:
            with pytest.raises(VerificationError, match="other terms than ours"):
                share(half, adverts, name)


# Leg 2: commitments and boxes


def split_roster() -> tuple[Federation, list[Commitments]]:
    """Sites 0 to 2 are shown a roster without site 4, sites 3 and 4 the whole one."""
    f = federation(5).until("share")
    tables = []
    for name in f.parties:
        shown = f.adverts[:4] if name in (A, B, C) else f.adverts
        f.sessions[name], shared = site.share(f.parties[name], f.sessions[name], shown)
        f.shared[name] = shared
        tables.append(shared.commitments)
    return f, tables


@pytest.mark.parametrize("name", [A, D])
def test_a_roster_split_between_sites_is_noticed_before_a_vector_leaves(name: str) -> None:
    f, tables = split_roster()
    boxes = {peer: s.boxes[name] for peer, s in f.shared.items() if name in s.boxes}
    shown = [t for t in tables if t.site != "site_04"] if name == A else tables
    with pytest.raises(VerificationError, match="commitments: signature"):
        site.mask(
            f.parties[name],
            f.sessions[name],
            tables=shown,
            boxes=boxes,
            vector=np.zeros(LENGTH, np.uint32),
        )


def tables_with(f: Federation, *changed: Commitments) -> list[Commitments]:
    return list(({t.site: t for t in f.tables} | {t.site: t for t in changed}).values())


def test_a_peer_that_commits_to_another_pair_seed_is_refused_before_a_vector_leaves() -> None:
    f = federation().until("mask")
    pairs = dict(f.tables[1].pairs) | {
        A: keys.commit_pair(f.coordinator.roster.context(), b"x" * 32)
    }
    with pytest.raises(VerificationError, match="site_01 does not share our pair seed"):
        mask(f, tables_with(f, resigned(f, f.tables[1], pairs=pairs)))


@pytest.mark.parametrize("field", ["own", "pairs", "signature"])
def test_a_peer_s_commitments_that_were_altered_on_the_way_are_refused(field: str) -> None:
    f = federation().until("mask")
    values = {
        "own": bytes(32),
        "pairs": dict(f.tables[1].pairs) | {C: bytes(32)},
        "signature": bytes(64),
    }
    with pytest.raises(VerificationError, match="commitments: signature"):
        mask(f, tables_with(f, replace(f.tables[1], **{field: values[field]})))


def test_commitments_of_another_attempt_are_refused() -> None:
    first = federation().until("mask")
    second = again(first).until("mask")
    with pytest.raises(VerificationError, match="commitments: signature"):
        mask(second, tables_with(second, first.tables[1]))


def test_a_table_twice_is_refused() -> None:
    f = federation().until("mask")
    with pytest.raises(ProtocolError, match="twice or one outside the roster"):
        mask(f, [*f.tables, f.tables[1]])


def test_a_table_of_a_member_outside_the_roster_is_refused() -> None:
    f = federation(5)
    f.advertise(lost=["site_04"])
    f.share()
    outside = Commitments.signed(
        f.parties["site_04"].identity,
        f.coordinator.roster.context(),
        site="site_04",
        pairs={A: bytes(32)},
        own=bytes(32),
    )
    with pytest.raises(ProtocolError, match="twice or one outside the roster"):
        mask(f, [*f.tables, outside])


@pytest.mark.parametrize("extra", [{}, {"site_09": bytes(32)}])
def test_commitments_that_do_not_cover_the_roster_are_refused(extra: dict[str, bytes]) -> None:
    f = federation().until("mask")
    pairs = dict(f.tables[1].pairs) | extra
    if not extra:
        del pairs[C]
    with pytest.raises(ProtocolError, match="not for this roster"):
        mask(f, tables_with(f, resigned(f, f.tables[1], pairs=pairs)))


def test_too_few_commitments_are_refused() -> None:
    f = federation(7).until("mask")
    with pytest.raises(ProtocolError, match="commitments: got 4 sites, expected at least 5"):
        mask(f, f.tables[:4])


def test_commitments_without_the_own_ones_are_refused() -> None:
    f = federation().until("mask")
    with pytest.raises(VerificationError, match="our own are missing or were altered"):
        mask(f, f.tables[1:])


@pytest.mark.parametrize("field", ["own", "pairs"])
def test_own_commitments_with_another_content_are_refused_though_signed_here(field: str) -> None:
    # What a site's key signed twice, for instance after its memory was restored.
    f = federation().until("mask")
    value: object = bytes(32)
    if field == "pairs":
        value = dict(f.tables[0].pairs) | {C: bytes(32)}
    with pytest.raises(VerificationError, match="our own are missing or were altered"):
        mask(f, tables_with(f, resigned(f, f.tables[0], **{field: value})))


def test_boxes_that_were_swapped_between_senders_are_refused() -> None:
    f = federation().until("mask")
    boxes = f.coordinator.boxes_for(A)
    with pytest.raises(VerificationError, match="does not open"):
        mask(f, f.tables, **{B: boxes[C], C: boxes[B]})


def test_a_box_for_another_site_is_refused() -> None:
    f = federation().until("mask")
    with pytest.raises(VerificationError, match="does not open"):
        mask(f, f.tables, **{B: f.shared[B].boxes[C]})


def test_a_box_of_another_attempt_is_refused() -> None:
    first = federation().until("mask")
    second = again(first).until("mask")
    with pytest.raises(VerificationError, match="does not open"):
        mask(second, second.tables, **{B: first.shared[B].boxes[A]})


def test_a_missing_box_is_refused() -> None:
    f = federation().until("mask")
    boxes = f.coordinator.boxes_for(A)
    del boxes[B]
    with pytest.raises(ProtocolError, match="box from site_01: missing"):
        site.mask(
            f.parties[A], f.sessions[A], tables=f.tables, boxes=boxes, vector=np.zeros(8, np.uint32)
        )


@pytest.mark.parametrize("size", [0, 32 * 4 - 1, 32 * 4 + 1])
def test_a_box_with_another_number_of_shares_is_refused(size: int) -> None:
    f = federation().until("mask")
    context, private = f.coordinator.roster.context(), f.sessions[B].transport_private
    key = keys.box_key(private, f.adverts[0].transport_key, context=context, sites=(B, A))
    box = keys.seal(key, bytes(size), context=context, sites=(B, A))
    with pytest.raises(ProtocolError, match=f"got a field of {size} bytes, expected 128"):
        mask(f, f.tables, **{B: box})


def test_one_vector_leaves_in_an_attempt_even_after_a_restart_from_older_memory() -> None:
    # Two vectors masked towards different sites would differ by a pair's mask alone: after
    # the round is opened, the coordinator could take every mask off.
    f = federation().until("mask")
    mask(f, f.tables)  # the session that knows of it is lost
    for tables in (f.tables, f.tables[:3]):
        with pytest.raises(StateError, match="ledger: changed"):
            mask(f, tables)


def test_no_vector_leaves_in_an_attempt_that_was_given_up_for_a_later_one() -> None:
    f = federation().until("mask")
    site.advertise(f.parties[A], replace(f.terms, attempt=1))
    with pytest.raises(StateError, match="ledger: changed"):
        mask(f, f.tables)


def test_no_vector_leaves_when_the_ledger_cannot_be_written() -> None:
    f = federation().until("mask")
    f.parties[A] = replace(f.parties[A], ledger=Full(dict(f.parties[A].ledger.facts)))
    with pytest.raises(OSError, match="no space"):
        mask(f, f.tables)


# What binds an attempt together


def test_the_context_differs_with_every_term_and_every_advert() -> None:
    f = federation(5).until("share")
    members = f.parties[A].members
    contexts = {Roster.verified(f.terms, f.adverts, members).context()}
    contexts.add(Roster.verified(f.terms, f.adverts[:4], members).context())
    for field in ("mask_key", "transport_key"):
        other = put(f.adverts, own_advert(f, B, **{field: keys.public_key(b"o" * 32)}))
        contexts.add(Roster.verified(f.terms, other, members).context())
    changes: list[dict[str, object]] = [
        {"study_sha256": b"t" * 32},
        {"run": b"q" * 16},
        {"round": 2},
        {"attempt": 1},
        {"kind": "validation"},
        {"step": 10},
        {"model_sha256": b"n" * 32},
        {"layout_sha256": b"k" * 32},
        {"vector_length": 9},
        {"maximum_sites": 63},
        {"minimum_opened": 4},
    ]
    for change in changes:
        terms = replace(f.terms, **change)
        contexts.add(Roster(terms, {a.site: a for a in f.adverts}).context())
    assert len(contexts) == 4 + len(changes)
    assert len({replace(f.terms, **change).base() for change in changes}) == len(changes)


def test_no_signature_of_one_purpose_serves_another() -> None:
    f = federation().until("reveal")
    table, context = f.tables[0], f.coordinator.roster.context()
    foreign = (f.adverts[0].signature, table.signature, f.signatures[A])
    for signature in foreign:
        if signature != table.signature:
            with pytest.raises(VerificationError):
                replace(table, signature=signature).verify(f.parties[A].members[A], context)
        if signature != f.signatures[A]:
            with pytest.raises(VerificationError):
                f.agreement.verify(f.parties[A].members[A], signature)


def test_terms_travel_in_one_form() -> None:
    terms = make_terms(LENGTH)
    assert Terms.from_bytes(terms.to_bytes()) == terms
    with pytest.raises(ProtocolError):
        Terms.from_bytes(terms.to_bytes() + pack(b""))
