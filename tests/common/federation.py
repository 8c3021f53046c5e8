"""A whole secure sum in memory: real keys, real masks, any site lost at any leg."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from wardround_common.identity import Identity
from wardround_common.masking import Words
from wardround_common.secagg import session as session_side
from wardround_common.secagg import site as site_side
from wardround_common.secagg.coordinator import CoordinatorRound
from wardround_common.secagg.records import Commitments, Facts, Masked, Reveal, Shared
from wardround_common.secagg.terms import Advert, Terms

LEGS = ("advertise", "share", "mask", "agree", "reveal")

Record = TypeVar("Record", Advert, Commitments)


@dataclass
class MemoryLedger:
    """A ledger that survives as long as the test does."""

    facts: dict[bytes, Facts] = field(default_factory=dict)

    def load(self, run: bytes) -> Facts:
        return self.facts.get(run, Facts())

    def save(self, run: bytes, facts: Facts) -> None:
        self.facts[run] = facts


def make_parties(count: int) -> dict[str, session_side.Party]:
    """``count`` sites that know each other's keys."""
    identities = {f"site_{k:02}": Identity.generate() for k in range(count)}
    members = {name: identity.public_key for name, identity in identities.items()}
    return {
        name: session_side.Party(
            site=name, identity=identity, members=members, ledger=MemoryLedger()
        )
        for name, identity in identities.items()
    }


def make_terms(length: int, **changes: object) -> Terms:
    """Terms of a first attempt with vectors of ``length`` words."""
    fields: dict[str, object] = {
        "study_sha256": b"s" * 32,
        "run": b"r" * 16,
        "round": 1,
        "attempt": 0,
        "kind": "train",
        "step": 0,
        "model_sha256": b"m" * 32,
        "layout_sha256": b"l" * 32,
        "vector_length": length,
        "maximum_sites": 64,
        "minimum_opened": 3,
    }
    return Terms(**(fields | changes))  # type: ignore[arg-type]


def keep_order(names: Iterable[str]) -> list[str]:
    """Arrival in order of names."""
    return sorted(names)


class Federation:
    """Drives one attempt leg by leg; a test may alter what passes between the parties.

    Everything passes in its byte form, the sites' sessions too, as between two processes.
    """

    def __init__(
        self,
        parties: dict[str, session_side.Party],
        terms: Terms,
        *,
        arrival: Callable[[Iterable[str]], list[str]] = keep_order,
    ) -> None:
        self.parties, self.terms, self._arrival = parties, terms, arrival
        members = next(iter(parties.values())).members
        self.coordinator = CoordinatorRound(terms, members)
        self.sessions: dict[str, session_side.Session] = {}
        self.adverts: list[Advert] = []
        self.shared: dict[str, Shared] = {}
        self.tables: tuple[Commitments, ...] = ()
        self.reveals: dict[str, Reveal] = {}

    def advertise(self, lost: Collection[str] = ()) -> None:
        for name in self._arrival(set(self.parties) - set(lost)):
            session, advert = site_side.advertise(self.parties[name], self.terms)
            self._remember(name, session)
            self.coordinator.add_advert(Advert.from_bytes(advert.to_bytes()))
        self.adverts = list(self.coordinator.close_adverts().adverts.values())

    def share(self, lost: Collection[str] = ()) -> None:
        for name in self._arrival(set(self.sessions) - set(lost)):
            session, shared = site_side.share(
                self.parties[name], self.sessions[name], self._arrived(self.adverts)
            )
            self._remember(name, session)
            self.shared[name] = Shared.from_bytes(shared.to_bytes())
            self.coordinator.add_shared(self.shared[name])
        self.tables = self.coordinator.close_shared()

    def mask(self, vectors: Mapping[str, Words], lost: Collection[str] = ()) -> None:
        for name in self._arrival(set(self.shared) - set(lost)):
            self.coordinator.add_masked(self.masked(name, vectors[name]))
        self.agreement = self.coordinator.close_masked()

    def masked(self, name: str, vector: Words) -> Masked:
        """One site's leg 2, not yet given to the coordinator."""
        session, masked = site_side.mask(
            self.parties[name],
            self.sessions[name],
            tables=self._arrived(self.tables),
            boxes=self.coordinator.boxes_for(name),
            vector=vector.copy(),
        )
        self._remember(name, session)
        return masked

    def agree(self, lost: Collection[str] = ()) -> None:
        for name in self._arrival(set(self.agreement.digests) - set(lost)):
            session, signature = site_side.agree(
                self.parties[name], self.sessions[name], self.agreement.digests
            )
            self._remember(name, session)
            self.coordinator.add_signature(name, signature)
        self.signatures = self.coordinator.close_signatures()

    def reveal(self, lost: Collection[str] = ()) -> Words:
        for name in self._arrival(set(self.signatures) - set(lost)):
            session, shares = site_side.reveal(
                self.parties[name], self.sessions[name], self.signatures
            )
            self._remember(name, session)
            self.reveals[name] = Reveal.from_bytes(shares.to_bytes())
            self.coordinator.add_reveal(name, self.reveals[name])
        return self.coordinator.open()

    def run(
        self, vectors: Mapping[str, Words], *, lost: Mapping[str, Collection[str]] | None = None
    ) -> Words:
        """All legs; ``lost`` names the sites that fall silent, by leg."""
        gone = lost or {}
        self.advertise(gone.get("advertise", ()))
        self.share(gone.get("share", ()))
        self.mask(vectors, gone.get("mask", ()))
        self.agree(gone.get("agree", ()))
        return self.reveal(gone.get("reveal", ()))

    def until(self, leg: str, vectors: Mapping[str, Words] | None = None) -> Federation:
        """Runs all legs before ``leg`` with nobody lost."""
        for before in LEGS[: LEGS.index(leg)]:
            if before == "mask":
                self.mask(vectors or zero_vectors(self.shared, self.terms.vector_length))
            else:
                getattr(self, before)()
        return self

    def _remember(self, name: str, session: session_side.Session) -> None:
        self.sessions[name] = session_side.Session.from_bytes(session.to_bytes())

    def _arrived(self, records: Iterable[Record]) -> list[Record]:
        by_site = {record.site: record for record in records}
        return [by_site[name] for name in self._arrival(by_site)]


def zero_vectors(names: Iterable[str], length: int) -> dict[str, Words]:
    """All-zero vectors by site."""
    return {name: np.zeros(length, np.uint32) for name in names}


def random_vectors(names: list[str], length: int, *, seed: int) -> dict[str, Words]:
    """Random words by site."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 1 << 32, length, np.uint32) for name in names}
