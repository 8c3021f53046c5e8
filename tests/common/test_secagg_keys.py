from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vectors import reference
from tests.vectors.loading import ours, published

from wardround_common.errors import ProtocolError, VerificationError
from wardround_common.secagg import keys
from wardround_common.secagg.terms import Advert, Roster, Terms

SITES = ("site_a", "site_b")
CONTEXT = hashlib.sha256(b"context").digest()
SECRETS = st.binary(min_size=32, max_size=32)


def test_public_keys_and_the_shared_secret_are_those_of_rfc_7748() -> None:
    vector = {k: bytes.fromhex(v) for k, v in published()["x25519"].items() if k != "source"}
    assert keys.public_key(vector["alice_private"]) == vector["alice_public"]
    assert keys.public_key(vector["bob_private"]) == vector["bob_public"]
    info = reference.pack("mask", *SITES)
    expected = reference.hkdf_sha256(vector["shared"], salt=CONTEXT, info=info, length=32)
    for mine, theirs in (("alice", "bob"), ("bob", "alice")):
        private, public = vector[f"{mine}_private"], vector[f"{theirs}_public"]
        assert keys.pair_seed(private, public, context=CONTEXT, sites=SITES) == expected
        assert reference.x25519(private, public) == vector["shared"]


@pytest.mark.parametrize("case", published()["hkdf_sha256"]["cases"])
def test_the_reference_derives_as_rfc_5869_does(case: dict[str, str]) -> None:
    given_ = {name: bytes.fromhex(value) for name, value in case.items()}
    found = reference.hkdf_sha256(
        given_["secret"], salt=given_["salt"], info=given_["info"], length=len(given_["output"])
    )
    assert found == given_["output"]


def test_derived_keys_and_commitments_are_the_known_ones() -> None:
    vector = {name: bytes.fromhex(value) for name, value in ours()["derivations"].items()}
    private, public, context = vector["private"], vector["peer_public"], vector["context"]
    assert keys.public_key(vector["peer_private"]) == public
    seed = keys.pair_seed(private, public, context=context, sites=SITES)
    assert seed == vector["pair_seed"]
    for name, sites in (("box_key_a_to_b", SITES), ("box_key_b_to_a", SITES[::-1])):
        assert keys.box_key(private, public, context=context, sites=sites) == vector[name]
    assert keys.commit_pair(context, seed) == vector["commit_pair"]
    assert keys.commit_self(context, seed) == vector["commit_self"]


def test_terms_adverts_and_context_are_the_known_ones() -> None:
    vector = ours()["attempt"]
    terms = Terms.from_bytes(bytes.fromhex(vector["terms"]))
    assert terms.base().hex() == vector["base"]
    adverts = [Advert.from_bytes(bytes.fromhex(advert)) for advert in vector["adverts"]]
    members = {
        f"site_{name}": reference.ed25519_public(bytes([16 + k]) * 32)
        for k, name in enumerate("abc")
    }
    assert Roster.verified(terms, adverts[::-1], members).context().hex() == vector["context"]


@settings(max_examples=10, deadline=None)
@given(SECRETS, SECRETS)
def test_both_sides_derive_the_reference_s_seed(mine: bytes, theirs: bytes) -> None:
    a, b = keys.public_key(mine), keys.public_key(theirs)
    assert a == reference.x25519(mine, (9).to_bytes(32, "little"))
    shared = reference.x25519(mine, b)
    info = reference.pack("mask", *SITES)
    expected = reference.hkdf_sha256(shared, salt=CONTEXT, info=info, length=32)
    assert keys.pair_seed(mine, b, context=CONTEXT, sites=SITES) == expected
    assert keys.pair_seed(theirs, a, context=CONTEXT, sites=SITES[::-1]) == expected


@pytest.mark.parametrize("point", published()["x25519_low_order"]["public"])
def test_a_low_order_point_is_refused_for_masks_and_boxes(point: str) -> None:
    for derive in (keys.pair_seed, keys.box_key):
        with pytest.raises(VerificationError, match="low-order"):
            derive(bytes(range(32)), bytes.fromhex(point), context=CONTEXT, sites=SITES)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_public_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(VerificationError):
        keys.pair_seed(bytes(range(32)), b"\x09" * size, context=CONTEXT, sites=SITES)


def test_a_box_opens_only_for_its_key_context_and_direction() -> None:
    key = bytes(range(32))
    box = keys.seal(key, b"shares", context=CONTEXT, sites=SITES)
    assert keys.unseal(key, box, context=CONTEXT, sites=SITES) == b"shares"
    for other_key, context, sites, altered in (
        (bytes(32), CONTEXT, SITES, box),
        (key, bytes(32), SITES, box),
        (key, CONTEXT, SITES[::-1], box),
        (key, CONTEXT, ("site_a", "site_c"), box),
        (key, CONTEXT, SITES, box[:-1] + bytes([box[-1] ^ 1])),
        (key, CONTEXT, SITES, bytes([box[0] ^ 1]) + box[1:]),
        (key, CONTEXT, SITES, b""),
        (key, CONTEXT, SITES, box[:15]),
    ):
        with pytest.raises(VerificationError, match="does not open"):
            keys.unseal(other_key, altered, context=context, sites=sites)


def test_every_derivation_differs_by_context_purpose_and_direction() -> None:
    private, public = bytes(range(32)), keys.public_key(bytes(range(1, 33)))
    derived = [
        derive(private, public, context=context, sites=sites)
        for derive in (keys.pair_seed, keys.box_key)
        for context in (CONTEXT, bytes(32))
        for sites in (SITES, ("site_a", "site_c"))
    ]
    derived.append(keys.box_key(private, public, context=CONTEXT, sites=SITES[::-1]))
    assert len(set(derived)) == 9
    assert keys.commit_pair(CONTEXT, bytes(32)) != keys.commit_self(CONTEXT, bytes(32))
    assert keys.commit_pair(CONTEXT, bytes(32)) != keys.commit_pair(bytes(32), bytes(32))


def test_terms_of_another_protocol_version_are_refused() -> None:
    terms = bytearray(bytes.fromhex(ours()["attempt"]["terms"]))
    terms[11] = 2
    with pytest.raises(ProtocolError, match="got protocol 2, expected 1"):
        Terms.from_bytes(bytes(terms))
