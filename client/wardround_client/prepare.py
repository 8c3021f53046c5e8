"""Prepares a site for a study: archive, index, cohort, labels, pixels, split, examples.

Imaging studies pass one at a time, and each step notes a reason for every file it leaves out, so
memory does not grow with the archive. Decoding happens in guarded worker processes. Running it
again is cheap: only new or changed files are opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from wardround_client.archive.open_source import open_source
from wardround_client.archive.source import Progress
from wardround_client.cache import PixelCache, open_pixel_cache
from wardround_client.cohort_report import CohortReport, Tally, count_cohort
from wardround_client.examples import (
    ExampleRow,
    cache_folder,
    forget_examples,
    known_parts,
    remember_parts,
    require_own_parts,
    write_examples,
)
from wardround_client.index.refresh import open_site_index, refresh_index, wanted_by
from wardround_client.intake import Intake, Settled
from wardround_client.labels.opening import open_labels, read_label_file
from wardround_client.pseudonym import site_secret
from wardround_client.split import split_patients
from wardround_common.errors import ArchiveError
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

_NAMED_REASONS = 3


def prepare_site(
    config: SiteConfig, study: Study, *, on_progress: Progress | None = None
) -> CohortReport:
    """Makes the examples of ``study`` at this site, under the site's workspace.

    Args:
        config: The site.
        study: The approved study.
        on_progress: Called with a phase, what is done and the total: those of `refresh_index`,
            then ``"labels"`` and ``"decode"`` (files of the cohort).

    Returns:
        Counts of what was found, kept and left out.

    Raises:
        ArchiveError: Archive or label file cannot be used, or no example is left.
        StateError: The workspace is damaged or in use by another process.
    """
    require_apart(config)
    report = on_progress or _ignore
    table = read_label_file(config, study)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(config))
        index = stack.enter_context(open_site_index(config))
        refresh_index(config, index, source, wanted_by(config, study, table), on_progress=report)
        labels = open_labels(config, study, table, index=index, source=source, on_progress=report)
        cache = stack.enter_context(
            open_pixel_cache(cache_folder(config, study), study.preprocessing.shape)
        )
        intake = Intake(config, study, index=index, source=source, labels=labels)
        settled = intake.run(cache, on_progress=report)
        if not settled:
            forget_examples(config, study)
            cache.remove_old_files()
            raise ArchiveError(_nothing_left(config, intake.tally))
        rows = _with_parts(config, study, settled, cache)
        write_examples(config, study, pixels_name=cache.pixels_path.name, rows=rows)
        cache.remove_old_files()
    return count_cohort(
        intake.tally,
        [row.facts for row in rows],
        studies=len({one.study_uid for one in settled}),
        label_entries=(labels.entries, intake.unused_labels()),
        classes=study.task.classes,
    )


def require_apart(config: SiteConfig) -> None:
    """Raises ArchiveError if intake would write into the archive it reads."""
    archive = config.archive
    if archive and config.workspace.resolve().is_relative_to(archive.resolve()):
        hint = "choose a workspace outside the archive"
        raise ArchiveError(f"workspace {config.workspace}: got a folder in the archive; {hint}")


def _with_parts(
    config: SiteConfig, study: Study, settled: Sequence[Settled], cache: PixelCache
) -> list[ExampleRow]:
    """Gives every example its row of pixels, and its patient's part of the split, for good."""
    positive: dict[str, bool] = {}
    for one in settled:
        found = positive.get(one.facts.patient, False)
        positive[one.facts.patient] = found or one.facts.label > 0
    known = known_parts(config, study)
    require_own_parts(config, study, known, positive)
    parts = split_patients(
        positive,
        site_secret(config.workspace),
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        known=known,
    )
    remember_parts(config, study, {**known, **parts})
    return [
        ExampleRow(
            row=cache.row_of(one.key), facts=replace(one.facts, part=parts[one.facts.patient])
        )
        for one in settled
    ]


def _nothing_left(config: SiteConfig, tally: Tally) -> str:
    """One line that says why no example is left, by the most frequent reasons."""
    counts = tally.refused.most_common(_NAMED_REASONS)
    named = ", ".join(f"{reason} {count}" for reason, count in counts) or "the archive is empty"
    cure = counts[0][0].cure if counts else "Check the path."
    got = f"got no usable example of {tally.found} files ({named}), expected at least one"
    return f"site {config.site}: {got}. {cure}"


def _ignore(phase: str, done: int, total: int) -> None:
    """Tells nobody."""
