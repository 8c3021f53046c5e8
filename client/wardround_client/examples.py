"""The examples of one site: pixels from the cache, labels, split; what training reads.

`wardround_client.prepare` writes the list of examples as a whole when it has finished; it names
the pixel file and rows it belongs to, so training never sees a half-prepared site.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround_client.cache import CachedPixels
from wardround_client.split import Part
from wardround_client.storage import make_private_folder
from wardround_common.errors import StateError
from wardround_common.files import write_atomically
from wardround_common.intake_plan import DeclaredData
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study, canonical_json

_FORMAT = 4
"""Counts up whenever the same file would give other pixels or another list of examples."""
_LIST_FILE = "examples.npz"
_SPLITS_FOLDER = "splits"

_FLAG_SEPARATOR = " "
_NEW_SPLIT = "restore it from a backup, or delete it for a new split and a new model"

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
class ExampleFacts:
    """What a site knows of one example besides its pixels; it never leaves the site."""

    label: int
    """Class number."""
    part: Part
    """Part of the split; the same for all examples of a patient."""
    patient: str
    """Pseudonym of the patient."""
    sex: str
    """M, F or empty."""
    age_years: float | None
    """Age at the imaging study."""
    manufacturer: str
    model_name: str
    kernel: str
    """ConvolutionKernel; empty where there is none."""
    slice_thickness: str
    """SliceThickness as in the header, mm."""
    slice_spacing_mm: float | None
    """Distance of a volume's slices; None for a single image."""
    pixel_digest: str
    """Digest of the decoded values; equal for copies under whatever names."""
    flags: tuple[str, ...] = ()
    """How a volume was read, such as ``tilted``; see `wardround_client.volumes.plan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """One example as prepared."""

    row: int
    """Row in the pixel file."""
    facts: ExampleFacts


def cache_folder(config: SiteConfig, study: Study) -> Path:
    """Folder of what belongs to a study, by name, with its cohort rule and preprocessing.

    Studies share nothing here: what one leaves out, or splits otherwise, is not another's concern.
    """
    parts = {
        "format": _FORMAT,
        "name": study.name,
        "cohort": dataclasses.asdict(replace(study.cohort, declared=DeclaredData())),
        "preprocessing": dataclasses.asdict(study.preprocessing),
    }
    return config.workspace / "cache" / hashlib.sha256(canonical_json(parts)).hexdigest()[:24]


def write_examples(
    config: SiteConfig, study: Study, *, pixels_name: str, rows: list[ExampleRow]
) -> None:
    """Writes the list of examples, as a whole or not at all."""
    content = io.BytesIO()
    facts = [row.facts for row in rows]
    columns: dict[str, Any] = {
        name: _to_array(name, [getattr(one, name) for one in facts]) for name in _COLUMNS
    }
    np.savez(
        content,
        split_by=np.array(_split_key(config, study)),
        pixels=np.array(pixels_name),
        row=np.array([row.row for row in rows], np.int64),
        **columns,
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
    lists = _open_lists(config, study)
    shape, hint = study.preprocessing.shape, "prepare the site for this study"
    pixels = CachedPixels(cache_folder(config, study) / str(lists["pixels"]), shape)
    rows = lists["row"]
    if int(rows.max(initial=-1)) >= len(pixels):
        raise StateError(f"site {config.site}: the pixel cache is cut short; {hint}")
    train, validation, test = (np.flatnonzero(lists["part"] == part.value) for part in Part)
    return Examples(
        gather=lambda indices: pixels.gather(rows[indices]),
        labels=lists["label"],
        train=train,
        validation=validation,
        test=test,
        sex=tuple(lists["sex"].tolist()),
        age=lists["age_years"],
        manufacturer=tuple(lists["manufacturer"].tolist()),
    )


def read_example_facts(config: SiteConfig, study: Study) -> list[ExampleFacts]:
    """Reads what is known of each example, in the order of `open_examples`.

    Raises:
        StateError: The site is not prepared for this study, or the list is damaged.
    """
    lists = _open_lists(config, study)
    columns = [lists[name].tolist() for name in _COLUMNS]
    return [
        _facts_of(dict(zip(_COLUMNS, values, strict=True))) for values in zip(*columns, strict=True)
    ]


def known_parts(config: SiteConfig, study: Study) -> dict[str, Part]:
    """Parts of the split given before, by pseudonym, also of patients who are gone.

    They hold whatever the fractions are now; other fractions are for patients who come later.

    Raises:
        StateError: The file that holds them is damaged.
    """
    path = _split_file(config, study)
    if not path.is_file():
        return {}
    try:
        parts = json.loads(path.read_bytes())["parts"]
        return {name: Part(part) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StateError(f"{path}: is damaged; {_NEW_SPLIT}") from None


def require_own_parts(
    config: SiteConfig, study: Study, known: Mapping[str, Part], patients: Iterable[str]
) -> None:
    """Raises StateError if the split knows none of the patients: then the secret is another."""
    if known and known.keys().isdisjoint(patients):
        path = _split_file(config, study)
        got = "got the split of other pseudonyms, expected some of these patients"
        raise StateError(f"{path}: {got}; restore site.secret, or {_NEW_SPLIT}")


def remember_parts(config: SiteConfig, study: Study, parts: Mapping[str, Part]) -> None:
    """Keeps the parts of the split for good, as a whole or not at all."""
    document, path = {"parts": dict(parts)}, _split_file(config, study)
    make_private_folder(path.parent)
    write_atomically(path, canonical_json(document), mode=0o600)


def _split_file(config: SiteConfig, study: Study) -> Path:
    """One file for all versions of a study: a new version must not mix the parts anew."""
    name = hashlib.sha256(study.name.encode()).hexdigest()[:24]
    return config.workspace / _SPLITS_FOLDER / f"{name}.json"


def _open_lists(config: SiteConfig, study: Study) -> dict[str, NDArray[Any]]:
    """Reads the list of examples if it is this study's.

    Raises:
        StateError: The site is not prepared for this study, or the list is damaged.
    """
    path, hint = cache_folder(config, study) / _LIST_FILE, "prepare the site for this study"
    if not path.is_file():
        raise StateError(f"site {config.site}: got no prepared examples, expected some; {hint}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            lists = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        raise StateError(f"{path}: is damaged; delete it and prepare the site again") from None
    if str(lists["split_by"]) != _split_key(config, study):
        message = "got examples of another split or class count"
        raise StateError(f"site {config.site}: {message}, expected this study's; {hint}")
    return lists


def _split_key(config: SiteConfig, study: Study) -> str:
    """What else the list depends on, besides the folder's key."""
    parts = (config.validation_fraction, config.test_fraction, len(study.task.classes))
    return canonical_json(parts).decode()


_COLUMNS = tuple(field.name for field in dataclasses.fields(ExampleFacts))
_NUMBERS = ("age_years", "slice_spacing_mm")
"""Columns in which NaN stands for None."""


def _to_array(name: str, values: list[Any]) -> NDArray[Any]:
    if name in _NUMBERS:
        return np.array([float("nan") if value is None else value for value in values], np.float64)
    if name == "label":
        return np.array(values, np.int64)
    if name == "flags":
        values = [_FLAG_SEPARATOR.join(value) for value in values]
    return np.array(values, np.str_)


def _facts_of(values: dict[str, Any]) -> ExampleFacts:
    for name in _NUMBERS:
        values[name] = None if math.isnan(values[name]) else values[name]
    values["part"] = Part(values["part"])
    values["flags"] = tuple(values["flags"].split())
    return ExampleFacts(**values)
