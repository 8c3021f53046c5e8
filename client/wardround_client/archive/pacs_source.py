"""A PACS as a source: lists it, fetches what the store lacks, and hands files to intake.

Each wanted series is listed at every refresh, so that new and deleted instances are noticed; what
was fetched once is not fetched again until it is needed after its eviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from wardround_client.archive.catalogue import FORMAT, SCHEMA, Catalogue, Known
from wardround_client.archive.files import ArchiveFile
from wardround_client.archive.pacs import Level, Pacs, RemoteInstance, RemoteSeries
from wardround_client.archive.patience import patiently
from wardround_client.archive.received import identify
from wardround_client.archive.retrieval import Retrieval
from wardround_client.archive.search import find_instances, find_series, find_studies
from wardround_client.archive.source import Progress, Wanted
from wardround_client.archive.store import Facts, Store, path_of, series_of, series_path
from wardround_client.index.header import Header
from wardround_client.quarantine import Reason
from wardround_client.storage import open_database
from wardround_common.errors import ArchiveError, DicomError

_MAXIMUM_LISTED = 1_000_000
"""Imaging studies, and series; each takes some hundred bytes until the refresh ends."""
_SETTLE_EVERY = 64
_GIVE_UP_AFTER = 10
"""Series in a row of which nothing arrives: then it is the PACS, not the series."""


class PacsSource:
    """Keeps a store of fetched files in step with a PACS.

    Args:
        pacs: The connection.
        store: Where files are kept.
        catalogue: What was fetched before.
    """

    def __init__(self, pacs: Pacs, store: Store, catalogue: Catalogue) -> None:
        self._pacs = pacs
        self._store = store
        self._catalogue = catalogue
        self._failed_in_a_row = 0
        self._changed: set[bytes] = set()
        """Paths whose content is another since the last refresh told of them."""

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self._store.root

    def refresh(
        self, wanted: Wanted, *, on_progress: Progress | None = None
    ) -> Iterator[ArchiveFile]:
        """See `Source.refresh`; order is that of the paths."""
        report = on_progress or _ignore
        plan = self._plan(wanted, report)
        total = sum(series.instances for series in plan)
        done = 0
        self._catalogue.begin_refresh()
        self._changed.clear()
        for series in plan:
            for file in self._bring(series):
                done += 1
                total = max(total, done)
                report("fetch", done, total)
                yield file
        for path in self._catalogue.forget_unseen():
            self._store.drop(path)

    @contextmanager
    def local(self, path: bytes) -> Iterator[Path]:
        """See `Source.local`; fetches the whole series again if the file was evicted."""
        with self._store.pinned(series_of(path)):
            known = self._catalogue.get(path)
            if known is None:
                raise DicomError(Reason.NOT_RETRIEVED)
            file = self._store.find(path, known.facts)
            if file is None:
                self._fetch_again(series_of(path))
                file = self._store.find(path, known.facts)
            if path in self._changed or file is None:
                changed = path in self._changed
                raise DicomError(Reason.CHANGED if changed else Reason.NOT_RETRIEVED)
            yield file

    def header(self, path: bytes) -> Header | Reason:
        """See `Source.header`."""
        known = self._catalogue.header(path)
        if known is not None:
            return known
        try:
            with self.local(path) as file:
                return identify(file).header
        except DicomError as error:
            return Reason(error.reason)

    def _find(self, level: Level, keys: Mapping[str, str]) -> list[dict[str, str]]:
        return patiently(lambda: list(self._pacs.find(level, keys)))

    def _plan(self, wanted: Wanted, report: Progress) -> list[RemoteSeries]:
        """Lists the wanted series in order of their places in the store."""
        today = datetime.now(UTC).astimezone().date()
        studies: set[str] = set()
        for uid in find_studies(self._find, wanted, today=today):
            studies.add(uid)
            _require_few(studies, "imaging studies")
        plan: list[RemoteSeries] = []
        for done, uid in enumerate(sorted(studies), start=1):
            plan += find_series(self._find, wanted, uid)
            _require_few(plan, "series")
            report("query", done, len(studies))
        return sorted(plan, key=lambda s: series_path(s.study_uid, s.series_uid))

    def _bring(self, series: RemoteSeries) -> Iterator[ArchiveFile]:
        """Yields what the PACS lists of one series, fetching what was never fetched."""
        folder = series_path(series.study_uid, series.series_uid)
        with self._store.pinned(folder):
            listed = find_instances(self._find, series)
            known = self._catalogue.of_series(folder)
            paths = {path_of(*series[:2], instance.sop_uid): instance for instance in listed}
            new = [instance for path, instance in paths.items() if path not in known]
            reasons = self._fetch(series, new)
            if Reason.STORE_TOO_SMALL in reasons.values():
                self._forget(paths)  # part of a series is worse than none
                reasons = {i.sop_uid: Reason.STORE_TOO_SMALL for i in listed}
            self._catalogue.see(paths.keys() & known.keys())
            self._catalogue.commit()
            known = self._catalogue.of_series(folder)
            for path in sorted(paths):
                yield _describe(path, known.get(path), reasons.get(paths[path].sop_uid))

    def _fetch(
        self, series: RemoteSeries, instances: Sequence[RemoteInstance]
    ) -> dict[str, Reason]:
        """Fetches instances of one series; returns why others than those did not come."""
        if not instances:
            return {}
        kept = 0

        def note(instance: RemoteInstance, facts: Facts, header: Header | Reason) -> None:
            nonlocal kept
            kept += 1
            path = path_of(series.study_uid, series.series_uid, instance.sop_uid)
            self._catalogue.note(path, Known(series, instance, facts), header)
            if kept % _SETTLE_EVERY == 0:
                self._settle()

        retrieval = Retrieval(self._pacs, self._store, series, instances, note)
        try:
            retrieval.run()
        finally:
            self._settle()
        self._require_some(kept, retrieval.reasons)
        return dict.fromkeys(retrieval.missing, Reason.NOT_RETRIEVED) | retrieval.reasons

    def _forget(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            self._catalogue.forget(path)
            self._store.drop(path)

    def _settle(self) -> None:
        """Makes what came durable: files first, for the catalogue must not know of others."""
        self._store.flush()
        self._catalogue.commit()

    def _require_some(self, kept: int, reasons: Mapping[str, Reason]) -> None:
        ours = Reason.STORE_TOO_SMALL in reasons.values()
        self._failed_in_a_row = 0 if kept or ours else self._failed_in_a_row + 1
        if self._failed_in_a_row >= _GIVE_UP_AFTER:
            got = f"got nothing of the last {_GIVE_UP_AFTER} series asked for, expected images"
            raise ArchiveError(f"PACS: {got}; allow this site to retrieve, see the PACS's own log")

    def _fetch_again(self, folder: bytes) -> None:
        """Fetches the evicted instances of a series; notes those that are not what they were."""
        known = self._catalogue.of_series(folder)
        lost = [k for path, k in known.items() if self._store.find(path, k.facts) is None]
        reasons = self._fetch(lost[0].series, [k.instance for k in lost])
        if Reason.STORE_TOO_SMALL in reasons.values():
            raise DicomError(Reason.STORE_TOO_SMALL)
        now = self._catalogue.of_series(folder)
        self._changed |= {path for path, k in known.items() if now[path].facts != k.facts}


@contextmanager
def open_pacs_source(pacs: Pacs, workspace: Path, *, store_gb: float) -> Iterator[PacsSource]:
    """A source with its store and catalogue below ``workspace``, for this process alone.

    Raises:
        StateError: Another process uses the store, or its catalogue is damaged.
        ArchiveError: The disk refuses.
    """
    with ExitStack() as stack:
        stack.callback(pacs.close)
        database = open_database(workspace / "store.sqlite", FORMAT, SCHEMA)
        catalogue = Catalogue(stack.enter_context(database))
        limit_bytes = int(store_gb * 1e9)
        folder = workspace / "store"
        store = Store(folder, limit_bytes=limit_bytes, is_known=catalogue.is_known)
        yield PacsSource(pacs, store, catalogue)


def _describe(path: bytes, known: Known | None, reason: Reason | None) -> ArchiveFile:
    if known is None:
        absent = reason or Reason.NOT_RETRIEVED
        return ArchiveFile(path=path, size_bytes=0, mtime_ns=0, reason=absent)
    size_bytes, mtime_ns = known.facts
    return ArchiveFile(path=path, size_bytes=size_bytes, mtime_ns=mtime_ns)


def _require_few(found: Sized, kind: str) -> None:
    if len(found) > _MAXIMUM_LISTED:
        hint = "see the PACS's own log, or raise intake.studies_from"
        raise ArchiveError(f"PACS: got more than {_MAXIMUM_LISTED} {kind}, expected fewer; {hint}")


def _ignore(phase: str, done: int, total: int) -> None:
    """Where nobody wants to know."""
