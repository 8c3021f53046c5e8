"""Brings a site's index in step with its archive, whatever source the archive has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from wardround_client.archive.reading import limits_of
from wardround_client.archive.source import Progress, Source, Wanted
from wardround_client.index.pending import HeaderReading
from wardround_client.index.scan import ArchiveIndex, open_index, read_folder
from wardround_client.index.update import ScanCounts
from wardround_client.labels.table import LabelTable
from wardround_common.errors import ArchiveError
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

INDEX_FILE = "index.sqlite"
_LABEL_MODALITIES = {"csv": (), "sr": ("SR",), "seg": ("SEG",)}


@contextmanager
def open_site_index(config: SiteConfig) -> Iterator[ArchiveIndex]:
    """Opens the site's index for this process alone.

    Raises:
        StateError: The index is damaged or in use by another process.
    """
    with open_index(config.workspace / INDEX_FILE, archive=archive_name(config)) as index:
        yield index


def refresh_index(
    config: SiteConfig,
    index: ArchiveIndex,
    source: Source,
    wanted: Wanted,
    *,
    on_progress: Progress,
) -> ScanCounts:
    """Brings ``index`` in step with what ``source`` holds of ``wanted``.

    Args:
        config: The site.
        index: Its open index.
        source: Its open source.
        wanted: What a PACS is asked for; a folder is walked in full.
        on_progress: Called with the phases of `Source.refresh` and of `ArchiveIndex.scan`.

    Raises:
        ArchiveError: The archive cannot be reached or listed.
        StateError: The index is damaged, or no worker process could be started.
    """
    intake, limits = config.intake, limits_of(config.intake)
    if config.archive is None:
        # Remembered from the file's arrival; asking for it is no work for other processes.
        reading = HeaderReading(read=source.header, processes=0, limits=limits)
    else:
        reading = read_folder(source.root, processes=intake.processes, limits=limits)
    files = source.refresh(wanted, on_progress=on_progress)
    first = next(files, None)
    if first is None:
        _require_meant(index)
        return index.scan((), reading, on_progress=on_progress)
    return index.scan(chain((first,), files), reading, on_progress=on_progress)


def wanted_by(config: SiteConfig, study: Study, table: LabelTable | None) -> Wanted:
    """What a PACS is asked for: the label file's imaging studies, or all from a day on."""
    cohort = study.cohort
    modalities = (*cohort.modalities, *_LABEL_MODALITIES[cohort.labels.source])
    if table is None:
        return Wanted(modalities=modalities, studies_from=config.intake.studies_from)
    by_accession = {row.accession for row in table.rows if not row.study_uid}
    return Wanted(
        modalities=modalities,
        study_uids=frozenset(table.by_study),
        accessions=frozenset(by_accession - {""}),
    )


def _require_meant(index: ArchiveIndex) -> None:
    """Raises ArchiveError if an archive is empty that was not: it may not be mounted."""
    if index.count():
        hint = "check that it is mounted; if it is really empty, delete the index in the workspace"
        raise ArchiveError(f"archive: got no file, expected those that the index knows; {hint}")


def archive_name(config: SiteConfig) -> bytes:
    """What tells the site's archive from others: a folder's path, or a PACS's address."""
    if config.archive is not None:
        return os.fsencode(config.archive.resolve())
    if config.dicomweb is not None:
        return config.dicomweb.url.encode()
    pacs = config.dimse
    return f"{pacs.called_ae}@{pacs.host}:{pacs.port}".encode() if pacs else b""
