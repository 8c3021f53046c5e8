"""One hospital as the round sees it: its configuration, its study, its keys, its memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from wardround_client.ledger import FileLedger
from wardround_common.errors import PolicyError
from wardround_common.identity import Identity
from wardround_common.logs import open_log
from wardround_common.secagg.session import Party
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site that approved a study."""

    config: SiteConfig
    study: Study
    party: Party
    log: logging.Logger

    @property
    def name(self) -> str:
        """Name of the site in the study."""
        return self.config.site

    @property
    def rounds_folder(self) -> Path:
        """Private folder for what waits between two legs."""
        return self.config.workspace / "rounds"


def make_site(config: SiteConfig, study: Study, identity: Identity) -> Site:
    """Joins configuration, approved study and key.

    Raises:
        PolicyError: The site is no member of the study, or the study names another key for it.
    """
    if study.member_key(config.site) != identity.public_key:
        raise PolicyError(
            f"site {config.site}: got another key than study {study.name!r} names for it; "
            "use the key that was enrolled, or ask for a new version of the study"
        )
    members = {member.site: study.member_key(member.site) for member in study.members}
    ledger = FileLedger(config.workspace / "ledger")
    party = Party(
        site=config.site,
        identity=identity,
        members=members,
        ledger=ledger,
        required_sites=frozenset(study.aggregation.required_sites),
    )
    log = open_log(f"site.{config.site}", config.workspace / "logs" / "site.jsonl")
    return Site(config=config, study=study, party=party, log=log)
