"""What a federation is compared with: each hospital alone, and all archives in one place.

The same `train_steps`, model, splits and schedule as in the federation. A hospital alone makes
the steps it makes in the federation. Pooled training makes as many steps as all hospitals
together, so that it sees as many examples as the federation does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround_client.contribution import blueprint
from wardround_client.examples import Examples, open_examples
from wardround_client.parameters import export_buffers, export_parameters, load_arrays
from wardround_client.training import StepRange, TrainingData, train_steps
from wardround_common.study import Study
from wardround_common.update import Floats
from wardround_sim.scenario import FineTuning
from wardround_sim.virtual import VirtualFederation

Model = dict[str, Floats]
"""A whole model: parameters and running statistics by name."""

POOLED = "pooled"
_LOCAL_ROUND, _POOLED_PLACE, _FINE_TUNING_ROUND = 0, 1 << 20, 1 << 21


def train_baseline(federation: VirtualFederation, who: str) -> Model:
    """Trains one baseline model: ``who`` is a site, or ``pooled`` for all of them."""
    study = federation.study
    steps = study.training.local_steps * study.algorithm.rounds
    if who == POOLED:
        data, place = _pooled_data(federation), _POOLED_PLACE
        steps *= len(federation.sites)
    else:
        data, place = _data(_examples(federation, who)), study.sites.index(who)
    model = _initial_model(study)
    seed = (study.seed, place, _LOCAL_ROUND)
    train_steps(
        model,
        data,
        study.training,
        steps=StepRange(first=0, count=steps, total=steps),
        seed=seed,
        moments=None,
    )
    return _export(model)


def fine_tune(
    federation: VirtualFederation, site: str, *, shared: Model, plan: FineTuning
) -> Model:
    """Continues the shared model for a few steps on one site's training data."""
    study, model = federation.study, _initial_model(federation.study)
    load_arrays(model, shared)
    training = dataclasses.replace(
        study.training,
        learning_rate=plan.learning_rate,
        schedule="constant",
        warmup_fraction=0.0,
        proximal_mu=0.0,
    )
    train_steps(
        model,
        _data(_examples(federation, site)),
        training,
        steps=StepRange(first=0, count=plan.steps, total=plan.steps),
        seed=(study.seed, study.sites.index(site), _FINE_TUNING_ROUND),
        moments=None,
    )
    return _export(model)


def _examples(federation: VirtualFederation, site: str) -> Examples:
    config = next(config for config in federation.sites if config.site == site)
    return open_examples(config, federation.study)


def _data(examples: Examples) -> TrainingData:
    return TrainingData(gather=examples.gather, indices=examples.train, labels=examples.labels)


def _pooled_data(federation: VirtualFederation) -> TrainingData:
    parts = [_examples(federation, config.site) for config in federation.sites]
    starts = np.cumsum([0] + [part.labels.size for part in parts])

    def gather(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        owner = np.searchsorted(starts, indices, side="right") - 1
        images = np.empty((indices.size, 1, *federation.study.preprocessing.shape), np.float32)
        for k in np.unique(owner):
            chosen = owner == k
            images[chosen] = parts[k].gather(indices[chosen] - starts[k])
        return images

    train = [part.train + start for part, start in zip(parts, starts, strict=False)]
    labels = np.concatenate([part.labels for part in parts])
    return TrainingData(gather=gather, indices=np.concatenate(train), labels=labels)


def _initial_model(study: Study) -> nn.Module:
    torch.set_num_threads(1)
    draft = blueprint(study)
    load_arrays(draft.model, {**draft.parameters, **draft.buffers})
    return draft.model


def _export(model: nn.Module) -> Model:
    return {**export_parameters(model), **export_buffers(model)}
