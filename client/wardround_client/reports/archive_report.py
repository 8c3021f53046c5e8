"""The archive report: what the site's archive holds, what cannot be used, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from wardround_client.reports.archive_facts import ArchiveFacts
from wardround_client.reports.grid import Grid, Row, count_rows, reasons_grid
from wardround_client.reports.page import Page, Picture, Section, Tile
from wardround_client.reports.volume_check import SPACING_NAMES, VolumeCheck
from wardround_client.reports.words import (
    format_bytes,
    format_count,
    maker_name,
    modality_name,
    standard_name,
)

_LISTED = 25
_NUMBERS = frozenset({1, 2})
_FLAG_WORDS = {
    "tilted": "slices shifted against each other (tilted gantry)",
    "uneven": "distance of the slices varies",
    "missing-slice": "at least one slice is missing",
    "rounded": "distance varies by less than 1 %; taken as even",
    "split": "one of several volumes in its series",
    "frames-left-out": "some frames of its files are in no volume",
}


def archive_page(
    facts: ArchiveFacts, volumes: VolumeCheck, pictures: Sequence[Picture], *, site: str
) -> Page:
    """Puts the counts into words and tables."""
    refused = sum(facts.refused.values())
    return Page(
        title=f"Archive of {site}",
        eyebrow="archive report, for the site's own staff",
        lead=_lead(facts, refused),
        tiles=(
            Tile(value=format_count(facts.files), label="files found"),
            Tile(value=format_bytes(facts.size_bytes), label="their size"),
            Tile(value=format_count(facts.instances), label="DICOM instances"),
            Tile(value=format_count(facts.imaging_studies), label="imaging studies"),
            Tile(value=format_count(facts.series), label="series"),
            Tile(value=format_count(facts.patients), label="patients"),
        ),
        warnings=_warnings(facts),
        sections=(
            _contents(facts),
            _volumes(volumes),
            _quarantine(facts, volumes),
            Section(
                key="pictures",
                title="Pictures",
                text="One image of each kind of device, from the middle of a series. They show "
                "patients' anatomy: this page stays at the site.",
                pictures=tuple(pictures),
            ),
        ),
        footer="This page stays at the site. It names no patient, but its pictures and counts are "
        "of patients. Made from the site's index; run wardround-site index to bring it up to date.",
    )


def _lead(facts: ArchiveFacts, refused: int) -> str:
    if not facts.files:
        return "The archive holds no file."
    words = f"{format_count(facts.instances)} of {format_count(facts.files)} files are DICOM "
    words += "instances that can be told apart"
    return words + (f"; {format_count(refused)} were set aside." if refused else ".")


def _warnings(facts: ArchiveFacts) -> tuple[str, ...]:
    if not facts.pending:
        return ()
    count = format_count(facts.pending)
    return (f"{count} files are not read yet. Run wardround-site index to its end.",)


def _contents(facts: ArchiveFacts) -> Section:
    total = facts.instances
    heads = ("", "instances", "share")
    makers = Counter[str]()
    for (maker, _), number in facts.devices.items():
        makers[maker] += number
    named = {
        "Modality": _renamed(facts.modalities, modality_name),
        "Manufacturer": _renamed(makers, maker_name),
        "SOP class": _renamed(facts.sop_classes, standard_name),
        "Transfer syntax": _renamed(facts.transfer_syntaxes, standard_name),
    }
    grids = [
        Grid(
            title=title,
            heads=heads,
            rows=_most_frequent(counts, total),
            numeric=_NUMBERS,
            note=_unlisted(counts),
        )
        for title, counts in named.items()
    ]
    sizes = [(name, number) for name, number in facts.series_sizes.items() if number]
    grids.append(
        Grid(
            title="Size of the series",
            heads=("instances in a series", "series", "share"),
            rows=count_rows(sizes, facts.series),
            numeric=_NUMBERS,
        )
    )
    return Section(key="contents", title="What the archive holds", grids=tuple(grids))


def _volumes(found: VolumeCheck) -> Section:
    if not found.series:
        text = "There is no CT, MR or PET series in the archive."
        return Section(key="volumes", title="Volumes", text=text)
    irregular = found.volumes - found.regular
    rows = [
        ("volumes that every study can take", found.regular),
        ("volumes for studies that allow resampling", irregular),
    ]
    grids = [
        Grid(
            title="CT, MR and PET series as volumes",
            heads=("verdict", "volumes", "share"),
            rows=count_rows(rows, found.volumes),
            numeric=_NUMBERS,
            note=f"From {format_count(found.series)} series; "
            f"{format_count(sum(found.refused_series.values()))} of them make no volume.",
        )
    ]
    if found.flags:
        flags = [(_FLAG_WORDS.get(flag, flag), n) for flag, n in found.flags.most_common()]
        grids.append(
            Grid(
                title="What is particular about them",
                heads=("", "volumes", "share"),
                rows=count_rows(flags, found.volumes),
                numeric=_NUMBERS,
            )
        )
    spacings = [(name, found.spacings[name]) for name in SPACING_NAMES if found.spacings[name]]
    grids.append(
        Grid(
            title="Distance of the slices, mm",
            heads=("mm", "volumes", "share"),
            rows=count_rows(spacings, found.volumes),
            numeric=_NUMBERS,
        )
    )
    text = "Judged by the headers alone; pixels are decoded when a study is prepared."
    return Section(key="volumes", title="Volumes", text=text, grids=tuple(grids))


def _quarantine(facts: ArchiveFacts, volumes: VolumeCheck) -> Section:
    grids = []
    if facts.refused:
        grids.append(reasons_grid("Files that cannot be indexed", "files", facts.refused))
    if volumes.refused:
        title = "CT, MR and PET instances in no volume"
        grids.append(reasons_grid(title, "instances", volumes.refused))
    text = "" if grids else "Nothing was set aside."
    return Section(
        key="quarantine",
        title="Set aside, and what to do",
        text=text,
        grids=tuple(grids),
        side_by_side=False,
    )


def _renamed(counts: Mapping[str, int], name_of: Callable[[str], str]) -> Mapping[str, int]:
    """Values of a header element by the names they are shown under, counted together."""
    named = Counter[str]()
    for value, number in counts.items():
        named[name_of(value)] += number
    return named


def _most_frequent(counts: Mapping[str, int], total: int) -> tuple[Row, ...]:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return count_rows(ordered[:_LISTED], total)


def _unlisted(counts: Mapping[str, int]) -> str:
    more = len(counts) - _LISTED
    return f"and {more} further, less frequent ones" if more > 0 else ""
