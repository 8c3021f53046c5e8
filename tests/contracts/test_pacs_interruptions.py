"""What happens to a fetch when either side ends in the middle of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.contracts.archives import PacsArchive, stored_bytes
from tests.contracts.contents import WANTED, contents, image

from wardround_client.archive.received import identify
from wardround_client.archive.source import Wanted
from wardround_common.errors import ArchiveError
from wardround_common.site_config import SiteConfig

MANY = Wanted(modalities=("CT",), study_uids=frozenset({"2.25.4711.7"}))

_FETCHER = """
import sys
from pathlib import Path
from wardround_client.archive.open_source import open_source
from wardround_client.archive.source import Wanted
from wardround_common.config import read_config
from wardround_common.site_config import SiteConfig

wanted = Wanted(modalities=("CT",), study_uids=frozenset({"2.25.4711.7"}))
with open_source(read_config(Path(sys.argv[1]), SiteConfig)) as source:
    for file in source.refresh(wanted):
        print(file.path.decode(), flush=True)
"""


def write_config(config: SiteConfig, path: Path) -> None:
    def plain(value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    tree: dict[str, object] = {"site": config.site, "workspace": str(config.workspace)}
    for name in ("dicomweb", "dimse"):
        section = getattr(config, name)
        if section is not None:
            values = {key: plain(getattr(section, key)) for key in section.__slots__}
            tree[name] = {k: v for k, v in values.items() if v is not None and v != ""}
    path.write_text(yaml.safe_dump(tree))


def test_a_fetch_that_was_killed_continues_without_half_a_file(
    pacs: PacsArchive, tmp_path: Path
) -> None:
    items = [image("CT", (7, 1 + n % 8, 1 + n), "explicit_little") for n in range(48)]
    pacs.fill(items)
    workspace = tmp_path / "workspace"
    write_config(pacs.config(workspace), tmp_path / "site.yaml")
    command = [sys.executable, "-c", _FETCHER, str(tmp_path / "site.yaml")]
    fetcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  (our own command)
    with fetcher:
        assert fetcher.stdout
        first = [fetcher.stdout.readline().strip() for _ in range(7)]
        fetcher.send_signal(signal.SIGKILL)
    inodes = {name: (workspace / "store" / name).stat().st_ino for name in first}
    # A kill may also leave a half-written part, and a file that was renamed and not yet noted.
    (workspace / "store" / "incoming" / "99").write_bytes(b"half")
    stray = (workspace / "store" / first[0]).with_name("0" * 32 + ".dcm")
    stray.write_bytes(b"half")
    with pacs.open(workspace) as source:
        assert not list((workspace / "store" / "incoming").iterdir())
        assert not stray.exists()
        found = {}
        for file in source.refresh(MANY):
            with source.local(file.path) as path:
                found[identify(path).sop_uid] = file.path
        assert {n: (workspace / "store" / n).stat().st_ino for n in first} == inodes
    assert found.keys() == {item.sop_uid for item in items}


def test_a_pacs_that_dies_in_the_middle_costs_the_rest_and_no_more(
    pacs: PacsArchive, tmp_path: Path
) -> None:
    pacs.fill(contents())
    workspace = tmp_path / "workspace"
    had = []
    with pacs.open(workspace) as source:
        try:
            with pytest.raises(ArchiveError, match=r"connection|broke off|no answer|TLS failed"):
                for file in source.refresh(WANTED):
                    had.append(file)
                    if len(had) == 2:
                        pacs.orthanc.kill()
        finally:
            pacs.orthanc.start()
    assert len(had) >= 2
    before = stored_bytes(workspace)
    with pacs.open(workspace) as source:
        assert stored_bytes(workspace) == before
        files = list(source.refresh(WANTED))
    assert {file.reason for file in files} == {None}
    assert len(files) == sum(item.wanted for item in contents())
    assert set(had) <= set(files)


def test_a_pacs_that_comes_back_within_patience_costs_nothing(
    pacs: PacsArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs.fill(contents())
    slept = []

    def restart(seconds: float) -> None:
        if not slept:
            pacs.orthanc.start()
        slept.append(seconds)

    with pacs.open(tmp_path / "workspace") as source:
        files = []
        for file in source.refresh(WANTED):
            files.append(file)
            if len(files) == 2:
                pacs.orthanc.kill()
                monkeypatch.setattr("wardround_client.archive.patience.sleep", restart)
        monkeypatch.undo()
    assert slept
    assert len(files) == sum(item.wanted for item in contents())
    assert {file.reason for file in files} == {None}
