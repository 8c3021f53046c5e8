from __future__ import annotations

import os
from pathlib import Path

import pytest

from wardround_client.archive.folder import walk_archive
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError


def test_every_file_comes_once_and_in_the_same_order(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "3", "a/deep/er/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [f.path for f in walk_archive(tmp_path)] == [b"3", b"a/1", b"a/deep/er/4", b"b/2"]


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
