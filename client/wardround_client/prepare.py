"""Prepares a site for a study: archive, index, cohort, labels, pixels, split, examples.

Each step hands on what it keeps and notes a reason for every file it leaves out. Running it
again is cheap: only new or changed files are opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from wardround_client.cache import CacheKey, PixelCache, open_pixel_cache
from wardround_client.cohort import resolve_copies, select_cohort, shared_accessions
from wardround_client.cohort_report import CohortReport, IntakeSteps, count_cohort
from wardround_client.examples import ExampleRow, cache_folder, forget_examples, write_examples
from wardround_client.index.scan import Instance, Progress, scan_archive
from wardround_client.labels.table import LabelTable, find_label, read_labels
from wardround_client.pixels.decode import decode_file
from wardround_client.pseudonym import pseudonym, site_secret
from wardround_client.quarantine import Reason
from wardround_client.split import split_patients
from wardround_common.errors import ArchiveError
from wardround_common.intake_plan import Preprocessing
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

INDEX_FILE = "index.sqlite"
_BATCH = 64
_NAMED_REASONS = 3

Refused = dict[bytes, Reason]


def prepare_site(
    config: SiteConfig, study: Study, *, on_progress: Progress | None = None
) -> CohortReport:
    """Makes the examples of ``study`` at this site, under the site's workspace.

    Args:
        config: The site.
        study: The approved study.
        on_progress: Called with ``"scan"`` or ``"decode"``, files done, files in all.

    Returns:
        Counts of what was found, kept and left out.

    Raises:
        ArchiveError: Archive or label file cannot be used, or no example is left.
        StateError: The workspace is damaged or in use by another process.
    """
    _require_apart(config)
    table = read_labels(config.labels, study.cohort.labels.column)
    scan = scan_archive(config.archive, config.workspace / INDEX_FILE, on_progress=on_progress)
    cohort, excluded = select_cohort(scan.instances, study.cohort)
    accessions = shared_accessions(scan.instances)
    labels, unlabelled = _find_labels(cohort, table, accessions, len(study.task.classes))
    labelled = [instance for instance in cohort if instance.path in labels]
    shape = (study.preprocessing.rows, study.preprocessing.columns)
    with open_pixel_cache(cache_folder(config, study), shape) as cache:
        failed = _decode_missing(cache, config.archive, labelled, study.preprocessing, on_progress)
        rows, undecoded = _usable_rows(cache, labelled)
        refused = scan.refused | excluded | unlabelled | failed | undecoded
        # By UID, so that the order of examples depends on neither paths nor scan.
        usable = [instance for instance in labelled if instance.path in rows]
        usable.sort(key=lambda instance: instance.header.sop_instance_uid)
        if not usable:
            forget_examples(config, study)
            raise ArchiveError(_nothing_left(config, refused))
        examples = _make_examples(config, usable, rows, labels)
        write_examples(config, study, pixels_name=cache.pixels_path.name, rows=examples)
        cache.remove_old_files()
    steps = IntakeSteps(
        indexed=scan.instances, cohort=cohort, labelled=labelled, usable=usable, refused=refused
    )
    return count_cohort(steps, examples, table=table, classes=study.task.classes)


def _require_apart(config: SiteConfig) -> None:
    """Raises ArchiveError if intake would write into the archive it reads."""
    if config.workspace.resolve().is_relative_to(config.archive.resolve()):
        hint = "choose a workspace outside the archive"
        raise ArchiveError(f"workspace {config.workspace}: got a folder in the archive; {hint}")


def _find_labels(
    cohort: Sequence[Instance], table: LabelTable, shared: frozenset[str], classes: int
) -> tuple[dict[bytes, int], Refused]:
    """Finds the label of each instance's imaging study: path to class, path to reason."""
    labels: dict[bytes, int] = {}
    refused: Refused = {}
    for instance in cohort:
        study = (instance.header.study_uid, instance.header.accession)
        label = find_label(table, study, classes=classes, shared=study[1] in shared)
        if isinstance(label, Reason):
            refused[instance.path] = label
        else:
            labels[instance.path] = label
    return labels, refused


def _decode_missing(
    cache: PixelCache,
    archive: Path,
    instances: Sequence[Instance],
    preprocessing: Preprocessing,
    on_progress: Progress | None,
) -> Refused:
    """Decodes what the cache lacks, drops what it has too much, returns what failed now."""
    known = cache.entries([_cache_key(instance) for instance in instances])
    missing = [instance for instance in instances if instance.path not in known]
    failed: Refused = {}
    for start in range(0, len(missing), _BATCH):
        batch = []
        for instance in missing[start : start + _BATCH]:
            path = archive / os.fsdecode(instance.path)
            uid = instance.header.sop_instance_uid
            image = decode_file(path, preprocessing, sop_instance_uid=uid)
            batch.append((_cache_key(instance), image))
            if isinstance(image, Reason):
                failed[instance.path] = image
        cache.add(batch)
        if on_progress is not None:
            on_progress("decode", start + len(batch), len(missing))
    cache.keep_only({instance.path for instance in instances})
    return failed


def _cache_key(instance: Instance) -> CacheKey:
    return CacheKey(
        path=instance.path,
        sop_instance_uid=instance.header.sop_instance_uid,
        size_bytes=instance.file.size_bytes,
        mtime_ns=instance.file.mtime_ns,
    )


def _usable_rows(
    cache: PixelCache, instances: Sequence[Instance]
) -> tuple[dict[bytes, int], Refused]:
    """Finds the pixel row of each usable image, and the reason for each other in the cache."""
    entries = cache.entries([_cache_key(instance) for instance in instances])
    refused = {path: entry.reason for path, entry in entries.items() if entry.reason is not None}
    decoded = {i.path: i for i in instances if i.path in entries and i.path not in refused}
    refused |= resolve_copies(
        {
            path: (instance.header.sop_instance_uid, entries[path].sha256)
            for path, instance in decoded.items()
        }
    )
    rows = {path: entry.row for path, entry in entries.items() if path not in refused}
    return {path: row for path, row in rows.items() if row is not None}, refused


def _make_examples(
    config: SiteConfig,
    usable: Sequence[Instance],
    rows: Mapping[bytes, int],
    labels: Mapping[bytes, int],
) -> list[ExampleRow]:
    """Joins pixels, labels and the split of the patients."""
    secret = site_secret(config.workspace)
    patients = [pseudonym(secret, i.header.patient_id, i.header.issuer) for i in usable]
    positive: dict[str, bool] = {}
    for patient, instance in zip(patients, usable, strict=True):
        positive[patient] = positive.get(patient, False) or labels[instance.path] > 0
    parts = split_patients(
        positive,
        secret,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
    )
    return [
        ExampleRow(
            row=rows[instance.path],
            label=labels[instance.path],
            part=parts[patient],
            sex=instance.header.sex,
            age_years=instance.header.age_years,
            manufacturer=instance.header.manufacturer,
        )
        for patient, instance in zip(patients, usable, strict=True)
    ]


def _nothing_left(config: SiteConfig, refused: Mapping[bytes, Reason]) -> str:
    """One line that says why no example is left, by the most frequent reasons."""
    counts = Counter(refused.values()).most_common(_NAMED_REASONS)
    named = ", ".join(f"{reason} {count}" for reason, count in counts) or "the archive is empty"
    cure = counts[0][0].cure if counts else "Check the path."
    got = f"got no usable example of {len(refused)} files ({named}), expected at least one"
    return f"site {config.site}: {got}. {cure}"
