"""Scores every arm on the test patients of every hospital, which a simulation can see.

A real coordinator gets masked sums only; here the same models read the same test images in the
open, so that the report can show single hospitals and intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wardround_client.contribution import blueprint
from wardround_client.evaluation import predict
from wardround_client.examples import open_examples
from wardround_client.kept import KeptArrays
from wardround_client.parameters import load_arrays
from wardround_sim.baselines import POOLED, Model, fine_tune
from wardround_sim.scenario import FineTuning
from wardround_sim.virtual import VirtualFederation

_BATCH = 64

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """The trained models that are compared."""

    shared: Model
    """The federation's model."""
    run: bytes
    """The run it came from; sites keep their own parts under it."""
    step: int
    """Steps of the run that are in it; a void round may have left newer parts at a site."""
    baselines: Mapping[str, Model]
    """Hospital-only models by site, and the pooled one."""
    fine_tuning: FineTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteScores:
    """Probabilities of the positive class on one site's test examples."""

    labels: NDArray[np.int64]
    """0 or 1, int64, shape (n,)."""
    federated: Scores
    pooled: Scores | None
    local: Mapping[str, Scores]
    """By the site whose model it is."""
    fine_tuned: Scores | None


def score_site(federation: VirtualFederation, arms: Arms, site: str) -> SiteScores:
    """Scores all arms at one site."""
    config = next(config for config in federation.sites if config.site == site)
    examples = open_examples(config, federation.study)
    score = partial(_score, federation, indices=examples.test, site=site)
    shared = at_site(federation, site, arms=arms)
    tuned = None
    if arms.fine_tuning.steps:
        tuned = score(fine_tune(federation, site, shared=shared, plan=arms.fine_tuning))
    pooled = arms.baselines.get(POOLED)
    return SiteScores(
        labels=examples.labels[examples.test],
        federated=score(shared),
        pooled=None if pooled is None else score(pooled),
        local={who: score(model) for who, model in arms.baselines.items() if who != POOLED},
        fine_tuned=tuned,
    )


def at_site(federation: VirtualFederation, site: str, *, arms: Arms) -> Model:
    """The shared model with what this site keeps to itself, ready to load."""
    draft = blueprint(federation.study)
    config = next(config for config in federation.sites if config.site == site)
    kept = KeptArrays(config.workspace / "kept" / arms.run.hex()).load(arms.step)
    own = {name.removeprefix("value/"): a for name, a in kept.items() if name.startswith("value/")}
    return {**draft.parameters, **draft.buffers, **own, **arms.shared}


def _score(
    federation: VirtualFederation, model: Model, *, indices: NDArray[np.int64], site: str
) -> Scores:
    config = next(config for config in federation.sites if config.site == site)
    examples, draft = open_examples(config, federation.study), blueprint(federation.study)
    load_arrays(draft.model, model)
    if not indices.size:
        return np.zeros(0)
    return predict(draft.model, examples.gather, indices, batch_size=_BATCH)
