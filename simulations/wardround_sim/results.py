"""What one simulated run came to: the content of ``results.json``.

The file is canonical JSON (sorted keys, no spaces, finite numbers only) of ``Results``;
``results_schema`` gives its JSON Schema with each field's description. Bytes are counted at the
coordinator: *sent* goes to the sites, *received* comes from them.

The per-site numbers exist because a simulation owns every archive. A coordinator of a real run
opens sums only and could not write them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wardround_common.errors import StateError
from wardround_common.files import write_atomically
from wardround_common.study import canonical_json
from wardround_sim.typed_json import decode, schema

FORMAT = 2
ALL = "all"
TWO_CLASS = "two_class_sites"
"""Scope of all test examples but those of hospitals with one class; only where there are such."""
ARMS = ("federated", "local", "pooled", "fine_tuned")
MAXIMUM_ROC_POINTS = 100

Count = int | str
"""A number of images, or text such as ``"<5"`` for one below ``privacy.minimum_count``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """The study a run followed."""

    name: str
    """Name of the study."""
    purpose: str
    """What it is for, in plain language."""
    sha256: str
    """Identity every site approved, 64 hexadecimal digits."""
    classes: tuple[str, ...]
    """Names of the two classes, negative first."""
    parameters: dict[str, Any]
    """The study's sections as plain data: cohort, preprocessing, model, training and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the run was computed."""

    processor: str
    """Name of the processor or accelerator."""
    cores: int
    """Processor cores the run could use."""
    versions: dict[str, str]
    """Version of Python and of each library that decides numbers: python, torch, flwr, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCounts:
    """How many training rounds were meant and what became of them."""

    planned: int
    """Training rounds in the study."""
    completed: int
    """Rounds whose sum was opened and became the next model."""
    void: int
    """Training rounds that stayed void after their last attempt and left the model untouched; the
    run goes on without counting them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """The secure sum's terms, from the study."""

    minimum_opened: int
    """T: no sum of fewer sites is ever opened."""
    threshold: int
    """t: sites whose shares are needed to open a sum when all members take part."""
    drop_outs_tolerated: int
    """Sites that may be lost within a round while it still opens, when all members take part."""
    clip_norm: float
    """C: largest L2 norm of one site's update."""
    weighting: Literal["cases", "equal"]
    """How much a site counts in the mean: by its (capped) training cases, or equally."""
    vector_bytes: int
    """Size of one site's masked vector in a training round, bytes."""
    minimum_count: int
    """Counts of patients' characteristics below this are shown as ``<`` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCounts:
    """How many files passed each step of intake at one site, and how many examples they made."""

    found: int
    """Files found in the archive."""
    indexed: int
    """Files that are DICOM and were indexed."""
    cohort: int
    """Files that fit the study's cohort rule."""
    labelled: int
    """Files of the cohort that are, or belong to, an image or volume with exactly one label."""
    used: int
    """Of these, files that were decoded and are part of an example."""
    usable: int
    """Examples: single images, or volumes of many files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """Examples of each class in one split of one site."""

    negative: int
    """Examples of the first class."""
    positive: int
    """Examples of the second class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineCount:
    """Files one site set aside for one reason."""

    count: Count
    """Files set aside."""
    explanation: str
    """The reason in plain words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteResults:
    """One hospital: what its archive held, how it was split, how long it worked."""

    site: str
    """Name of the site."""
    archive: ArchiveCounts
    """Images at each step of intake."""
    train: ClassCounts
    """Examples used for training."""
    validation: ClassCounts
    """Examples used to watch the run, never to train."""
    test: ClassCounts
    """Examples of patients never seen in training, used once at the end."""
    quarantine: dict[str, QuarantineCount]
    """Images set aside, by reason code."""
    sex: dict[str, Count]
    """Usable images by PatientSex; ``not stated`` where the header has none."""
    age: dict[str, Count]
    """Usable images by age group in years, such as ``18-39``."""
    manufacturer: dict[str, Count]
    """Usable images by manufacturer of the device."""
    seconds: dict[str, float]
    """The site's own working time by phase, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auc:
    """Area under the ROC curve with its 95 % confidence interval; all without unit, 0 to 1."""

    auc: float
    """Point estimate."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    positives: int
    """Test examples of the positive class behind it."""
    negatives: int
    """Test examples of the negative class behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RocCurve:
    """A ROC curve of at most 100 points, from (0, 0) to (1, 1)."""

    fpr: tuple[float, ...]
    """False positive rate, 1 - specificity, ascending."""
    tpr: tuple[float, ...]
    """True positive rate, sensitivity, ascending; as many as ``fpr``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Test examples of similar predicted probability."""

    count: int
    """Test examples in the bin, at least 1."""
    predicted: float
    """Mean predicted probability of the positive class."""
    observed: float
    """Fraction that was positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Whether the federated model's probabilities can be taken at their word."""

    bins: tuple[ReliabilityBin, ...]
    """Bins that hold an example, by rising probability."""
    expected_calibration_error: float
    """Mean of |predicted - observed| over bins, weighted by count; 0 is perfect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPoint:
    """The shared model on all validation examples after one round, from a masked sum."""

    round: int
    """Round after which it was evaluated."""
    loss: float | None
    """Mean log loss, nats."""
    auc: float | None
    """AUC from the summed score histograms; null where one class is missing."""
    sensitivity: float | None
    """Sensitivity at probability 0.5; null without positive examples."""
    specificity: float | None
    """Specificity at probability 0.5; null without negative examples."""
    calibration_error: float | None
    """Expected calibration error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """What one phase of the run cost in all."""

    seconds: float
    """Wall time, seconds."""
    bytes_sent: int
    """Bytes from the coordinator to the sites."""
    bytes_received: int
    """Bytes from the sites to the coordinator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run, complete or ended short."""

    format: int = FORMAT
    """Version of this document's form."""
    scenario: str
    """Name of the scenario."""
    study: StudySummary
    """The study that was run."""
    seed: int
    """Seed of the run; the same seed gives the same model, bit for bit."""
    engine: Literal["inprocess", "ray"]
    """Which engine ran the sites."""
    workers: int
    """Worker processes."""
    machine: Machine
    """Where it was computed."""
    finished: str = ""
    """When the run ended, UTC, as ``2025-01-31 14:05``; empty leaves it out of the report."""
    status: Literal["complete", "ended short"]
    """Whether every planned round was run."""
    reason: str = ""
    """Why the run ended short; empty for a complete one."""
    rounds: RoundCounts
    """Rounds planned, completed, void."""
    model_sha256: str
    """SHA-256 of the final shared model, 64 hexadecimal digits."""
    parameters: int
    """Numbers in the shared model."""
    protection: Protection
    """Terms of the secure sum."""
    clipped_updates: int
    """Site updates that were longer than the clip and were scaled down, over the whole run."""
    sites: tuple[SiteResults, ...]
    """The hospitals, in the order of the report."""
    auc: dict[str, dict[str, Auc | None]]
    """AUC on test examples by arm (federated, local, pooled, fine_tuned; only those that were
    run) and scope (``all`` and each site); null where a class is missing. For ``local``,
    ``all`` is the mean over the models of two-class hospitals, each reading all test examples,
    interval likewise; ``fine_tuned`` models read their own hospital's only and have no ``all``."""
    roc: dict[str, dict[str, RocCurve | None]]
    """ROC curves on test examples by arm and scope, as ``auc``."""
    interval_method: str
    """How the 95 % intervals were computed, such as ``DeLong``."""
    calibration: Calibration | None
    """Reliability of the federated model on all test examples."""
    validation: tuple[ValidationPoint, ...]
    """The learning curve, one point for each evaluated round, ascending."""
    phases: dict[str, PhaseCost]
    """Seconds and bytes of the whole run by phase: prepare, train, share, masked, …"""
    wall_s: float
    """Wall time of the whole run, seconds."""
    peak_memory_bytes: int
    """Most memory the process tree held at once, bytes; 0 where it was not measured."""
    site_round_overhead_s: float = 0.0
    """Wall time of the training rounds beyond pure training (which the workers share), divided by
    rounds and sites, seconds: what federation and encryption cost one site in one round."""
    warnings: tuple[str, ...] = field(default=())
    """What a reader must know before the numbers, one sentence each."""

    def __post_init__(self) -> None:
        """Refuses arms and scopes that a reader could not place."""
        scopes = {ALL, TWO_CLASS, *self.site_names}
        if len(scopes) != len(self.sites) + 2:
            raise ValueError(f"sites: expected distinct names, none of them {ALL} or {TWO_CLASS}")
        for table in (self.auc, self.roc):
            unknown = set(table) - set(ARMS) | {s for arm in table.values() for s in arm} - scopes
            if unknown:
                raise ValueError(f"auc or roc: got {sorted(unknown)}, expected arms and sites")

    @property
    def site_names(self) -> tuple[str, ...]:
        """Names of the hospitals, in the order of the report."""
        return tuple(site.site for site in self.sites)

    @property
    def scopes(self) -> tuple[str, ...]:
        """Scopes of the AUC tables: sums first, then the hospitals."""
        partly = any(TWO_CLASS in scopes for scopes in self.auc.values())
        return (ALL, *((TWO_CLASS,) if partly else ()), *self.site_names)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that were run, in the order of the report."""
        return tuple(arm for arm in ARMS if arm in self.auc)


def results_schema() -> dict[str, Any]:
    """JSON Schema of ``results.json``."""
    return schema(Results)


def write_results(results: Results, path: Path) -> None:
    """Writes ``results`` to ``path`` in one step: the old file or the new one, never a part.

    Raises:
        ValueError: A number is not finite.
        OSError: The file cannot be written.
    """
    write_atomically(path, canonical_json(dataclasses.asdict(results)) + b"\n")


def read_results(path: Path) -> Results:
    """Reads what ``write_results`` wrote.

    Raises:
        StateError: The file is missing, damaged, or of another version.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise StateError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except ValueError:
        raise StateError(f"{path}: is not JSON; repeat the run to write it again") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise StateError(f"{path}: format: got {found!r}, expected {FORMAT}; repeat the run")
    try:
        return decode(document, Results)
    except ValueError as error:
        raise StateError(f"{path}: {error}; repeat the run to write it again") from None


def thin_roc(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> RocCurve:
    """Keeps at most 100 points of a ROC curve, evenly along its length, both ends included.

    Args:
        fpr: False positive rates, float64, shape (points,), ascending from 0 to 1.
        tpr: True positive rates, likewise.

    Raises:
        ValueError: The arrays differ in length or hold fewer than two points.
    """
    if fpr.shape != tpr.shape or fpr.size < 2:
        raise ValueError(f"got shapes {fpr.shape} and {tpr.shape}, expected two or more points")
    keep = np.arange(fpr.size)
    if fpr.size > MAXIMUM_ROC_POINTS:
        length = np.concatenate([[0.0], np.cumsum(np.diff(fpr) + np.diff(tpr))])
        wanted = np.linspace(0.0, length[-1], MAXIMUM_ROC_POINTS)
        keep = np.unique(np.searchsorted(length, wanted, side="left"))
        keep[-1] = fpr.size - 1
    return RocCurve(fpr=tuple(map(float, fpr[keep])), tpr=tuple(map(float, tpr[keep])))
