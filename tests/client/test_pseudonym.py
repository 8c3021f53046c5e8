from __future__ import annotations

import stat
from pathlib import Path

import pytest

from wardround_client.pseudonym import SECRET_FILE, pseudonym, site_secret
from wardround_common.errors import StateError

KEY = bytes(32)


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    workspace = tmp_path / "new" / "workspace"
    secret = site_secret(workspace)
    assert len(secret) == 32 and site_secret(workspace) == secret
    assert stat.S_IMODE((workspace / SECRET_FILE).stat().st_mode) == 0o600
    assert [path.name for path in workspace.iterdir()] == [SECRET_FILE]


def test_a_secret_that_is_already_there_is_used(tmp_path: Path) -> None:
    (tmp_path / SECRET_FILE).write_text("ab" * 32)
    assert site_secret(tmp_path) == b"\xab" * 32


@pytest.mark.parametrize("content", ["", "ab" * 31, "xy" * 32])
def test_a_damaged_secret_is_never_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / SECRET_FILE).write_text(content)
    with pytest.raises(StateError, match="restore the file") as caught:
        site_secret(tmp_path)
    assert (tmp_path / SECRET_FILE).read_text() == content
    assert not content or content not in str(caught.value)


def test_issuer_and_secret_are_part_of_a_pseudonym() -> None:
    names = {
        pseudonym(KEY, "1", "a"),
        pseudonym(KEY, "1", "b"),
        pseudonym(KEY, "1a", ""),
        pseudonym(KEY, "", "1a"),
        pseudonym(bytes(31) + b"1", "1", "a"),
    }
    assert len(names) == 5
