"""One attempt at a secure sum without a wire: every site and the coordinator in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from wardround_common.identity import Identity
from wardround_common.masking import Words
from wardround_common.secagg import session as session_side
from wardround_common.secagg import site as site_side
from wardround_common.secagg.coordinator import CoordinatorRound
from wardround_common.secagg.records import Commitments, Facts, Masked, Reveal, Shared
from wardround_common.secagg.terms import Terms

_FEWEST_OPENED = 3


@dataclass(slots=True)
class _Ledger:
    facts: dict[bytes, Facts] = field(default_factory=dict)

    def load(self, run: bytes) -> Facts:
        return self.facts.get(run, Facts())

    def save(self, run: bytes, facts: Facts) -> None:
        self.facts[run] = facts


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Everybody after leg 1, ready to mask."""

    parties: dict[str, session_side.Party]
    sessions: dict[str, session_side.Session]
    core: CoordinatorRound
    tables: tuple[Commitments, ...]
    small_bytes: int
    """What one site has sent besides its vector so far."""

    def mask(self, name: str, vector: Words) -> Masked:
        """Leg 2 of one site; masks ``vector`` in place."""
        self.sessions[name], masked = self._masked(self.parties[name], vector)
        return masked

    def rehearse_mask(self, name: str) -> Callable[[Words], object]:
        """Leg 2 of one site on a copy of its ledger, so that it can be done again."""
        party = self.parties[name]
        return partial(self._masked, replace(party, ledger=copy.deepcopy(party.ledger)))

    def _masked(
        self, party: session_side.Party, vector: Words
    ) -> tuple[session_side.Session, Masked]:
        boxes, session = self.core.boxes_for(party.site), self.sessions[party.site]
        return site_side.mask(party, session, tables=self.tables, boxes=boxes, vector=vector)


def meet(sites: int, *, vector_length: int) -> Attempt:
    """Legs 0 and 1 among ``sites`` new sites with real keys."""
    terms = Terms(
        study_sha256=bytes(32),
        run=bytes(16),
        round=1,
        attempt=0,
        kind="train",
        step=0,
        model_sha256=bytes(32),
        layout_sha256=bytes(32),
        vector_length=vector_length,
        maximum_sites=sites,
        minimum_opened=_FEWEST_OPENED,
    )
    identities = {f"site_{number:02}": Identity.generate() for number in range(sites)}
    members = {name: identity.public_key for name, identity in identities.items()}
    parties = {
        name: session_side.Party(site=name, identity=identity, members=members, ledger=_Ledger())
        for name, identity in identities.items()
    }
    core, sessions, small_bytes = CoordinatorRound(terms, members), {}, 0
    for name, party in parties.items():
        sessions[name], advert = site_side.advertise(party, terms)
        core.add_advert(advert)
        small_bytes = len(advert.to_bytes())
    adverts = list(core.close_adverts().adverts.values())
    shared: Shared | None = None
    for name, party in parties.items():
        sessions[name], shared = site_side.share(party, sessions[name], adverts)
        core.add_shared(shared)
    return Attempt(
        parties=parties,
        sessions=sessions,
        core=core,
        tables=core.close_shared(),
        small_bytes=small_bytes + (len(shared.to_bytes()) if shared else 0),
    )


def agree_and_reveal(attempt: Attempt) -> int:
    """Legs 3 and 4 of every site whose vector was added; afterwards the sum can be opened.

    Returns:
        Bytes that one site sent in legs 2 to 4 besides its vector.
    """
    core, sessions = attempt.core, attempt.sessions
    digests = core.close_masked().digests
    for name in digests:
        party = attempt.parties[name]
        sessions[name], signature = site_side.agree(party, sessions[name], digests)
        core.add_signature(name, signature)
    signatures = core.close_signatures()
    reveal = Reveal(self_shares={}, pair_shares={})
    for name in signatures:
        party = attempt.parties[name]
        sessions[name], reveal = site_side.reveal(party, sessions[name], signatures)
        core.add_reveal(name, reveal)
    digest_and_two_signatures_bytes = 32 + 64 + 64
    return len(reveal.to_bytes()) + digest_and_two_signatures_bytes
