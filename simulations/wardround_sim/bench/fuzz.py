"""Damaged files against the site's reader: nothing may crash, hang, leak or be read wrongly."""

from __future__ import annotations

import gc
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from wardround_client.workers import Limits, run_guarded
from wardround_sim.bench.fuzzing import Damage, Outcome, read_damaged
from wardround_sim.bench.radiographs import write_radiographs
from wardround_sim.bench.rows import Row, Spread

NAME = "fuzz"
_SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
_MOST_BYTES = 4 << 20
_WARM_UP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to damage."""

    files: int = 2000
    seed: int = 1
    corpus: str = "../shared/data/dicom_corpus"
    """Folder of files to damage; where it is absent, generated images are."""
    seconds: float = 20.0
    """Longest time for one file."""
    memory_bytes: int = 2 << 30
    """Most memory for one file."""
    workers: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """What became of the files, and of this process."""

    outcomes: dict[Damage, Outcome]
    """By damage; what a worker did not survive is there under its reason."""
    open_files: int
    """More than before."""
    processes: int
    """More than before."""
    grown_mb: float
    """Memory of this process beyond what it had after the first few files, MB."""


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows; ``on_case`` is told what is being measured."""
    on_case(f"{sizes.files} damaged files, seed {sizes.seed}")
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), sizes)
    case = f"{sizes.files} damaged files, seed {sizes.seed}"

    def row(what: str, number: float, unit: str = "files", goal: str = "") -> Row:
        spread = Spread.of([float(number)])
        return Row(benchmark=NAME, case=case, way=what, unit=unit, spread=spread, goal=goal)

    verdicts = Counter(outcome.verdict for outcome in found.outcomes.values())
    yield row("read, as a second reader does or as before", verdicts["right"])
    yield row("read, and no second reader to ask", verdicts["unchecked"])
    yield row("read wrongly", verdicts["wrong"], goal="<= 0")
    refused = Counter(o.what for o in found.outcomes.values() if not o.verdict)
    for reason, number in refused.most_common():
        yield row(f"refused: {reason}", number)
    yield row("open files left", found.open_files, "files", "<= 0")
    yield row("processes left", found.processes, "processes", "<= 0")
    yield row("memory grown", found.grown_mb, "MB", "<= 50")


def fuzz(folder: Path, sizes: Sizes) -> Fuzzed:
    """Damages files and reads each in a guarded worker; ``folder`` takes the copies."""
    files = _files(Path(sizes.corpus), folder)
    copies = folder / "damaged"
    copies.mkdir()
    draw = np.random.default_rng(sizes.seed).integers(0, len(files), sizes.files)
    items = [Damage(files[n], sizes.seed, number) for number, n in enumerate(draw.tolist())]
    limits = Limits(seconds=sizes.seconds, memory_bytes=sizes.memory_bytes)
    read = partial(read_damaged, copies)
    own, outcomes = psutil.Process(), dict[Damage, Outcome]()
    before = (own.num_fds(), len(own.children(recursive=True)))
    warm = 0
    for damage, result in run_guarded(read, items, processes=sizes.workers, limits=limits):
        outcomes[damage] = result if isinstance(result, Outcome) else Outcome(result.value, "")
        if len(outcomes) == _WARM_UP:
            warm = own.memory_info().rss
    gc.collect()
    return Fuzzed(
        outcomes=outcomes,
        open_files=own.num_fds() - before[0],
        processes=len(own.children(recursive=True)) - before[1],
        grown_mb=max(0, own.memory_info().rss - warm) / 1e6,
    )


def _files(corpus: Path, folder: Path) -> list[Path]:
    """Files to damage, in the same order everywhere."""
    if corpus.is_dir():
        found = [path for path in sorted(corpus.rglob("*")) if path.is_file()]
        return [path for path in found if 0 < path.stat().st_size <= _MOST_BYTES]
    made = [write_radiographs(folder / str(syntax), 2, syntax) for syntax in _SYNTAXES]
    return [image.path for images in made for image in images]
