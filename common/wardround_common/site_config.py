"""The configuration of one site: where its images and labels are, and what intake may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from wardround_common.require import require, require_date

_PRINTABLE = range(0x20, 0x7F)
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomWeb:
    """A PACS that is read through DICOMweb (QIDO-RS and WADO-RS)."""

    url: str
    """Address of the service, such as https://pacs.example/dicom-web."""
    token_file: Path | None = None
    """File that holds a bearer token and nothing else, readable by its owner only."""
    username: str = ""
    """Name for basic authentication, instead of a token."""
    password_file: Path | None = None
    """File that holds the password for ``username``, readable by its owner only."""
    ca_file: Path | None = None
    """PEM file of the authority that signed the server's certificate, if the system lacks it."""
    timeout_s: float = 60.0
    """Longest wait for an answer, seconds."""

    def __post_init__(self) -> None:
        _require_plain_address(self.url)
        secret = bool(self.username or self.token_file)
        safe = self.url.startswith("https://") or self.on_this_machine
        require(safe or not secret, "url", self.url, "https:// where a password or token is sent")
        named = bool(self.username) == (self.password_file is not None)
        require(named, "username", self.username, "username and password_file together")
        one = not (self.username and self.token_file)
        require(one, "token_file", "a user name too", "a token or a user name, not both")
        require(self.timeout_s > 0, "timeout_s", self.timeout_s, "a number above 0")

    @property
    def on_this_machine(self) -> bool:
        """Whether the service is on this computer, so that nothing leaves it."""
        return urlsplit(self.url).hostname in _THIS_MACHINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimse:
    """A PACS that is read through C-FIND with C-GET or C-MOVE."""

    host: str
    """Name or address of the PACS."""
    port: int
    """Its DICOM port."""
    called_ae: str
    """Application entity title of the PACS."""
    calling_ae: str = "WARDROUND"
    """Our own title; the PACS must know it."""
    retrieve: Literal["get", "move"] = "get"
    """``get``: images come back on our connection; ``move``: the PACS connects to us."""
    listen_host: str = "127.0.0.1"
    """move: address on which images are received; the PACS must reach it."""
    listen_port: int = 0
    """move: port on which images are received; the PACS must know it for ``calling_ae``."""
    tls: bool = False
    """Whether the connection is encrypted."""
    ca_file: Path | None = None
    """tls: PEM file of the authority that signed the PACS's certificate."""
    certificate_file: Path | None = None
    """tls: our own certificate, PEM, where the PACS asks for one."""
    key_file: Path | None = None
    """tls: private key of ``certificate_file``, readable by its owner only."""
    timeout_s: float = 60.0
    """Longest wait for an answer, seconds."""

    def __post_init__(self) -> None:
        require(1 <= self.port <= 65535, "port", self.port, "1 to 65535")
        for name in ("called_ae", "calling_ae"):
            title = getattr(self, name)
            fits = 1 <= len(title) <= 16 and all(ord(c) in _PRINTABLE and c != "\\" for c in title)
            require(fits, name, title, "1 to 16 printable characters without backslash")
        move = self.retrieve == "move"
        listens = (1 <= self.listen_port <= 65535) if move else self.listen_port == 0
        require(listens, "listen_port", self.listen_port, "1 to 65535 with move, 0 with get")
        paired = (self.certificate_file is None) == (self.key_file is None)
        require(paired, "key_file", str(self.key_file), "certificate_file and key_file together")
        served = not (move and self.tls) or self.certificate_file is not None
        require(served, "certificate_file", "nothing", "one where images come back by TLS (move)")
        plain = self.tls or not (self.ca_file or self.certificate_file)
        require(plain, "tls", self.tls, "true where certificate files are given")
        require(self.timeout_s > 0, "timeout_s", self.timeout_s, "a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What reading the archive may use; a file that needs more is quarantined."""

    processes: int = 2
    """Worker processes that read headers and decode; 0 does it in the main process, unguarded."""
    decode_seconds: float = 60.0
    """Longest time for one file or volume, seconds."""
    decode_memory_gb: float = 4.0
    """Address space of one worker process, GB."""
    store_gb: float = 20.0
    """dicomweb, dimse: disk space for fetched files; the least recently used go first."""
    studies_from: str = ""
    """dicomweb, dimse: first day of the imaging studies asked for, YYYY-MM-DD; needed where
    labels do not come from a label file."""

    def __post_init__(self) -> None:
        require(0 <= self.processes <= 256, "processes", self.processes, "0 to 256")
        for name in ("decode_seconds", "decode_memory_gb", "store_gb"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        if self.studies_from:
            require_date("studies_from", self.studies_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """One hospital's file; see site_configs/example.yaml for every key."""

    site: str
    """Name of this site in the study."""
    workspace: Path
    """Private folder for keys, index, cache and the site's records."""
    archive: Path | None = None
    """Folder of DICOM files; read, never written. Or:"""
    dicomweb: DicomWeb | None = None
    """A PACS with DICOMweb. Or:"""
    dimse: Dimse | None = None
    """A PACS with DICOM's own network protocol."""
    labels: Path | None = None
    """CSV with StudyInstanceUID or AccessionNumber and the label column of the study; needed
    where the study takes labels from a file."""
    intake: Intake = field(default_factory=Intake)
    """What reading the archive may use."""
    validation_fraction: float = 0.15
    """Part of the patients kept for validation."""
    test_fraction: float = 0.2
    """Part of the patients kept for the final test."""
    threads: int = 1
    """Processor threads for training; results are reproducible for equal counts."""

    def __post_init__(self) -> None:
        given = [name for name in ("archive", "dicomweb", "dimse") if getattr(self, name)]
        got = " and ".join(given) or "nothing"
        require(len(given) == 1, "archive", got, "exactly one of archive, dicomweb, dimse")
        for name in ("validation_fraction", "test_fraction"):
            require(0 <= getattr(self, name) <= 0.5, name, getattr(self, name), "0 to 0.5")
        require(1 <= self.threads <= 256, "threads", self.threads, "1 to 256")


def _require_plain_address(url: str) -> None:
    """Raises ConfigError unless ``url`` is an address of the web without anything secret in it."""
    try:
        parts = urlsplit(url)
        host, scheme = parts.hostname or "", parts.scheme
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        host, scheme, plain = "", "", False
    shown = url if plain else f"an address of {host or 'no host'} with more in it"
    require(plain, "url", shown, "one without user name, password, ? and #")
    web = scheme in ("https", "http") and bool(host)
    require(web, "url", shown, "an address that begins with https:// (or http://)")
