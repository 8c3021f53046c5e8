"""A site's side of one attempt: every rule that protects its update, in one place.

Pure steps: (party, session, what arrived) -> (next session, what to send). A step verifies all
of what arrived before it uses any of it, and raises instead of sending. Based on Bonawitz et al.,
"Practical secure aggregation for privacy-preserving machine learning", CCS 2017, malicious
server variant; the changes are listed in DECISIONS.md and have had no outside review.

Rules, by leg:
    0  advertise  the attempt is later than any joined before; its round was never opened here
    1  share      own advert unmodified; every signature by a pinned key; distinct members; the
                  same terms; at least max(t, T) sites
    2  mask       every commitment signed; each peer commits to the very pair seed we share, which
                  exposes forged keys, split rosters and per-site models before a vector leaves;
                  every box opens; at least max(t, T) sites; stored as sent before it leaves
    3  agree      the set lies within those of leg 2 and contains us with our own vector; at least
                  max(t, T) sites, the required ones among them; stored durably before it is
                  signed; never two sets for a round, nor for the evaluation of one model
    4  reveal     at least t signatures on our very set; stored as opened before a share leaves;
                  one kind of share for each site

Raises ProtocolError when a peer broke a rule (VerificationError when cryptography proves it),
PolicyError for an attempt that may not be joined, StateError when the ledger changed underneath.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace

from wardround_common import shamir
from wardround_common.encoding import exactly, pack
from wardround_common.errors import PolicyError, ProtocolError, StateError, VerificationError
from wardround_common.masking import SEED_BYTES, Words, add_masks
from wardround_common.secagg import keys
from wardround_common.secagg.records import (
    Agreement,
    Commitments,
    Facts,
    Masked,
    Reveal,
    Shared,
    commitments_sha256,
)
from wardround_common.secagg.session import Party, Session
from wardround_common.secagg.terms import Advert, Roster, Terms


def advertise(party: Party, terms: Terms) -> tuple[Session, Advert]:
    """Leg 0: joins an attempt with fresh keys."""
    facts = party.ledger.load(terms.run)
    if terms.round <= facts.opened_round:
        raise PolicyError(f"round {terms.round}: was opened here before; start a new round")
    if (terms.round, terms.attempt) <= (facts.round, facts.attempt) and facts.round:
        got = f"round {terms.round} attempt {terms.attempt}"
        raise PolicyError(f"{got}: round {facts.round} attempt {facts.attempt} was joined before")
    facts = replace(facts, round=terms.round, attempt=terms.attempt, sent=0)
    party.ledger.save(terms.run, facts)
    private = secrets.token_bytes(32), secrets.token_bytes(32)
    public = keys.public_key(private[0]), keys.public_key(private[1])
    session = Session(
        phase="advertised",
        terms=terms,
        mask_private=private[0],
        transport_private=private[1],
        received={},
        facts=facts,
    )
    return session, Advert.signed(party.identity, party.site, keys=public, base=terms.base())


def share(party: Party, session: Session, adverts: Iterable[Advert]) -> tuple[Session, Shared]:
    """Leg 1: commits to the seeds and seals a share of each for every other site."""
    _require_phase(session, "advertised")
    roster = Roster.verified(session.terms, adverts, party.members)
    _require_own_advert(party, session, roster)
    context, self_seed = roster.context(), secrets.token_bytes(SEED_BYTES)
    pair_seeds = _pair_seeds(party, session, roster)
    secret = self_seed + b"".join(pair_seeds.values())
    shares = shamir.split(
        secret,
        shares=len(roster.sites),
        threshold=roster.threshold,
        random=secrets.token_bytes,
    )
    dealt = {site: shares[point] for point, site in enumerate(roster.sites, start=1)}
    own_share = dealt.pop(party.site)
    boxes = {}
    for peer, part in dealt.items():
        sites = (party.site, peer)
        key = _box_key(session, roster, peer=peer, sites=sites)
        boxes[peer] = keys.seal(key, part, context=context, sites=sites)
    commitments = Commitments.signed(
        party.identity,
        context,
        site=party.site,
        pairs={peer: keys.commit_pair(context, seed) for peer, seed in pair_seeds.items()},
        own=keys.commit_self(context, self_seed),
    )
    session = replace(
        session,
        phase="shared",
        self_seed=self_seed,
        adverts=tuple(advert.to_bytes() for advert in roster.adverts.values()),
        own_share=own_share,
        digest=commitments_sha256([commitments]),
    )
    return session, Shared(commitments=commitments, boxes=boxes)


def mask(
    party: Party,
    session: Session,
    *,
    tables: Iterable[Commitments],
    boxes: Mapping[str, bytes],
    vector: Words,
) -> tuple[Session, Masked]:
    """Leg 2: masks ``vector`` in place towards every site whose commitment fits ours."""
    _require_phase(session, "shared")
    if vector.shape != (session.terms.vector_length,):
        raise ValueError(f"vector: got {vector.shape}, expected ({session.terms.vector_length},)")
    roster = _roster(session)
    context, by_site = roster.context(), _verified_tables(party, roster, tables)
    if party.site not in by_site or commitments_sha256([by_site[party.site]]) != session.digest:
        raise VerificationError("commitments: our own are missing or were altered")
    seeds = _pair_seeds(party, session, roster)
    for peer in by_site:
        if peer != party.site and by_site[peer].pairs[party.site] != keys.commit_pair(
            context, seeds[peer]
        ):
            raise VerificationError(f"commitments: {peer} does not share our pair seed")
    received = {party.site: session.own_share}
    for peer in by_site:
        if peer != party.site:
            received[peer] = _open_box(party, session, roster, peer=peer, boxes=boxes)
    facts = replace(_unchanged_facts(party, session), sent=1)
    party.ledger.save(session.terms.run, facts)  # two vectors of an attempt would tell their masks
    plus = [session.self_seed] + [seeds[p] for p in by_site if p > party.site]
    minus = [seeds[peer] for peer in by_site if peer < party.site]
    add_masks(vector, plus=plus, minus=minus)
    masked = Masked.signed(party.identity, context, site=party.site, vector=vector)
    ordered = tuple(by_site[site].to_bytes() for site in sorted(by_site))
    session = replace(
        session,
        phase="masked",
        tables=ordered,
        received=received,
        digest=masked.digest,
        facts=facts,
    )
    return session, masked


def agree(party: Party, session: Session, digests: Mapping[str, bytes]) -> tuple[Session, bytes]:
    """Leg 3: signs the set of vectors that may be opened."""
    _require_phase(session, "masked")
    roster, tables = _roster(session), [Commitments.from_bytes(t) for t in session.tables]
    if not set(digests) <= {table.site for table in tables}:
        raise ProtocolError("consistency: got a site that was not in leg 2")
    if digests.get(party.site) != session.digest:
        raise VerificationError("consistency: our own vector is missing or was altered")
    roster.require_enough(len(digests), "consistency")
    if not party.required_sites <= set(digests):
        raise ProtocolError("consistency: a site that the study requires is missing")
    _require_one_evaluation(party, session, sites=tuple(sorted(digests)))
    facts, sites = _unchanged_facts(party, session), tuple(sorted(digests))
    if facts.signed_round == session.terms.round and facts.signed_sites != sites:
        raise PolicyError(f"round {session.terms.round}: another set was signed here before")
    facts = replace(facts, signed_round=session.terms.round, signed_sites=sites)
    party.ledger.save(session.terms.run, facts)
    agreement = Agreement(
        context=roster.context(), commitments=commitments_sha256(tables), digests=digests
    )
    signed = replace(session, phase="signed", agreement=agreement.to_bytes(), facts=facts)
    return signed, agreement.sign(party.identity)


def reveal(
    party: Party, session: Session, signatures: Mapping[str, bytes]
) -> tuple[Session, Reveal]:
    """Leg 4: helps to open exactly the agreed set; forgets the attempt's secrets."""
    _require_phase(session, "signed")
    roster, agreement = _roster(session), Agreement.from_bytes(session.agreement)
    if not set(signatures) <= set(agreement.digests):
        raise ProtocolError("unmask: got a signature of a site outside the agreed set")
    for site, signature in signatures.items():
        agreement.verify(party.members[site], signature)
    if len(signatures) < roster.threshold:
        got, least = len(signatures), roster.threshold
        raise ProtocolError(f"unmask: got {got} signatures on our set, expected at least {least}")
    facts = _unchanged_facts(party, session)
    if facts.opened_round >= session.terms.round:
        raise PolicyError(f"round {session.terms.round}: was opened here before")
    facts = replace(facts, opened_round=session.terms.round)
    party.ledger.save(session.terms.run, facts)
    shares = _shares_to_reveal(session, roster, kept=set(agreement.digests))
    blank = bytes(32)
    done = replace(
        session,
        phase="done",
        mask_private=blank,
        transport_private=blank,
        self_seed=b"",
        own_share=b"",
        received={},
        facts=facts,
    )
    return done, shares


def _shares_to_reveal(session: Session, roster: Roster, *, kept: set[str]) -> Reveal:
    lost = set(session.received) - kept
    own = {site: session.received[site][:SEED_BYTES] for site in kept}
    pairs = {}
    for gone in lost:
        for site in kept:
            pairs[gone, site] = _pair_share(session, roster, dealer=gone, other=site)
            pairs[site, gone] = _pair_share(session, roster, dealer=site, other=gone)
    return Reveal(self_shares=own, pair_shares=pairs)


def _pair_share(session: Session, roster: Roster, *, dealer: str, other: str) -> bytes:
    at = SEED_BYTES * (1 + [site for site in roster.sites if site != dealer].index(other))
    return session.received[dealer][at : at + SEED_BYTES]


def _pair_seeds(party: Party, session: Session, roster: Roster) -> dict[str, bytes]:
    context, private = roster.context(), session.mask_private
    return {
        peer: keys.pair_seed(private, advert.mask_key, context=context, sites=(party.site, peer))
        for peer, advert in roster.adverts.items()
        if peer != party.site
    }


def _box_key(session: Session, roster: Roster, *, peer: str, sites: tuple[str, str]) -> bytes:
    private, public = session.transport_private, roster.adverts[peer].transport_key
    return keys.box_key(private, public, context=roster.context(), sites=sites)


def _open_box(
    party: Party, session: Session, roster: Roster, *, peer: str, boxes: Mapping[str, bytes]
) -> bytes:
    if peer not in boxes:
        raise ProtocolError(f"box from {peer}: missing")
    sites = (peer, party.site)
    key = _box_key(session, roster, peer=peer, sites=sites)
    shares = keys.unseal(key, boxes[peer], context=roster.context(), sites=sites)
    return exactly(shares, SEED_BYTES * len(roster.sites))


def _verified_tables(
    party: Party, roster: Roster, tables: Iterable[Commitments]
) -> dict[str, Commitments]:
    context, by_site = roster.context(), dict[str, Commitments]()
    for table in tables:
        if table.site in by_site or table.site not in roster.adverts:
            raise ProtocolError("commitments: got a site twice or one outside the roster")
        table.verify(party.members[table.site], context)
        if set(table.pairs) != set(roster.sites) - {table.site}:
            raise ProtocolError(f"commitments: those of {table.site} are not for this roster")
        by_site[table.site] = table
    roster.require_enough(len(by_site), "commitments")
    return by_site


def _require_own_advert(party: Party, session: Session, roster: Roster) -> None:
    own = roster.adverts.get(party.site)
    public = keys.public_key(session.mask_private), keys.public_key(session.transport_private)
    if own is None or (own.mask_key, own.transport_key) != public:
        raise VerificationError("adverts: our own is missing or was altered")


def _require_one_evaluation(party: Party, session: Session, *, sites: tuple[str, ...]) -> None:
    """Counts of one model on one split are exact: two sets of sites would tell one site's counts.

    So a site signs one set for them in all runs of a study, and keeps that as facts of their own.
    """
    terms = session.terms
    if terms.kind == "train":
        return
    topic = pack(terms.study_sha256, terms.kind, terms.model_sha256)
    key = hashlib.sha256(topic).digest()[:16]
    found = party.ledger.load(key)
    if found.signed_round and found.signed_sites != sites:
        raise PolicyError(f"{terms.kind}: another set was signed for this very model before")
    party.ledger.save(key, replace(found, signed_round=1, signed_sites=sites))


def _require_phase(session: Session, phase: str) -> None:
    if session.phase != phase:
        raise ProtocolError(f"leg out of order: this site is {session.phase}, expected {phase}")


def _roster(session: Session) -> Roster:
    adverts = [Advert.from_bytes(data) for data in session.adverts]
    return Roster(session.terms, {advert.site: advert for advert in adverts})


def _unchanged_facts(party: Party, session: Session) -> Facts:
    facts = party.ledger.load(session.terms.run)
    if facts != session.facts:
        raise StateError("ledger: changed since this attempt began; was a backup restored?")
    return facts
