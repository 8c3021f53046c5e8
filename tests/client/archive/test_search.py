"""What a PACS is asked, and what of its answers counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pytest

from wardround_client.archive.pacs import Level, RemoteSeries
from wardround_client.archive.search import Find, find_instances, find_series, find_studies
from wardround_client.archive.source import Wanted
from wardround_common.errors import ArchiveError

TODAY = date(2024, 3, 3)
Asked = list[tuple[Level, dict[str, str]]]


def answering(*matches: dict[str, str]) -> tuple[Find, Asked]:
    """A PACS that gives these answers whatever it is asked, as one that ignores keys does."""
    asked: Asked = []

    def find(level: Level, keys: Mapping[str, str]) -> list[dict[str, str]]:
        asked.append((level, dict(keys)))
        return [dict.fromkeys(keys, "") | match for match in matches]

    return find, asked


def test_only_named_imaging_studies_are_asked_for() -> None:
    find, asked = answering({"StudyInstanceUID": "1.9", "AccessionNumber": "A1"})
    wanted = Wanted(
        modalities=("CT",),
        study_uids=frozenset({"1.2", "1.*", "../x"}),
        accessions=frozenset({"A1", "A*", "A?", "A\\B", ""}),
        studies_from="2024-01-01",
    )
    assert list(find_studies(find, wanted, today=TODAY)) == ["1.2", "1.9"]
    assert [keys["AccessionNumber"] for _, keys in asked] == ["A1"]


def test_an_answer_with_another_accession_number_does_not_count() -> None:
    find, _ = answering(
        {"StudyInstanceUID": "1.9", "AccessionNumber": "A2"},
        {"StudyInstanceUID": "1.8", "AccessionNumber": ""},
    )
    wanted = Wanted(modalities=("CT",), accessions=frozenset({"A1"}))
    assert list(find_studies(find, wanted, today=TODAY)) == []


def test_days_are_asked_one_by_one_up_to_today() -> None:
    find, asked = answering({"StudyInstanceUID": "1.9"}, {"StudyInstanceUID": "*"})
    wanted = Wanted(modalities=("CT", "SR"), studies_from="2024-03-01")
    assert set(find_studies(find, wanted, today=TODAY)) == {"1.9"}
    assert [(keys["StudyDate"], keys["ModalitiesInStudy"]) for _, keys in asked] == [
        (day, modality) for day in ("20240301", "20240302", "20240303") for modality in ("CT", "SR")
    ]


def test_nothing_to_ask_for_is_told() -> None:
    find, _ = answering()
    with pytest.raises(ArchiveError, match=r"set intake\.studies_from, or labels"):
        list(find_studies(find, Wanted(modalities=("CT",)), today=TODAY))


def test_series_of_other_modalities_studies_or_shapes_do_not_count() -> None:
    find, _ = answering(
        {"SeriesInstanceUID": "1.2.1", "Modality": "ct", "NumberOfSeriesRelatedInstances": "7"},
        {"SeriesInstanceUID": "1.2.2", "Modality": "US"},
        {"SeriesInstanceUID": "1.2.3", "Modality": "CT", "StudyInstanceUID": "1.3"},
        {"SeriesInstanceUID": "../../x", "Modality": "CT"},
        {"SeriesInstanceUID": "1.2.4", "Modality": "CT", "NumberOfSeriesRelatedInstances": "1e9"},
    )
    found = find_series(find, Wanted(modalities=("CT",)), "1.2")
    assert sorted(found) == [
        RemoteSeries("1.2", "1.2.1", "CT", 7),
        RemoteSeries("1.2", "1.2.4", "CT"),
    ]


def test_instances_are_counted_once_and_need_a_uid() -> None:
    find, _ = answering(
        {"SOPInstanceUID": "1.2.3", "SOPClassUID": "1.2.840.1"},
        {"SOPInstanceUID": "1.2.3", "SOPClassUID": "1.2.840.1"},
        {"SOPInstanceUID": "1.2.4", "SOPClassUID": "/etc"},
        {"SOPInstanceUID": "1.2.5", "SeriesInstanceUID": "1.9"},
        {"SOPInstanceUID": "1." + "2" * 70},
        {"SOPInstanceUID": ""},
    )
    found = find_instances(find, RemoteSeries("1", "1.1", "CT"))
    assert found == [("1.2.3", "1.2.840.1"), ("1.2.4", "")]
