from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.folder import walk_archive
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError


def test_every_file_comes_once_and_in_the_same_order(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "3", "a/deep/er/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [f.path for f in walk_archive(tmp_path)] == [b"3", b"a/1", b"a/deep/er/4", b"b/2"]


def test_files_of_a_folder_come_together_and_in_order_of_their_bytes(tmp_path: Path) -> None:
    for name in ("a/z/1", "a/b", "a-b/1", "a/y", "a.b", "B"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [f.path for f in walk_archive(tmp_path)]
    assert found == [b"B", b"a.b", b"a/b", b"a/y", b"a/z/1", b"a-b/1"]


def test_a_file_comes_with_size_time_and_number(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"four")
    os.utime(tmp_path / "a", ns=(5, 1_000_000_007))
    (file,) = walk_archive(tmp_path)
    assert file == ArchiveFile(b"a", 4, 1_000_000_007, (tmp_path / "a").stat().st_ino)


def test_a_folder_that_cannot_be_opened_comes_as_a_file_without_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    deep = _make_folders(tmp_path, names=["d" * 250] * 17)  # longer than a path may be
    found = list(walk_archive(tmp_path))
    assert [f.reason for f in found] == [None, Reason.UNREADABLE]
    assert found[1].path == deep[: len(found[1].path)]
    assert found[1].path.endswith(b"d/")


def _make_folders(root: Path, names: list[str]) -> bytes:
    """Makes a folder in a folder in a folder; returns its path below the root."""
    handle = os.open(root, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=handle)
        inner = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    return b"".join(os.fsencode(name) + b"/" for name in names)


def test_a_file_that_goes_while_its_folder_is_listed_is_no_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"x")
    walk = walk_archive(tmp_path)
    assert next(walk).path == b"a"
    (tmp_path / "b").unlink()
    assert list(walk) == []


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    (archive / "folder").mkdir(parents=True)
    (archive / "a").write_bytes(b"x")
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    (archive / "z").write_bytes(b"x")
    walk = walk_archive(archive)
    assert [next(walk).path, next(walk).path] == [b"a", b"z"]
    (archive / "folder").rmdir()
    (archive / "folder").symlink_to(outside)
    assert [(f.path, f.reason) for f in walk] == [(b"folder/", Reason.UNREADABLE)]


def test_links_and_pipes_are_counted_and_never_opened(tmp_path: Path) -> None:
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    archive.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    (archive / "folder").symlink_to(outside)
    (archive / "file").symlink_to(outside / "secret")
    os.mkfifo(archive / "pipe")
    found = list(walk_archive(archive))
    assert [f.path for f in found] == [b"file", b"folder", b"pipe"]
    assert {f.reason for f in found} == {Reason.NOT_REGULAR}


def test_names_that_are_no_text_are_walked(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(b"x")
    assert [f.path for f in walk_archive(tmp_path)] == [b"\xff\xfe"]


def test_a_missing_archive_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="expected one; check the path"):
        list(walk_archive(tmp_path / "absent"))


def test_numbers_of_files_fit_the_index_whatever_the_file_system_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    honest = os.stat

    def huge(*arguments: Any, **options: Any) -> Any:
        found = honest(*arguments, **options)
        facts = {name: getattr(found, name) for name in ("st_mode", "st_size", "st_mtime_ns")}
        return SimpleNamespace(**facts, st_ino=found.st_ino | 1 << 63)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", huge)
        (file,) = walk_archive(tmp_path)
    assert 0 < file.inode < 1 << 63


def test_a_time_beyond_the_index_is_the_latest_there_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", ns=(0, 9_300_000_000 * 10**9))
    (file,) = walk_archive(tmp_path)
    assert file.mtime_ns == (1 << 63) - 1
