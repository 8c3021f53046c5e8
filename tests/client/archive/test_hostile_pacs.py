"""A PACS that sends the wrong things over DICOM's protocol, too much of them, or nothing."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event
from tests.contracts.contents import image
from tests.contracts.orthanc import free_port

from wardround_client.archive import allowance, association, patience, store
from wardround_client.archive.dimse import DimsePacs
from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.open_source import open_source
from wardround_client.archive.source import Wanted
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError
from wardround_common.site_config import Dimse, SiteConfig

STUDY, SERIES = "2.25.4711.1", "2.25.4711.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
ONE, TWO = (image("CT", (1, 1, n), "explicit_little") for n in (1, 2))
STRANGER = image("CT", (1, 2, 1), "explicit_little")
WANTED = Wanted(modalities=("CT",), study_uids=frozenset({STUDY}))


class Pacs:
    """Lists two instances, and sends what the test says."""

    def __init__(self) -> None:
        self.listed: list[str] = [ONE.sop_uid, TWO.sop_uid]
        self.sent: Callable[[], list[Dataset]] = lambda: [opened(ONE.file), opened(TWO.file)]

    def answer(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        return self.find(event)

    def find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        level = event.identifier.QueryRetrieveLevel
        for uid in self.listed if level == "IMAGE" else [SERIES]:
            match = Dataset()
            match.QueryRetrieveLevel = level
            match.StudyInstanceUID, match.SeriesInstanceUID = STUDY, SERIES
            match.Modality = "CT"
            if level == "IMAGE":
                with disable_value_validation():
                    match.SOPInstanceUID, match.SOPClassUID = uid, CT
            yield 0xFF00, match

    def get(self, event: Event) -> Iterator[Any]:
        datasets = self.sent()
        yield len(datasets)
        for dataset in datasets:
            yield 0xFF00, dataset


def opened(file: bytes) -> Dataset:
    return dcmread(BytesIO(file))


@contextmanager
def serving(pacs: Pacs) -> Iterator[int]:
    entity = AE("HOSTILE")
    entity.add_supported_context(FIND)
    entity.add_supported_context(GET)
    entity.add_supported_context(CT, scu_role=True, scp_role=True)
    port = free_port()
    handlers = [(evt.EVT_C_FIND, pacs.answer), (evt.EVT_C_GET, pacs.get)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield port
    finally:
        server.shutdown()


@pytest.fixture
def pacs() -> Pacs:
    return Pacs()


@pytest.fixture
def refresh(
    pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[ArchiveFile]]]:
    monkeypatch.setattr(patience, "PAUSES_S", ())
    with serving(pacs) as port:
        service = Dimse(host="127.0.0.1", port=port, called_ae="HOSTILE", timeout_s=3)
        config = SiteConfig(site="site", workspace=tmp_path, dimse=service)

        def run() -> list[ArchiveFile]:
            with open_source(config) as source:
                return list(source.refresh(WANTED))

        yield run


def stored(workspace: Path) -> int:
    return sum(file.is_file() for file in (workspace / "store").rglob("*"))


def reasons(files: list[ArchiveFile]) -> list[str]:
    return sorted(str(file.reason) for file in files)


def test_an_honest_pacs_is_read(refresh: Any, tmp_path: Path) -> None:
    assert reasons(refresh()) == ["None", "None"]
    assert stored(tmp_path) == 2


def test_instances_that_nobody_asked_for_are_refused(
    pacs: Pacs, refresh: Any, tmp_path: Path
) -> None:
    pacs.sent = lambda: [opened(STRANGER.file)]
    assert reasons(refresh()) == [Reason.NOT_RETRIEVED] * 2
    assert stored(tmp_path) == 0


def test_a_dataset_of_another_series_under_the_right_uid_is_refused(
    pacs: Pacs, refresh: Any, tmp_path: Path
) -> None:
    def disguised() -> list[Dataset]:
        dataset = opened(ONE.file)
        dataset.SeriesInstanceUID = "2.25.99"
        return [dataset]

    pacs.sent = disguised
    assert reasons(refresh()) == [Reason.NOT_RETRIEVED] * 2
    assert stored(tmp_path) == 0


def test_what_is_listed_and_not_sent_is_counted(pacs: Pacs, refresh: Any) -> None:
    pacs.sent = lambda: [opened(TWO.file)]
    assert reasons(refresh()) == ["None", "not-retrieved"]


def test_uids_that_are_none_are_left_out(pacs: Pacs, refresh: Any) -> None:
    pacs.listed = ["../../x", "1.*", ONE.sop_uid]
    assert reasons(refresh()) == ["None"]


def test_an_instance_beyond_the_limit_is_refused(
    pacs: Pacs, refresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAXIMUM_INSTANCE_BYTES", 3000)
    assert reasons(refresh()) == [Reason.TOO_LARGE] * 2
    assert stored(tmp_path) == 0


def test_a_message_that_does_not_end_is_cut_off(
    refresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "MAXIMUM_INSTANCE_BYTES", 0)
    monkeypatch.setattr(association, "_SLACK_BYTES", 2000)
    with pytest.raises(ArchiveError, match="broke off"):
        refresh()


def endless(event: Event) -> Iterator[tuple[int, Dataset]]:
    """Pending matches for as long as somebody listens."""
    while not event.assoc.is_aborted:
        match = Dataset()
        match.StudyInstanceUID, match.SeriesInstanceUID, match.Modality = STUDY, SERIES, "CT"
        yield 0xFF00, match


@pytest.mark.parametrize(
    ("matches", "timeouts", "line"),
    [(100, 10.0, "got more than 100 matches"), (100_000, 0.1, "got no end of an answer in time")],
)
def test_a_query_without_end_is_broken_off(
    pacs: Pacs,
    refresh: Any,
    monkeypatch: pytest.MonkeyPatch,
    matches: int,
    timeouts: float,
    line: str,
) -> None:
    monkeypatch.setattr(allowance, "MAXIMUM_MATCHES", matches)
    monkeypatch.setattr(allowance, "MAXIMUM_TIMEOUTS", timeouts)
    monkeypatch.setattr(pacs, "find", endless)
    with pytest.raises(ArchiveError, match=line):
        refresh()


def test_a_match_larger_than_any_is_cut_off(pacs: Pacs, refresh: Any) -> None:
    pacs.listed = ["1" * 3_000_000]
    with pytest.raises(ArchiveError, match="broke off"):
        refresh()


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """A port that sends ``reply`` to whatever it is told, and then waits."""
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1 << 16):
                    connection.sendall(reply)
                    done.wait(5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=_until(done, serve))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join()


def _until(done: threading.Event, serve: Callable[[], None]) -> Callable[[], None]:
    def loop() -> None:
        while not done.is_set():
            serve()

    return loop


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x02\x00\xff\xff\xff\xff" + bytes(1 << 16),  # announces 4 GiB
        b"\x02\x00\x00\x00\x10\x00" + bytes(100),  # announces more than comes
    ],
)
def test_a_port_that_sends_nonsense_is_told_in_time(
    reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(reply) as port:
        service = Dimse(host="127.0.0.1", port=port, called_ae="X", timeout_s=1)
        pacs = DimsePacs(service)
        with pytest.raises(ArchiveError, match="closed the connection at once"):
            list(pacs.find("STUDY", {"StudyInstanceUID": ""}))
        pacs.close()


def test_no_library_logs_what_is_sent(
    pacs: Pacs, refresh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    pacs.sent = lambda: [opened(STRANGER.file)]
    refresh()
    assert "2.25." not in caplog.text
    assert "Phileak" not in caplog.text


def test_an_odd_identifier_is_read_without_a_word(
    pacs: Pacs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = "1.2.MEIER^HANS"

    def find(event: Event) -> Iterator[tuple[int, Dataset]]:
        match = Dataset()
        match.add_new(0x0020000D, "LO", odd)  # without a VR as sent, so a UI to whoever reads it
        yield 0xFF00, match

    monkeypatch.setattr(pacs, "find", find)
    with serving(pacs) as port, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")  # as errors, pynetdicom would catch them
        client = DimsePacs(Dimse(host="127.0.0.1", port=port, called_ae="HOSTILE", timeout_s=3))
        found = list(client.find("STUDY", {"StudyInstanceUID": ""}))
        client.close()
    assert found == [{"StudyInstanceUID": odd}]
    told = capfd.readouterr()
    assert "MEIER" not in told.out + told.err
    assert [str(warning.message) for warning in warned] == []
