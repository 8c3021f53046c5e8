"""Training from the memory-mapped cache, beside tensors in memory and beside MONAI's caching.

Every way feeds the same `train_steps`: same model, same steps, same draws. Augmentation is off
and the model is the smallest one, so reading weighs as heavily as it ever does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wardround_client.examples import Gather, open_examples
from wardround_client.models import build_model
from wardround_client.parameters import export_parameters
from wardround_client.training import StepRange, TrainingData, train_steps
from wardround_common.plan import Training
from wardround_common.study import Study
from wardround_common.update import model_sha256
from wardround_sim.bench.hospitals import make_hospitals
from wardround_sim.bench.monai_reading import cache_dataset, collated, loading_normalised
from wardround_sim.bench.rows import Row, Spread, ratio
from wardround_sim.bench.timing import interleave

NAME = "throughput"
CACHE, MEMORY = "wardround cache", "tensors in memory"
MONAI = "MONAI LoadImage + CacheDataset"
_GOAL = ">= 0.97"

Rates = dict[str, list[float]]
"""Images a second by way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to measure."""

    patients: int = 120
    steps: int = 5
    batch_size: int = 16
    repetitions: int = 31


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows; ``on_case`` is told what is being measured."""
    torch.set_num_threads(1)
    training = Training(batch_size=sizes.batch_size, augmentation="none")
    with tempfile.TemporaryDirectory() as folder:
        on_case("writing hospitals")
        hospitals = make_hospitals(
            Path(folder), sites=3, patients=sizes.patients, training=training
        )
        study, config = hospitals.federation.study, hospitals.federation.sites[0]
        examples = open_examples(config, study)
        files = (Path(folder) / config.site).rglob("*.dcm")
        monai = cache_dataset(files, loading_normalised(study.preprocessing.shape))
        order = np.arange(examples.labels.size)
        images = examples.gather(order)
        data = TrainingData(gather=examples.gather, indices=order, labels=examples.labels)
        gathers: dict[str, Gather] = {
            CACHE: examples.gather,
            MEMORY: lambda indices: images[indices],
            MONAI: lambda indices: collated(monai, indices),
        }
        on_case("training")
        yield from _rows("training small_cnn", _train(gathers, data, study, sizes), goal=_GOAL)


def _train(gathers: Mapping[str, Gather], data: TrainingData, study: Study, sizes: Sizes) -> Rates:
    steps = StepRange(first=0, count=sizes.steps, total=sizes.steps)
    trained: dict[str, bytes] = {}

    def training(way: str, gather: Gather) -> Callable[[], object]:
        model = build_model(study.model, classes=len(study.task.classes), seed=1)
        own = replace(data, gather=gather)

        def run() -> None:
            train_steps(model, own, study.training, steps=steps, seed=(1,), moments=None)
            trained[way] = model_sha256(export_parameters(model))

        return run

    ways = {way: partial(training, way, gather) for way, gather in gathers.items()}
    seconds = interleave(ways, repetitions=sizes.repetitions, clock=time.perf_counter, warm_up=True)
    if trained[CACHE] != trained[MEMORY]:
        raise RuntimeError("training from the cache gave another model than from memory")
    images = sizes.steps * sizes.batch_size
    return {way: [images / s for s in taken] for way, taken in seconds.items()}


def _rows(case: str, rates: Rates, *, goal: str = "") -> Iterator[Row]:
    """Images a second by way; ours also as a ratio to each other way."""
    others = [way for way in rates if way != CACHE]
    ratios = [
        ratio(rates[CACHE], to=way, others=rates[way], goal=goal if way == MEMORY else "")
        for way in others
    ]
    for way, values in rates.items():
        spread = Spread.of(values)
        own = tuple(ratios) if way == CACHE else ()
        yield Row(benchmark=NAME, case=case, way=way, unit="images/s", spread=spread, ratios=own)
