"""What each command of ``wardround-site`` does; `wardround_client.cli` reads the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from wardround_client.archive.open_source import open_source
from wardround_client.archive.reading import limits_of
from wardround_client.archive.source import Source, Wanted
from wardround_client.cohort import Disputes
from wardround_client.deidentify.folder import rebuild_folder
from wardround_client.examples import cache_folder, read_example_facts
from wardround_client.index.header import Instance
from wardround_client.index.refresh import INDEX_FILE, open_site_index, refresh_index, wanted_by
from wardround_client.labels.opening import open_labels, read_label_file
from wardround_client.prepare import prepare_site, require_apart
from wardround_client.progress import Display
from wardround_client.pseudonym import site_secret
from wardround_client.quarantine import Reason
from wardround_client.reports.archive_facts import find_series, open_for_questions
from wardround_client.reports.data_pages import release_page, site_form, site_page
from wardround_client.reports.data_report import LeftOut, build_data_report
from wardround_client.reports.explain import Surroundings, explain, read_start
from wardround_client.reports.explain_study import StudyRules
from wardround_client.reports.explanation import print_explanation
from wardround_client.reports.frames import read_all_frames
from wardround_client.reports.grid import Grid, Row, print_grid, reasons_grid
from wardround_client.reports.page import Page, print_page, render_page, write_private
from wardround_client.reports.pixel_words import describe_pixels
from wardround_client.reports.release import release_form
from wardround_client.reports.releases import RELEASES_FILE, record_release
from wardround_client.reports.survey import survey_archive
from wardround_client.reports.words import format_count
from wardround_client.workers import run_guarded
from wardround_common.errors import ConfigError, StateError
from wardround_common.site_config import Intake, SiteConfig
from wardround_common.study import Study

T = TypeVar("T")
R = TypeVar("R")
_COUNTS_FILE = "counts.json"
_NUMBER = frozenset({1})
_STUDY_DIGITS = 16


def index(config: SiteConfig, study: Study | None, console: Console) -> None:
    """Brings the index up to date and prints what changed and what cannot be used.

    Raises:
        ConfigError: A PACS is asked, and no study says for what.
    """
    require_apart(config)
    if study is None and config.archive is None:
        hint = "name the study whose images a PACS is asked for"
        raise ConfigError(f"--study: got none, expected a study's file; {hint}")
    wanted = Wanted(modalities=())
    if study is not None:
        wanted = wanted_by(config, study, read_label_file(config, study))
    with (
        open_source(config) as source,
        open_site_index(config) as archive,
        Display(Console(stderr=True)) as display,
    ):
        counts = refresh_index(config, archive, source, wanted, on_progress=display)
        refused = archive.refused()
    changes = dataclasses.asdict(counts)
    changes["set aside, of all"] = changes.pop("refused")
    rows = tuple(Row(cells=(name, format_count(number))) for name, number in changes.items())
    print_grid(Grid(title="Index", heads=("files", ""), rows=rows, numeric=_NUMBER), console)
    if refused:
        print_grid(reasons_grid("Set aside", "files", refused), console)


def prepare(config: SiteConfig, study: Study, console: Console) -> None:
    """Makes the study's examples and prints what became of the archive's files."""
    with Display(Console(stderr=True)) as display:
        found = prepare_site(config, study, on_progress=display)
    _write_json(dataclasses.asdict(found), cache_folder(config, study) / _COUNTS_FILE)
    steps = {
        "files found": found.found,
        "DICOM instances": found.indexed,
        "taken by the cohort rule": found.cohort,
        "with a label": found.labelled,
        "used": found.used,
        "examples": found.usable,
        "imaging studies": found.studies,
        "patients": found.patients,
        "label entries that fit no image": found.label_entries_unused,
    }
    rows = tuple(Row(cells=(name, format_count(number))) for name, number in steps.items())
    title = f"Study {study.name}"
    print_grid(Grid(title=title, heads=("", "number"), rows=rows, numeric=_NUMBER), console)
    for name, counts in (("files", found.refused), ("volumes", found.refused_volumes)):
        if counts:
            refused = {Reason(code): number for code, number in counts.items()}
            print_grid(reasons_grid(f"Left out: {name}", name, refused), console)


def report_archive(config: SiteConfig, out: Path | None, console: Console) -> None:
    """Prints the archive report and writes its page."""
    require_apart(config)
    folder = _folder(config, out)
    with (
        open_source(config) as source,
        open_for_questions(config) as archive,
        Display(Console(stderr=True)) as display,
    ):
        secret = site_secret(config.workspace)
        page = survey_archive(config, archive, source, secret, on_progress=display)
    print_page(page, console)
    _write_page(page, folder / "archive.html", console)


def explain_file(config: SiteConfig, file: Path, study: Study | None, console: Console) -> None:
    """Prints every step of intake for one file."""
    with ExitStack() as stack:
        source = stack.enter_context(open_source(config))
        around = Surroundings(
            series_of=partial(_series_of, config),
            read_start=_guarded(read_start, config.intake),
            frames_of=partial(read_all_frames, source, config.intake),
            describe_pixels=_guarded(describe_pixels, config.intake),
            rules=None if study is None else _rules(config, study, source),
        )
        found = explain(file, around)
    print_explanation(found, console)
    if study is None:
        console.print(Text("No study's rules were applied; name one with --study.", style="dim"))


def report_data(config: SiteConfig, study: Study, out: Path | None, console: Console) -> None:
    """Prints a study's data report; writes the full form and the one that may leave.

    Forms for release of an earlier run are removed: the folder holds what may leave now.

    Raises:
        PolicyError: The full form is written, and none may leave.
    """
    folder = _folder(config, out)
    if out is None:
        folder /= study.sha256().hex()[:_STUDY_DIGITS]
    facts = read_example_facts(config, study)
    found = build_data_report(
        facts,
        study.cohort.declared,
        study.privacy.minimum_count,
        classes=study.task.classes,
        left_out=_left_out(config, study),
    )
    identity = {
        "site": config.site,
        "study": study.name,
        "study_sha256": study.sha256().hex(),
    }
    page = site_page(found, site=config.site, study=study.name)
    print_page(page, console)
    for name in ("release.json", "release.html"):  # of an earlier run, which may have told more
        (folder / name).unlink(missing_ok=True)
    _write_page(page, folder / "site.html", console)
    _write_json(site_form(found, **identity), folder / "site.json")
    release = release_form(found, **identity)
    releases = config.workspace / "reports" / RELEASES_FILE
    record_release(releases, release, {fact.patient for fact in facts})
    _write_json(release, folder / "release.json")
    _write_page(release_page(release), folder / "release.html", console)


def deidentify(config: SiteConfig, files: Sequence[Path], out: Path, console: Console) -> None:
    """Builds files anew without identifiers and prints how many, and why others are not."""
    with Display(Console(stderr=True)) as display:
        made = rebuild_folder(
            _counted(files, display),
            _folder(config, out),
            secret=site_secret(config.workspace),
            processes=config.intake.processes,
            limits=limits_of(config.intake),
        )
    console.print(Text(f"{format_count(made.written)} files written"))
    if made.refused:
        print_grid(reasons_grid("Not rebuilt", "files", made.refused), console)


def _rules(config: SiteConfig, study: Study, source: Source) -> StudyRules:
    """What the study takes from the whole archive, as the index knows it now."""
    with open_for_questions(config):
        pass  # another archive's index must not be opened below, which would empty it
    table = read_label_file(config, study)
    with open_site_index(config) as archive, Display(Console(stderr=True)) as display:
        disputes = Disputes(
            instances=archive.disputed_uids(),
            studies=archive.studies_with_many_patients(),
            patients=archive.ambiguous_patients(),
        )
        labels = open_labels(
            config, study, table, index=archive, source=source, on_progress=display
        )
    return StudyRules(study=study, disputes=disputes, labels=labels)


def _series_of(config: SiteConfig, series_uid: str) -> Sequence[Instance]:
    if not (config.workspace / INDEX_FILE).is_file():
        return ()
    with open_for_questions(config) as archive:
        return find_series(archive, series_uid)


def _guarded(function: Callable[[T], R], intake: Intake) -> Callable[[T], R | Reason]:
    """Calls the function in a worker process of its own, within the site's limits."""

    def call(item: T) -> R | Reason:
        processes, limits = min(1, intake.processes), limits_of(intake)
        ((_, result),) = run_guarded(function, [item], processes=processes, limits=limits)
        return result

    return call


def _left_out(config: SiteConfig, study: Study) -> dict[str, LeftOut]:
    """What the last ``prepare`` left out; nothing is known where it was not this command."""
    path = cache_folder(config, study) / _COUNTS_FILE
    if not path.is_file():
        return {}
    try:
        counts = json.loads(path.read_bytes())
        patients = counts.get("refused_patients", {})
        return {
            str(Reason(code)): LeftOut(files=int(number), patients=int(patients.get(code, 0)))
            for code, number in counts["refused"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StateError(f"{path}: is damaged; prepare the site again") from None


def _counted(files: Sequence[Path], display: Display) -> Iterator[Path]:
    for number, file in enumerate(files):
        display("rebuild", number, len(files))
        yield file


def _folder(config: SiteConfig, out: Path | None) -> Path:
    """Where a report is written; never into the archive.

    Raises:
        ConfigError: ``out`` lies in the archive.
    """
    folder = out or config.workspace / "reports"
    archive = config.archive
    if archive is not None and folder.resolve().is_relative_to(archive.resolve()):
        raise ConfigError("--out: got a folder in the archive, expected one outside of it")
    return folder


def _write_page(page: Page, path: Path, console: Console) -> None:
    write_private(path, render_page(page))
    console.print(Text(f"written: {path}"), soft_wrap=True)


def _write_json(content: object, path: Path) -> None:
    write_private(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
