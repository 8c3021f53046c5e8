"""A DICOMweb service that lies, breaks off or never ends costs at most its own instances."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.contents import image

from wardround_client.archive import allowance, http_session, pacs_source, patience, received, store
from wardround_client.archive.allowance import shortened
from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.open_source import open_source
from wardround_client.archive.source import Wanted
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits
from wardround_common.errors import ArchiveError
from wardround_common.site_config import DicomWeb, SiteConfig

STUDY, SERIES = "2.25.4711.1", "2.25.4711.1.1"
ONE, TWO = (image("CT", (1, 1, n), "explicit_little") for n in (1, 2))
STRANGER = image("CT", (1, 2, 1), "explicit_little")
WANTED = Wanted(modalities=("CT",), study_uids=frozenset({STUDY}))

Answer = tuple[int, dict[str, str], bytes | Iterator[bytes]]
Respond = Callable[[str], Answer]


def listing(*uids: object) -> Answer:
    """DICOM JSON of instances, or of whatever else has these UIDs."""
    matches = [
        {
            "00080018": {"vr": "UI", "Value": [uid]},
            "0020000E": {"vr": "UI", "Value": [SERIES]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
        }
        for uid in uids
    ]
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps(matches).encode()


def multipart(*files: bytes, end: bytes = b"--edge--\r\n") -> tuple[int, dict[str, str], bytes]:
    """A WADO-RS answer."""
    body = b"".join(
        b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + f + b"\r\n" for f in files
    )
    kind = 'multipart/related; type="application/dicom"; boundary=edge'
    return 200, {"Content-Type": kind}, body + end


class Service:
    """A service on this machine: lists two instances, and retrieves what the test says."""

    def __init__(self) -> None:
        self.instances: tuple[object, ...] = (ONE.sop_uid, TWO.sop_uid)
        self.retrieve: Respond = lambda path: multipart(ONE.file, TWO.file)
        self.search: Respond | None = None
        self.pages = True
        self.requests: list[str] = []

    def answer(self, path: str) -> Answer:
        self.requests.append(path)
        path, _, query = path.partition("?")
        if not query and "/series/" in path:
            return self.retrieve(path)
        if self.search:
            return self.search(path)
        if self.pages and "offset=0" not in query:
            return listing()
        return listing(*self.instances) if path.endswith("/instances") else listing(SERIES)


@contextmanager
def serving(service: Service) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = service.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # hung up on
                for piece in (body,) if isinstance(body, bytes) else body:
                    self.wfile.write(piece)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def refresh(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[ArchiveFile]]]:
    monkeypatch.setattr(patience, "PAUSES_S", (0.0,))
    with serving(service) as port:
        web = DicomWeb(url=f"http://127.0.0.1:{port}/dicom-web", timeout_s=2)
        config = SiteConfig(site="site", workspace=tmp_path, dicomweb=web)

        def run() -> list[ArchiveFile]:
            with open_source(config) as source:
                return list(source.refresh(WANTED))

        yield run


def stored(workspace: Path) -> int:
    return sum(file.is_file() for file in (workspace / "store").rglob("*"))


def reasons(files: list[ArchiveFile]) -> list[Reason | None]:
    return [file.reason for file in files]


def test_an_honest_answer_is_taken(refresh: Any, tmp_path: Path) -> None:
    assert reasons(refresh()) == [None, None]
    assert stored(tmp_path) == 2


def test_instances_that_nobody_asked_for_are_not_stored(
    service: Service, refresh: Any, tmp_path: Path
) -> None:
    service.retrieve = lambda path: multipart(STRANGER.file, STRANGER.file)
    assert reasons(refresh()) == [Reason.NOT_RETRIEVED] * 2
    assert stored(tmp_path) == 0


def test_one_instance_in_place_of_another_is_not_stored(
    service: Service, refresh: Any, tmp_path: Path
) -> None:
    service.retrieve = lambda path: multipart(TWO.file, TWO.file)
    assert sorted(map(str, reasons(refresh()))) == ["None", "not-retrieved"]
    assert stored(tmp_path) == 1


def test_what_is_no_dicom_is_not_stored(service: Service, refresh: Any, tmp_path: Path) -> None:
    service.retrieve = lambda path: multipart(b"root:x:0:0", b"")
    assert reasons(refresh()) == [Reason.NOT_RETRIEVED] * 2
    assert stored(tmp_path) == 0


def test_uids_that_are_none_are_not_asked_for(service: Service, refresh: Any) -> None:
    service.instances = ("../../../etc/passwd", "1.2/3", "*", 12, None, ["1"], ONE.sop_uid)
    assert len(refresh()) == 1
    assert not any("passwd" in path or "*" in path for path in service.requests)


def test_an_answer_that_breaks_off_keeps_what_was_complete(
    service: Service, refresh: Any, tmp_path: Path
) -> None:
    service.retrieve = lambda path: multipart(ONE.file, TWO.file[:500], end=b"")
    with pytest.raises(ArchiveError, match="broke off in the middle"):
        refresh()
    assert stored(tmp_path) == 1
    service.retrieve = lambda path: multipart(TWO.file)
    assert reasons(refresh()) == [None, None]


def test_a_body_shorter_than_announced_is_told(service: Service, refresh: Any) -> None:
    def short(path: str) -> Answer:
        status, headers, body = multipart(ONE.file, TWO.file)
        return status, headers | {"Content-Length": str(len(body))}, body[:-700]

    service.retrieve = short
    with pytest.raises(ArchiveError, match="broke off"):
        refresh()


def test_an_oversized_instance_is_refused_and_the_other_comes(
    service: Service, refresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAXIMUM_INSTANCE_BYTES", 10_000)
    large = ONE.file + bytes(20_000)
    service.retrieve = lambda path: multipart(large if path.endswith((SERIES, ".1")) else TWO.file)
    assert sorted(map(str, reasons(refresh()))) == ["None", "too-large"]
    assert stored(tmp_path) == 1


def test_an_instance_that_takes_too_much_to_read_is_told(
    service: Service, refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "LIMITS", Limits(seconds=1e-6, memory_bytes=1 << 30))
    deflated = image("CT", (1, 1, 1), "deflated").file
    service.retrieve = lambda path: multipart(TWO.file if path.endswith(".2") else deflated)
    assert sorted(map(str, reasons(refresh()))) == ["None", "too-large"]


def test_an_endless_stream_of_parts_is_broken_off(
    service: Service, refresh: Any, tmp_path: Path
) -> None:
    service.retrieve = lambda path: multipart(*[STRANGER.file] * 200, end=b"")
    assert reasons(refresh()) == [Reason.NOT_RETRIEVED] * 2
    assert stored(tmp_path) == 0


def test_an_endless_listing_is_refused(
    service: Service, refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_session, "MAXIMUM_ANSWER_BYTES", 10_000)
    service.search = lambda path: (200, {}, b"[" + b" " * 100_000 + b"]")
    with pytest.raises(ArchiveError, match="endless answer"):
        refresh()


def test_a_service_that_knows_no_pages_is_asked_twice_and_no_more(
    service: Service, refresh: Any
) -> None:
    service.pages = False
    assert reasons(refresh()) == [None, None]
    assert len(service.requests) == 5


def invented(first: int, *, count: int = 10) -> Answer:
    """A page of series and instances that no page before had."""
    names = ("00080018", "0020000E")
    matches = [
        {tag: {"Value": [f"1.2.{first + n}"]} for tag in names} | {"00080060": {"Value": ["CT"]}}
        for n in range(count)
    ]
    return 200, {}, json.dumps(matches).encode()


def test_a_service_that_invents_matches_page_after_page_is_refused(
    service: Service, refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "MAXIMUM_MATCHES", 1000)
    service.search = lambda path: invented(10 * len(service.requests))
    with pytest.raises(ArchiveError, match="got more than 1000 matches to one query"):
        refresh()
    assert len(service.requests) == 101


def test_a_service_that_goes_on_in_time_but_for_ever_is_refused(
    service: Service, refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "MAXIMUM_TIMEOUTS", 0.2)
    service.search = lambda path: invented(10 * len(service.requests))
    with pytest.raises(ArchiveError, match=r"got no end of an answer in time; .* timeout_s"):
        refresh()


def test_an_answer_that_trickles_is_refused(
    service: Service, refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "MAXIMUM_TIMEOUTS", 0.2)

    def trickle() -> Iterator[bytes]:
        for _ in range(300):
            time.sleep(0.02)
            yield b" "

    service.search = lambda path: (200, {"Content-Length": "300"}, trickle())
    start = time.monotonic()
    with pytest.raises(ArchiveError, match="got no end of an answer in time"):
        refresh()
    assert time.monotonic() - start < 4


def test_matches_without_identifiers_do_not_lead_to_another_page(
    service: Service, refresh: Any
) -> None:
    service.search = lambda path: (200, {}, b"[" + b",".join([b"{}"] * 1000) + b"]")
    assert refresh() == []
    assert len(service.requests) == 1


def test_more_series_than_any_archive_has_are_refused(
    service: Service, refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacs_source, "_MAXIMUM_LISTED", 5)
    service.search = lambda path: invented(0)
    with pytest.raises(ArchiveError, match="got more than 5 series"):
        refresh()


def test_a_text_longer_than_any_asked_for_counts_as_none(service: Service, refresh: Any) -> None:
    long = {"00080018": {"Value": ["1.2"]}, "0020000E": {"Value": [SERIES]}}
    long["00080060"] = {"Value": [" CT" * 200]}
    service.search = lambda path: (200, {}, json.dumps([long]).encode())
    assert refresh() == []
    assert shortened("x" * 256)
    assert not shortened("x" * 257)


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"7", b"\xff\xfe", b'{"a"'])
def test_what_is_no_dicom_json_is_told(service: Service, refresh: Any, body: bytes) -> None:
    service.search = lambda path: (200, {"Content-Type": "application/json"}, body)
    with pytest.raises(ArchiveError, match="something else than DICOM JSON"):
        refresh()


@pytest.mark.parametrize("match", [b"[7]", b'[{"00080018": 7}]', b'[{"00080018": {"Value": {}}}]'])
def test_odd_matches_count_as_none(service: Service, refresh: Any, match: bytes) -> None:
    service.search = lambda path: (200, {"Content-Type": "application/json"}, match)
    assert refresh() == []


def test_one_broken_image_at_the_pacs_costs_itself(service: Service, refresh: Any) -> None:
    def retrieve(path: str) -> Answer:
        return multipart(TWO.file) if path.endswith(".2") else (500, {}, b"")

    service.retrieve = retrieve
    assert sorted(map(str, reasons(refresh()))) == ["None", "not-retrieved"]


def test_a_busy_service_is_asked_again(service: Service, refresh: Any) -> None:
    answers = iter([(503, {}, b""), multipart(ONE.file, TWO.file)])
    service.retrieve = lambda path: next(answers)
    assert reasons(refresh()) == [None, None]


def test_a_single_file_without_parts_is_taken(service: Service, refresh: Any) -> None:
    service.instances = (ONE.sop_uid,)
    service.retrieve = lambda path: (200, {"Content-Type": "application/dicom"}, ONE.file)
    assert reasons(refresh()) == [None]


def test_a_redirect_is_not_followed(service: Service, refresh: Any) -> None:
    other = Service()
    with serving(other) as port:
        where = {"Location": f"http://127.0.0.1:{port}/dicom-web"}
        service.search = lambda path: (302, where, b"")
        with pytest.raises(ArchiveError, match="got a redirect"):
            refresh()
    assert other.requests == []


@pytest.mark.parametrize("status", [302, 304, 308])
def test_what_comes_with_a_redirect_is_not_read(
    service: Service, refresh: Any, status: int
) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        for n in range(300):
            sent.append(n)
            yield bytes(1 << 20)

    service.retrieve = lambda path: (status, {"Location": "http://127.0.0.1/x"}, endless())
    with pytest.raises(ArchiveError, match="got a redirect; write the final address"):
        refresh()
    assert len(sent) < 100


def test_a_token_for_this_machine_is_not_sent_to_a_proxy(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("hidden")
    proxy = Service()
    with serving(service) as port, serving(proxy) as other:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{other}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        web = DicomWeb(url=f"http://localhost:{port}/dicom-web", token_file=token, timeout_s=2)
        config = SiteConfig(site="site", workspace=tmp_path / "work", dicomweb=web)
        with open_source(config) as source:
            assert reasons(list(source.refresh(WANTED))) == [None, None]
    assert proxy.requests == []


def test_no_library_logs_what_is_asked_for(
    refresh: Any, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    service.retrieve = lambda path: (503, {}, b"")
    with pytest.raises(ArchiveError):
        refresh()
    assert "2.25." not in caplog.text
