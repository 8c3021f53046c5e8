"""The README's commands for a hospital, run as they stand there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.conftest import ROOT

SECTION = "## At a hospital"


def _commands() -> str:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(SECTION)[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1]


@pytest.mark.slow
def test_the_commands_for_a_hospital_run_as_written(tmp_path: Path) -> None:
    if not (ROOT / ".venv" / "bin" / "wardround-site").exists():
        pytest.skip("the README's commands use .venv: run make install first")
    for name in (".venv", "simulations"):
        (tmp_path / name).symlink_to(ROOT / name)
    script = f"set -e\n{_commands()}"
    done = subprocess.run(  # noqa: S603  (our own README)
        ["bash", "-c", script],  # noqa: S607
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert script.count("wardround-site ") == 6
    folder = tmp_path / "results" / "hospitals" / "cedar_bay"
    pages = {path.name for path in (folder / "workspace" / "reports").rglob("*.html")}
    assert pages == {"archive.html", "site.html", "release.html"}
    assert list((folder / "without-names").rglob("*.dcm"))
