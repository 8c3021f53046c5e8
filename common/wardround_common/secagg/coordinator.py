"""The coordinator's side of one attempt: collects, adds, opens the sum and nothing else.

Vectors are added as they arrive, so memory is one vector whatever the number of sites. Each
``add_*`` verifies one site's record and raises ProtocolError for that site alone; each
``close_*`` ends a leg and raises RoundError when too few sites are left. Calling them out of
order is a mistake of ours, RuntimeError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from wardround_common import shamir
from wardround_common.errors import ProtocolError, RoundError, VerificationError
from wardround_common.masking import SEED_BYTES, Words, add_masks
from wardround_common.secagg import keys
from wardround_common.secagg.records import (
    Agreement,
    Commitments,
    Masked,
    Reveal,
    Shared,
    commitments_sha256,
)
from wardround_common.secagg.terms import Advert, Roster, Terms

_SUBSETS_TRIED = 5000
_TAG_BYTES = 16


class CoordinatorRound:
    """One attempt, from adverts to the opened sum."""

    def __init__(self, terms: Terms, members: Mapping[str, bytes]) -> None:
        self._terms, self._members = terms, members
        self._leg = "adverts"
        self._adverts: dict[str, Advert] = {}
        self._roster: Roster | None = None
        self._shared: dict[str, Shared] = {}
        self._sum: Words = np.zeros(0, np.uint32)
        self._digests: dict[str, bytes] = {}
        self._agreement: Agreement | None = None
        self._signatures: dict[str, bytes] = {}
        self._reveals: dict[str, Reveal] = {}

    @property
    def roster(self) -> Roster:
        """U1, once the adverts are closed."""
        if self._roster is None:
            raise RuntimeError("the adverts are not closed yet")
        return self._roster

    @property
    def agreement(self) -> Agreement:
        """U3 and what was sent, once the vectors are closed."""
        if self._agreement is None:
            raise RuntimeError("the vectors are not closed yet")
        return self._agreement

    def add_advert(self, advert: Advert) -> None:
        """Takes one site's keys."""
        self._require_leg("adverts")
        if advert.site not in self._members or advert.site in self._adverts:
            raise ProtocolError(f"advert of {advert.site!r}: no member, or twice")
        advert.verify(self._members[advert.site], self._terms.base())
        if any(advert.mask_key == other.mask_key for other in self._adverts.values()):
            raise ProtocolError(f"advert of {advert.site}: another site's key")
        self._adverts[advert.site] = advert

    def close_adverts(self) -> Roster:
        """Ends leg 0; the roster every site will verify."""
        self._advance("adverts", "shared")
        least = self._terms.minimum_opened
        if len(self._adverts) < least:
            raise RoundError(f"adverts: got {len(self._adverts)} sites, expected at least {least}")
        self._roster = Roster.verified(self._terms, self._adverts.values(), self._members)
        return self._roster

    def add_shared(self, shared: Shared) -> None:
        """Takes one site's commitments and boxes."""
        self._require_leg("shared")
        table, sites = shared.commitments, set(self.roster.sites)
        self._require_new(table.site, self._shared)
        table.verify(self._members[table.site], self.roster.context())
        peers = sites - {table.site}
        if set(table.pairs) != peers or set(shared.boxes) != peers:
            raise ProtocolError(f"commitments of {table.site}: not for this roster")
        if {len(box) for box in shared.boxes.values()} != {SEED_BYTES * len(sites) + _TAG_BYTES}:
            raise ProtocolError(f"boxes of {table.site}: got another size than this roster's")
        for peer, other in self._shared.items():
            if other.commitments.pairs[table.site] != table.pairs[peer]:
                raise VerificationError(f"commitments of {table.site} and {peer} do not fit")
        self._shared[table.site] = shared

    def close_shared(self) -> tuple[Commitments, ...]:
        """Ends leg 1; all commitment tables (U2)."""
        self._advance("shared", "masked")
        self._require_enough(len(self._shared), "commitments")
        self._sum = np.zeros(self._terms.vector_length, np.uint32)
        return tuple(self._shared[site].commitments for site in sorted(self._shared))

    def boxes_for(self, site: str) -> dict[str, bytes]:
        """The boxes sealed for ``site``, by sender."""
        return {peer: s.boxes[site] for peer, s in self._shared.items() if peer != site}

    def add_masked(self, masked: Masked) -> None:
        """Adds one masked vector to the sum."""
        self._require_leg("masked")
        if masked.site not in self._shared:
            raise ProtocolError(f"vector of {masked.site!r}: was not in leg 1")
        self._require_new(masked.site, self._digests)
        if masked.vector.shape != self._sum.shape or masked.vector.dtype != np.uint32:
            raise ProtocolError(f"vector of {masked.site}: got {masked.vector.shape} words")
        masked.verify(self._members[masked.site], self.roster.context())
        np.add(self._sum, masked.vector, out=self._sum)
        self._digests[masked.site] = masked.digest

    def close_masked(self) -> Agreement:
        """Ends leg 2; what every site is asked to sign (U3)."""
        self._advance("masked", "consistency")
        self._require_enough(len(self._digests), "vectors")
        self._agreement = Agreement(
            context=self.roster.context(),
            commitments=commitments_sha256(s.commitments for s in self._shared.values()),
            digests={site: self._digests[site] for site in sorted(self._digests)},
        )
        return self._agreement

    def add_signature(self, site: str, signature: bytes) -> None:
        """Takes one site's signature over the agreement."""
        self._require_leg("consistency")
        if site not in self.agreement.digests:
            raise ProtocolError(f"signature of {site!r}: was not in leg 2")
        self._require_new(site, self._signatures)
        self.agreement.verify(self._members[site], signature)
        self._signatures[site] = signature

    def close_signatures(self) -> dict[str, bytes]:
        """Ends leg 3; the signatures every site wants to see."""
        self._advance("consistency", "unmask")
        self._require_threshold(len(self._signatures), "signatures")
        return dict(self._signatures)

    def add_reveal(self, site: str, shares: Reveal) -> None:
        """Takes one site's shares."""
        self._require_leg("unmask")
        if site not in self._signatures:
            raise ProtocolError(f"shares of {site!r}: did not sign in leg 3")
        self._require_new(site, self._reveals)
        kept, lost = set(self.agreement.digests), self._lost()
        pairs = {(a, b) for a in lost for b in kept} | {(b, a) for a in lost for b in kept}
        if set(shares.self_shares) != kept or set(shares.pair_shares) != pairs:
            raise ProtocolError(f"shares of {site}: not those that were asked for")
        self._reveals[site] = shares

    def open(self) -> Words:
        """Removes all masks from the sum.

        Returns:
            uint32, shape (vector_length,): the plain sum over U3.

        Raises:
            RoundError: Too few shares, or too many wrong ones.
        """
        self._advance("unmask", "opened")
        self._require_threshold(len(self._reveals), "shares")
        minus = [self._self_seed(site) for site in self.agreement.digests]
        plus: list[bytes] = []
        for gone in sorted(self._lost()):
            for site in self.agreement.digests:
                (minus if gone > site else plus).append(self._pair_seed(gone, site))
        add_masks(self._sum, plus=plus, minus=minus)
        return self._sum

    def _self_seed(self, site: str) -> bytes:
        shares = {peer: reveal.self_shares[site] for peer, reveal in self._reveals.items()}
        context, commitment = self.roster.context(), self._shared[site].commitments.own
        for seed in self._candidates(shares):
            if keys.commit_self(context, seed) == commitment:
                return seed
        raise RoundError(f"unmask: the shares of {site}'s seed do not open its commitment")

    def _pair_seed(self, gone: str, site: str) -> bytes:
        context = self.roster.context()
        commitment = self._shared[site].commitments.pairs[gone]
        for dealer, other in ((gone, site), (site, gone)):
            dealt = {p: reveal.pair_shares[dealer, other] for p, reveal in self._reveals.items()}
            for seed in self._candidates(dealt):
                if keys.commit_pair(context, seed) == commitment:
                    return seed
        raise RoundError(f"unmask: the shares of {gone} and {site}'s seed open no commitment")

    def _candidates(self, shares: Mapping[str, bytes]) -> Iterator[bytes]:
        """Secrets that subsets of the shares open; a site that lied is in the wrong ones only."""
        points = {self.roster.sites.index(peer) + 1: share for peer, share in shares.items()}
        for subset in _subsets(sorted(points), self.roster.threshold):
            yield shamir.combine({x: points[x] for x in subset})

    def _lost(self) -> set[str]:
        return set(self._shared) - set(self.agreement.digests)

    def _require_enough(self, sites: int, what: str) -> None:
        least = max(self.roster.threshold, self._terms.minimum_opened)
        if sites < least:
            raise RoundError(f"{what}: got {sites} sites, expected at least {least}")

    def _require_threshold(self, sites: int, what: str) -> None:
        if sites < self.roster.threshold:
            least = self.roster.threshold
            raise RoundError(f"{what}: got those of {sites} sites, expected at least {least}")

    def _require_new(self, site: str, seen: Mapping[str, object]) -> None:
        if site not in self.roster.adverts or site in seen:
            raise ProtocolError(f"record of {site!r}: outside the roster, or twice")

    def _require_leg(self, leg: str) -> None:
        if self._leg != leg:
            raise RuntimeError(f"this attempt is at {self._leg}, not at {leg}")

    def _advance(self, leg: str, following: str) -> None:
        self._require_leg(leg)
        self._leg = following


def _subsets(points: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Subsets of the points: every one if there are few, else a sample, always the same one.

    The first so many in order would nearly all contain the first point, so that one liar there
    would suffice to void a round.
    """
    if math.comb(len(points), size) <= _SUBSETS_TRIED:
        yield from combinations(points, size)
        return
    draw = np.random.default_rng(0)
    for _ in range(_SUBSETS_TRIED):
        yield tuple(draw.choice(points, size, replace=False).tolist())
