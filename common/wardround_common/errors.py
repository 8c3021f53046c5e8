"""Every error wardround raises on purpose, split by who must act.

    WardroundError
    ├── ConfigError        whoever wrote the file mends it
    ├── ArchiveError       hospital IT: the archive or label file as a whole cannot be used
    ├── DicomError         nobody: one instance is quarantined under its reason code
    ├── PolicyError        the site refuses what was asked of it
    ├── ProtocolError      a peer broke the rules
    │   └── VerificationError  … and a cryptographic check proves it
    ├── RoundError         too few sites, or too late: the round is void
    └── StateError         saved state is damaged or belongs to something else

A message says what, got, expected and what to do. It never holds a patient's data. Only the name
of the class crosses the network. Misuse of our own code is `ValueError` or `RuntimeError`.
"""

from __future__ import annotations


class WardroundError(Exception):
    """Root of the tree; commands turn it into one line and exit code 2."""


class ConfigError(WardroundError):
    """A configuration, study or scenario file cannot be used as it stands."""


class ArchiveError(WardroundError):
    """An archive, index or label file as a whole cannot be used."""


class DicomError(WardroundError):
    """One DICOM instance cannot be read with certainty.

    Attributes:
        reason: Stable reason code of the quarantine, such as ``"no-decoder"``.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class PolicyError(WardroundError):
    """A site refuses something its policy or the approved study does not allow."""


class ProtocolError(WardroundError):
    """A peer sent something the protocol does not allow."""


class VerificationError(ProtocolError):
    """A signature, commitment, tag or hash does not fit."""


class RoundError(WardroundError):
    """A round cannot complete: too few sites answered, or too late."""


class StateError(WardroundError):
    """Saved state is damaged, newer than this version, or belongs to something else."""
