"""Traps of known truth and real awkward files: what intake makes of them, and what others do.

One row for each trap and reader. The case names what a correct reader makes of it, the way what
this one made. A volume is measured by its worst voxel, mm; a radiograph by its worst pixel,
standard deviations; a refusal is counted in files, and 0 where it is not as expected.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wardround_client.index.reader import quiet
from wardround_client.volumes.geometry import Irregular
from wardround_sim.bench.readers import ReadVolume, other_readers
from wardround_sim.bench.rows import Row, Spread
from wardround_sim.traps.case import Case
from wardround_sim.traps.catalogue import CASES
from wardround_sim.traps.corpus import read_corpus
from wardround_sim.traps.outcome import GOAL_MM, Outcome, run_case

NAME = "traps"
OURS = "wardround"
_IMAGE_GOAL = 2e-4
_POLICIES: tuple[Irregular, ...] = ("refuse", "resample")
_FAILED = 1e6
"""Stands for an outcome that is not as expected; no position error is that large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to measure."""

    every: int = 1
    """Takes each so many-th trap."""
    corpus: Path = Path("../shared/data/dicom_corpus")
    """Folder of real files; left out where it is absent."""


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows; ``on_case`` is told what is being measured."""
    others = other_readers()
    silent = dict.fromkeys((OURS, *others), 0)
    cases = CASES[:: sizes.every]
    for case in cases:
        on_case(case.name)
        for row in _case_rows(case, others):
            wrong = row.unit == "mm" and row.spread.median > GOAL_MM
            silent[row.way.partition(":")[0]] += wrong
            yield row
    volumes = sum(not case.single for case in cases)
    for way, count in silent.items():
        goal = "<= 0" if way == OURS else ""
        yield _row(
            f"all {volumes} folders of slices",
            "silently wrong",
            way,
            count,
            unit="folders",
            goal=goal,
        )
    if sizes.corpus.is_dir():
        yield from _corpus_rows(sizes.corpus, on_case)


def _case_rows(case: Case, others: Mapping[str, ReadVolume]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "archive"
        yield _own_row(case, run_case(case, folder))
        if not case.single:
            for way, read in others.items():
                yield _other_row(case, way, read, folder)


def _own_row(case: Case, outcome: Outcome) -> Row:
    as_expected = outcome.text == case.expected and outcome.padded == case.padded
    way = f"{OURS}: {outcome.text}"
    if outcome.image_error is not None:
        error = outcome.image_error if as_expected else _FAILED
        return _row(case.name, case.expected, way, error, unit="sd", goal=f"<= {_IMAGE_GOAL}")
    if case.volumes:
        error = outcome.error_mm if as_expected else _FAILED
        return _row(case.name, case.expected, way, error, goal=f"<= {GOAL_MM}")
    files = sum(case.refused.values())
    return _row(
        case.name,
        case.expected,
        way,
        files if as_expected else 0,
        unit="refused",
        goal=f">= {files}",
    )


def _row(
    name: str, expected: str, way: str, value: float, *, unit: str = "mm", goal: str = ""
) -> Row:
    return Row(
        benchmark=NAME,
        case=f"{name}: {expected}",
        way=way,
        unit=unit,
        spread=Spread.of([float(value)]),
        goal=goal,
    )


def _other_row(case: Case, way: str, read: ReadVolume, folder: Path) -> Row:
    """Measures another library on the files of a case, which are there once for each axis."""
    try:
        with quiet():
            parts = [read(part) for part in sorted(folder.iterdir())]
        values = np.stack([np.asarray(array, np.float64) for array, _ in parts], axis=-1)
        affine = parts[0][1]
        index = np.moveaxis(np.indices(values.shape[:3]), 0, -1)
        off = index @ affine[:3, :3].T + affine[:3, 3] - values
    except Exception:  # foreign readers, fed with traps, raise whatever they like
        return _row(case.name, case.expected, way, 1, unit="raised")
    sizes = "x".join(str(size) for size in values.shape[:3])
    error_mm = float(np.linalg.norm(off, axis=-1).max())
    found = error_mm if np.isfinite(error_mm) else _FAILED
    return _row(case.name, case.expected, f"{way}: {sizes}", found)


def _corpus_rows(corpus: Path, on_case: Callable[[str], None]) -> Iterator[Row]:
    for irregular in _POLICIES:
        on_case(f"real files, study says {irregular}")
        for found in read_corpus(corpus, irregular=irregular):
            name = f"{found.folder}, {irregular}"
            goal = f"<= {GOAL_MM}" if found.volumes else ""
            unit = "mm" if found.volumes else "mm, no volume"
            yield Row(
                benchmark=NAME,
                case=name,
                way=f"{OURS}: {found.text}",
                unit=unit,
                spread=Spread.of([found.error_mm]),
                goal=goal,
            )
