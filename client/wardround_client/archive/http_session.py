"""The HTTP side of DICOMweb: credentials, trust, bounds, and errors in our words.

Certificates are always verified. Credentials go to the configured host alone: redirects are
refused, and no netrc file takes their place. Proxies come from the environment, but for a service
on this machine: what is sent to it in clear must not leave the machine for a proxy.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError as Urllib3Error

from wardround_client.archive.allowance import Allowance
from wardround_client.archive.pacs import TransientError
from wardround_client.archive.secret_file import read_secret
from wardround_common.errors import ArchiveError, ConfigError
from wardround_common.site_config import DicomWeb

MAXIMUM_ANSWER_BYTES = 8 << 20
"""Of a query; 1 000 matches take about 1 MB, and 50 times the answer's size once parsed."""
_REFUSING_STATUS = frozenset({401, 403, 407})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 502, 503, 504})


def concerns_one_request(status: int) -> bool:
    """Tells whether an error status says something of what was asked for, not of the service."""
    return status >= 400 and status not in (_TRANSIENT_STATUS | _REFUSING_STATUS - {403})


def open_session(config: DicomWeb) -> requests.Session:
    """A session with the site's credentials and trust.

    Raises:
        ConfigError: A secret's file or the CA file cannot be used.
    """
    session = requests.Session()
    session.trust_env = not config.on_this_machine
    session.auth = _credentials(config)
    adapter = _Adapter(_trust(config.ca_file), config.timeout_s)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Adapter(HTTPAdapter):
    """Sends with our own trust, whatever the environment says; no redirects, bounded answers."""

    def __init__(self, trust: str | bool, timeout_s: float) -> None:
        self._trust = trust
        self._timeout_s = timeout_s
        super().__init__()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """See `HTTPAdapter.send`; ``verify`` is not asked."""
        del verify
        response = super().send(
            request, stream=True, timeout=timeout, verify=self._trust, cert=cert, proxies=proxies
        )
        if 300 <= response.status_code < 400:  # before requests reads its body, whatever its size
            response.close()
            raise requests.TooManyRedirects
        if not stream:
            _read_bounded(response, Allowance("dicomweb", self._timeout_s))
        return response


class _Token(AuthBase):
    """A bearer token; as the session's ``auth`` it goes before any netrc file."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _NoCredentials(AuthBase):
    """Sends none, not even those of a netrc file."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """Turns what requests raises into our errors; ``shown`` names the PACS, without secrets.

    Raises:
        TransientError: The service did not answer, or broke off.
        ArchiveError: It refuses, or is not the one that was configured.
        ValueError: Its answer is no JSON.
    """
    try:
        yield
    except requests.HTTPError as error:
        _explain_status(shown, 0 if error.response is None else error.response.status_code)
    except requests.exceptions.SSLError as error:
        _explain_tls(shown, error)
    except requests.exceptions.ProxyError:
        raise ArchiveError(f"{shown}: the proxy refused; check HTTPS_PROXY and NO_PROXY") from None
    except requests.TooManyRedirects:
        raise ArchiveError(f"{shown}: got a redirect; write the final address as url") from None
    except requests.exceptions.InvalidJSONError:
        raise ValueError("no JSON") from None
    except requests.Timeout:
        hint = "check the network, or raise timeout_s"
        raise TransientError(f"{shown}: got no answer in time; {hint}") from None
    except (requests.RequestException, Urllib3Error, OSError):
        hint = "check host, port and firewall"
        raise TransientError(f"{shown}: got no connection, or it broke off; {hint}") from None


def _explain_status(shown: str, status: int) -> NoReturn:
    if status in _REFUSING_STATUS:
        hint = "check user name, password or token, and this account's rights"
        raise ArchiveError(f"{shown}: got HTTP {status}, our credentials are refused; {hint}")
    if status in _TRANSIENT_STATUS:
        raise TransientError(f"{shown}: got HTTP {status}; the PACS is busy or down, try later")
    hint = "check that url ends with the path of the DICOMweb service"
    raise ArchiveError(f"{shown}: got HTTP {status}; {hint}")


def _explain_tls(shown: str, error: requests.exceptions.SSLError) -> NoReturn:
    text = str(error)
    if "Hostname mismatch" in text or "IP address mismatch" in text or "doesn't match" in text:
        hint = "its certificate is for another host; use the name that it was made for"
    elif "CERTIFICATE_VERIFY_FAILED" in text:
        hint = "its certificate is not trusted; set ca_file to the authority that signed it"
    else:
        hint = "TLS failed; check that url and port are those of the HTTPS service"
    raise ArchiveError(f"{shown}: {hint}") from None


def _credentials(config: DicomWeb) -> AuthBase:
    if config.token_file is not None:
        return _Token(read_secret(config.token_file, "dicomweb.token_file"))
    if config.password_file is not None:
        password = read_secret(config.password_file, "dicomweb.password_file")
        return HTTPBasicAuth(config.username.encode(), password.encode())
    return _NoCredentials()


def _trust(ca_file: Path | None) -> str | bool:
    if ca_file is None:
        return True
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ValueError):
        hint = "expected certificates as PEM; check the path"
        raise ConfigError(f"dicomweb.ca_file: {ca_file} cannot be used; {hint}") from None
    return str(ca_file)


def _read_bounded(response: requests.Response, allowance: Allowance) -> None:
    """Reads the answer in full, up to a limit; requests itself knows none."""
    body = bytearray()
    try:
        while chunk := response.raw.read1(1 << 16, decode_content=True):  # `read` waits for more
            body += chunk
            allowance.take()
            if len(body) > MAXIMUM_ANSWER_BYTES:
                hint = "see the PACS's own log"
                raise ArchiveError(f"dicomweb: got an endless answer to a query; {hint}")
    except BaseException:
        response.close()
        raise
    response._content = bytes(body)
