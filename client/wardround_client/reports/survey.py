"""Goes through a site's index for the archive report: counts, volumes, thumbnails."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from wardround_client.archive.reading import Files, read_guarded
from wardround_client.archive.source import Progress, Source
from wardround_client.index.header import Header, Instance
from wardround_client.pseudonym import pseudonym
from wardround_client.quarantine import Reason
from wardround_client.reports.archive_facts import (
    count_archive,
    count_series,
    iterate_series,
    largest_series,
)
from wardround_client.reports.archive_report import archive_page
from wardround_client.reports.page import Page, Picture
from wardround_client.reports.thumbnails import (
    DRAWN_MODALITIES,
    Sample,
    draw_thumbnail,
    may_be_drawn,
    middle_frame,
)
from wardround_client.reports.volume_check import VOLUME_MODALITIES, check_volumes
from wardround_client.reports.words import maker_name, modality_name
from wardround_common.site_config import SiteConfig

_PICTURES = 24
_PSEUDONYM_DIGITS = 8


def survey_archive(
    config: SiteConfig,
    index: sqlite3.Connection,
    source: Source,
    secret: bytes,
    *,
    on_progress: Progress,
) -> Page:
    """Makes the archive report of a site.

    Args:
        config: The site.
        index: Its index, open.
        source: Its archive, open.
        secret: The site's secret; captions name patients by pseudonyms.
        on_progress: Called with ``"volumes"`` and series, then ``"thumbnails"`` and pictures.
    """
    facts = count_archive(index)
    total = count_series(index, VOLUME_MODALITIES)
    series = _reported(iterate_series(index, VOLUME_MODALITIES), total, on_progress)
    volumes = check_volumes(series, source=source, intake=config.intake)
    pictures = _draw(_choose(index), config, source, secret, on_progress)
    return archive_page(facts, volumes, pictures, site=config.site)


def _reported(
    series: Iterable[list[Instance]], total: int, on_progress: Progress
) -> Iterator[list[Instance]]:
    for number, members in enumerate(series):
        on_progress("volumes", number, total)
        yield members
    on_progress("volumes", total, total)


def _choose(index: sqlite3.Connection) -> list[Instance]:
    """The middle image of one large series of each device."""
    chosen = []
    for members in largest_series(index, DRAWN_MODALITIES, _PICTURES):
        drawable = [instance for instance in members if may_be_drawn(instance.header)]
        if drawable:
            drawable.sort(key=lambda instance: _number(instance.header.instance_number))
            chosen.append(drawable[len(drawable) // 2])
    return chosen


def _draw(
    chosen: Sequence[Instance],
    config: SiteConfig,
    source: Source,
    secret: bytes,
    on_progress: Progress,
) -> list[Picture]:
    """Draws in guarded workers; a file that cannot be drawn shows its reason."""
    drawn = read_guarded(
        _draw_one, chosen, lambda instance: (instance.path,), source=source, intake=config.intake
    )
    pictures = []
    for number, (instance, png) in enumerate(drawn, start=1):
        pictures.append(_picture(instance.header, png, secret))
        on_progress("thumbnails", number, len(chosen))
    return pictures


def _draw_one(instance: Instance, files: Files) -> bytes | Reason:
    header = instance.header
    frame = middle_frame(header)
    return draw_thumbnail(Sample(files[instance.path], header.sop_instance_uid, frame))


def _picture(header: Header, png: bytes | Reason, secret: bytes) -> Picture:
    refusal = f"Not drawn: {png.value}" if isinstance(png, Reason) else ""
    patient = pseudonym(secret, header.patient_id, header.issuer)[:_PSEUDONYM_DIGITS]
    size = f"{_number(header.rows)}\u00a0x\u00a0{_number(header.columns)}"
    return Picture(
        title=f"{modality_name(header.modality)}, {maker_name(header.manufacturer)}",
        caption=f"{size}, patient {patient}",
        png_base64="" if isinstance(png, Reason) else base64.b64encode(png).decode(),
        refusal=refusal,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
