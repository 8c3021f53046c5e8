"""Virtual hospitals: real site configurations, keys and a real study, on one machine.

Keys and split secrets are derived from the seed, which only a simulator may do: it makes the
study's hash and the patient splits the same in every repetition.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wardround_client.site import Site, make_site
from wardround_common.encoding import pack
from wardround_common.errors import ConfigError
from wardround_common.identity import Identity, load_identity
from wardround_common.site_config import Intake, SiteConfig
from wardround_common.study import Member, Study
from wardround_sim.scenario import Scenario, StudyDraft

_KEY_FILE = "site.key"
_SECRET_FILE = "site.secret"  # noqa: S105 (a file name, no secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFederation:
    """All that a worker process needs to be any of the sites; site k has partition id k."""

    study: Study
    sites: tuple[SiteConfig, ...]


def plan_federation(
    scenario: Scenario, *, names: tuple[str, ...], data: dict[str, Path], work: Path
) -> tuple[VirtualFederation, Identity]:
    """Makes the study and the sites' configurations; writes nothing.

    Args:
        scenario: The scenario.
        names: The sites.
        data: Folder of each site that holds ``archive`` and ``labels.csv``.
        work: Folder for the sites' workspaces.

    Returns:
        The federation and the coordinator's identity.

    Raises:
        ConfigError: The study does not hold together, such as fewer sites than T.
    """
    coordinator = Identity.from_secret(_derive(scenario.seed, "coordinator"))
    members = tuple(
        Member(site=name, key=_site_identity(scenario.seed, name).public_text) for name in names
    )
    sections = {f.name: getattr(scenario.study, f.name) for f in dataclasses.fields(StudyDraft)}
    study = Study(
        name=scenario.name,
        seed=scenario.seed,
        coordinator_key=coordinator.public_text,
        members=members,
        **sections,
    )
    sites = tuple(
        SiteConfig(
            site=name,
            archive=data[name] / "archive",
            labels=data[name] / "labels.csv",
            workspace=work / name / "workspace",
            intake=Intake(processes=1),  # several sites are prepared at once
            validation_fraction=scenario.validation_fraction,
            test_fraction=scenario.test_fraction,
        )
        for name in names
    )
    return VirtualFederation(study=study, sites=sites), coordinator


def create_workspaces(federation: VirtualFederation, seed: int) -> None:
    """Makes each site's private folder with its key and split secret."""
    for config in federation.sites:
        config.workspace.mkdir(parents=True, mode=0o700)
        _site_identity(seed, config.site).save(config.workspace / _KEY_FILE)
        secret = _derive(seed, f"split {config.site}").hex()
        path = config.workspace / _SECRET_FILE
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secret + "\n")


@lru_cache(maxsize=4096)
def open_virtual_site(federation: VirtualFederation, name: str) -> Site:
    """The site ``name`` of a federation whose workspaces were created."""
    config = next(config for config in federation.sites if config.site == name)
    return make_site(config, federation.study, load_identity(config.workspace / _KEY_FILE))


def run_identity(seed: int) -> bytes:
    """The run of a simulation, 16 bytes; a real coordinator draws a new one for each."""
    return _derive(seed, "run")[:16]


def _site_identity(seed: int, site: str) -> Identity:
    return Identity.from_secret(_derive(seed, f"site {site}"))


def _derive(seed: int, purpose: str) -> bytes:
    return hashlib.sha256(pack("simulated", seed, purpose)).digest()


def find_archives(scenario: Scenario, data: Path | None) -> dict[str, Path]:
    """Folders of the scenario's real archives under ``data``.

    Raises:
        ConfigError: No ``data`` was given, or a folder is missing.
    """
    if data is None:
        raise ConfigError(
            f"--data: scenario {scenario.name} reads real archives; give their folder"
        )
    for name in scenario.archives:
        if not (data / name / "archive").is_dir():
            expected = ", ".join(scenario.archives)
            raise ConfigError(f"--data: got no {name}/archive there, expected {expected}")
    return {name: data / name for name in scenario.archives}
