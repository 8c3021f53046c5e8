"""A PACS through DICOMweb: QIDO-RS by dicomweb-client, WADO-RS streamed to disk as it is stored.

dicomweb-client decodes what it retrieves, in memory and without the bytes as sent; retrieval
therefore uses its session and takes the multipart answer apart here. The transfer syntax asked
for is ``*``: the PACS sends what it has, and recodes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.datadict import tag_for_keyword

from wardround_client.archive.allowance import Allowance, shortened
from wardround_client.archive.http_session import concerns_one_request, explained, open_session
from wardround_client.archive.multipart import boundary_of, read_parts
from wardround_client.archive.pacs import Level, RemoteInstance, RemoteSeries, is_uid
from wardround_client.archive.store import Part, Store
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError, ConfigError, DicomError
from wardround_common.site_config import DicomWeb

_PAGE = 1000
_CHUNK_BYTES = 1 << 18
_SEARCH: dict[Level, str] = {
    "STUDY": "search_for_studies",
    "SERIES": "search_for_series",
    "IMAGE": "search_for_instances",
}
_ABOVE: dict[Level, tuple[str, ...]] = {
    "STUDY": (),
    "SERIES": ("StudyInstanceUID",),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
_OWN: dict[Level, str] = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'

# Both write addresses, which hold UIDs and accession numbers, into their log lines.
for _name in ("dicomweb_client", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class DicomWebPacs:
    """One DICOMweb service; see `wardround_client.archive.pacs.Pacs`."""

    def __init__(self, config: DicomWeb) -> None:
        self._url = config.url.rstrip("/")
        self._shown = f"dicomweb {urlsplit(self._url).netloc}"
        self._timeout_s = config.timeout_s
        self._session = open_session(config)
        try:
            self._client = DICOMwebClient(
                self._url, session=self._session, timeout=config.timeout_s, permissive_uid=True
            )
        except ValueError:
            raise ConfigError("dicomweb.url: cannot be used, expected a plain address") from None
        self._client.set_http_retry_params(retry=False)  # asked again by our caller

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """See `Pacs.find`; asks page by page until one brings nothing new."""
        identifier = _OWN[level]
        allowance = Allowance(self._shown, self._timeout_s)
        seen: set[str] = set()
        offset = 0
        while page := self._search(level, keys, offset):
            allowance.take(len(page))
            offset += len(page)
            before = len(seen)
            for match in (_texts(match, keys) for match in page):
                if is_uid(match[identifier]) and match[identifier] not in seen:
                    seen.add(match[identifier])
                    yield match
            if len(seen) == before:
                return

    def fetch(
        self, series: RemoteSeries, instances: Sequence[RemoteInstance], *, into: Store
    ) -> Generator[Part, None, None]:
        """See `Pacs.fetch`; one instance is asked for by itself, several as their series."""
        address = f"{self._url}/studies/{series.study_uid}/series/{series.series_uid}"
        if len(instances) == 1:
            address += f"/instances/{instances[0].sop_uid}"
        with explained(self._shown), self._get(address) as response:
            content_type = response.headers.get("Content-Type", "")
            chunks = response.iter_content(_CHUNK_BYTES)
            boundary = boundary_of(content_type)
            if boundary:
                yield from read_parts(chunks, boundary, into.new_part)
            elif content_type.partition(";")[0].strip().lower() == "application/dicom":
                yield _read_whole(chunks, into)
            else:
                hint = "ask its vendor for WADO-RS with multipart/related"
                raise ArchiveError(f"{self._shown}: got no DICOM, expected an image; {hint}")

    def close(self) -> None:
        """Ends every connection."""
        self._session.close()

    def _get(self, address: str) -> requests.Response:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
        response = self._session.get(address, headers=headers, stream=True, timeout=self._timeout_s)
        if concerns_one_request(response.status_code):
            response.close()
            raise DicomError(Reason.NOT_RETRIEVED)
        try:
            response.raise_for_status()
        except requests.HTTPError:
            response.close()
            raise
        return response

    def _search(self, level: Level, keys: Mapping[str, str], offset: int) -> list[dict[str, Any]]:
        """One page of answers; UIDs of levels above are part of the address."""
        above = _ABOVE[level]
        arguments = [keys[name] for name in above]
        search: Callable[..., object] = getattr(self._client, _SEARCH[level])
        filters = {name: value for name, value in keys.items() if value and name not in above}
        fields = [name for name, value in keys.items() if not value]
        try:
            with explained(self._shown):
                answer = search(
                    *arguments, limit=_PAGE, offset=offset, fields=fields, search_filters=filters
                )
        except (ValueError, RecursionError):  # of the JSON parser
            answer = None
        if not isinstance(answer, list):
            hint = "check that url ends with the path of the DICOMweb service"
            raise ArchiveError(f"{self._shown}: got something else than DICOM JSON; {hint}")
        return [match for match in answer if isinstance(match, dict)]


def _texts(match: Mapping[str, Any], keywords: Mapping[str, str]) -> dict[str, str]:
    """The first value of each keyword in DICOM's JSON, as text; empty if absent or odd."""
    return {keyword: _text(match, keyword) for keyword in keywords}


def _text(match: Mapping[str, Any], keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    element = match.get(f"{tag:08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else ""
    return shortened(str(first).strip()) if isinstance(first, str | int) else ""


def _read_whole(chunks: Iterator[bytes], into: Store) -> Part:
    part = into.new_part()
    try:
        for chunk in chunks:
            part.write(chunk)
    except BaseException:
        part.discard()
        raise
    return part
