"""Building the pixel cache and gathering batches from it, beside MONAI's caches and memcpy.

Files are read that the system holds in memory, so that programs are compared, not disks. Building
is given twice: by the clock, where our usual two workers count, and in processor time of all
processes together, where they do not. What memcpy stands for is numpy's gathering of float32
images that lie in memory ready-made: a batch takes no less.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from wardround_client.cache import CachedPixels, CacheKey, open_pixel_cache
from wardround_client.workers import Limits, run_guarded
from wardround_common.intake_plan import Preprocessing
from wardround_sim.bench.monai_reading import (
    cache_dataset,
    collated,
    loading,
    loading_normalised,
    persistent_dataset,
)
from wardround_sim.bench.radiographs import (
    SIDE,
    Radiograph,
    decode_radiograph,
    write_radiographs,
)
from wardround_sim.bench.rows import Row, Spread, ratio
from wardround_sim.bench.timing import Prepare, interleave

NAME = "cache"
CACHE = "wardround cache"
LOAD, CACHE_DATASET, PERSISTENT = "MONAI LoadImage", "MONAI CacheDataset", "MONAI PersistentDataset"
MEMCPY = "memcpy of float32"
_SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
_GOALS = {("uncompressed", LOAD): ">= 8", ("gathering", MEMCPY): ">= 0.85"}
_LIMITS = Limits(seconds=60.0, memory_bytes=4 << 30)
_BATCH = 64

Gather = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Row numbers to images."""
Rates = dict[str, list[float]]
"""Images a second by way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to measure."""

    files: int = 64
    times: int = 100
    """How often our cache takes in each uncompressed file, so that starting workers counts as
    little as it does at a hospital."""
    compressed_times: int = 5
    """The same for compressed files, which take longer."""
    side: int = 256
    """Rows and columns of the cached images."""
    batch_size: int = 32
    batches: int = 40
    repetitions: int = 5


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows; ``on_case`` is told what is being measured."""
    torch.set_num_threads(1)
    plan = Preprocessing(rows=sizes.side, columns=sizes.side)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for word, syntax in _SYNTAXES.items():
            on_case(f"building from {word} files")
            yield from _building_rows(folder / word, word, syntax, plan=plan, sizes=sizes)
        on_case("gathering")
        yield from _gathering_rows(folder, plan, sizes)


def _building_rows(
    folder: Path, word: str, syntax: UID, *, plan: Preprocessing, sizes: Sizes
) -> Iterator[Row]:
    files = write_radiographs(folder / "files", sizes.files, syntax)
    plain = syntax == ExplicitVRLittleEndian
    many = files * (sizes.times if plain else sizes.compressed_times)
    paths, numbers = [file.path for file in files], count()
    load = loading(plan.shape)

    def fresh() -> Path:
        return folder / f"{next(numbers)}"

    ways: dict[str, Prepare] = {
        CACHE: lambda: partial(build_cache, fresh(), many, plan),
        LOAD: lambda: lambda: [load(str(path)) for path in paths],
        CACHE_DATASET: lambda: partial(cache_dataset, paths, load),
        PERSISTENT: lambda: partial(persistent_dataset, paths, load, fresh()),
    }
    images = {way: len(many) if way == CACHE else len(files) for way in ways}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    metered = {way: partial(_metered, prepare, spent[way]) for way, prepare in ways.items()}
    seconds = interleave(metered, repetitions=sizes.repetitions, clock=time.perf_counter)
    case = f"building from {word}, {SIDE} x {SIDE} to {sizes.side} x {sizes.side}"
    goals = {LOAD: _GOALS.get((word, LOAD), "")}
    rates = {way: [images[way] / s for s in taken] for way, taken in seconds.items()}
    yield from _rows(case, "images/s", rates, goals=goals)
    rates = {way: [images[way] / s for s in taken] for way, taken in spent.items()}
    yield from _rows(case, "images/s of one core", rates, goals={})


def _metered(prepare: Prepare, spent: list[float]) -> Callable[[], object]:
    """Notes the processor time of an action as well."""
    action = prepare()

    def run() -> None:
        start_s = _processor_s()
        action()
        spent.append(_processor_s() - start_s)

    return run


def _processor_s() -> float:
    """Processor time of this process and of its workers, once they have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def build_cache(
    folder: Path, files: Sequence[Radiograph], plan: Preprocessing, *, processes: int = 2
) -> Path:
    """Decodes files in guarded workers into a new cache; returns the pixel file."""
    decode = partial(decode_radiograph, plan)
    results = run_guarded(decode, files, processes=processes, limits=_LIMITS)
    with open_pixel_cache(folder, plan.shape) as cache:
        keyed = (
            (CacheKey(name=b"%d" % number, facts=file.uid), image)
            for number, (file, image) in enumerate(results)
        )
        while batch := list(islice(keyed, _BATCH)):
            cache.add(batch)
        return cache.pixels_path


def _gathering_rows(folder: Path, plan: Preprocessing, sizes: Sizes) -> Iterator[Row]:
    files = write_radiographs(folder / "files", sizes.files, ExplicitVRLittleEndian)
    path = build_cache(folder / "cache", files * sizes.times, plan)
    cached = CachedPixels(path, plan.shape)
    images = cached.gather(np.arange(len(cached)))
    paths, load = [file.path for file in files], loading_normalised(plan.shape)
    in_memory = cache_dataset(paths, load)
    on_disk = persistent_dataset(paths, load, folder / "persistent")
    draw = np.random.default_rng(1)
    batches = draw.integers(0, len(cached), (sizes.batches, sizes.batch_size))

    def reading(gather: Gather) -> Callable[[], object]:
        def run() -> None:
            for batch in batches:
                gather(batch)

        return run

    gathers: dict[str, Gather] = {
        CACHE: cached.gather,
        MEMCPY: lambda rows: np.take(images, rows, axis=0),
        CACHE_DATASET: lambda rows: collated(in_memory, rows % len(files)),
        PERSISTENT: lambda rows: collated(on_disk, rows % len(files)),
    }
    ways = {way: partial(reading, gather) for way, gather in gathers.items()}
    seconds = interleave(ways, repetitions=sizes.repetitions, clock=time.perf_counter, warm_up=True)
    rates = {way: [batches.size / s for s in taken] for way, taken in seconds.items()}
    case = f"gathering batches of {sizes.batch_size}, {sizes.side} x {sizes.side}"
    yield from _rows(case, "images/s", rates, goals={MEMCPY: _GOALS["gathering", MEMCPY]})


def _rows(case: str, unit: str, rates: Rates, *, goals: Mapping[str, str]) -> Iterator[Row]:
    """Rates by way; ours also as a ratio to each other way."""
    ratios = tuple(
        ratio(rates[CACHE], to=other, others=rates[other], goal=goals.get(other, ""))
        for other in rates
        if other != CACHE
    )
    for way, values in rates.items():
        own = ratios if way == CACHE else ()
        spread = Spread.of(values)
        yield Row(benchmark=NAME, case=case, way=way, unit=unit, spread=spread, ratios=own)
