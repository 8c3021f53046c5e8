from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.contracts.archives import (
    Archive,
    DimseArchive,
    FolderArchive,
    PacsArchive,
    WebArchive,
    site_certificate,
)
from tests.contracts.certificates import Authority
from tests.contracts.orthanc import Orthanc, running_orthanc
from tests.contracts.tls_front import tls_front

from wardround_client.archive import patience

PACS = ("dicomweb", "dicomweb-tls", "get", "get-tls", "move", "move-tls")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def plain_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("pacs") / "orthanc") as orthanc:
        yield orthanc


@pytest.fixture(scope="session")
def tls_orthanc(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("pacs") / "orthanc"
    with running_orthanc(folder, authority=authority) as orthanc:
        yield orthanc


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES_S", (0.01, 0.01))


@pytest.fixture(params=PACS)
def pacs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PacsArchive]:
    """An empty Orthanc, once for each way to read it."""
    with ExitStack() as stack:
        yield make_pacs(request, request.param, tmp_path, stack)


@pytest.fixture(params=("folder", *PACS))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    """An empty archive, once for each kind."""
    with ExitStack() as stack:
        if request.param == "folder":
            yield FolderArchive(tmp_path / "archive")
        else:
            yield make_pacs(request, request.param, tmp_path, stack)


def make_pacs(
    request: pytest.FixtureRequest, kind: str, folder: Path, stack: ExitStack
) -> PacsArchive:
    tls = kind.endswith("-tls")
    orthanc = request.getfixturevalue("tls_orthanc" if tls else "plain_orthanc")
    orthanc.clear()
    if kind.startswith("dicomweb"):
        web = WebArchive(orthanc, folder)
        web.url = orthanc.url
        if tls:
            authority = request.getfixturevalue("authority")
            certificate = authority.issue("web", "localhost")
            port = stack.enter_context(tls_front(certificate, orthanc.http_port))
            web.url = f"https://localhost:{port}/dicom-web"
            web.ca_file = authority.ca_file
        return web
    dimse = DimseArchive(orthanc, folder)
    dimse.retrieve = kind.removesuffix("-tls")
    if tls:
        dimse.certificate = site_certificate(request.getfixturevalue("authority"))
    return dimse
