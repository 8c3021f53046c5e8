"""Who a site is, what it must never forget, and what it holds between the legs of an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from wardround_common.encoding import exactly, pack, pack_table, text, unpack, unpack_table
from wardround_common.identity import Identity
from wardround_common.secagg.records import Facts
from wardround_common.secagg.terms import Terms


class Ledger(Protocol):
    """Durable memory of a site; `save` returns only when the facts would survive a power cut."""

    def load(self, run: bytes) -> Facts:
        """The facts last saved for ``run``, or new ones."""
        ...

    def save(self, run: bytes, facts: Facts) -> None:
        """Stores the facts durably."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who this site is and whom it knows."""

    site: str
    identity: Identity
    members: Mapping[str, bytes]
    """Pinned public key of every member of the study."""
    ledger: Ledger
    required_sites: frozenset[str] = frozenset()
    """Sites without which nothing is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The secrets and findings of one attempt; lives in memory between the legs."""

    phase: str
    terms: Terms
    mask_private: bytes
    transport_private: bytes
    self_seed: bytes = b""
    adverts: tuple[bytes, ...] = ()
    own_share: bytes = b""
    tables: tuple[bytes, ...] = ()
    received: Mapping[str, bytes]
    digest: bytes = b""
    agreement: bytes = b""
    facts: Facts

    def __repr__(self) -> str:
        return f"Session({self.phase}, round {self.terms.round}, attempt {self.terms.attempt})"

    def to_bytes(self) -> bytes:
        """Everything, secrets too: for memory that only this site reads."""
        return pack(
            self.phase,
            self.terms.to_bytes(),
            self.mask_private,
            self.transport_private,
            self.self_seed,
            pack(*self.adverts),
            self.own_share,
            pack(*self.tables),
            pack_table(self.received),
            self.digest,
            self.agreement,
            self.facts.to_bytes(),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """Parses the byte form; ProtocolError if it is none."""
        fields = unpack(data, count=12)
        phase, terms, mask_private, transport_private, self_seed, adverts = fields[:6]
        own_share, tables, received, digest, agreement, facts = fields[6:]
        return cls(
            phase=text(phase),
            terms=Terms.from_bytes(terms),
            mask_private=exactly(mask_private, 32),
            transport_private=exactly(transport_private, 32),
            self_seed=self_seed,
            adverts=tuple(unpack(adverts)),
            own_share=own_share,
            tables=tuple(unpack(tables)),
            received=unpack_table(received),
            digest=digest,
            agreement=agreement,
            facts=Facts.from_bytes(facts),
        )
