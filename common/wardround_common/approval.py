"""Approval of a study: each site countersigns its hash, and the coordinator keeps the signatures.

The coordinator signs a study to publish it; a site's countersignature says that it approved this
very document. Both cover the study's SHA-256 and who signs, so neither serves for another study.
"""

from __future__ import annotations

from wardround_common.errors import PolicyError
from wardround_common.identity import Identity, verify
from wardround_common.study import Study


def sign_study(identity: Identity, study: Study) -> bytes:
    """The coordinator's signature over a study, 64 bytes.

    Raises:
        PolicyError: The study names another coordinator.
    """
    if identity.public_text != study.coordinator_key:
        raise PolicyError(f"study {study.name!r}: names another coordinator key than this one")
    return identity.sign("study", study.sha256())


def verify_study(study: Study, signature: bytes) -> None:
    """Raises VerificationError unless the study's coordinator signed it."""
    key = bytes.fromhex(study.coordinator_key.removeprefix("ed25519:"))
    verify(key, signature, "study", study.sha256())


def countersign(identity: Identity, site: str, study: Study) -> bytes:
    """A site's approval of a study, 64 bytes.

    Raises:
        PolicyError: The site is no member, or the study names another key for it.
    """
    if study.member_key(site) != identity.public_key:
        raise PolicyError(f"study {study.name!r}: names another key for site {site} than this one")
    return identity.sign("approve", study.sha256(), site)


def verify_countersignature(study: Study, site: str, signature: bytes) -> None:
    """Raises VerificationError unless ``site`` approved this very study."""
    verify(study.member_key(site), signature, "approve", study.sha256(), site)
