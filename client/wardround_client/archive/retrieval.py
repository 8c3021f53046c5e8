"""Brings the instances of one series into the store: asks, checks what arrives, asks again.

What arrives is kept only if its own UIDs are ones that were asked for and it is not there yet.
Whatever is listed and does not arrive is named with a reason; it never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from wardround_client.archive.pacs import Pacs, RemoteInstance, RemoteSeries
from wardround_client.archive.patience import patiently
from wardround_client.archive.received import Received, identify
from wardround_client.archive.store import Facts, Part, Store, path_of
from wardround_client.index.header import Header
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError

OnKept = Callable[[RemoteInstance, Facts, Header | Reason], None]
"""Called for each instance that the store keeps."""

_SURPLUS = 16
"""Parts beyond those asked for after which an answer is broken off."""


class Retrieval:
    """The instances of one series that are still to come.

    Attributes:
        missing: SOPInstanceUID to instance, of what has not arrived.
        reasons: SOPInstanceUID to reason, where it is known better than ``not-retrieved``.
    """

    def __init__(
        self,
        pacs: Pacs,
        store: Store,
        series: RemoteSeries,
        instances: Sequence[RemoteInstance],
        on_kept: OnKept,
    ) -> None:
        self._pacs = pacs
        self._store = store
        self._series = series
        self._on_kept = on_kept
        self.missing = {instance.sop_uid: instance for instance in instances}
        self.reasons: dict[str, Reason] = {}

    def run(self) -> None:
        """Asks for all at once, then for what is left one by one, with pauses after failures.

        Raises:
            TransientError: The PACS could not be reached at the last attempt.
            ArchiveError: The PACS refuses, or the disk does.
        """
        patiently(self._ask)

    def _ask(self) -> None:
        self._ask_for_all()
        self._ask_one_by_one()

    def _ask_for_all(self) -> None:
        if len(self.missing) < 2:
            return
        try:
            self._receive(list(self.missing.values()))
        except DicomError as error:
            if error.reason == Reason.STORE_TOO_SMALL:
                self._refuse_all(Reason.STORE_TOO_SMALL)

    def _ask_one_by_one(self) -> None:
        for instance in list(self.missing.values()):
            if instance.sop_uid in self.reasons:
                continue
            try:
                self._receive([instance])
            except DicomError as error:
                self.reasons[instance.sop_uid] = Reason(error.reason)
                if error.reason == Reason.STORE_TOO_SMALL:
                    self._refuse_all(Reason.STORE_TOO_SMALL)

    def _refuse_all(self, reason: Reason) -> None:
        self.reasons |= dict.fromkeys(self.missing, reason)

    def _receive(self, instances: Sequence[RemoteInstance]) -> None:
        with closing(self._pacs.fetch(self._series, instances, into=self._store)) as arriving:
            for n, part in enumerate(arriving):
                self._take(part, instances)
                if n >= len(instances) + _SURPLUS:
                    break  # no honest answer is this long

    def _take(self, part: Part, asked: Sequence[RemoteInstance]) -> None:
        """Keeps ``part`` if it is one of the missing, and discards it otherwise."""
        try:
            found = self._identify(part)
        except DicomError as error:
            found = None
            if len(asked) == 1 and error.reason == Reason.TOO_LARGE:
                self.reasons[asked[0].sop_uid] = Reason.TOO_LARGE
        instance = self.missing.pop(found.sop_uid, None) if found else None
        if found is None or instance is None:
            part.discard()
            return
        path = path_of(self._series.study_uid, self._series.series_uid, found.sop_uid)
        self._on_kept(instance, self._store.keep(part, path), found.header)

    def _identify(self, part: Part) -> Received | None:
        """What arrived, or None if it belongs to another series.

        Raises:
            DicomError: It cannot be told.
        """
        found = identify(part.path)
        asked = (self._series.study_uid, self._series.series_uid)
        return found if (found.study_uid, found.series_uid) == asked else None
