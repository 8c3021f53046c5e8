"""The configuration of one site: where its archive, labels and workspace are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wardround_common.plan import require


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """One hospital's file; see site_configs/example.yaml for every key."""

    site: str
    """Name of this site in the study."""
    archive: Path
    """Folder of DICOM files; read, never written."""
    labels: Path
    """CSV with StudyInstanceUID or AccessionNumber and the label column of the study."""
    workspace: Path
    """Private folder for keys, index, cache and the site's records."""
    validation_fraction: float = 0.15
    """Part of the patients kept for validation."""
    test_fraction: float = 0.2
    """Part of the patients kept for the final test."""
    threads: int = 1
    """Processor threads for training; results are reproducible for equal counts."""

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            require(0 <= getattr(self, name) <= 0.5, name, getattr(self, name), "0 to 0.5")
        require(1 <= self.threads <= 256, "threads", self.threads, "1 to 256")
