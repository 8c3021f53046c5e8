"""The parts of a study: what is learnt, from which images, how, and under which protection.

Each class is one section of the study file. Values that cannot be meant are refused where they
are read, with the key, what was found, what was expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wardround_common.require import require

MAXIMUM_SITES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the model answers."""

    kind: Literal["classification"] = "classification"
    """Single-label classification of an imaging study; two classes."""
    classes: tuple[str, ...] = ("normal", "abnormal")
    """Names of the classes; label k in a site's label file means ``classes[k]``, 1 is positive."""

    def __post_init__(self) -> None:
        require(len(self.classes) == 2, "classes", self.classes, "two names, negative first")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """Which network; every site builds the same one from the study's seed."""

    name: str = "small_cnn"
    """Name in the site's model registry: small_cnn, resnet18, densenet121."""
    normalisation: Literal["group", "batch"] = "group"
    """Normalisation layers; group has no running statistics and suits small batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Local training at a site, the same everywhere."""

    local_steps: int = 10
    """Optimiser steps a site makes in one round."""
    batch_size: int = 16
    """Examples in one step."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """Local optimiser."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 1e-2
    """Decoupled weight decay."""
    momentum: float = 0.9
    """Momentum of SGD; AdamW uses betas 0.9 and 0.99."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate as a function of the step counted over the whole run."""
    warmup_fraction: float = 0.1
    """Part of the run during which the learning rate rises from zero."""
    gradient_clip: float = 1.0
    """Largest L2 norm of one step's gradient; bounds the moments that fedadamw shares."""
    augmentation: Literal["none", "standard"] = "standard"
    """Random flips, small rotations, shifts, zoom and contrast; or nothing."""
    class_weights: tuple[float, ...] = ()
    """Loss weight for each class; empty: 1 each. Never computed from one site's labels."""
    sampling: Literal["natural", "balanced"] = "natural"
    """``balanced`` draws each class a site has equally often."""
    proximal_mu: float = 0.0
    """FedProx: weight of the squared distance to the received model; 0 turns it off."""

    def __post_init__(self) -> None:
        for name in ("local_steps", "batch_size"):
            value = getattr(self, name)
            require(1 <= value <= 100_000, name, value, "1 to 100000")
        for name in ("learning_rate", "gradient_clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        for name in ("weight_decay", "momentum", "proximal_mu"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 <= self.warmup_fraction < 1, "warmup_fraction", self.warmup_fraction, "0 to <1")
        weights_fit = len(self.class_weights) in (0, 2) and all(w > 0 for w in self.class_weights)
        require(weights_fit, "class_weights", self.class_weights, "two numbers above 0, or none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """How opened means become the next model."""

    name: Literal["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadamw"] = "fedadamw"
    """``fedadamw`` carries AdamW's moments from round to round through the same masked sum."""
    rounds: int = 40
    """Rounds of the run."""
    server_learning_rate: float = 1.0
    """Step along the opened mean; 1 for fedavg and fedadamw."""
    server_momentum: float = 0.9
    """First-moment decay of fedavgm, fedadam and fedyogi."""
    second_moment_decay: float = 0.99
    """Second-moment decay of fedadam and fedyogi."""
    adaptivity: float = 1e-3
    """tau of Reddi et al. 2021, added to the root of the second moment."""
    keep_local: Literal["none", "normalisation", "head"] = "none"
    """Parameters that stay at each site: normalisation layers (FedBN) or the last layer."""
    evaluate_every: int = 10
    """Validation by masked sums after every so many rounds; the last round always."""

    def __post_init__(self) -> None:
        require(1 <= self.rounds <= 1_000_000, "rounds", self.rounds, "1 to 1000000")
        require(self.evaluate_every >= 1, "evaluate_every", self.evaluate_every, "1 or more")
        require(
            self.server_learning_rate > 0,
            "server_learning_rate",
            self.server_learning_rate,
            "a number above 0",
        )
        for name in ("server_momentum", "second_moment_decay"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 to below 1")
        require(self.adaptivity > 0, "adaptivity", self.adaptivity, "a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """The secure sum: ranges, weights, quorum, deadlines."""

    clip_norm: float = 10.0
    """C: largest L2 norm of one site's update; larger ones are scaled down and counted."""
    buffer_limit: float = 100.0
    """Largest magnitude of a running statistic, where the model has any."""
    weighting: Literal["cases", "equal"] = "cases"
    """``cases``: weight min(cases, case_cap) / case_cap; ``equal``: every site weighs 1."""
    case_cap: int = 1000
    """n_cap: training cases above this give no further weight."""
    minimum_opened: int = 3
    """T: no sum of fewer sites is ever opened."""
    minimum_sites: int = 3
    """Quorum: a round with fewer contributing sites is void."""
    required_sites: tuple[str, ...] = ()
    """Sites without which a round is void."""
    minimum_cases: int = 0
    """Quorum on the opened weight, in (capped) cases; with equal weights it must stay 0."""
    attempts: int = 3
    """Tries at one round before it is recorded as void."""
    void_rounds: int = 3
    """Void rounds in a row that end the run."""
    train_deadline_s: float = 3600.0
    """Time for a site to train and answer the first leg, seconds."""
    leg_deadline_s: float = 120.0
    """Time for each later leg, seconds."""

    @property
    def least_opened(self) -> int:
        """The smallest set a site helps to open: T and the quorum, whichever is larger."""
        return max(self.minimum_opened, self.minimum_sites)

    def __post_init__(self) -> None:
        for name in ("clip_norm", "buffer_limit", "train_deadline_s", "leg_deadline_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        require(self.minimum_opened >= 3, "minimum_opened", self.minimum_opened, "3 or more")
        require(self.minimum_sites >= 1, "minimum_sites", self.minimum_sites, "1 or more")
        for name in ("case_cap", "attempts", "void_rounds"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        cases_fit = self.minimum_cases == 0 or (
            self.minimum_cases > 0 and self.weighting == "cases"
        )
        expected = "0 or more, and 0 with equal weights"
        require(cases_fit, "minimum_cases", self.minimum_cases, expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """Protection of what a sum itself can tell."""

    profile: Literal["none"] = "none"
    """``none``: secure aggregation only; the opened sums carry no differential privacy."""
    minimum_count: int = 5
    """Counts of fewer patients never leave a site in a table; 5 or more."""

    def __post_init__(self) -> None:
        require(self.minimum_count >= 5, "minimum_count", self.minimum_count, "5 or more")
