"""What a site puts into a sum: its training update or its evaluation counts, as integers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround_client import evaluation
from wardround_client.examples import Examples, open_examples
from wardround_client.kept import KeptArrays
from wardround_client.models import best_device, build_model, local_names
from wardround_client.parameters import export_buffers, export_parameters, load_arrays
from wardround_client.site import Site
from wardround_client.training import Moments, StepRange, TrainingData, train_steps
from wardround_common import metrics
from wardround_common.errors import PolicyError, ProtocolError
from wardround_common.layout import LOSS_UNIT, evaluation_plan, metric_layout, training_plan
from wardround_common.masking import Words
from wardround_common.plan import ModelPlan
from wardround_common.quantise import VectorPlan, clip, encode
from wardround_common.study import Study
from wardround_common.update import Floats, Shapes, flatten

_EVALUATION_BATCH = 64

Groups = Mapping[str, Mapping[str, Floats]]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The study's model as every site builds it, and which of it is shared."""

    model: nn.Module
    parameters: dict[str, Floats]
    buffers: dict[str, Floats]
    kept: frozenset[str]

    @property
    def shared_parameters(self) -> dict[str, Floats]:
        """Initial parameters that travel."""
        return {name: a for name, a in self.parameters.items() if name not in self.kept}

    @property
    def shared_buffers(self) -> dict[str, Floats]:
        """Initial running statistics that travel."""
        return {name: a for name, a in self.buffers.items() if name not in self.kept}


def blueprint(study: Study) -> Blueprint:
    """Builds the study's initial model; once in a process, for building takes time."""
    classes = len(study.task.classes)
    dimensions = len(study.preprocessing.shape)
    return _blueprint(study.model, classes, dimensions, study.seed, study.algorithm.keep_local)


@lru_cache(maxsize=2)
def _blueprint(
    plan: ModelPlan, classes: int, dimensions: int, seed: int, keep_local: str
) -> Blueprint:
    model = build_model(plan, classes=classes, seed=seed, dimensions=dimensions)
    kept = local_names(model, keep_local)
    parameters, buffers = export_parameters(model), export_buffers(model)
    return Blueprint(model.to(best_device()), parameters, buffers, kept)


def study_plan(study: Study, kind: str) -> VectorPlan:
    """Layout of the vector for ``train``, ``validation`` or ``test``."""
    if kind != "train":
        return evaluation_plan(study)
    draft = blueprint(study)
    return training_plan(study, Shapes.of(draft.shared_parameters), Shapes.of(draft.shared_buffers))


def train(site: Site, run: bytes, *, number: int, first_step: int, groups: Groups) -> Words:
    """Trains for one round and quantises the update.

    Args:
        site: This site.
        run: Identity of the run.
        number: Number of the round; with study, site and run it seeds the draws.
        first_step: Steps of the run done before.
        groups: Received arrays: parameters, buffers, moments.

    Returns:
        uint32, shape (length of the training layout,): not yet masked.

    Raises:
        PolicyError: The steps lie outside the study, or the update is out of range.
        ProtocolError: The received arrays are not those of the study.
        RoundError: Training diverged.
    """
    torch.set_num_threads(site.config.threads)
    study, draft = site.study, blueprint(site.study)
    steps = _steps(study, first_step)
    received = _received(draft, groups, study)
    kept_store = KeptArrays(site.config.workspace / "kept" / run.hex())
    kept = kept_store.load(first_step)
    _load_model(draft, received, kept)
    examples = open_examples(site.config, study)
    data = TrainingData(gather=examples.gather, indices=examples.train, labels=examples.labels)
    place = study.sites.index(site.name)
    # With the run among them, no other run brings the same update for another set of sites.
    seed = (study.seed, place, number, int.from_bytes(run, "big"))
    moments = _moments_in(draft, groups, kept) if "first_moment" in groups and first_step else None
    start = time.perf_counter()
    result = train_steps(draft.model, data, study.training, steps=steps, seed=seed, moments=moments)
    seconds = round(time.perf_counter() - start, 6)
    fields = {"round": number, "seconds": seconds, "loss": result.loss}
    site.log.info("trained", extra=fields | {"examples": result.examples_seen})
    _keep(kept_store, draft, result.moments, steps)
    update, clipped = _update(draft, received, study.aggregation.clip_norm)
    parts = _parts(draft, update, result.moments if "first_moment" in groups else None)
    counts = np.array([int(clipped), round(result.loss / LOSS_UNIT)], np.int64)
    weight = _weight(study, examples)
    return encode(study_plan(study, "train"), parts, weight=weight, counts=counts)


def evaluate(site: Site, run: bytes, *, split: str, step: int, groups: Groups) -> Words:
    """Evaluates the received model on ``validation`` or ``test`` and encodes the counts.

    Raises:
        PolicyError: A count is out of range.
        ProtocolError: The received arrays are not those of the study.
    """
    torch.set_num_threads(site.config.threads)
    study, draft = site.study, blueprint(site.study)
    kept = KeptArrays(site.config.workspace / "kept" / run.hex()).load(step)
    _load_model(draft, _received(draft, groups, study), kept)
    examples = open_examples(site.config, study)
    indices = examples.validation if split == "validation" else examples.test
    layout = metric_layout(study)
    counts = np.zeros(layout.size, np.int64)
    if indices.size:
        probabilities = evaluation.predict(
            draft.model, examples.gather, indices, batch_size=_EVALUATION_BATCH
        )
        labels = examples.labels[indices]
        losses = evaluation.log_losses(probabilities, labels)
        counts = metrics.encode(layout, probabilities, labels, losses)
    return encode(evaluation_plan(study), {}, weight=1.0, counts=counts)


def _steps(study: Study, first: int) -> StepRange:
    count = study.training.local_steps
    total = count * study.algorithm.rounds
    if first % count or not 0 <= first < total:
        raise PolicyError(f"ticket: got step {first}, the study has {total} in rounds of {count}")
    return StepRange(first=first, count=count, total=total)


def _received(draft: Blueprint, groups: Groups, study: Study) -> dict[str, Floats]:
    expected = {"parameters"} | ({"buffers"} if draft.shared_buffers else set())
    if study.algorithm.name == "fedadamw":
        expected |= {"first_moment", "root_second_moment"}
    if set(groups) != expected:
        raise ProtocolError(f"model: got arrays {sorted(groups)}, expected {sorted(expected)}")
    for name in expected - {"buffers"}:
        flatten(groups[name], Shapes.of(draft.shared_parameters))
    arrays = {**groups["parameters"], **groups.get("buffers", {})}
    flatten(arrays, Shapes.of({**draft.shared_parameters, **draft.shared_buffers}))
    return arrays


def _load_model(
    draft: Blueprint, received: Mapping[str, Floats], kept: Mapping[str, Floats]
) -> None:
    initial = {**draft.parameters, **draft.buffers}
    own = {name: kept.get(f"value/{name}", initial[name]) for name in initial if name in draft.kept}
    load_arrays(draft.model, {**received, **own})


def _moments_in(draft: Blueprint, groups: Groups, kept: Mapping[str, Floats]) -> Moments:
    def merged(group: str, prefix: str) -> dict[str, NDArray[np.float32]]:
        zeros = {n: np.zeros_like(a) for n, a in draft.parameters.items() if n in draft.kept}
        own = {name: kept.get(f"{prefix}/{name}", zero) for name, zero in zeros.items()}
        return {**groups[group], **own}

    return Moments(
        first=merged("first_moment", "first"),
        root_second=merged("root_second_moment", "root_second"),
    )


def _keep(store: KeptArrays, draft: Blueprint, moments: Moments | None, steps: StepRange) -> None:
    if not draft.kept:
        return
    values = {**export_parameters(draft.model), **export_buffers(draft.model)}
    arrays = {f"value/{name}": values[name] for name in values if name in draft.kept}
    if moments is not None:
        for prefix, named in (("first", moments.first), ("root_second", moments.root_second)):
            arrays |= {f"{prefix}/{name}": named[name] for name in named if name in draft.kept}
    store.save(steps.first + steps.count, arrays)


def _update(
    draft: Blueprint, received: Mapping[str, Floats], clip_norm: float
) -> tuple[Floats, bool]:
    shapes = Shapes.of(draft.shared_parameters)
    trained = export_parameters(draft.model)
    after = flatten({name: trained[name] for name, _ in shapes.items}, shapes)
    before = flatten({name: received[name] for name, _ in shapes.items}, shapes)
    return clip(after - before, clip_norm)


def _parts(draft: Blueprint, update: Floats, moments: Moments | None) -> dict[str, Floats]:
    parts = {"weights": update}
    shapes = Shapes.of(draft.shared_parameters)
    if moments is not None:
        named = {"first_moment": moments.first, "root_second_moment": moments.root_second}
        for group, arrays in named.items():
            parts[group] = flatten({name: arrays[name] for name, _ in shapes.items}, shapes)
    if draft.shared_buffers:
        buffers = export_buffers(draft.model)
        buffer_shapes = Shapes.of(draft.shared_buffers)
        parts["buffers"] = flatten({n: buffers[n] for n, _ in buffer_shapes.items}, buffer_shapes)
    return parts


def _weight(study: Study, examples: Examples) -> float:
    if study.aggregation.weighting == "equal":
        return 1.0
    cap = study.aggregation.case_cap
    return min(len(examples.train), cap) / cap
