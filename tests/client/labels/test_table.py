from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from tests.client.labels.objects import instance

from wardround_client.labels.source import SeenSeries
from wardround_client.labels.table import TableLabels, find_label, read_labels
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError

HEADER = "StudyInstanceUID,AccessionNumber,label"


def _find(tmp_path: Path, rows: list[str], *, shared: bool = False) -> int | Reason:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    return find_label(read_labels(path, "label"), ("uid", "acc"), classes=2, shared=shared)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["uid,acc,1"], 1),
        (["uid,,0"], 0),
        ([",acc,1"], 1),
        (["uid,acc,1", "uid,acc,1"], 1),
        (["uid,acc,1", "other,acc,0"], 1),
        (["other,else,1"], Reason.LABEL_MISSING),
        (["uid,acc,"], Reason.LABEL_MISSING),
        (["uid,acc,2"], Reason.LABEL_OUT_OF_RANGE),
        (["uid,acc,-1"], Reason.LABEL_OUT_OF_RANGE),
        (["uid,acc,1.0"], Reason.LABEL_OUT_OF_RANGE),
        (["uid,acc,0", "uid,acc,1"], Reason.LABEL_CONFLICT),
        (["uid,acc,", "uid,acc,1"], Reason.LABEL_CONFLICT),
        ([",acc,0", ",acc,1"], Reason.LABEL_CONFLICT),
        (["uid,else,1"], Reason.LABEL_KEYS_DISAGREE),
        (["other,acc,1"], Reason.LABEL_KEYS_DISAGREE),
        (["uid,,1", ",acc,1"], Reason.LABEL_KEYS_DISAGREE),
    ],
)
def test_a_label_is_found_or_the_reason(
    tmp_path: Path, rows: list[str], found: int | Reason
) -> None:
    assert _find(tmp_path, rows) == found


def test_a_shared_accession_number_decides_nothing_alone(tmp_path: Path) -> None:
    assert _find(tmp_path, [",acc,1"], shared=True) == Reason.ACCESSION_SHARED
    assert _find(tmp_path, ["uid,acc,1"], shared=True) == 1


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_spreadsheet_forms_of_csv_are_read(tmp_path: Path, separator: str, mark: str) -> None:
    path = tmp_path / "labels.csv"
    text = f"{mark}AccessionNumber{separator}label\r\nacc{separator}1\r\n"
    path.write_text(text, encoding="utf-8", newline="")
    assert find_label(read_labels(path, "label"), ("u", "acc"), classes=2, shared=False) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("StudyInstanceUID,finding\nMRNPHI,x", "got no label, expected columns"),
        ("patient,label\nMRNPHI,1", "got no key column, expected columns"),
        ("MRNPHI,1\nMRNPHI2,0", "got no label, expected columns"),
        ("AccessionNumber,label,label\nMRNPHI,1,0", "got column label twice"),
        ('AccessionNumber,label\n"MRNPHI,1', "is no CSV"),
        ("", "got no label"),
    ],
)
def test_an_unusable_label_file_is_one_line_without_its_content(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArchiveError, match=message) as caught:
        read_labels(path, "label")
    assert "MRNPHI" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_or_foreign_label_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="check the path"):
        read_labels(tmp_path / "absent.csv", "label")
    (tmp_path / "latin.csv").write_bytes("AccessionNumber,label\nä,1".encode("latin-1"))
    with pytest.raises(ArchiveError, match="save it as CSV UTF-8"):
        read_labels(tmp_path / "latin.csv", "label")


def test_a_label_file_answers_like_every_other_source(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([HEADER, "1.2.4,,1", ",acc,0", "1.2.9,,1"]), encoding="utf-8")
    labels = TableLabels(table=read_labels(path, "label"), classes=2, shared={"acc"})
    first, second = instance("i1", study_uid="1.2.4"), instance("i2", accession="acc")
    shared = second._replace(header=second.header._replace(study_uid="1.2.5"))
    assert (labels.of(first), labels.of(shared)) == (1, Reason.ACCESSION_SHARED)
    seen = [SeenSeries.of(one.header) for one in (first, shared)]
    assert (labels.entries, labels.unused(seen), labels.unused([])) == (3, 1, 3)


def test_a_large_label_file_takes_little_time_and_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "labels.csv", 40_000
    studies = [(f"1.2.840.113619.2.55.3.{number:040}", f"A{number:010}") for number in range(count)]
    rows = (f"{study_uid},{accession},10" for study_uid, accession in studies)
    path.write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    tracemalloc.start()
    table = read_labels(path, "label")
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes / count < 600
    labels = TableLabels(table=table, classes=11, shared=frozenset())
    header = instance("i1").header
    seen = [
        SeenSeries.of(header._replace(study_uid=study_uid, accession=accession))
        for study_uid, accession in studies
    ]
    start = time.process_time()
    assert labels.unused(seen) == 0
    assert time.process_time() - start < 3  # rows times rows would take a minute


def test_every_row_of_a_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([HEADER, "u,,1", "u,a,1", ",,1", "u,a,1"]), encoding="utf-8")
    table = read_labels(path, "label")
    assert table.rows_of("u", "a") == (frozenset({0, 1, 3}), frozenset({1, 3}))
    assert table.rows_of("", "") == (frozenset(), frozenset())
