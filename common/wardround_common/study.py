"""A study: the contract that every site approves by its hash.

The canonical form is JSON with sorted keys, no spaces and Python's shortest round-trip floats;
the study's identity is SHA-256 over a version label and that form. Nothing a coordinator sends
later can change a parameter: a message carries the hash, and a site compares.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from wardround_common.config import read_config
from wardround_common.errors import PolicyError
from wardround_common.identity import require_strong_key
from wardround_common.intake_plan import CohortRule, Preprocessing
from wardround_common.plan import (
    MAXIMUM_SITES,
    Aggregation,
    Algorithm,
    ModelPlan,
    Privacy,
    Task,
    Training,
)
from wardround_common.require import require, require_date

_SITE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_KEY = re.compile(r"ed25519:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One site of the study and the key it is known by."""

    site: str
    """Short name: lower-case letters, digits, underscores."""
    key: str
    """``ed25519:`` and the public key as 64 hexadecimal digits."""

    def __post_init__(self) -> None:
        site_fits = _SITE_NAME.fullmatch(self.site) is not None
        require(site_fits, "site", self.site, "lower-case letters, digits and underscores")
        require(_KEY.fullmatch(self.key) is not None, "key", self.key, "ed25519: and 64 hex digits")
        require_strong_key(bytes.fromhex(self.key.removeprefix("ed25519:")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The whole contract; immutable, identified by `sha256`."""

    name: str
    """Short name of the study."""
    purpose: str
    """What it is for, in plain language, for the ethics board and the data protection officer."""
    expires: str
    """Last day on which sites take part, YYYY-MM-DD."""
    seed: int
    """Seed of the initial model, of patient splits' training order and of augmentation."""
    coordinator_key: str
    """``ed25519:`` and the coordinator's public key; it signs every round's ticket."""
    members: tuple[Member, ...]
    """The sites and their keys."""
    task: Task = field(default_factory=Task)
    cohort: CohortRule = field(default_factory=CohortRule)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    model: ModelPlan = field(default_factory=ModelPlan)
    training: Training = field(default_factory=Training)
    algorithm: Algorithm = field(default_factory=Algorithm)
    aggregation: Aggregation = field(default_factory=Aggregation)
    privacy: Privacy = field(default_factory=Privacy)
    format: int = 1
    """Version of this document's form."""

    def __post_init__(self) -> None:
        require(self.format == 1, "format", self.format, "1; a newer wardround wrote this")
        key_fits = _KEY.fullmatch(self.coordinator_key) is not None
        require(key_fits, "coordinator_key", self.coordinator_key, "ed25519: and 64 hex digits")
        require_strong_key(bytes.fromhex(self.coordinator_key.removeprefix("ed25519:")))
        require(0 <= self.seed < 1 << 63, "seed", self.seed, "0 to 2^63 - 1")
        require_date("expires", self.expires)
        self._check_members()
        self._check_algorithm()

    def _check_members(self) -> None:
        sites = [member.site for member in self.members]
        least = self.aggregation.minimum_opened
        enough = least <= len(sites) <= MAXIMUM_SITES
        expected = f"{least} (aggregation.minimum_opened) to {MAXIMUM_SITES} sites; add members"
        require(enough, "members", f"{len(sites)} sites", expected)
        require(len(set(sites)) == len(sites), "members", sites, "each site once")
        keys = {member.key for member in self.members} | {self.coordinator_key}
        require(len(keys) == len(sites) + 1, "members", "a shared key", "a key of its own for each")
        unknown = set(self.aggregation.required_sites) - set(sites)
        require(not unknown, "aggregation.required_sites", sorted(unknown), "names of members")
        quorum = self.aggregation.minimum_sites
        fits = quorum <= len(sites)
        require(fits, "aggregation.minimum_sites", quorum, f"at most {len(sites)}, the members")

    def _check_algorithm(self) -> None:
        if self.algorithm.name == "fedadamw":
            found = self.training.optimiser
            require(found == "adamw", "training.optimiser", found, "adamw with algorithm fedadamw")
        local_norm = self.algorithm.keep_local == "normalisation"
        if self.model.normalisation == "batch" and self.algorithm.name == "fedadamw":
            expected = "normalisation with batch normalisation under fedadamw"
            require(local_norm, "algorithm.keep_local", self.algorithm.keep_local, expected)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the members, sorted."""
        return tuple(sorted(member.site for member in self.members))

    def canonical(self) -> bytes:
        """The one byte form of this study that is hashed and signed."""
        return canonical_json(dataclasses.asdict(self))

    def sha256(self) -> bytes:
        """Identity of the study: SHA-256 of the version label and the canonical form."""
        return hashlib.sha256(b"wardround study 1\n" + self.canonical()).digest()

    def member_key(self, site: str) -> bytes:
        """Public Ed25519 key of ``site``, 32 bytes.

        Raises:
            PolicyError: The site is no member of this study.
        """
        for member in self.members:
            if member.site == site:
                return bytes.fromhex(member.key.removeprefix("ed25519:"))
        raise PolicyError(f"site {site!r} is no member of study {self.name!r}; ask for a new study")

    def require_valid_on(self, today: date) -> None:
        """Raises PolicyError once the study has expired."""
        if today > date.fromisoformat(self.expires):
            raise PolicyError(f"study {self.name!r} expired on {self.expires}; approve a new one")


def read_study(path: Path) -> Study:
    """Reads a study from its YAML or canonical JSON file.

    Raises:
        ConfigError: The file cannot be used.
    """
    return read_config(path, Study)


def require_approved(study: Study, approved_sha256: bytes) -> None:
    """Raises PolicyError unless ``study`` is the one whose hash was approved."""
    if study.sha256() != approved_sha256:
        raise PolicyError(
            f"study {study.name!r}: got SHA-256 {study.sha256().hex()}, expected the approved "
            f"{approved_sha256.hex()}; review the new text and approve it, or use the old file"
        )


def canonical_json(value: Any) -> bytes:
    """Serialises plain data to the canonical JSON of this project, UTF-8.

    Raises:
        ValueError: A number is not finite.
    """
    options = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    return json.dumps(value, ensure_ascii=False, **options).encode()  # type: ignore[arg-type]
