"""What a site may not write about its PACS, and what is proposed to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.contracts import orthanc

from wardround_client.archive.dimse_contexts import (
    MAXIMUM_CLASSES,
    TRANSFER_SYNTAXES,
    storage_classes,
    storage_contexts,
)
from wardround_client.archive.http_session import open_session
from wardround_client.archive.pacs import is_uid
from wardround_common.errors import ConfigError
from wardround_common.site_config import DicomWeb, Dimse

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://pacs.example",
        "https://",
        "https://user:hidden@pacs.example",
        "https://pacs.example/?token=hidden",
        "https://pacs.example/#x",
        "https://[pacs",
    ],
)
def test_an_address_is_plain_and_of_the_web(url: str) -> None:
    with pytest.raises(ConfigError, match="url: got") as caught:
        DicomWeb(url=url)
    assert "hidden" not in str(caught.value)


def test_a_secret_is_not_sent_in_clear_over_a_network() -> None:
    token = Path("token")
    for url in (
        "https://pacs.example",
        "http://localhost:8042",
        "http://127.0.0.1",
        "http://[::1]",
    ):
        DicomWeb(url=url, token_file=token)
    DicomWeb(url="http://pacs.example")
    with pytest.raises(ConfigError, match="https:// where a password or token is sent"):
        DicomWeb(url="http://pacs.example", token_file=token)


@pytest.mark.parametrize("pasted", ["hidden", "hidden" * 100, "hidden\0", "/hidden/hidden"])
def test_a_secret_in_place_of_its_file_is_not_shown(pasted: str) -> None:
    with pytest.raises(ConfigError, match=r"^dicomweb\.token_file: its file cannot be opened") as c:
        open_session(DicomWeb(url="https://pacs.example", token_file=Path(pasted)))
    assert "hidden" not in str(c.value)
    with pytest.raises(ConfigError, match=r"^token_file: got 'a user name too'"):
        DicomWeb(
            url="https://pacs.example",
            username="u",
            password_file=Path("p"),
            token_file=Path(pasted),
        )


@pytest.mark.parametrize(
    ("content", "mode"), [(b"", 0o600), (b"a\nb", 0o600), (b"\xff", 0o600), (b"a", 0o640)]
)
def test_a_secrets_file_is_not_named_where_it_cannot_be_used(
    tmp_path: Path, content: bytes, mode: int
) -> None:
    file = tmp_path / "hidden"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=r"^dicomweb\.token_file: its file .*") as caught:
        open_session(DicomWeb(url="https://pacs.example", token_file=file))
    assert "hidden" not in str(caught.value)


def test_receiving_by_tls_needs_a_certificate() -> None:
    move: dict[str, Any] = {"host": "h", "port": 104, "called_ae": "A", "retrieve": "move"}
    Dimse(**move, listen_port=11112)
    with pytest.raises(ConfigError, match="certificate_file: got 'nothing'"):
        Dimse(**move, listen_port=11112, tls=True)


def test_every_pair_of_class_and_syntax_is_proposed_by_itself_and_they_fit() -> None:
    classes = [f"1.2.{n}" for n in range(MAXIMUM_CLASSES)]
    contexts = storage_contexts(classes)
    assert len(contexts) == MAXIMUM_CLASSES * len(TRANSFER_SYNTAXES) <= 127
    assert all(len(context.transfer_syntax) == 1 for context in contexts)


def test_classes_are_those_listed_or_usual_for_the_modality() -> None:
    assert storage_classes("CT", [CT, CT]) == (CT,)
    assert CT in storage_classes("CT", [""])
    assert {MR, CT} <= set(storage_classes("CT", [MR, ""]))
    assert storage_classes("??", [""])


def test_a_uid_has_digits_and_dots_alone() -> None:
    assert is_uid("1.2.840.10008.5.1.4.1.1.2")
    assert is_uid("1.02.3")  # against the rules, and common
    for text in ("", "1", "1.", ".1", "1..2", "1.*", "1.2\n", "1/2", "1.²", "1." + "2" * 63):
        assert not is_uid(text)


def test_absent_orthanc_skips_and_fails_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orthanc, "PLUGIN", Path("nowhere"))
    monkeypatch.delenv(orthanc.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="install the Debian packages"):
        orthanc.require_orthanc()
    monkeypatch.setenv(orthanc.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="install the Debian packages"):
        orthanc.require_orthanc()
