"""What a site is told when its PACS cannot be used: one clear line, and nothing secret in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.contracts.archives import DimseArchive, WebArchive, site_certificate
from tests.contracts.certificates import Authority
from tests.contracts.contents import WANTED, contents
from tests.contracts.orthanc import PASSWORD, USER, Orthanc, free_port
from tests.contracts.tls_front import tls_front

from wardround_client.archive.open_source import open_source
from wardround_common.errors import WardroundError
from wardround_common.site_config import DicomWeb, Dimse, SiteConfig


def refusal(tmp_path: Path, service: DicomWeb | Dimse) -> str:
    """The line that a refresh ends with."""
    config = SiteConfig(
        site="site",
        workspace=tmp_path / "workspace",
        dicomweb=service if isinstance(service, DicomWeb) else None,
        dimse=service if isinstance(service, Dimse) else None,
    )
    with pytest.raises(WardroundError) as caught, open_source(config) as source:
        list(source.refresh(WANTED))
    line = str(caught.value)
    assert "\n" not in line
    for secret in (PASSWORD, USER, "2.25.", "Traceback", "urllib3", "Error("):
        assert secret not in line
    return line


@pytest.fixture
def web(plain_orthanc: Orthanc, tmp_path: Path) -> DicomWeb:
    archive = WebArchive(plain_orthanc, tmp_path)
    archive.url = plain_orthanc.url
    service = archive.config(tmp_path).dicomweb
    assert service
    return service


@pytest.fixture
def dimse(plain_orthanc: Orthanc, tmp_path: Path) -> Dimse:
    plain_orthanc.clear()
    archive = DimseArchive(plain_orthanc, tmp_path)
    archive.fill(contents())
    service = archive.config(tmp_path).dimse
    assert service
    return service


@pytest.fixture
def dimse_tls(tls_orthanc: Orthanc, authority: Authority, tmp_path: Path) -> Dimse:
    archive = DimseArchive(tls_orthanc, tmp_path)
    archive.certificate = site_certificate(authority)
    service = archive.config(tmp_path).dimse
    assert service
    return service


def test_a_wrong_password_is_told(web: DicomWeb, tmp_path: Path) -> None:
    assert web.password_file
    web.password_file.write_text("wrong")
    assert "got HTTP 401, our credentials are refused" in refusal(tmp_path, web)


def test_a_wrong_token_is_told(web: DicomWeb, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("wrong")
    service = replace(web, username="", password_file=None, token_file=token)
    assert "got HTTP 401" in refusal(tmp_path, service)


def test_a_wrong_path_of_the_service_is_told(web: DicomWeb, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(web, url=web.url.replace("dicom-web", "elsewhere")))
    assert "got HTTP 404; check that url ends with the path" in line


def test_a_redirect_is_refused(web: DicomWeb, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(web, url=web.url.replace("/dicom-web", "/app")))
    assert "got HTTP 404" in line or "redirect" in line


def test_a_web_page_in_place_of_json_is_told(web: DicomWeb, tmp_path: Path) -> None:
    line = refusal(
        tmp_path, replace(web, url=web.url.replace("dicom-web", "app/explorer.html?")[:-1])
    )
    assert "check that url ends with the path" in line


def test_an_unreachable_web_port_is_told(web: DicomWeb, tmp_path: Path) -> None:
    service = replace(web, url=f"http://localhost:{free_port()}/dicom-web")
    assert "got no connection, or it broke off; check host, port" in refusal(tmp_path, service)


def test_an_unknown_web_authority_is_told(
    web: DicomWeb, plain_orthanc: Orthanc, tmp_path: Path
) -> None:
    own, other = Authority(tmp_path / "own"), Authority(tmp_path / "other", "other")
    with tls_front(own.issue("web", "localhost"), plain_orthanc.http_port) as port:
        url = f"https://localhost:{port}/dicom-web"
        for ca_file in (None, other.ca_file):
            line = refusal(tmp_path, replace(web, url=url, ca_file=ca_file))
            assert "certificate is not trusted; set ca_file" in line


def test_the_environment_cannot_widen_trust(
    web: DicomWeb, plain_orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = Authority(tmp_path / "own"), Authority(tmp_path / "other", "other")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own.ca_file))
    with tls_front(own.issue("web", "localhost"), plain_orthanc.http_port) as port:
        url = f"https://localhost:{port}/dicom-web"
        line = refusal(tmp_path, replace(web, url=url, ca_file=other.ca_file))
    assert "certificate is not trusted" in line


def test_a_certificate_for_another_web_host_is_told(
    web: DicomWeb, plain_orthanc: Orthanc, authority: Authority, tmp_path: Path
) -> None:
    with tls_front(authority.issue("away", "away.example"), plain_orthanc.http_port) as port:
        service = replace(web, url=f"https://localhost:{port}/dicom-web", ca_file=authority.ca_file)
        assert "certificate is for another host" in refusal(tmp_path, service)


def test_https_where_there_is_none_is_told(web: DicomWeb, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(web, url=web.url.replace("http:", "https:")))
    assert "TLS failed; check that url and port" in line


def test_a_wrong_called_title_is_told(dimse: Dimse, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(dimse, called_ae="NOBODY"))
    assert "called_ae NOBODY is not its title" in line


def test_a_wrong_calling_title_is_told(dimse: Dimse, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(dimse, calling_ae="STRANGER"))
    assert "STRANGER" in line
    assert "refused us" in line or "offers us no" in line


def test_an_unreachable_dicom_port_is_told(dimse: Dimse, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(dimse, port=free_port()))
    assert "got no connection; check host, port" in line


def test_a_host_without_address_is_told(dimse: Dimse, tmp_path: Path) -> None:
    assert "got no connection" in refusal(tmp_path, replace(dimse, host="nowhere.invalid"))


def test_a_dicom_port_that_speaks_something_else_is_told(
    dimse: Dimse, plain_orthanc: Orthanc, tmp_path: Path
) -> None:
    service = replace(dimse, port=plain_orthanc.http_port, timeout_s=2)
    assert "closed the connection at once" in refusal(tmp_path, service)


def test_an_unknown_dicom_authority_is_told(dimse_tls: Dimse, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    for ca_file in (None, other.ca_file):
        line = refusal(tmp_path, replace(dimse_tls, ca_file=ca_file))
        assert "certificate is not trusted; set ca_file" in line


def test_a_certificate_for_another_dicom_host_is_told(
    dimse_tls: Dimse, tls_orthanc: Orthanc, tmp_path: Path
) -> None:
    line = refusal(tmp_path, replace(dimse_tls, host="127.0.0.2"))
    assert "certificate is for another host" in line


def test_tls_where_there_is_none_is_told(dimse_tls: Dimse, dimse: Dimse, tmp_path: Path) -> None:
    assert "TLS failed" in refusal(tmp_path, replace(dimse_tls, port=dimse.port))


def test_no_tls_where_there_is_some_is_told(dimse: Dimse, dimse_tls: Dimse, tmp_path: Path) -> None:
    line = refusal(tmp_path, replace(dimse, port=dimse_tls.port, timeout_s=2))
    assert "check that port is its DICOM port, and tls" in line


def test_a_certificate_the_pacs_does_not_trust_is_told(dimse_tls: Dimse, tmp_path: Path) -> None:
    certificate_file, key_file = Authority(tmp_path / "other", "other").issue("site", "localhost")
    service = replace(dimse_tls, certificate_file=certificate_file, key_file=key_file)
    assert "certificate_file" in refusal(tmp_path, service)


def test_a_taken_listening_port_is_told(
    dimse: Dimse, plain_orthanc: Orthanc, tmp_path: Path
) -> None:
    service = replace(dimse, retrieve="move", listen_port=plain_orthanc.http_port)
    assert "cannot listen on" in refusal(tmp_path, service)


def test_a_destination_the_pacs_does_not_know_is_told(dimse: Dimse, tmp_path: Path) -> None:
    # Orthanc answers "unable to process" (0xC000) here rather than 0xA801, so this cannot be
    # told from a broken image: after some series of which nothing came, it is the PACS.
    service = replace(dimse, retrieve="move", listen_port=free_port())
    config = SiteConfig(site="site", workspace=tmp_path / "workspace", dimse=service)
    with open_source(config) as source:
        files = list(source.refresh(WANTED))
    assert {file.reason for file in files} == {"not-retrieved"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_that_others_may_read_is_refused(web: DicomWeb, tmp_path: Path, mode: int) -> None:
    assert web.password_file
    web.password_file.chmod(mode)
    assert f"mode {mode:04o}, expected a file of mode 0600" in refusal(tmp_path, web)


def test_a_key_that_others_may_read_is_refused(dimse_tls: Dimse, tmp_path: Path) -> None:
    assert dimse_tls.key_file
    dimse_tls.key_file.chmod(0o640)
    try:
        assert "expected a file of mode 0600" in refusal(tmp_path, dimse_tls)
    finally:
        dimse_tls.key_file.chmod(0o600)


def test_an_authority_that_is_no_certificate_is_refused(
    web: DicomWeb, dimse_tls: Dimse, tmp_path: Path
) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for service in (replace(web, ca_file=nonsense), replace(dimse_tls, ca_file=nonsense)):
        assert "cannot be used; expected certificates as PEM" in refusal(tmp_path, service)
