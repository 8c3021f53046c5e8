from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from wardround_common.config import read_config
from wardround_common.errors import ConfigError
from wardround_common.site_config import SiteConfig

FOLDER = Path(__file__).resolve().parents[2] / "site_configs"
HOSPITALS = ("aurora_general", "birchwood_clinic", "cedar_bay", "dune_valley")


@pytest.mark.parametrize("name", HOSPITALS)
def test_each_example_hospital_loads_and_is_named_like_its_file(name: str) -> None:
    config = read_config(FOLDER / f"{name}.yaml", SiteConfig)
    assert config.site == name
    assert config.archive == FOLDER / name / "archive"
    assert config.workspace == FOLDER / name / "workspace"


def test_the_example_explains_every_key_with_its_default() -> None:
    text = (FOLDER / "example.yaml").read_text()
    config = read_config(FOLDER / "example.yaml", SiteConfig)
    fields = dataclasses.fields(SiteConfig)
    assert list(yaml.safe_load(text)) == [field.name for field in fields]
    lines = text.splitlines()
    for field in fields:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{field.name}:"))
        assert lines[at - 1].startswith("# ")
        if field.default is not dataclasses.MISSING:
            assert getattr(config, field.name) == field.default


def test_every_file_of_the_folder_is_listed_in_its_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {"example.yaml", *(f"{name}.yaml" for name in HOSPITALS)}
    assert all(f"({name})" in readme for name in files)


def test_an_unknown_key_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text((FOLDER / "cedar_bay.yaml").read_text() + "thread: 2\n")
    with pytest.raises(ConfigError, match=r"site.yaml:6: thread: got an unknown key"):
        read_config(path, SiteConfig)
