"""Opens the source that a site's configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wardround_client.archive.dicomweb import DicomWebPacs
from wardround_client.archive.dimse import DimsePacs
from wardround_client.archive.folder_source import FolderSource
from wardround_client.archive.pacs import Pacs
from wardround_client.archive.pacs_source import open_pacs_source
from wardround_client.archive.source import Source
from wardround_common.site_config import SiteConfig


@contextmanager
def open_source(config: SiteConfig) -> Iterator[Source]:
    """The site's archive; connections and store are closed with the context.

    Raises:
        ConfigError: A secret's file cannot be used.
        StateError: Another process uses the workspace's store.
        ArchiveError: The disk refuses.
    """
    if config.archive is not None:
        yield FolderSource(config.archive)
        return
    pacs: Pacs
    if config.dicomweb is not None:
        pacs = DicomWebPacs(config.dicomweb)
    else:
        assert config.dimse is not None  # noqa: S101  (SiteConfig has exactly one)
        pacs = DimsePacs(config.dimse)
    store_gb = config.intake.store_gb
    with open_pacs_source(pacs, config.workspace, store_gb=store_gb) as source:
        yield source
