"""A real PACS for tests: Debian's Orthanc with its DICOMweb plugin, private and short-lived.

Each is started in a folder of its own on free ports and ends with its context, by process id.
Its web port answers to this machine alone; its DICOM port binds every interface, which Orthanc
1.10 cannot change, but serves only the application entities named here.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.certificates import Authority

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
REQUIRED = "WARDROUND_REQUIRE_ORTHANC"
"""Where this variable is 1, tests that need Orthanc fail without it instead of being skipped."""
USER, PASSWORD = "wardround", "correct horse"
CALLED_AE, CALLING_AE = "ORTHANC", "WARDROUND"
_PATIENCE_S = 30.0


def require_orthanc() -> None:
    """Skips the test where Orthanc or its plugin is absent, or fails it where it is required."""
    if shutil.which("Orthanc") and PLUGIN.exists():
        return
    reason = "Orthanc is absent: install the Debian packages orthanc and orthanc-dicomweb"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Orthanc:
    """One Orthanc that may be started, killed and started again with what it held."""

    folder: Path
    authority: Authority | None = None
    """With it, DICOM uses TLS, and peers need a certificate of this authority."""
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    site_port: int = field(default_factory=free_port)
    """Where C-MOVE delivers."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of its DICOMweb service, without TLS; see `tests.contracts.tls_front`."""
        return f"http://localhost:{self.http_port}/dicom-web"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self._config()))
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(["Orthanc", str(config)], stdout=log, stderr=log)  # noqa: S603, S607  (our own command)
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.request("GET", "/system")
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"Orthanc did not start: {(self.folder / 'orthanc.log').read_text()}")

    def stop(self) -> None:
        """Ends it in order, and by force if that takes too long."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def upload(self, file: bytes) -> str:
        """Stores one DICOM file; returns Orthanc's own identifier of the instance."""
        answer = json.loads(self.request("POST", "/instances", file))
        identifier: str = answer["ID"]
        return identifier

    def delete(self, identifier: str) -> None:
        """Deletes one instance."""
        self.request("DELETE", f"/instances/{identifier}")

    def clear(self) -> None:
        """Deletes everything."""
        for patient in json.loads(self.request("GET", "/patients")):
            self.request("DELETE", f"/patients/{patient}")

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Asks its own REST interface.

        Raises:
            OSError: It does not answer.
        """
        token = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        connection = http.client.HTTPConnection("localhost", self.http_port, timeout=30)
        try:
            connection.request(method, path, body, {"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"Orthanc answered {answer.status} to {method} {path}")
        return content

    def _config(self) -> dict[str, Any]:
        site = {
            "AET": CALLING_AE,
            "Host": "127.0.0.1",
            "Port": self.site_port,
            "AllowEcho": True,
            "AllowFind": True,
            "AllowGet": True,
            "AllowMove": True,
            "AllowStore": False,
            "UseDicomTls": self.authority is not None,
        }
        config = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": CALLED_AE,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomModalities": {"site": site},
            "SynchronousCMove": True,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        return config | (self._tls(self.authority) if self.authority else {})

    def _tls(self, authority: Authority) -> dict[str, Any]:
        certificate, key = authority.issue("orthanc", "localhost", "127.0.0.1")
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(certificate),
            "DicomTlsPrivateKey": str(key),
            "DicomTlsTrustedCertificates": str(authority.ca_file),
        }


@contextmanager
def running_orthanc(folder: Path, *, authority: Authority | None = None) -> Iterator[Orthanc]:
    """An Orthanc that ends with the context and leaves nothing behind."""
    require_orthanc()
    orthanc = Orthanc(folder, authority)
    orthanc.start()
    try:
        yield orthanc
    finally:
        orthanc.stop()
        shutil.rmtree(folder, ignore_errors=True)
