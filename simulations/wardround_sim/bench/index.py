"""How fast an archive is indexed, beside pydicom and gdcm reading the same elements.

Each way reads the same files: warm from the page cache, cold from the disk. The index walks the
folders, reads headers and keeps them in SQLite; the others only read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gdcm
import pydicom

from wardround_client.index.elements import KEYWORDS, TAG_OF
from wardround_client.index.walker import walk_header
from wardround_sim.bench.header_files import write_files
from wardround_sim.bench.index_run import scan
from wardround_sim.bench.rows import Row, Spread, ratio
from wardround_sim.bench.timing import Prepare, interleave

NAME = "index"
HEADERS, PYDICOM, GDCM = (
    "wardround: headers",
    "pydicom.dcmread, same tags",
    "gdcm.Scanner, same tags",
)
INDEX, AGAIN = "wardround: index, {}", "wardround: unchanged tree again"
_PROCESSES = {"this process": 0, "2 workers": 2}
_WARM_GOAL, _COLD_GOAL, _AGAIN_GOAL, _PEAK_GOAL_MB = ">= 8", ">= 4", ">= 50000", "<= 300"
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")

Rates = dict[str, list[float]]
"""Files a second by way."""

Action = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to measure."""

    files: int = 20_000
    side: int = 512
    """Rows and columns; 512 make a file of 0.5 MB."""
    sample: int = 4000
    """Files of which headers alone are read; the index takes all."""
    repetitions: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """An archive of generated files and a folder for indices."""

    archive: Path
    work: Path
    paths: list[Path]
    sample: list[str]

    def ways(self) -> dict[str, tuple[Callable[[], Action], int]]:
        """Name to what makes the way ready, and the files it reads."""
        alone = {HEADERS: _read_headers, PYDICOM: _read_by_pydicom, GDCM: _read_by_gdcm}
        ways: dict[str, tuple[Callable[[], Action], int]] = {
            way: (partial(partial, read, self.sample), len(self.sample))
            for way, read in alone.items()
        }
        for name, processes in _PROCESSES.items():
            ways[INDEX.format(name)] = (partial(self._index_anew, processes), len(self.paths))
        return ways

    def _index_anew(self, processes: int) -> Action:
        database = Path(tempfile.mkdtemp(dir=self.work)) / "index.sqlite"
        return partial(scan, self.archive, database, processes=processes)


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows; ``on_case`` is told what is being measured."""
    with tempfile.TemporaryDirectory() as folder:
        archive, work = Path(folder) / "archive", Path(folder) / "work"
        on_case(f"writing {sizes.files} files")
        paths = write_files(archive, sizes.files, side=sizes.side)
        sample = [str(path) for path in paths[: sizes.sample]]
        bench = _Bench(archive=archive, work=work, paths=paths, sample=sample)
        work.mkdir()
        on_case("warm")
        yield from _rows("warm", _rates(bench, sizes, None), goal=_WARM_GOAL)
        evict, how = _eviction(paths)
        on_case("cold")
        yield from _rows(f"cold ({how})", _rates(bench, sizes, evict), goal=_COLD_GOAL)
        on_case("unchanged tree")
        yield _again_row(bench, sizes)
        on_case("memory")
        yield from _memory_rows(bench)


def _rates(bench: _Bench, sizes: Sizes, evict: Callable[[], None] | None) -> Rates:
    """Files a second by way: from the page cache, or from the disk after ``evict``."""

    def prepared(make: Callable[[], Action]) -> Prepare:
        def prepare() -> Action:
            if evict is not None:
                evict()
            return make()

        return prepare

    ways = bench.ways()
    seconds = interleave(
        {way: prepared(make) for way, (make, _) in ways.items()},
        repetitions=sizes.repetitions,
        clock=time.perf_counter,
        warm_up=evict is None,
    )
    return {way: [ways[way][1] / s for s in taken] for way, taken in seconds.items()}


def _rows(case: str, rates: Rates, *, goal: str) -> Iterator[Row]:
    """Every way of one case; ours also as a ratio to the others, a core where that is the goal."""
    for way, values in rates.items():
        goals = {HEADERS: goal, INDEX.format("this process"): goal}
        others = (PYDICOM, GDCM) if way not in (PYDICOM, GDCM) else ()
        ratios = tuple(
            ratio(values, to=o, others=rates[o], goal=goals.get(way, "") if o == PYDICOM else "")
            for o in others
        )
        spread = Spread.of(values)
        yield Row(benchmark=NAME, case=case, way=way, unit="files/s", spread=spread, ratios=ratios)


def _again_row(bench: _Bench, sizes: Sizes) -> Row:
    """A scan that finds every file as it was."""
    database = bench.work / "index.sqlite"
    scan(bench.archive, database, processes=2)
    again = partial(scan, bench.archive, database, processes=2)
    ways: dict[str, Prepare] = {AGAIN: lambda: again}
    seconds = interleave(ways, repetitions=sizes.repetitions, clock=time.perf_counter, warm_up=True)
    rates = [len(bench.paths) / s for s in seconds[AGAIN]]
    return Row(
        benchmark=NAME,
        case="unchanged tree",
        way=AGAIN,
        unit="files/s",
        spread=Spread.of(rates),
        goal=_AGAIN_GOAL,
    )


def _memory_rows(bench: _Bench) -> Iterator[Row]:
    """Peak of all processes of one scan, which runs apart from this one."""
    for name, processes in _PROCESSES.items():
        database = Path(tempfile.mkdtemp(dir=bench.work)) / "index.sqlite"
        arguments = (str(bench.archive), str(database), str(processes))
        command = (sys.executable, "-m", "wardround_sim.bench.index_run", *arguments)
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603
        spread = Spread.of([int(answer.stdout) / 1e6])
        way = INDEX.format(name)
        yield Row(
            benchmark=NAME,
            case="peak memory",
            way=way,
            unit="MB",
            spread=spread,
            goal=_PEAK_GOAL_MB,
        )


def _read_headers(names: list[str]) -> None:
    for name in names:
        if walk_header(name) is None:
            raise RuntimeError("a generated file took pydicom")


def _read_by_pydicom(names: list[str]) -> None:
    tags = list(KEYWORDS)
    for name in names:
        pydicom.dcmread(name, stop_before_pixels=True, specific_tags=tags)


def _read_by_gdcm(names: list[str]) -> None:
    scanner = gdcm.Scanner()
    for tag in TAG_OF.values():
        scanner.AddTag(gdcm.Tag(tag >> 16, tag & 0xFFFF))
    if not scanner.Scan(names):
        raise RuntimeError("gdcm could not scan the generated files")


def _eviction(paths: Sequence[Path]) -> tuple[Callable[[], None], str]:
    """How files leave the page cache here, and a word for it."""
    if os.access(_DROP_CACHES, os.W_OK):
        return _drop_caches, "drop_caches"
    return partial(_forget_pages, paths), "posix_fadvise"


def _drop_caches() -> None:
    os.sync()
    _DROP_CACHES.write_text("3")


def _forget_pages(paths: Sequence[Path]) -> None:
    """Takes the files' pages from the cache; what the system knows of folders stays."""
    os.sync()
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
