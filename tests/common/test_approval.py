"""Signatures under a study hold for that study, that purpose and that signer only."""

from __future__ import annotations

import dataclasses

import pytest

from wardround_common.approval import (
    countersign,
    sign_study,
    verify_countersignature,
    verify_study,
)
from wardround_common.errors import PolicyError, VerificationError
from wardround_common.identity import Identity
from wardround_common.study import Member, Study

COORDINATOR = Identity.from_secret(b"c" * 32)
SITES = {name: Identity.from_secret(name.encode() * 32) for name in "abd"}
STUDY = Study(
    name="approved",
    purpose="Tests.",
    expires="2099-12-31",
    seed=1,
    coordinator_key=COORDINATOR.public_text,
    members=tuple(Member(site=name, key=key.public_text) for name, key in SITES.items()),
)
CHANGED = dataclasses.replace(STUDY, purpose="Something else.")


def test_true_signatures_verify() -> None:
    verify_study(STUDY, sign_study(COORDINATOR, STUDY))
    verify_countersignature(STUDY, "a", countersign(SITES["a"], "a", STUDY))


def test_a_signature_does_not_serve_for_a_changed_study() -> None:
    with pytest.raises(VerificationError):
        verify_study(CHANGED, sign_study(COORDINATOR, STUDY))
    with pytest.raises(VerificationError):
        verify_countersignature(CHANGED, "a", countersign(SITES["a"], "a", STUDY))


def test_an_approval_does_not_serve_for_another_site_or_as_the_coordinators() -> None:
    approval = countersign(SITES["a"], "a", STUDY)
    with pytest.raises(VerificationError):
        verify_countersignature(STUDY, "b", approval)
    with pytest.raises(VerificationError):
        verify_study(STUDY, approval)
    with pytest.raises(PolicyError, match="no member"):
        verify_countersignature(STUDY, "stranger", approval)


def test_only_the_named_keys_can_sign() -> None:
    with pytest.raises(PolicyError, match="another coordinator"):
        sign_study(SITES["a"], STUDY)
    with pytest.raises(PolicyError, match="another key"):
        countersign(SITES["b"], "a", STUDY)
