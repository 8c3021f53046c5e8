from __future__ import annotations

import logging
import stat
from pathlib import Path

from wardround_common.files import write_atomically
from wardround_common.logs import open_log


def test_what_lies_in_the_temporary_place_is_neither_followed_nor_used(tmp_path: Path) -> None:
    victim, page = tmp_path / "victim", tmp_path / "page.html"
    victim.write_bytes(b"years of work")
    (tmp_path / "page.html.part").symlink_to(victim)
    write_atomically(page, b"new", mode=0o600)
    assert victim.read_bytes() == b"years of work"
    assert page.read_bytes() == b"new"
    assert not page.is_symlink()


def test_the_mode_is_the_files_own_whatever_was_left_behind(tmp_path: Path) -> None:
    left = tmp_path / "page.html.part"
    left.write_bytes(b"half")
    left.chmod(0o666)
    write_atomically(tmp_path / "page.html", b"new", mode=0o600)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    log = open_log("test.private", tmp_path / "logs" / "site.jsonl")
    log.info("begun")
    log.info("ended")
    logging.shutdown()
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "logs" / "site.jsonl").stat().st_mode) == 0o600
    assert (tmp_path / "logs" / "site.jsonl").read_text().count("\n") == 2
