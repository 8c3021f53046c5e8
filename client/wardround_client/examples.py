"""The examples of one site: pixels from the cache, labels, split; what training reads.

`wardround_client.prepare` writes the list of examples as a whole when it has finished; it names
the pixel file and rows it belongs to, so training never sees a half-prepared site.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround_client.cache import CachedPixels
from wardround_client.split import Part
from wardround_common.errors import StateError
from wardround_common.files import write_atomically
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study, canonical_json

_FORMAT = 1
"""Counts up whenever the same file would give other pixels or another list of examples."""
_LIST_FILE = "examples.npz"
_PARTS = tuple(Part)

Gather = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The examples of one site, in an order that depends on neither paths nor scan order."""

    gather: Gather
    """Example numbers, int64, shape (n,), to images, float32, shape (n, 1, rows, columns)."""
    labels: NDArray[np.int64]
    """int64, shape (n,), class numbers."""
    train: NDArray[np.int64]
    """int64, numbers of the training examples, ascending."""
    validation: NDArray[np.int64]
    """int64, numbers of the validation examples, ascending."""
    test: NDArray[np.int64]
    """int64, numbers of the test examples, ascending."""
    sex: tuple[str, ...]
    """PatientSex of each example: M, F or empty."""
    age: NDArray[np.float64]
    """float64, shape (n,), years; NaN where unknown."""
    manufacturer: tuple[str, ...]
    """Manufacturer of each example; empty where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """One example as prepared."""

    row: int
    """Row in the pixel file."""
    label: int
    part: Part
    sex: str
    age_years: float | None
    manufacturer: str


def cache_folder(config: SiteConfig, study: Study) -> Path:
    """Folder of the cache that belongs to the study's cohort rule and preprocessing."""
    parts = {
        "format": _FORMAT,
        "cohort": dataclasses.asdict(study.cohort),
        "preprocessing": dataclasses.asdict(study.preprocessing),
    }
    return config.workspace / "cache" / hashlib.sha256(canonical_json(parts)).hexdigest()[:24]


def write_examples(
    config: SiteConfig, study: Study, *, pixels_name: str, rows: list[ExampleRow]
) -> None:
    """Writes the list of examples, as a whole or not at all."""
    content = io.BytesIO()
    np.savez(
        content,
        split_by=np.array(_split_key(config, study)),
        pixels=np.array(pixels_name),
        row=np.array([row.row for row in rows], np.int64),
        label=np.array([row.label for row in rows], np.int64),
        part=np.array([_PARTS.index(row.part) for row in rows], np.uint8),
        sex=np.array([row.sex for row in rows], np.str_),
        age=np.array([_or_nan(row.age_years) for row in rows], np.float64),
        manufacturer=np.array([row.manufacturer for row in rows], np.str_),
    )
    path = cache_folder(config, study) / _LIST_FILE
    write_atomically(path, content.getvalue(), mode=0o600)


def forget_examples(config: SiteConfig, study: Study) -> None:
    """Removes the list of examples, so that nothing trains on what is gone."""
    (cache_folder(config, study) / _LIST_FILE).unlink(missing_ok=True)


def open_examples(config: SiteConfig, study: Study) -> Examples:
    """Opens what `prepare_site` made for this study's cohort rule and preprocessing.

    Raises:
        StateError: The site is not prepared for this study, or the cache is damaged.
    """
    folder = cache_folder(config, study)
    hint = "prepare the site for this study"
    if not (folder / _LIST_FILE).is_file():
        raise StateError(f"site {config.site}: got no prepared examples, expected some; {hint}")
    lists = _read_lists(folder / _LIST_FILE)
    if str(lists["split_by"]) != _split_key(config, study):
        message = "got examples of another split or class count"
        raise StateError(f"site {config.site}: {message}, expected this study's; {hint}")
    shape = (study.preprocessing.rows, study.preprocessing.columns)
    pixels = CachedPixels(folder / str(lists["pixels"]), shape)
    rows = lists["row"]
    if int(rows.max(initial=-1)) >= len(pixels):
        raise StateError(f"site {config.site}: the pixel cache is cut short; {hint}")
    train, validation, test = (np.flatnonzero(lists["part"] == k) for k in range(len(_PARTS)))
    return Examples(
        gather=lambda indices: pixels.gather(rows[indices]),
        labels=lists["label"],
        train=train,
        validation=validation,
        test=test,
        sex=tuple(lists["sex"].tolist()),
        age=lists["age"],
        manufacturer=tuple(lists["manufacturer"].tolist()),
    )


def _read_lists(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        raise StateError(f"{path}: is damaged; delete it and prepare the site again") from None


def _split_key(config: SiteConfig, study: Study) -> str:
    """What else the list depends on, besides the folder's key."""
    parts = (config.validation_fraction, config.test_fraction, len(study.task.classes))
    return canonical_json(parts).decode()


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
