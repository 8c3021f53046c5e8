"""One attempt at one secure sum over the wire: the five legs, in order, as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround_common.encoding import pack, pack_table, unpack
from wardround_common.errors import ProtocolError, RoundError
from wardround_common.masking import Words
from wardround_common.messages import Reply, Ticket, Vectors, pack_mask_request
from wardround_common.plan import Aggregation
from wardround_common.secagg.coordinator import CoordinatorRound
from wardround_common.secagg.records import Masked, Reveal, Shared
from wardround_common.secagg.terms import Advert, Terms
from wardround_server.peers import Ask, LegTally, Peers


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What happened in one attempt; filled as it goes, so that a void one tells how far it got."""

    terms: Terms
    tallies: dict[str, LegTally] = field(default_factory=dict)
    roster: tuple[str, ...] = ()
    opened_by: tuple[str, ...] = ()
    """Sites whose vectors are in the sum."""
    signing_began: bool = False
    """Once sites were asked to sign a set, the round cannot be tried again."""

    @property
    def leg(self) -> str:
        """The leg that begins it: ``train`` or ``evaluate``."""
        return "train" if self.terms.kind == "train" else "evaluate"

    @property
    def lost(self) -> dict[str, str]:
        """Leg and reason by lost site."""
        return {s: f"{leg}: {why}" for leg, t in self.tallies.items() for s, why in t.lost.items()}


def open_sum(
    peers: Peers, attempt: Attempt, *, ticket: Ticket, arrays: Vectors, rules: Aggregation
) -> Words:
    """Runs all legs of an attempt.

    Args:
        peers: The sites that can be asked.
        attempt: Is filled with what happened.
        ticket: Signed terms of the attempt.
        arrays: The model and what else training needs, by group and name.
        rules: Deadlines.

    Returns:
        uint32, shape (terms.vector_length,): the plain sum over ``attempt.opened_by``.

    Raises:
        RoundError: Too few sites were left at some leg.
    """
    return _Legs(peers, attempt, rules).run(ticket, arrays)


class _Legs:
    def __init__(self, peers: Peers, attempt: Attempt, rules: Aggregation) -> None:
        self._peers, self._attempt, self._rules = peers, attempt, rules
        self._core = CoordinatorRound(attempt.terms, peers.members)

    def run(self, ticket: Ticket, arrays: Vectors) -> Words:
        core, attempt = self._core, self._attempt
        first = Ask(body=ticket.to_bytes(), arrays=arrays)
        self._leg(attempt.leg, dict.fromkeys(self._peers.sites, first), self._add_advert)
        attempt.roster = core.close_adverts().sites
        adverts = Ask(body=pack(*(a.to_bytes() for a in core.roster.adverts.values())))
        self._leg("share", dict.fromkeys(attempt.roster, adverts), self._add_shared)
        tables = core.close_shared()
        packed = tuple(table.to_bytes() for table in tables)
        asks = {
            table.site: Ask(body=pack_mask_request(packed, core.boxes_for(table.site)))
            for table in tables
        }
        self._leg("masked", asks, self._add_masked)
        agreement = core.close_masked()
        attempt.opened_by = tuple(agreement.digests)
        self._require_quorum()
        attempt.signing_began = True
        digests = Ask(body=pack_table(agreement.digests))
        self._leg("consistency", dict.fromkeys(agreement.digests, digests), self._add_signature)
        signatures = core.close_signatures()
        signed = Ask(body=pack_table(signatures))
        self._leg("unmask", dict.fromkeys(signatures, signed), self._add_reveal)
        return core.open()

    def _leg(self, leg: str, asks: Mapping[str, Ask], take: Callable[[Reply], None]) -> None:
        tally = self._attempt.tallies.setdefault(leg, LegTally())
        training = leg in ("train", "evaluate")
        deadline_s = self._rules.train_deadline_s if training else self._rules.leg_deadline_s
        for reply in self._peers.ask(leg, asks, deadline_s=deadline_s, tally=tally):
            try:
                take(reply)
            except ProtocolError as error:
                tally.lost[reply.site] = type(error).__name__

    def _require_quorum(self) -> None:
        contributing = set(self._attempt.opened_by)
        missing = set(self._rules.required_sites) - contributing
        if missing:
            raise RoundError(f"quorum: required site {sorted(missing)[0]} did not contribute")

    def _add_advert(self, reply: Reply) -> None:
        advert = Advert.from_bytes(reply.body)
        _require_own(advert.site, reply)
        self._core.add_advert(advert)

    def _add_shared(self, reply: Reply) -> None:
        shared = Shared.from_bytes(reply.body)
        _require_own(shared.commitments.site, reply)
        self._core.add_shared(shared)

    def _add_masked(self, reply: Reply) -> None:
        digest, signature = unpack(reply.body, count=2)
        vector = reply.arrays.get("masked", {}).get("words")
        if vector is None or vector.dtype != np.uint32:
            raise ProtocolError("vector: missing, or not of 32-bit words")
        words: Words = vector.view(np.uint32)
        self._core.add_masked(
            Masked(site=reply.site, digest=digest, signature=signature, vector=words)
        )

    def _add_signature(self, reply: Reply) -> None:
        self._core.add_signature(reply.site, reply.body)

    def _add_reveal(self, reply: Reply) -> None:
        self._core.add_reveal(reply.site, Reveal.from_bytes(reply.body))


def _require_own(site: str, reply: Reply) -> None:
    if site != reply.site:
        raise ProtocolError(f"record of {site!r} came from {reply.site}")
