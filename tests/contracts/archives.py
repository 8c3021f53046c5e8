"""The archives that the contract is tested on: a folder, and Orthanc by each protocol."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contracts.certificates import Authority
from tests.contracts.contents import Item
from tests.contracts.orthanc import CALLED_AE, PASSWORD, USER, Orthanc

from wardround_client.archive.open_source import open_source
from wardround_client.archive.source import Source
from wardround_common.site_config import DicomWeb, Dimse, Intake, SiteConfig


class Archive(ABC):
    """An archive that a test fills, changes and opens."""

    @abstractmethod
    def add(self, item: Item) -> None:
        """Puts one instance into it."""

    @abstractmethod
    def remove(self, sop_uid: str) -> None:
        """Takes one instance out of it."""

    @abstractmethod
    def config(self, workspace: Path, *, store_gb: float = 1.0) -> SiteConfig:
        """The configuration of a site that reads it."""

    def fill(self, items: Iterable[Item]) -> None:
        """Puts instances into it."""
        for item in items:
            self.add(item)

    @contextmanager
    def open(self, workspace: Path, *, store_gb: float = 1.0) -> Iterator[Source]:
        """Opens it as a source."""
        with open_source(self.config(workspace, store_gb=store_gb)) as source:
            yield source


class FolderArchive(Archive):
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def add(self, item: Item) -> None:
        (self._folder / item.sop_uid).write_bytes(item.file)

    def remove(self, sop_uid: str) -> None:
        (self._folder / sop_uid).unlink()

    def config(self, workspace: Path, *, store_gb: float = 1.0) -> SiteConfig:
        return SiteConfig(site="site", workspace=workspace, archive=self._folder)


class PacsArchive(Archive):
    """An Orthanc; how it is read is for the subclass to say."""

    def __init__(self, orthanc: Orthanc, folder: Path) -> None:
        self.orthanc = orthanc
        self._folder = folder
        self._identifiers: dict[str, str] = {}

    def add(self, item: Item) -> None:
        self._identifiers[item.sop_uid] = self.orthanc.upload(item.file)

    def remove(self, sop_uid: str) -> None:
        self.orthanc.delete(self._identifiers.pop(sop_uid))

    def _secret(self, name: str, text: str) -> Path:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_text(text)
        return file


class WebArchive(PacsArchive):
    """Orthanc through DICOMweb."""

    url: str
    ca_file: Path | None = None

    def config(self, workspace: Path, *, store_gb: float = 1.0) -> SiteConfig:
        service = DicomWeb(
            url=self.url,
            username=USER,
            password_file=self._secret("password", PASSWORD + "\n"),
            ca_file=self.ca_file,
            timeout_s=20,
        )
        intake = Intake(store_gb=store_gb)
        return SiteConfig(site="site", workspace=workspace, dicomweb=service, intake=intake)


class DimseArchive(PacsArchive):
    """Orthanc through C-FIND and C-GET or C-MOVE."""

    retrieve: str = "get"
    certificate: tuple[Path, Path] | None = None

    def config(self, workspace: Path, *, store_gb: float = 1.0) -> SiteConfig:
        certificate_file, key_file = self.certificate or (None, None)
        authority = self.orthanc.authority
        pacs = Dimse(
            host="localhost",
            port=self.orthanc.dicom_port,
            called_ae=CALLED_AE,
            retrieve="move" if self.retrieve == "move" else "get",
            listen_port=self.orthanc.site_port if self.retrieve == "move" else 0,
            tls=authority is not None,
            ca_file=authority.ca_file if authority else None,
            certificate_file=certificate_file,
            key_file=key_file,
            timeout_s=20,
        )
        intake = Intake(store_gb=store_gb)
        return SiteConfig(site="site", workspace=workspace, dimse=pacs, intake=intake)


def stored_bytes(workspace: Path) -> int:
    """Bytes that a site's store takes, as the file system counts them."""
    store = workspace / "store"
    return sum(
        (Path(folder) / name).stat().st_size
        for folder, _, names in os.walk(store)
        for name in names
    )


def site_certificate(authority: Authority) -> tuple[Path, Path]:
    """A certificate for this side of DICOM's connections."""
    return authority.issue("site", "localhost", "127.0.0.1")
