"""Reads the site's label file and finds the one label of an imaging study, or says why not."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from wardround_client.index.header import Instance
from wardround_client.labels.acquired import AcquiredGrid
from wardround_client.labels.source import SeenSeries
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError

STUDY_COLUMN = "StudyInstanceUID"
ACCESSION_COLUMN = "AccessionNumber"
MAXIMUM_FILE_BYTES = 1 << 28
_SEPARATORS = (",", ";", "\t")

RowNumbers: TypeAlias = Mapping[str, int | list[int]]
"""Key to the number of its row, or of several; nearly always one, and a set takes 200 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One row of the label file; texts are stripped and empty where absent."""

    study_uid: str
    accession: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """All rows of a label file, found by either key."""

    rows: tuple[LabelRow, ...]
    by_study: RowNumbers
    """By StudyInstanceUID."""
    by_accession: RowNumbers
    """By AccessionNumber."""

    def rows_of(self, study_uid: str, accession: str) -> tuple[frozenset[int], frozenset[int]]:
        """Numbers of the rows that name an imaging study by UID, and by accession number."""
        return _numbers(self.by_study, study_uid), _numbers(self.by_accession, accession)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLabels:
    """The labels of a label file; see `wardround_client.labels.source`."""

    table: LabelTable
    classes: int
    """Number of classes; a label is 0 to ``classes - 1``."""
    shared: AbstractSet[str]
    """Accession numbers that several imaging studies of the archive have."""

    @property
    def refused(self) -> Mapping[bytes, Reason]:
        """Nothing: a label file is read as a whole or not at all."""
        return {}

    @property
    def entries(self) -> int:
        """Rows of the file."""
        return len(self.table.rows)

    def of(self, image: Instance, grid: AcquiredGrid | None = None) -> int | Reason:  # noqa: ARG002
        """The label of the image's imaging study, or why there is none."""
        study = (image.header.study_uid, image.header.accession)
        return find_label(self.table, study, classes=self.classes, shared=study[1] in self.shared)

    def unused(self, seen: Iterable[SeenSeries]) -> int:
        """Rows that name no imaging study of the series ``seen``."""
        used: set[int] = set()
        for study_uid, accession in {(one.study_uid, one.accession) for one in seen}:
            used.update(*self.table.rows_of(study_uid, accession))
        return len(self.table.rows) - len(used)


def read_labels(path: Path, label_column: str) -> LabelTable:
    """Reads a label file: CSV in UTF-8 with commas, semicolons or tabs, and a header row.

    Raises:
        ArchiveError: The file is missing, unreadable, or lacks the columns.
    """
    text = _read_text(path)
    separator = _separator_of(text.partition("\n")[0], label_column)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        _require_columns(path, columns, label_column)
        rows = tuple(_row_of(values, label_column) for values in reader)
    except csv.Error:
        hint = "check its quotation marks"
        raise ArchiveError(f"labels {path}: line {reader.line_num}: is no CSV; {hint}") from None
    return LabelTable(
        rows=rows,
        by_study=_by_key(row.study_uid for row in rows),
        by_accession=_by_key(row.accession for row in rows),
    )


def find_label(
    table: LabelTable, study: tuple[str, str], *, classes: int, shared: bool
) -> int | Reason:
    """Finds the label of one imaging study.

    A row that names the study by UID decides; its accession number must then not contradict.
    An accession number alone decides only if no other imaging study has it.

    Args:
        table: The label file.
        study: StudyInstanceUID and AccessionNumber of the imaging study.
        classes: Number of classes; a label is 0 to ``classes - 1``.
        shared: Whether another imaging study of the archive has the same accession number.
    """
    study_uid, accession = study
    by_study, by_accession = table.rows_of(study_uid, accession)
    if by_study:
        named = {table.rows[number].accession for number in by_study} - {""}
        apart = bool(by_accession) and by_study.isdisjoint(by_accession)
        if apart or (accession and not named <= {accession}):
            return Reason.LABEL_KEYS_DISAGREE
        by_accession = frozenset(n for n in by_accession if not table.rows[n].study_uid)
    elif any(table.rows[number].study_uid for number in by_accession):
        return Reason.LABEL_KEYS_DISAGREE
    elif by_accession and shared:
        return Reason.ACCESSION_SHARED
    return _one_label({table.rows[number].label for number in by_study | by_accession}, classes)


def _one_label(found: set[str], classes: int) -> int | Reason:
    if not found - {""}:
        return Reason.LABEL_MISSING
    if len(found) > 1:
        return Reason.LABEL_CONFLICT
    known = {str(number): number for number in range(classes)}
    return known.get(found.pop(), Reason.LABEL_OUT_OF_RANGE)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAXIMUM_FILE_BYTES + 1)
    except OSError as error:
        message = f"labels {path}: cannot be read ({error.strerror}); check the path"
        raise ArchiveError(message) from None
    if len(content) > MAXIMUM_FILE_BYTES:
        limit = f"at most {MAXIMUM_FILE_BYTES}"
        raise ArchiveError(f"labels {path}: got more bytes, expected {limit}; is this the file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ArchiveError(f"labels {path}: is not UTF-8 text; save it as CSV UTF-8") from None


def _separator_of(first_line: str, label_column: str) -> str:
    """The separator under which the header row shows the label column; a comma otherwise."""
    for separator in _SEPARATORS:
        names = [name.strip().strip('"') for name in first_line.split(separator)]
        if label_column in names and len(names) > 1:
            return separator
    return ","


def _require_columns(path: Path, columns: list[str], label_column: str) -> None:
    """Raises ArchiveError unless the columns are there, each once."""
    keys = [name for name in (STUDY_COLUMN, ACCESSION_COLUMN) if name in columns]
    if label_column not in columns or not keys:
        # The names found are not shown: without a header row they are a patient's data.
        missing = label_column if label_column not in columns else "key column"
        wanted = f"{label_column} and {STUDY_COLUMN} or {ACCESSION_COLUMN}"
        hint = "add a header row or correct its names"
        raise ArchiveError(f"labels {path}: got no {missing}, expected columns {wanted}; {hint}")
    for name in (*keys, label_column):
        if columns.count(name) > 1:
            raise ArchiveError(
                f"labels {path}: got column {name} twice, expected it once; drop one"
            )


def _row_of(values: Mapping[str, str | None], label_column: str) -> LabelRow:
    return LabelRow(
        study_uid=(values.get(STUDY_COLUMN) or "").strip(),
        accession=(values.get(ACCESSION_COLUMN) or "").strip(),
        label=sys.intern((values.get(label_column) or "").strip()),  # few, many times
    )


def _by_key(keys: Iterable[str]) -> RowNumbers:
    """The rows of each key, but for the empty one."""
    found: dict[str, int | list[int]] = {}
    for number, key in enumerate(keys):
        if not key:
            continue
        known = found.setdefault(key, number)
        if isinstance(known, list):
            known.append(number)
        elif known != number:
            found[key] = [known, number]
    return found


def _numbers(rows: RowNumbers, key: str) -> frozenset[int]:
    found = rows.get(key, [])
    return frozenset(found if isinstance(found, list) else [found])
