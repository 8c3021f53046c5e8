"""The store keeps to its bound, evicts what was used least, and forgets halves."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wardround_client.archive import store as store_module
from wardround_client.archive.store import Facts, Part, Store, path_of, series_of
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError, DicomError


def open_store(folder: Path, limit_bytes: int, known: dict[bytes, Facts] | None = None) -> Store:
    noted = known or {}
    return Store(
        folder,
        limit_bytes=limit_bytes,
        is_known=lambda path, facts: noted.get(path) == facts,
    )


def put(store: Store, series: str, size: int, *, number: int = 0) -> tuple[bytes, Facts]:
    path = path_of("1.2", series, f"{series}.{number}")
    part = store.new_part()
    part.write(bytes(size))
    facts = store.keep(part, path)
    store.flush()
    return path, facts


def there(store: Store, *kept: tuple[bytes, Facts]) -> list[bool]:
    return [store.find(path, facts) is not None for path, facts in kept]


def test_the_least_recently_used_series_goes_first(tmp_path: Path) -> None:
    store = open_store(tmp_path, 100)
    a, b = put(store, "1.1", 40), put(store, "1.3", 40)
    with store.pinned(series_of(a[0])):
        pass  # used after b
    c = put(store, "1.4", 40)
    assert there(store, a, b, c) == [True, False, True]
    assert store.size_bytes == 80


def test_use_is_remembered_over_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path, 100)
    a, b = put(store, "1.1", 40), put(store, "1.3", 40)
    for number, (path, _) in enumerate((b, a)):
        os.utime(tmp_path / os.fsdecode(series_of(path)), ns=(0, number))
    store = open_store(tmp_path, 100, dict((a, b)))
    c = put(store, "1.4", 40)
    assert there(store, a, b, c) == [True, False, True]


def test_a_smaller_bound_evicts_at_once(tmp_path: Path) -> None:
    a = put(open_store(tmp_path, 100), "1.1", 80)
    store = open_store(tmp_path, 50, dict([a]))
    assert there(store, a) == [False]
    assert store.size_bytes == 0


def test_a_pinned_series_stays_and_the_newcomer_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path, 100)
    a = put(store, "1.1", 80)
    with store.pinned(series_of(a[0])):
        part = store.new_part()
        with pytest.raises(DicomError) as caught:
            part.write(bytes(40))
        part.discard()
    assert caught.value.reason == Reason.STORE_TOO_SMALL
    assert there(store, a) == [True]
    assert store.size_bytes == 80


def test_what_nobody_noted_is_removed_at_the_start(tmp_path: Path) -> None:
    store = open_store(tmp_path, 1000)
    a, b = put(store, "1.1", 10), put(store, "1.3", 10)
    (tmp_path / "incoming" / "1").write_bytes(b"half")
    changed = tmp_path / os.fsdecode(b[0])
    changed.write_bytes(b"other")
    store = open_store(tmp_path, 1000, dict((a, b)))
    assert there(store, a, b) == [True, False]
    assert not changed.exists()
    assert not any((tmp_path / "incoming").iterdir())
    assert store.size_bytes == 10


def test_the_time_of_a_file_tells_its_content(tmp_path: Path) -> None:
    store = open_store(tmp_path, 1000)
    path, facts = put(store, "1.1", 10)
    assert put(store, "1.1", 10) == (path, facts)
    part = store.new_part()
    part.write(b"0123456789")
    assert store.keep(part, path).mtime_ns != facts.mtime_ns
    store.flush()
    assert store.size_bytes == 10


def test_files_and_folders_are_their_owners_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", 1000)
    path, facts = put(store, "1.1", 10)
    file = store.find(path, facts)
    assert file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(f.stat().st_mode) for f in (file.parent, store.root)} == {0o700}


def test_an_instance_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAXIMUM_INSTANCE_BYTES", 100)
    part = open_store(tmp_path, 1000).new_part()
    part.write(bytes(100))
    with pytest.raises(DicomError) as caught:
        part.write(b"x")
    assert caught.value.reason == Reason.TOO_LARGE
    part.discard()


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    part = open_store(tmp_path, 1000).new_part()
    part.discard()
    full = Part(Path(tmp_path / "full"), lambda size: None)
    os.dup2(os.open("/dev/full", os.O_WRONLY), full._file.fileno())
    with pytest.raises(ArchiveError, match="No space left on device"):
        full.write(b"x")
    full.discard()


def test_dropping_the_last_file_of_a_series_removes_its_folders(tmp_path: Path) -> None:
    store = open_store(tmp_path, 1000)
    path, _ = put(store, "1.1", 10)
    store.drop(path)
    store.drop(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["incoming"]
    assert store.size_bytes == 0


def test_a_uid_chooses_no_path() -> None:
    path = path_of("../../etc", "/passwd", "a\0b")
    assert path.count(b"/") == 2
    assert not set(path) - set(b"0123456789abcdef/.dcm")
