from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from wardround_common.config import read_config
from wardround_common.errors import ConfigError
from wardround_common.site_config import DicomWeb, Dimse, Intake, SiteConfig

FOLDER = Path(__file__).resolve().parents[2] / "site_configs"
HOSPITALS = ("aurora_general", "birchwood_clinic", "cedar_bay", "dune_valley")


@pytest.mark.parametrize("name", HOSPITALS)
def test_each_example_hospital_loads_and_is_named_like_its_file(name: str) -> None:
    config = read_config(FOLDER / f"{name}.yaml", SiteConfig)
    assert config.site == name
    assert config.archive == FOLDER / name / "archive"
    assert config.workspace == FOLDER / name / "workspace"


def _described(text: str, key: str) -> bool:
    """Tells whether a comment of the example names ``key`` as one to write."""
    return any(re.match(rf"#? *{key}:( |$)", line) for line in text.splitlines())


def test_the_example_explains_every_key_with_its_default() -> None:
    text = (FOLDER / "example.yaml").read_text()
    config = read_config(FOLDER / "example.yaml", SiteConfig)
    for kind in (SiteConfig, Intake, DicomWeb, Dimse):
        assert all(_described(text, field.name) for field in dataclasses.fields(kind)), kind
    for field in dataclasses.fields(SiteConfig):
        if field.default not in (dataclasses.MISSING, None):
            assert getattr(config, field.name) == field.default
    assert config.intake == Intake()


def test_what_the_example_shows_in_comments_is_accepted(tmp_path: Path) -> None:
    text = (FOLDER / "example.yaml").read_text()
    for kind in ("dicomweb", "dimse"):
        block = re.search(rf"^# {kind}:\n((?:#   .*\n)+)", text, re.MULTILINE)
        assert block is not None
        shown = f"{kind}:\n" + re.sub(r"^# ", "", block[1], flags=re.MULTILINE)
        path = tmp_path / "site.yaml"
        path.write_text(f"site: a\nworkspace: w\n{shown}")
        assert getattr(read_config(path, SiteConfig), kind) is not None


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


@pytest.mark.parametrize(
    ("kind", "fields", "key"),
    [
        (SiteConfig, {}, "archive"),
        (SiteConfig, {"archive": Path("a"), "dicomweb": DicomWeb(url="https://a")}, "archive"),
        (SiteConfig, {"archive": Path("a"), "test_fraction": 0.6}, "test_fraction"),
        (SiteConfig, {"archive": Path("a"), "threads": 0}, "threads"),
        (DicomWeb, {"url": "pacs.example"}, "url"),
        (DicomWeb, {"url": "https://a", "username": "u"}, "username"),
        (
            DicomWeb,
            {
                "url": "https://a",
                "username": "u",
                "password_file": Path("p"),
                "token_file": Path("t"),
            },
            "token_file",
        ),
        (Dimse, {"host": "h", "port": 0, "called_ae": "A"}, "port"),
        (Dimse, {"host": "h", "port": 1, "called_ae": ""}, "called_ae"),
        (Dimse, {"host": "h", "port": 1, "called_ae": "A" * 17}, "called_ae"),
        (Dimse, {"host": "h", "port": 1, "called_ae": "A", "retrieve": "move"}, "listen_port"),
        (Dimse, {"host": "h", "port": 1, "called_ae": "A", "ca_file": Path("c")}, "tls"),
        (Intake, {"processes": -1}, "processes"),
        (Intake, {"store_gb": 0.0}, "store_gb"),
        (Intake, {"studies_from": "01.02.2024"}, "studies_from"),
    ],
)
def test_a_site_that_cannot_be_meant_is_refused(
    kind: type, fields: dict[str, Any], key: str
) -> None:
    named = {"site": "a", "workspace": Path("w")} if kind is SiteConfig else {}
    with pytest.raises(ConfigError, match=rf"^{key}: got .*expected"):
        kind(**named, **fields)
