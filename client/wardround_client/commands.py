"""What each command of ``wardround-site`` does; `wardround_client.cli` reads the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wardround_client.archive.open_source import open_source
from wardround_client.archive.source import Wanted
from wardround_client.examples import cache_folder, read_example_facts
from wardround_client.index.header import Header, Instance
from wardround_client.index.scan import open_index, read_folder
from wardround_client.labels.table import find_label, read_labels
from wardround_client.progress import Display
from wardround_client.pseudonym import site_secret
from wardround_client.quarantine import Reason
from wardround_client.reports.archive_facts import find_series, open_for_questions
from wardround_client.reports.data_pages import release_page, site_form, site_page
from wardround_client.reports.data_report import LeftOut, build_data_report
from wardround_client.reports.explain import Explanation, Surroundings, explain
from wardround_client.reports.grid import Grid, Row, print_grid, reasons_grid
from wardround_client.reports.page import Page, print_page, render_page, write_private
from wardround_client.reports.pixel_words import PixelTask, PixelWords, describe_pixels
from wardround_client.reports.release import release_form
from wardround_client.reports.survey import frames_reader, survey_archive
from wardround_client.reports.words import format_count
from wardround_client.workers import Limits, run_guarded
from wardround_common.errors import ConfigError, StateError
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

INDEX_FILE = "index.sqlite"
_COUNTS_FILE = "counts.json"


def index(config: SiteConfig, study: Study | None, console: Console) -> None:
    """Brings the index up to date and prints what changed and what cannot be used."""
    del study
    if config.archive is None:
        raise ConfigError("index: a PACS is indexed when a study is prepared; run prepare")
    limits = _limits(config)
    name = os.fsencode(config.archive.resolve())
    with (
        open_source(config) as source,
        open_index(config.workspace / INDEX_FILE, archive=name) as archive,
        Display(Console(stderr=True)) as display,
    ):
        reading = read_folder(config.archive, processes=config.intake.processes, limits=limits)
        files = source.refresh(Wanted(modalities=()), on_progress=display)
        counts = archive.scan(files, reading, on_progress=display)
        refused = archive.refused()
    changes = [(f.name, getattr(counts, f.name)) for f in dataclasses.fields(counts)]
    rows = tuple(Row(cells=(name, format_count(n))) for name, n in changes if name != "refused")
    numeric = frozenset({1})
    print_grid(Grid(title="Index", heads=("files", ""), rows=rows, numeric=numeric), console)
    if refused:
        print_grid(reasons_grid("Set aside", "files", refused), console)


def report_archive(config: SiteConfig, out: Path | None, console: Console) -> None:
    """Prints the archive report and writes its page."""
    with (
        open_source(config) as source,
        open_for_questions(_index_of(config)) as archive,
        Display(Console(stderr=True)) as display,
    ):
        secret = site_secret(config.workspace)
        page = survey_archive(config, archive, source, secret, on_progress=display)
    print_page(page, console)
    _write_page(page, (out or config.workspace / "reports") / "archive.html", console)


def explain_file(config: SiteConfig, file: Path, study: Study | None, console: Console) -> None:
    """Prints every step of intake for one file."""
    with ExitStack() as stack:
        source = stack.enter_context(open_source(config))
        archive = None
        if (config.workspace / INDEX_FILE).is_file():
            archive = stack.enter_context(open_for_questions(_index_of(config)))
        around = Surroundings(
            series_of=partial(find_series, archive) if archive else _nothing,
            read_frames=frames_reader(source),
            describe_pixels=partial(_describe_guarded, config.intake.processes, _limits(config)),
            study=study,
            label_of=_labels(config, study, archive) if study and archive else None,
        )
        found = explain(file, around)
    print_explanation(found, console)
    if study is None:
        console.print(Text("No study's rules were applied; name one with --study.", style="dim"))


def print_explanation(found: Explanation, console: Console) -> None:
    """Prints the steps and the verdict."""
    for step, lines in found.steps:
        console.print(Text(step, style="bold"))
        for line in lines:
            console.print(Text(f"  {line}"))
    reason = found.reason
    if reason is None:
        console.print(Text("verdict: nothing speaks against this file", style="bold green"))
    else:
        console.print(Text(f"verdict: {reason.value}", style="bold yellow"))
        console.print(Text(f"  {reason.explanation}\n  What to do: {reason.cure}"))


def prepare(config: SiteConfig, study: Study, console: Console) -> None:
    """Makes the study's examples and prints what became of the archive's files."""
    from wardround_client.prepare import prepare_site

    with Display(Console(stderr=True)) as display:
        found = prepare_site(config, study, on_progress=display)
    content = json.dumps(dataclasses.asdict(found), indent=1, sort_keys=True)
    write_private(cache_folder(config, study) / _COUNTS_FILE, content + "\n")
    steps = ("found", "indexed", "cohort", "labelled", "used", "usable", "studies", "patients")
    rows = tuple(Row(cells=(name, format_count(getattr(found, name)))) for name in steps)
    title = f"Study {study.name}"
    print_grid(Grid(title=title, heads=("", ""), rows=rows, numeric=frozenset({1})), console)
    if found.refused:
        refused = {Reason(code): number for code, number in found.refused.items()}
        print_grid(reasons_grid("Left out", "files", refused), console)


def report_data(config: SiteConfig, study: Study, out: Path | None, console: Console) -> None:
    """Prints a study's data report; writes the full form and the one that may leave."""
    found = build_data_report(
        read_example_facts(config, study),
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
    folder = out or config.workspace / "reports" / study.sha256().hex()[:16]
    _write_page(page, folder / "site.html", console)
    _write_json(site_form(found, **identity), folder / "site.json")
    release = release_form(found, **identity)
    _write_json(release, folder / "release.json")
    _write_page(release_page(release), folder / "release.html", console)


def _left_out(config: SiteConfig, study: Study) -> dict[str, LeftOut]:
    """What the last `prepare` left out; nothing is known where it was not this command."""
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


def _labels(
    config: SiteConfig, study: Study, archive: sqlite3.Connection
) -> Callable[[Header], int | Reason] | None:
    """How one instance's label is found, where labels come from the label file."""
    if study.cohort.labels.source != "csv" or config.labels is None:
        return None
    table = read_labels(config.labels, study.cohort.labels.column)
    query = "SELECT count(DISTINCT study_uid) FROM header WHERE accession = ?"

    def find(header: Header) -> int | Reason:
        (studies,) = archive.execute(query, (header.accession,)).fetchone()
        key, classes = (header.study_uid, header.accession), len(study.task.classes)
        return find_label(table, key, classes=classes, shared=studies > 1)

    return find


def _nothing(series_uid: str) -> Sequence[Instance]:
    del series_uid
    return ()


def _describe_guarded(processes: int, limits: Limits, task: PixelTask) -> PixelWords | Reason:
    ((_, words),) = run_guarded(describe_pixels, [task], processes=processes, limits=limits)
    return words


def _limits(config: SiteConfig) -> Limits:
    intake = config.intake
    return Limits(seconds=intake.decode_seconds, memory_bytes=int(intake.decode_memory_gb * 1e9))


def _index_of(config: SiteConfig) -> Path:
    path = config.workspace / INDEX_FILE
    if not path.is_file():
        raise StateError(f"site {config.site}: got no index yet; run wardround-site index first")
    return path


def _write_page(page: Page, path: Path, console: Console) -> None:
    write_private(path, render_page(page))
    console.print(Text(f"written: {path}"), soft_wrap=True)


def _write_json(content: object, path: Path) -> None:
    write_private(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
