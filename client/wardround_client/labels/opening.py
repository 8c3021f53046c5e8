"""Opens the labels that a study's `LabelRule` names: the site's file, or objects of the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from wardround_client.archive.reading import Files, read_guarded
from wardround_client.archive.source import Progress, Source
from wardround_client.index.header import Instance
from wardround_client.index.scan import ArchiveIndex
from wardround_client.labels.masks import MASK_CLASSES
from wardround_client.labels.reports import REPORT_CLASSES, ReportLabels, read_report_label
from wardround_client.labels.segments import MaskLabels, read_mask_label
from wardround_client.labels.source import Labels
from wardround_client.labels.table import LabelTable, TableLabels, read_labels
from wardround_client.quarantine import Reason
from wardround_common.errors import ConfigError
from wardround_common.intake_plan import LabelRule
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

R = TypeVar("R")


def read_label_file(config: SiteConfig, study: Study) -> LabelTable | None:
    """Reads the site's label file; None where the study takes labels from the archive.

    Raises:
        ConfigError: The study asks for what the site's configuration does not name.
        ArchiveError: The file is missing, unreadable, or lacks the columns.
    """
    rule = study.cohort.labels
    if rule.source != "csv":
        if config.archive is None and not config.intake.studies_from:
            hint = "name the first day of the imaging studies that a PACS is asked for"
            raise ConfigError(f"intake.studies_from: got nothing, expected a date; {hint}")
        return None
    if config.labels is None:
        raise ConfigError(
            f"labels: got nothing, expected a file: study {study.name!r} takes its labels from one"
        )
    return read_labels(config.labels, rule.column)


def open_labels(
    config: SiteConfig,
    study: Study,
    table: LabelTable | None,
    *,
    index: ArchiveIndex,
    source: Source,
    on_progress: Progress,
) -> Labels:
    """Makes the study's labels ready.

    Args:
        config: The site.
        study: The study.
        table: What `read_label_file` gave.
        index: The site's index, up to date.
        source: Where reports and segmentations are read from.
        on_progress: Called with ``"labels"``, objects read, objects in all.

    Raises:
        ArchiveError: The archive cannot be reached.
    """
    rule = study.cohort.labels
    if table is not None:
        shared = index.shared_accessions()
        return TableLabels(table=table, classes=len(study.task.classes), shared=shared)
    reader = _Reader(config=config, index=index, source=source, on_progress=on_progress)
    if rule.source == "sr":
        return ReportLabels(reader.read(REPORT_CLASSES, read_report_label, rule))
    return MaskLabels(rule, reader.read(MASK_CLASSES, read_mask_label, rule))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads label objects of the archive in guarded worker processes."""

    config: SiteConfig
    index: ArchiveIndex
    source: Source
    on_progress: Progress

    def read(
        self, wanted: frozenset[str], read: Callable[[Path, LabelRule], R], rule: LabelRule
    ) -> Iterator[tuple[Instance, R | Reason]]:
        """Yields every instance of the ``wanted`` SOP classes with what was read of it."""
        objects = list(self.index.instances(sop_classes=wanted))
        results = read_guarded(
            partial(_read, read, rule),
            objects,
            lambda instance: (instance.path,),
            source=self.source,
            intake=self.config.intake,
        )
        for done, found in enumerate(results, start=1):
            self.on_progress("labels", done, len(objects))
            yield found


def _read(
    read: Callable[[Path, LabelRule], R], rule: LabelRule, instance: Instance, files: Files
) -> R:
    return read(files[instance.path], rule)
