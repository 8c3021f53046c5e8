from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.index.desk import Desk
from tests.client.index.readers import LIMITS, read_or_end
from tests.conftest import ROOT

from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.folder import walk_archive
from wardround_client.index.header import Header, Instance
from wardround_client.index.pending import HeaderReading
from wardround_client.index.scan import open_index
from wardround_client.index.update import ScanCounts
from wardround_client.quarantine import Reason


@pytest.fixture
def desk(hospital: Any) -> Desk:
    return Desk(hospital)


def test_new_changed_moved_and_deleted_files_are_noticed_and_no_other_is_opened(
    hospital: Any, desk: Desk
) -> None:
    hospital.fill(5)
    (hospital.archive / "notes.txt").write_text("hello")
    assert desk.scan() == {"new": 6, "refused": 1}
    assert len(desk.opened) == 6
    assert desk.scan() == {"unchanged": 6, "refused": 1}
    assert desk.opened == []
    os.utime(hospital.add(1, PatientID="OTHER"), ns=(1, 1))
    hospital.add(7)
    (hospital.archive / "000002.dcm").unlink()
    (hospital.archive / "deep").mkdir()
    (hospital.archive / "000003.dcm").rename(hospital.archive / "deep" / "renamed")
    found = {"new": 1, "changed": 1, "moved": 1, "deleted": 1, "unchanged": 3, "refused": 1}
    assert desk.scan() == found
    assert sorted(desk.opened) == [b"000001.dcm", b"000007.dcm"]
    instances, refused = desk.content()
    assert [(i.path, i.header.patient_id) for i in instances] == [
        (b"000000.dcm", "MRNPHI000000"),
        (b"000001.dcm", "OTHER"),
        (b"000004.dcm", "MRNPHI000004"),
        (b"000007.dcm", "MRNPHI000007"),
        (b"deep/renamed", "MRNPHI000003"),
    ]
    assert refused == {Reason.NOT_DICOM: [b"notes.txt"]}


def test_a_renamed_folder_costs_no_reading_and_a_removed_one_leaves(
    hospital: Any, desk: Desk
) -> None:
    for number in range(4):
        path = hospital.add(number)
        path.parent.joinpath("a/b").mkdir(parents=True, exist_ok=True)
        path.rename(path.parent / "a/b" / path.name)
    desk.scan()
    (hospital.archive / "a").rename(hospital.archive / "z")
    assert desk.scan() == {"moved": 4}
    assert desk.opened == []
    assert {i.path[:4] for i in desk.content()[0]} == {b"z/b/"}
    shutil.rmtree(hospital.archive / "z")
    assert desk.scan() == {"deleted": 4}
    assert desk.content() == ([], {})
    with closing(sqlite3.connect(desk.database)) as connection:
        for table in ("folder", "file", "header", "pending"):
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []  # noqa: S608


def test_a_second_name_of_a_file_is_no_move(hospital: Any, desk: Desk) -> None:
    first = hospital.add(1)
    desk.scan()
    first.with_name("twin").hardlink_to(first)
    assert desk.scan() == {"new": 1, "unchanged": 1}
    assert len(desk.content()[0]) == 2


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ((9, 1_000_000_001, 7), (9, 1_000_000_001, 7), 1),
        ((9, 1_000_000_001, 7), (8, 1_000_000_001, 7), 0),
        ((9, 1_000_000_001, 7), (9, 1_000_000_002, 7), 0),
        ((9, 1_000_000_001, 7), (9, 1_000_000_001, 8), 0),
        ((9, 1_000_000_001, 0), (9, 1_000_000_001, 0), 0),  # a PACS numbers no files
    ],
)
def test_a_move_is_told_by_size_time_and_inode(
    desk: Desk, before: tuple[int, int, int], after: tuple[int, int, int], moved: int
) -> None:
    reading = HeaderReading(read=lambda path: Reason.NOT_DICOM, processes=0, limits=LIMITS)
    with desk.index() as index:
        index.scan([ArchiveFile(b"old", *before)], reading)
        counts = index.scan([ArchiveFile(b"a/new", *after)], reading)
    assert (counts.moved, counts.new, counts.deleted) == (moved, 1 - moved, 1 - moved)


def test_a_file_that_moved_before_it_was_read_is_new(desk: Desk) -> None:
    def stop(path: bytes) -> Reason:
        raise KeyboardInterrupt

    interrupted = HeaderReading(read=stop, processes=0, limits=LIMITS)
    reading = HeaderReading(read=lambda path: Reason.NOT_DICOM, processes=0, limits=LIMITS)
    with desk.index() as index:
        with pytest.raises(KeyboardInterrupt):
            index.scan([ArchiveFile(b"old", 9, 1_000_000_001, 7)], interrupted)
        counts = index.scan([ArchiveFile(b"new", 9, 1_000_000_001, 7)], reading)
        assert counts == ScanCounts(new=1, deleted=1, refused=1)
        assert index.find(b"new") is Reason.NOT_DICOM


@pytest.mark.parametrize("reason", [None, Reason.UNREADABLE])
def test_a_file_that_changed_before_it_was_read_is_read_as_it_is_now(
    desk: Desk, reason: Reason | None
) -> None:
    def stop(path: bytes) -> Reason:
        raise KeyboardInterrupt

    interrupted = HeaderReading(read=stop, processes=0, limits=LIMITS)
    reading = HeaderReading(read=lambda path: Reason.NOT_DICOM, processes=0, limits=LIMITS)
    with desk.index() as index:
        with pytest.raises(KeyboardInterrupt):
            index.scan([ArchiveFile(b"a", 9, 1, 7)], interrupted)
        counts = index.scan([ArchiveFile(b"a", 8, 2, 7, reason)], reading)
        assert counts == ScanCounts(changed=1, refused=1)
        assert index.find(b"a") is (reason or Reason.NOT_DICOM)


def test_whole_seconds_do_not_prove_a_move(hospital: Any, desk: Desk) -> None:
    first = hospital.add(1)
    os.utime(first, ns=(10**18, 10**18))
    desk.scan()
    first.rename(first.with_name("renamed"))
    assert desk.scan() == {"new": 1, "deleted": 1}
    assert desk.opened == [b"renamed"]


def test_another_file_in_the_place_of_one_is_read_though_size_and_time_agree(
    hospital: Any, desk: Desk
) -> None:
    path = hospital.add(1, PatientID="A")
    desk.scan()
    time_ns = path.stat().st_mtime_ns
    other = hospital.add(2, PatientID="B")
    assert other.stat().st_size == path.stat().st_size
    os.utime(other, ns=(time_ns, time_ns))
    other.rename(path)
    assert desk.scan() == {"changed": 1}
    assert [i.header.patient_id for i in desk.content()[0]] == ["B"]


def test_a_file_moved_onto_another_one_changes_it(hospital: Any, desk: Desk) -> None:
    hospital.add(1)
    hospital.add(2)
    desk.scan()
    (hospital.archive / "000001.dcm").rename(hospital.archive / "000002.dcm")
    assert desk.scan() == {"changed": 1, "deleted": 1}
    assert [i.header.patient_id for i in desk.content()[0]] == ["MRNPHI000001"]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.UNREADABLE,
        Reason.DECODER_CRASHED,
        Reason.DECODER_TIMEOUT,
        Reason.DECODER_MEMORY,
        Reason.READ_FAILED,
    ],
)
def test_what_may_be_readable_later_is_tried_again(
    hospital: Any, desk: Desk, reason: Reason
) -> None:
    hospital.fill(2)
    assert desk.scan(read=lambda path: reason) == {"new": 2, "refused": 2}
    assert desk.scan() == {"unchanged": 2}
    assert len(desk.content()[0]) == 2


def test_what_may_be_readable_later_is_tried_again_where_it_moved(desk: Desk) -> None:
    def scan(path: bytes, found: Reason) -> ScanCounts:
        reading = HeaderReading(read=lambda _: found, processes=0, limits=LIMITS)
        return index.scan([ArchiveFile(path, 9, 1_000_000_001, 7)], reading)

    with desk.index() as index:
        scan(b"first", Reason.DECODER_TIMEOUT)
        assert scan(b"second", Reason.NOT_DICOM) == ScanCounts(new=1, deleted=1, refused=1)
        assert index.find(b"second") is Reason.NOT_DICOM
        assert scan(b"third", Reason.UNREADABLE) == ScanCounts(moved=1, refused=1)
        assert index.find(b"third") is Reason.NOT_DICOM


def test_a_scan_reports_how_far_it_is(hospital: Any, desk: Desk) -> None:
    hospital.fill(3)
    heard: list[tuple[str, int, int]] = []
    reading = HeaderReading(read=desk.read, processes=0, limits=LIMITS)
    with desk.index() as index:
        index.scan(
            walk_archive(desk.archive), reading, on_progress=lambda *step: heard.append(step)
        )
    assert heard == [("walk", 3, 3), ("scan", 3, 3)]


@pytest.mark.parametrize("paths", [[b"a/1", b"b/1", b"a/2"], [b"a/2", b"a/1"], [b"a/1", b"a/1"]])
def test_files_in_another_order_are_an_error_of_the_caller(desk: Desk, paths: list[bytes]) -> None:
    files = [ArchiveFile(path, 1, 1) for path in paths]
    reading = HeaderReading(read=desk.read, processes=0, limits=LIMITS)
    with desk.index() as index, pytest.raises(RuntimeError, match="must come"):
        index.scan(files, reading)


def test_a_file_that_ends_its_worker_costs_no_other(hospital: Any, desk: Desk) -> None:
    hospital.fill(4)
    hospital.add(9).rename(hospital.archive / "crash.dcm")
    read = partial(read_or_end, os.fsencode(hospital.archive))
    assert desk.scan(read=read, processes=2) == {"new": 5, "refused": 1}
    instances, refused = desk.content()
    assert len(instances) == 4
    assert refused == {Reason.DECODER_CRASHED: [b"crash.dcm"]}
    assert desk.scan() == {"unchanged": 5}
    assert desk.opened == [b"crash.dcm"]


@pytest.mark.parametrize("processes", [0, 2])
def test_a_killed_scan_goes_on_where_it_was(hospital: Any, desk: Desk, processes: int) -> None:
    first = hospital.add(0)
    for number in range(700):
        shutil.copy(first, hospital.archive / f"copy{number:03}")
    log = hospital.archive.parent / "log"
    log.touch()
    arguments = (str(hospital.archive), str(desk.database), str(log), str(processes))
    code = f"from tests.client.index.readers import scan_slowly; scan_slowly(*{arguments})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as child:  # noqa: S603
        while log.read_bytes().count(b"\n") < 400 and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    kept = len(desk.content()[0])
    assert 0 < kept < 701
    assert desk.scan() == {"new": 701 - kept, "unchanged": kept}
    assert len(desk.opened) == 701 - kept
    after = desk.content()
    desk.database.unlink()
    assert desk.scan() == {"new": 701}
    assert desk.content() == after


def test_memory_does_not_grow_with_the_archive(desk: Desk) -> None:
    files = (ArchiveFile(b"%08d" % n, 1, 1, n + 1) for n in range(30_000))
    reading = HeaderReading(read=lambda path: Reason.NOT_DICOM, processes=0, limits=LIMITS)
    with desk.index() as index:
        tracemalloc.start()
        try:
            assert index.scan(files, reading).new == 30_000
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 2_000_000  # a list of all would take 6 MB


Change = tuple[str, int, int]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    rounds=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "remove", "move", "swap", "folder", "touch"]),
                st.integers(0, 7),
                st.integers(0, 7),
            ),
            max_size=6,
        ),
        max_size=4,
    )
)
def test_an_updated_index_equals_a_new_one(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[Change]]
) -> None:
    root = tmp_path_factory.mktemp("archive")

    def read(path: bytes) -> Header | Reason:
        content = (root / os.fsdecode(path)).read_text()
        blank = dict.fromkeys(Header._fields, "")
        return Header(**(blank | {"sop_instance_uid": content, "age_years": None}))

    def content(database: Path) -> list[Instance]:
        reading = HeaderReading(read=read, processes=0, limits=LIMITS)
        with open_index(database) as index:
            index.scan(walk_archive(root), reading)
            return list(index.instances())

    updated = tmp_path_factory.mktemp("updated") / "index"
    for number, changes in enumerate(rounds):
        for change in changes:
            _apply(root, change, number)
        fresh = tmp_path_factory.mktemp("fresh") / "index"
        assert content(updated) == content(fresh)


def _apply(root: Path, change: Change, number: int) -> None:
    """Makes one change of a small tree, if it can be made."""
    kind, first, second = change
    one, two = (root / "abc"[n % 3] / f"{n}" for n in (first, second))
    two.parent.mkdir(exist_ok=True)
    if kind == "add":
        one.parent.mkdir(exist_ok=True)
        one.write_text(f"{number}.{first}.{second}")
    elif kind == "remove":
        one.unlink(missing_ok=True)
    elif kind == "folder" and one.parent.exists():
        renamed = root / f"{number}{first}{second}"
        if not renamed.exists():
            one.parent.rename(renamed)
    elif one.exists() and kind == "move":
        one.rename(two)
    elif one.exists() and two.exists() and one != two and kind == "swap":
        one.rename(root / "between")
        two.rename(one)
        (root / "between").rename(two)
    elif one.exists() and kind == "touch":
        os.utime(one, ns=(10**18, 10**18))
