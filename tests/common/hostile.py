"""Shorthand for tests of attacks: federations of four, single steps, records signed wrongly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from tests.common.federation import Federation, MemoryLedger, make_parties, make_terms

from wardround_common.secagg import site
from wardround_common.secagg.records import Commitments, Facts, Masked, Reveal, Shared
from wardround_common.secagg.terms import Advert

LENGTH = 8
A, B, C, D = "site_00", "site_01", "site_02", "site_03"


class Full(MemoryLedger):
    """A ledger on a full disk."""

    def save(self, run: bytes, facts: Facts) -> None:
        raise OSError(f"no space for {run.hex()} {facts}")


def federation(count: int = 4, **terms: object) -> Federation:
    return Federation(make_parties(count), make_terms(LENGTH, **terms))


def again(before: Federation, **terms: object) -> Federation:
    """The next attempt of the same sites, with the ledgers they have."""
    fields = {"attempt": before.terms.attempt + 1} | terms
    return Federation(before.parties, replace(before.terms, **fields))


def share(f: Federation, adverts: list[Advert], name: str = A) -> Shared:
    return site.share(f.parties[name], f.sessions[name], adverts)[1]


def mask(f: Federation, tables: Collection[Commitments], name: str = A, **boxes: bytes) -> Masked:
    found = f.coordinator.boxes_for(name) | boxes
    vector = np.zeros(LENGTH, np.uint32)
    return site.mask(f.parties[name], f.sessions[name], tables=tables, boxes=found, vector=vector)[
        1
    ]


def agree(f: Federation, digests: Mapping[str, bytes], name: str = A) -> bytes:
    return site.agree(f.parties[name], f.sessions[name], digests)[1]


def reveal(f: Federation, signatures: Mapping[str, bytes], name: str = A) -> Reveal:
    return site.reveal(f.parties[name], f.sessions[name], signatures)[1]


def own_advert(f: Federation, name: str, **keys_: bytes) -> Advert:
    """An advert that ``name`` signs itself, with some other key in it."""
    advert = next(a for a in f.adverts if a.site == name)
    pair = keys_.get("mask_key", advert.mask_key), keys_.get("transport_key", advert.transport_key)
    return Advert.signed(f.parties[name].identity, name, keys=pair, base=advert.base)


def put(adverts: Collection[Advert], *changed: Advert) -> list[Advert]:
    table = {a.site: a for a in adverts} | {a.site: a for a in changed}
    return list(table.values())


def resigned(f: Federation, table: Commitments, **fields: object) -> Commitments:
    """The table of a site that signs something else than it should."""
    changed = {"pairs": table.pairs, "own": table.own} | fields
    return Commitments.signed(
        f.parties[table.site].identity,
        f.coordinator.roster.context(),
        site=table.site,
        **changed,  # type: ignore[arg-type]
    )


def without(f: Federation, *names: str) -> dict[str, bytes]:
    return {name: digest for name, digest in f.agreement.digests.items() if name not in names}
