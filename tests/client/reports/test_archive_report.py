"""The archive report counts what the files say, and draws only what cannot show a name."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from tests.client.index.desk import scan_archive

from wardround_client.archive.folder_source import FolderSource
from wardround_client.index.header import Header
from wardround_client.index.reader import read_header
from wardround_client.pseudonym import site_secret
from wardround_client.quarantine import Reason
from wardround_client.reports.archive_facts import (
    ArchiveFacts,
    count_archive,
    count_series,
    find_series,
    iterate_series,
    open_for_questions,
)
from wardround_client.reports.page import Page, Picture, render_page
from wardround_client.reports.survey import survey_archive
from wardround_client.reports.thumbnails import (
    Sample,
    draw_thumbnail,
    may_be_drawn,
    middle_frame,
)
from wardround_client.reports.volume_check import check_volumes
from wardround_common.errors import StateError
from wardround_common.site_config import SiteConfig

NewSeries = Callable[..., list[Path]]


def _index(config: SiteConfig) -> None:
    scan_archive(config.archive or Path(), config.workspace / "index.sqlite")


def _facts(config: SiteConfig) -> ArchiveFacts:
    _index(config)
    with open_for_questions(config) as index:
        return count_archive(index)


def _page(config: SiteConfig) -> Page:
    _index(config)
    source = FolderSource(config.archive or Path())
    secret = site_secret(config.workspace)
    with open_for_questions(config) as index:
        return survey_archive(config, index, source, secret, on_progress=lambda *_: None)


def _pictures(page: Page) -> tuple[Picture, ...]:
    (section,) = (section for section in page.sections if section.key == "pictures")
    return section.pictures


def test_the_counts_are_those_of_the_files(hospital: Any, new_series: NewSeries) -> None:
    hospital.fill(5)
    new_series([0, 1, 2, 3])
    (hospital.archive / "note.txt").write_text("no image")
    facts = _facts(hospital.config)
    files = [path for path in hospital.archive.rglob("*") if path.is_file()]
    datasets = [pydicom.dcmread(path) for path in hospital.archive.rglob("*.dcm")]
    assert (facts.files, facts.instances, facts.pending) == (10, 9, 0)
    assert facts.size_bytes == sum(path.stat().st_size for path in files)
    assert facts.modalities == dict(Counter(d.Modality for d in datasets).most_common())
    assert facts.imaging_studies == len({d.StudyInstanceUID for d in datasets})
    assert facts.series == len({d.SeriesInstanceUID for d in datasets}) == 6
    assert facts.patients == len({d.PatientID for d in datasets})
    assert {name: n for name, n in facts.series_sizes.items() if n} == {"1": 5, "2 to 9": 1}
    assert facts.refused == {Reason.NOT_DICOM: 1}


def test_series_come_whole_one_after_the_other(hospital: Any, new_series: NewSeries) -> None:
    for number in range(4):
        new_series(range(3 + number), number=number)
    hospital.fill(2)
    _index(hospital.config)
    with open_for_questions(hospital.config) as index:
        found = list(iterate_series(index, ("CT", "MR")))
        assert count_series(index, ("CT", "MR")) == 4
        assert find_series(index, found[2][0].header.series_uid) == found[2]
    assert sorted(map(len, found)) == [3, 4, 5, 6]
    assert all(len({i.header.series_uid for i in members}) == 1 for members in found)


def test_an_index_of_another_archive_is_not_used(hospital: Any, tmp_path: Path) -> None:
    scan_archive(hospital.archive, tmp_path / "else" / "index.sqlite")
    _index(hospital.config)
    moved = hospital.archive.rename(hospital.archive.parent / "moved")
    hospital.archive.symlink_to(moved)
    with pytest.raises(StateError, match="index first"), open_for_questions(hospital.config):
        pass


def test_volumes_are_counted_by_verdict_and_flag(hospital: Any, new_series: NewSeries) -> None:
    new_series([0, 5, 10, 15], number=1)
    new_series([0, 5, 10, 17, 22], number=2)
    new_series([0, 5, 5, 10], number=3)
    new_series([0, 5], number=4)
    _index(hospital.config)
    with open_for_questions(hospital.config) as index:
        source = FolderSource(hospital.archive)
        series = iterate_series(index, ("CT",))
        found = check_volumes(series, source=source, intake=hospital.config.intake)
    assert (found.series, found.volumes, found.regular) == (4, 3, 2)
    assert found.flags == {"uneven": 1}
    assert found.spacings == {"4.00 to 5.99": 3}
    assert found.refused == {Reason.TOO_FEW_SLICES: 2, Reason.DUPLICATE_COPY: 1}
    assert found.refused_series == {Reason.TOO_FEW_SLICES: 1}


def test_a_thumbnail_shows_the_middle_of_the_largest_series(
    hospital: Any, new_series: NewSeries
) -> None:
    new_series([0, 5, 10], number=1)
    paths = new_series([0, 5, 10, 15, 20], number=2)
    (picture,) = _pictures(_page(hospital.config))
    image = cv2.imdecode(np.frombuffer(base64.b64decode(picture.png_base64), np.uint8), -1)
    stored = pydicom.dcmread(paths[2]).pixel_array.astype(float)
    assert image.shape == stored.shape
    assert np.corrcoef(image.ravel(), stored.ravel())[0, 1] > 0.99
    assert "MRN" not in picture.caption
    assert re.fullmatch(r"40\xa0x\xa032, patient [0-9a-f]{8}", picture.caption)


def test_a_negative_image_is_drawn_as_it_is_read(hospital: Any) -> None:
    drawn = []
    for number, photometric in enumerate(("MONOCHROME1", "MONOCHROME2")):
        path = hospital.add(number, PhotometricInterpretation=photometric)
        png = draw_thumbnail(Sample(path, f"2.25.1{number:06}", 0))
        assert isinstance(png, bytes)
        drawn.append(cv2.imdecode(np.frombuffer(png, np.uint8), -1)[:, 0].astype(int))
    assert drawn[0][0] > drawn[0][-1]
    assert drawn[1][0] < drawn[1][-1]


def test_what_cannot_be_drawn_shows_its_reason(hospital: Any) -> None:
    hospital.add(1, PhotometricInterpretation="PALETTE COLOR")
    page = _page(hospital.config)
    (picture,) = _pictures(page)
    assert (picture.png_base64, picture.refusal) == ("", "Not drawn: colour")
    assert "Not drawn: colour" in render_page(page)


@pytest.mark.parametrize(
    "elements",
    [
        {"BurnedInAnnotation": "YES"},
        {"BurnedInAnnotation": ["YES", "YES"]},
        {"BurnedInAnnotation": "UNKNOWN"},
        {"Modality": "US"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"ImageType": ["DERIVED", "SECONDARY"]},
    ],
)
def test_an_image_that_may_show_a_name_is_never_drawn(
    hospital: Any, elements: dict[str, Any]
) -> None:
    path = hospital.add(1, **elements)
    assert not may_be_drawn(read_header(path))
    assert _pictures(_page(hospital.config)) == ()


@pytest.mark.parametrize(("frames", "middle"), [("", 0), ("1", 0), ("5", 2), ("x", 0), ("²", 0)])
def test_the_middle_frame_is_found_or_is_the_first(hospital: Any, frames: str, middle: int) -> None:
    header: Header = read_header(hospital.add(1))._replace(frames=frames)
    assert middle_frame(header) == middle


def test_texts_of_headers_cannot_break_the_page(hospital: Any) -> None:
    hospital.add(1, Manufacturer="<script>x</script>\x1b[2J", ManufacturerModelName="a" * 64)
    page = render_page(_page(hospital.config))
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "a" * 20 not in page


def test_a_page_needs_nothing_from_elsewhere(hospital: Any) -> None:
    hospital.fill(2)
    page = render_page(_page(hospital.config))
    assert "default-src 'none'" in page
    assert not re.findall(r"https?://|<script|<link|@import|url\(", page)


def test_the_corpus_is_reported_whole(shared_data: Path, tmp_path: Path) -> None:
    config = SiteConfig(
        site="corpus", archive=shared_data / "dicom_corpus", workspace=tmp_path / "workspace"
    )
    facts = _facts(config)
    assert facts.files == facts.instances + sum(facts.refused.values())
    assert facts.instances == sum(facts.modalities.values()) == sum(facts.sop_classes.values())
    assert len(_pictures(_page(config))) > 10
