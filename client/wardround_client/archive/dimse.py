"""A PACS through DICOM's own network protocol: C-FIND, then C-GET or C-MOVE (PS3.4, annex C)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role
from pynetdicom.transport import ThreadedAssociationServer

from wardround_client.archive.allowance import Allowance, shortened
from wardround_client.archive.association import Dialler
from wardround_client.archive.dimse_contexts import (
    MAXIMUM_CLASSES,
    storage_classes,
    storage_contexts,
)
from wardround_client.archive.inbox import Inbox
from wardround_client.archive.listener import listen
from wardround_client.archive.pacs import Level, RemoteInstance, RemoteSeries, TransientError
from wardround_client.archive.store import Part, Store
from wardround_client.index.reader import quiet
from wardround_client.quarantine import Reason
from wardround_common.errors import ArchiveError, DicomError
from wardround_common.site_config import Dimse

# Study Root Query/Retrieve Information Model (PS3.4, table C.6.2-1 and following)
_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
_MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_NO_SUCH_DESTINATION = 0xA801
_MATCH_BYTES = 1 << 16
"""Longest message on a connection for queries; a match takes about 200 bytes."""
_LATE_S = 5.0
"""How long to wait for the next instance after a C-MOVE that says all were sent."""


class DimsePacs:
    """One PACS by host, port and titles; see `wardround_client.archive.pacs.Pacs`."""

    def __init__(self, config: Dimse) -> None:
        self._config = config
        self._dialler = Dialler(config)
        self._shown = self._dialler.shown
        self._inbox = Inbox()
        self._query: Association | None = None
        self._retrieve: Association | None = None
        self._proposed: frozenset[str] = frozenset()
        self._server: ThreadedAssociationServer | None = None

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """See `Pacs.find`."""
        association = self._query_association()
        allowance = Allowance(self._shown, self._config.timeout_s)
        answers = association.send_c_find(_identifier(level, keys), _FIND)
        for status, match in answers:
            code = self._code_of(status, association)
            if code in _PENDING:
                _take(allowance, association)
            if code in _PENDING and match is not None:
                yield {keyword: _text(match, keyword) for keyword in keys}
            elif code not in (_SUCCESS, *_PENDING):
                hint = "see the PACS's own log"
                raise ArchiveError(f"{self._shown}: a query failed, status 0x{code:04X}; {hint}")

    def fetch(
        self, series: RemoteSeries, instances: Sequence[RemoteInstance], *, into: Store
    ) -> Generator[Part, None, None]:
        """See `Pacs.fetch`; one instance is asked for by itself, several as their series."""
        keys = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.series_uid}
        level: Level = "SERIES"
        if len(instances) == 1:
            level, keys = "IMAGE", keys | {"SOPInstanceUID": instances[0].sop_uid}
        self._inbox.expect((instance.sop_uid for instance in instances), into)
        try:
            if self._config.retrieve == "move":
                yield from self._move(_identifier(level, keys), len(instances))
            else:
                classes = storage_classes(series.modality, (i.sop_class_uid for i in instances))
                for start in range(0, len(classes), MAXIMUM_CLASSES):
                    proposed = classes[start : start + MAXIMUM_CLASSES]
                    yield from self._get(_identifier(level, keys), proposed)
        finally:
            self._inbox.close()

    def close(self) -> None:
        """Ends every connection, and stops listening."""
        for association in (self._query, self._retrieve):
            if association is not None and association.is_established:
                association.release()
        self._query = self._retrieve = None
        self._dialler.close_ended()
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _get(self, identifier: Dataset, classes: Sequence[str]) -> Generator[Part, None, None]:
        association = self._get_association(classes)
        yield from self._receive(association, association.send_c_get(identifier, _GET))

    def _move(self, identifier: Dataset, asked: int) -> Generator[Part, None, None]:
        """Has the PACS send to us; some report the end before the last instances are here."""
        if self._server is None:
            self._server = listen(self._config, self._inbox)
        association = self._query_association()
        answers = association.send_c_move(identifier, self._config.calling_ae, _MOVE)
        for part in self._receive(association, answers):
            asked -= 1
            yield part
        while asked > 0:
            late = list(self._inbox.arrived(wait_s=_LATE_S))
            if not late:
                return
            asked -= len(late)
            yield from late

    def _receive(
        self, association: Association, answers: Iterator[tuple[Dataset, Dataset | None]]
    ) -> Generator[Part, None, None]:
        """Yields what arrives while the PACS reports progress; ends with its last report."""
        complete = False
        try:
            for status, _ in answers:
                yield from self._inbox.arrived()
                code = self._code_of(status, association)
                if code not in _PENDING:
                    complete = True
                    self._require_sent(code)
        finally:
            if not complete and association.is_established:
                association.abort()  # or the rest of it would arrive with the next request

    def _require_sent(self, code: int) -> None:
        """Raises unless the last report says that at least some instances were sent."""
        if code == _NO_SUCH_DESTINATION:
            address = f"{self._config.listen_host}:{self._config.listen_port}"
            hint = f"have calling_ae {self._config.calling_ae} entered there with {address}"
            raise ArchiveError(f"{self._shown}: the PACS does not know where to send; {hint}")
        if code != _SUCCESS and code >> 12 != 0xB:
            raise DicomError(Reason.NOT_RETRIEVED)

    def _code_of(self, status: Dataset, association: Association) -> int:
        code = status.get("Status")
        if code is None:  # pynetdicom's way to say that no answer came
            association.abort()
            hint = "check the network, or raise timeout_s"
            raise TransientError(f"{self._shown}: the connection broke off; {hint}")
        return int(code)

    def _query_association(self) -> Association:
        if self._query is None or not self._query.is_established:
            models = (_FIND, _MOVE) if self._config.retrieve == "move" else (_FIND,)
            contexts = [build_context(model) for model in models]
            self._query = self._dialler.associate(contexts, most_bytes=_MATCH_BYTES)
            self._require_accepted(self._query, models)
        return self._query

    def _get_association(self, classes: Sequence[str]) -> Association:
        """The open association if it has contexts for ``classes``, else a new one."""
        current = self._retrieve
        if current is not None and current.is_established:
            if self._proposed.issuperset(classes):
                return current
            current.release()
        self._retrieve = self._dialler.associate(
            [build_context(_GET), *storage_contexts(classes)],
            roles=[build_role(name, scp_role=True) for name in classes],
            handlers=[(evt.EVT_C_STORE, self._inbox.store)],
        )
        self._proposed = frozenset(classes)
        self._require_accepted(self._retrieve, (_GET,))
        return self._retrieve

    def _require_accepted(self, association: Association, models: Sequence[str]) -> None:
        """Raises ArchiveError unless the PACS offers each of the services."""
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        names: dict[str, str] = {_FIND: "C-FIND", _GET: "C-GET", _MOVE: "C-MOVE"}
        missing = [names[model] for model in models if model not in accepted]
        if missing:
            association.release()
            hint = "allow it there, or choose another value of retrieve"
            raise ArchiveError(f"{self._shown}: the PACS offers us no {missing[0]}; {hint}")


def _identifier(level: Level, keys: Mapping[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    with quiet():
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
    return identifier


def _take(allowance: Allowance, association: Association) -> None:
    """Notes one match; ends the association if there are too many, for more would follow."""
    try:
        allowance.take(1)
    except ArchiveError:
        association.abort()
        raise


def _text(match: Dataset, keyword: str) -> str:
    """The element as text; empty if absent or broken, for an identifier comes from outside."""
    try:
        with quiet():
            return shortened(str(match.get(keyword) or "").strip(" \0"))
    except Exception:  # wrong values raise here, in many ways
        return ""
