"""What the parties of one attempt agree on before any secret exists.

    terms -> base                      hash of everything the study and the ticket fix
    base + adverts of the roster -> Roster.context      hash of that and of who takes part

Every later derivation, ciphertext and signature contains the context, so nothing of one attempt
is of any use in another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wardround_common.encoding import exactly, integer, pack, text, unpack
from wardround_common.errors import ProtocolError, VerificationError
from wardround_common.identity import SIGNATURE_BYTES, Identity, verify

PROTOCOL_VERSION = 1
_HASH_BYTES = 32


def threshold(sites: int) -> int:
    """The threshold t = floor(2n/3) + 1: how many sites must contribute and help to open."""
    return 2 * sites // 3 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One attempt at one secure sum; the base fields of the protocol."""

    study_sha256: bytes
    """Identity of the approved study, 32 bytes."""
    run: bytes
    """Identity of the run, 16 bytes."""
    round: int
    """Number of the exchange within the run, from 1."""
    attempt: int
    """Number of the try, from 0."""
    kind: str
    """``train``, ``validation`` or ``test``."""
    step: int
    """Steps of the run that the model has behind it."""
    model_sha256: bytes
    """Identity of the model the sites start from, 32 bytes."""
    layout_sha256: bytes
    """Hash of segments, ranges and count slots, 32 bytes; fixes clip norm and ring scale."""
    vector_length: int
    """Words in each vector."""
    maximum_sites: int
    """n_max of the ring."""
    minimum_opened: int
    """T: no smaller sum is opened."""

    def to_bytes(self) -> bytes:
        """The terms in their one byte form."""
        return pack(
            PROTOCOL_VERSION,
            self.study_sha256,
            self.run,
            self.round,
            self.attempt,
            self.kind,
            self.step,
            self.model_sha256,
            self.layout_sha256,
            self.vector_length,
            self.maximum_sites,
            self.minimum_opened,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Terms:
        """Parses the byte form; ProtocolError if it is none of this version."""
        version, study, run, number, attempt, kind, step, *rest = unpack(data, count=12)
        model, layout, *sizes = rest
        if integer(version) != PROTOCOL_VERSION:
            raise ProtocolError(f"terms: got protocol {integer(version)}, expected 1; update")
        length, maximum_sites, minimum_opened = (integer(size) for size in sizes)
        return cls(
            study_sha256=exactly(study, _HASH_BYTES),
            run=exactly(run, 16),
            round=integer(number),
            attempt=integer(attempt),
            kind=text(kind),
            step=integer(step),
            model_sha256=exactly(model, _HASH_BYTES),
            layout_sha256=exactly(layout, _HASH_BYTES),
            vector_length=length,
            maximum_sites=maximum_sites,
            minimum_opened=minimum_opened,
        )

    def base(self) -> bytes:
        """SHA-256 over all terms."""
        return hashlib.sha256(pack("base", self.to_bytes())).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """Leg 0: a site offers its fresh public keys for one attempt, signed."""

    site: str
    mask_key: bytes
    transport_key: bytes
    base: bytes
    signature: bytes

    @classmethod
    def signed(
        cls, identity: Identity, site: str, *, keys: tuple[bytes, bytes], base: bytes
    ) -> Advert:
        """Signs an advert of the public keys (mask, transport)."""
        signature = identity.sign("advert", site, *keys, base)
        return cls(
            site=site, mask_key=keys[0], transport_key=keys[1], base=base, signature=signature
        )

    def verify(self, key: bytes, base: bytes) -> None:
        """Raises VerificationError unless ``key`` signed this for ``base``."""
        fields = (self.site, self.mask_key, self.transport_key, self.base)
        verify(key, self.signature, "advert", *fields)
        if self.base != base:
            raise VerificationError(f"advert of {self.site}: made for other terms than ours")

    def to_bytes(self) -> bytes:
        """The advert in its one byte form."""
        return pack(self.site, self.mask_key, self.transport_key, self.base, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Advert:
        """Parses the byte form; ProtocolError if it is none."""
        site, mask_key, transport_key, base, signature = unpack(data, count=5)
        return cls(
            site=text(site),
            mask_key=exactly(mask_key, 32),
            transport_key=exactly(transport_key, 32),
            base=exactly(base, _HASH_BYTES),
            signature=exactly(signature, SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class Roster:
    """The verified adverts of one attempt (U1), by site."""

    terms: Terms
    adverts: Mapping[str, Advert]

    @classmethod
    def verified(
        cls, terms: Terms, adverts: Iterable[Advert], members: Mapping[str, bytes]
    ) -> Roster:
        """Checks every advert against the members' pinned keys.

        Raises:
            VerificationError: A signature or base does not fit.
            ProtocolError: A stranger, a site twice, a key twice, too few or too many sites.
        """
        table: dict[str, Advert] = {}
        base = terms.base()
        for advert in adverts:
            if advert.site not in members:
                raise ProtocolError("adverts: got a site that is no member of the study")
            if advert.site in table:
                raise ProtocolError(f"adverts: got site {advert.site} twice")
            advert.verify(members[advert.site], base)
            table[advert.site] = advert
        if len({a.mask_key for a in table.values()}) != len(table):
            raise ProtocolError("adverts: got one mask key for two sites")
        roster = cls(terms, {site: table[site] for site in sorted(table)})
        if len(table) > terms.maximum_sites:
            raise ProtocolError(
                f"adverts: got {len(table)}, expected at most {terms.maximum_sites}"
            )
        roster.require_enough(len(table), "adverts")
        return roster

    @property
    def sites(self) -> tuple[str, ...]:
        """Names in order; site k holds the shares at point k + 1."""
        return tuple(self.adverts)

    @property
    def threshold(self) -> int:
        """Threshold t for this roster."""
        return threshold(len(self.adverts))

    def require_enough(self, sites: int, what: str) -> None:
        """Raises ProtocolError if ``sites`` are fewer than max(t, T)."""
        least = max(self.threshold, self.terms.minimum_opened)
        if sites < least:
            raise ProtocolError(f"{what}: got {sites} sites, expected at least {least}")

    def context(self) -> bytes:
        """SHA-256 over base, counts and all signed adverts: binds everything that follows."""
        adverts = [advert.to_bytes() for advert in self.adverts.values()]
        counts = (len(adverts), self.threshold, self.terms.minimum_opened)
        return hashlib.sha256(pack("ctx", self.terms.base(), *counts, *adverts)).digest()
