"""The signed records of legs 1 to 4 in their byte forms, and what their signatures cover."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround_common.encoding import (
    exactly,
    integer,
    pack,
    pack_table,
    text,
    unpack,
    unpack_table,
)
from wardround_common.errors import ProtocolError, VerificationError
from wardround_common.identity import SIGNATURE_BYTES, Identity, verify
from wardround_common.masking import Words

HASH_BYTES = 32
SHARE_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """Leg 1, for everybody: hashes of a site's pair seeds and of its self seed, signed."""

    site: str
    pairs: Mapping[str, bytes]
    own: bytes
    signature: bytes

    @classmethod
    def signed(
        cls,
        identity: Identity,
        context: bytes,
        *,
        site: str,
        pairs: Mapping[str, bytes],
        own: bytes,
    ) -> Commitments:
        """Signs a table of commitments."""
        signature = identity.sign("commitments", context, site, pack_table(pairs), own)
        return cls(site=site, pairs=pairs, own=own, signature=signature)

    def verify(self, key: bytes, context: bytes) -> None:
        """Raises VerificationError unless ``key`` signed this in ``context``."""
        fields = (context, self.site, pack_table(self.pairs), self.own)
        verify(key, self.signature, "commitments", *fields)

    def to_bytes(self) -> bytes:
        """The record in its one byte form."""
        return pack(self.site, pack_table(self.pairs), self.own, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Commitments:
        """Parses the byte form; ProtocolError if it is none."""
        site, pairs, own, signature = unpack(data, count=4)
        return cls(
            site=text(site),
            pairs=unpack_table(pairs, value_bytes=HASH_BYTES),
            own=exactly(own, HASH_BYTES),
            signature=exactly(signature, SIGNATURE_BYTES),
        )


def commitments_sha256(tables: Iterable[Commitments]) -> bytes:
    """H(U2): hash of all commitment tables, in the order of site names."""
    ordered = sorted(tables, key=lambda table: table.site)
    return hashlib.sha256(pack("U2", *(table.to_bytes() for table in ordered))).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Leg 1: the commitments, and one sealed box of shares for each other site."""

    commitments: Commitments
    boxes: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """The record in its one byte form."""
        return pack(self.commitments.to_bytes(), pack_table(self.boxes))

    @classmethod
    def from_bytes(cls, data: bytes) -> Shared:
        """Parses the byte form; ProtocolError if it is none."""
        commitments, boxes = unpack(data, count=2)
        return cls(commitments=Commitments.from_bytes(commitments), boxes=unpack_table(boxes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """Leg 2: a masked vector and the site's signature over its digest."""

    site: str
    digest: bytes
    signature: bytes
    vector: Words = field(repr=False)

    @classmethod
    def signed(cls, identity: Identity, context: bytes, *, site: str, vector: Words) -> Masked:
        """Signs the digest of a masked vector."""
        digest = vector_sha256(vector)
        signature = identity.sign("masked", context, site, digest)
        return cls(site=site, digest=digest, signature=signature, vector=vector)

    def verify(self, key: bytes, context: bytes) -> None:
        """Raises VerificationError unless vector, digest and signature fit."""
        if vector_sha256(self.vector) != self.digest:
            raise VerificationError(f"vector of {self.site}: got another digest than the vector's")
        verify(key, self.signature, "masked", context, self.site, self.digest)


def vector_sha256(vector: Words) -> bytes:
    """SHA-256 over the little-endian words of a vector."""
    return hashlib.sha256(vector.astype("<u4", copy=False).view(np.uint8).data).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Leg 3: what a site signs before anything is opened: which vectors, by whom."""

    context: bytes
    commitments: bytes
    """H(U2)."""
    digests: Mapping[str, bytes]
    """Digest of each masked vector of U3, by site; its keys are U3."""

    def sign(self, identity: Identity) -> bytes:
        """The site's signature over exactly this set."""
        return identity.sign("consistency", *self._fields())

    def verify(self, key: bytes, signature: bytes) -> None:
        """Raises VerificationError unless ``key`` signed exactly this set."""
        verify(key, signature, "consistency", *self._fields())

    def sha256(self) -> bytes:
        """Hash of the agreed set, for the ledger."""
        return hashlib.sha256(pack(*self._fields())).digest()

    def to_bytes(self) -> bytes:
        """The agreement in its one byte form."""
        return pack(*self._fields())

    @classmethod
    def from_bytes(cls, data: bytes) -> Agreement:
        """Parses the byte form; ProtocolError if it is none."""
        context, commitments, digests = unpack(data, count=3)
        return cls(
            context=exactly(context, HASH_BYTES),
            commitments=exactly(commitments, HASH_BYTES),
            digests=unpack_table(digests, value_bytes=HASH_BYTES),
        )

    def _fields(self) -> tuple[bytes, bytes, bytes]:
        return self.context, self.commitments, pack_table(self.digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reveal:
    """Leg 4: one share for each contributing site's self seed, one for each pair of a lost site."""

    self_shares: Mapping[str, bytes]
    """Share of b_j by j in U3."""
    pair_shares: Mapping[tuple[str, str], bytes]
    """Share of s_jk by (dealer, other); one of the two is in U3, the other lost."""

    def to_bytes(self) -> bytes:
        """The record in its one byte form."""
        pairs = {f"{dealer}/{other}": share for (dealer, other), share in self.pair_shares.items()}
        return pack(pack_table(self.self_shares), pack_table(pairs))

    @classmethod
    def from_bytes(cls, data: bytes) -> Reveal:
        """Parses the byte form; ProtocolError if it is none."""
        own, pairs = unpack(data, count=2)
        pair_shares = {}
        for name, share in unpack_table(pairs, value_bytes=SHARE_BYTES).items():
            dealer, slash, other = name.partition("/")
            if not slash:
                raise ProtocolError("reveal: got a pair without two names")
            pair_shares[dealer, other] = share
        own_shares = unpack_table(own, value_bytes=SHARE_BYTES)
        return cls(self_shares=own_shares, pair_shares=pair_shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a site must never forget about a run: stored durably before anything is sent."""

    round: int = 0
    """Last round joined."""
    attempt: int = 0
    """Last attempt of it that was joined."""
    sent: int = 0
    """Vectors sent in that attempt: 0 or 1."""
    signed_round: int = 0
    """Last round in which a set was signed."""
    signed_sites: tuple[str, ...] = ()
    """The set that was signed in it."""
    opened_round: int = 0
    """Last round for which shares were revealed."""

    def to_bytes(self) -> bytes:
        """The facts in their one byte form."""
        numbers = (self.round, self.attempt, self.sent, self.signed_round, self.opened_round)
        return pack(*numbers, pack(*self.signed_sites))

    @classmethod
    def from_bytes(cls, data: bytes) -> Facts:
        """Parses the byte form; ProtocolError if it is none."""
        *numbers, sites = unpack(data, count=6)
        joined, attempt, sent, signed_round, opened_round = (integer(n) for n in numbers)
        return cls(
            round=joined,
            attempt=attempt,
            sent=sent,
            signed_round=signed_round,
            signed_sites=tuple(text(site) for site in unpack(sites)),
            opened_round=opened_round,
        )
