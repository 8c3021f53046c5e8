from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import stat
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.index.desk import scan_archive

from wardround_client import intake, selection
from wardround_client.examples import Examples, cache_folder, open_examples, read_example_facts
from wardround_client.prepare import prepare_site
from wardround_client.pseudonym import SECRET_FILE
from wardround_common.errors import ArchiveError, StateError
from wardround_common.intake_plan import CohortRule, DeclaredData, Preprocessing
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

NewStudy = Callable[..., Study]
SITES = ("guangzhou_north", "guangzhou_south", "bethesda", "hannover")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the files that were decoded."""
    paths: list[Path] = []
    decode = intake.decode_file

    def note(path: Path, plan: Preprocessing, **known: Any) -> object:
        paths.append(path)
        return decode(path, plan, **known)

    monkeypatch.setattr(intake, "decode_file", note)
    return paths


def _images(examples: Examples) -> Any:
    return examples.gather(np.arange(len(examples.labels)))


def test_every_labelled_image_becomes_an_example(hospital: Any, new_study: NewStudy) -> None:
    report = prepare_site(hospital.fill(20).config, new_study())
    examples = open_examples(hospital.config, new_study())
    assert (report.found, report.cohort, report.labelled, report.usable) == (20, 20, 20, 20)
    assert (report.studies, report.patients, report.refused) == (20, 20, {})
    assert examples.labels.tolist() == [number % 2 for number in range(20)]
    assert _images(examples).shape == (20, 1, 24, 24)
    parts = np.concatenate([examples.train, examples.validation, examples.test])
    assert sorted(parts.tolist()) == list(range(20))
    assert report.splits["test"] == {"normal": 2, "abnormal": 2}
    assert examples.manufacturer == ("Maker",) * 20
    assert np.isnan(examples.age).all()


def test_every_file_is_counted_exactly_once(hospital: Any, new_study: NewStudy) -> None:
    hospital.fill(6)
    hospital.add(10, 1, Modality="CT")
    hospital.add(11)
    hospital.add(12, 2)
    hospital.add(13, 1, PhotometricInterpretation="PALETTE COLOR")
    hospital.add(14, 1, PatientID=None)
    (hospital.archive / "notes.txt").write_text("hello")
    shutil.copy(hospital.archive / "000003.dcm", hospital.archive / "copy.dcm")
    report = prepare_site(hospital.write_labels().config, new_study())
    assert report.refused == {
        "colour": 1,
        "duplicate-copy": 1,
        "label-missing": 1,
        "label-out-of-range": 1,
        "no-patient": 1,
        "not-dicom": 1,
        "other-modality": 1,
    }
    # Files of another modality are counted in the database, the text file names nobody.
    told = {reason: 1 for reason in report.refused if reason not in ("not-dicom", "other-modality")}
    assert report.refused_patients == told
    assert report.used == report.usable == 6
    assert report.found == report.usable + sum(report.refused.values()) == 13
    assert (report.indexed, report.cohort, report.labelled) == (12, 10, 8)


def test_copies_with_other_pixels_are_all_refused(
    hospital: Any, new_study: NewStudy, new_image: Any, new_picture: Any, save_image: Any
) -> None:
    hospital.fill(4)
    save_image(new_image(new_picture(99), 1), hospital.archive / "other.dcm")
    report = prepare_site(hospital.config, new_study())
    assert report.refused == {"duplicate-conflict": 2}
    assert report.refused_patients == {"duplicate-conflict": 1}
    assert report.usable == 3


def test_preparing_again_decodes_only_what_changed(
    hospital: Any, new_study: NewStudy, decoded: list[Path]
) -> None:
    first = prepare_site(hospital.fill(6).config, new_study())
    before = _images(open_examples(hospital.config, new_study()))
    assert len(decoded) == 6
    assert prepare_site(hospital.config, new_study()) == first
    assert len(decoded) == 6
    os.utime(hospital.archive / "000002.dcm", ns=(5, 5))
    (hospital.archive / "000000.dcm").unlink()
    prepare_site(hospital.config, new_study())
    assert [path.name for path in decoded[6:]] == ["000002.dcm"]
    assert np.array_equal(_images(open_examples(hospital.config, new_study())), before[1:])


def test_another_preprocessing_has_a_cache_of_its_own(
    hospital: Any, new_study: NewStudy, decoded: list[Path]
) -> None:
    other = new_study(preprocessing=Preprocessing(rows=16, columns=20))
    prepare_site(hospital.fill(4).config, new_study())
    with pytest.raises(StateError, match="prepare the site for this study"):
        open_examples(hospital.config, other)
    prepare_site(hospital.config, other)
    assert len(decoded) == 8
    assert _images(open_examples(hospital.config, other)).shape == (4, 1, 16, 20)
    assert _images(open_examples(hospital.config, new_study())).shape == (4, 1, 24, 24)


def test_a_patient_keeps_the_part_whoever_comes_later(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(12).config, new_study())
    before = {fact.patient: fact.part for fact in read_example_facts(hospital.config, new_study())}
    (hospital.archive / "000003.dcm").unlink()
    prepare_site(hospital.config, new_study())
    for number in range(20, 60):
        hospital.add(number, number % 2)
    hospital.add(3, 1)
    prepare_site(hospital.write_labels().config, new_study(preprocessing=Preprocessing(rows=32)))
    study = new_study(preprocessing=Preprocessing(rows=32))
    after = {fact.patient: fact.part for fact in read_example_facts(hospital.config, study)}
    assert len(after) == 52
    assert before.items() <= after.items()


def test_a_number_without_issuer_is_the_patient_known_with_one(
    hospital: Any, new_study: NewStudy
) -> None:
    for number in range(24):
        issuer = "HOSPITAL" if number % 2 else None
        hospital.add(number, number % 2, PatientID=f"P{number // 2}", IssuerOfPatientID=issuer)
    report = prepare_site(hospital.write_labels().config, new_study())
    parts: dict[str, set[str]] = defaultdict(set)
    for fact in read_example_facts(hospital.config, new_study()):
        parts[fact.patient].add(fact.part)
    assert report.patients == len(parts) == 12
    assert {len(found) for found in parts.values()} == {1}


def test_a_file_of_another_patient_put_into_place_after_the_scan_is_refused(
    hospital: Any,
    new_study: NewStudy,
    monkeypatch: pytest.MonkeyPatch,
    new_image: Any,
    new_picture: Any,
    save_image: Any,
) -> None:
    hospital.fill(4)
    other = new_image(new_picture(2), 2, SOPInstanceUID="2.25.1000001")
    find = selection.find_candidates

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        save_image(other, hospital.archive / "000001.dcm")
        return find(*arguments, **options)

    monkeypatch.setattr(selection, "find_candidates", meanwhile)
    report = prepare_site(hospital.config, new_study())
    assert report.refused == {"changed-meanwhile": 1}


def test_other_fractions_move_nobody_who_has_a_part(hospital: Any, new_study: NewStudy) -> None:
    config = hospital.fill(40).config
    prepare_site(config, new_study())
    before = {fact.patient: fact.part for fact in read_example_facts(config, new_study())}
    other = dataclasses.replace(config, validation_fraction=0.5, test_fraction=0.1)
    prepare_site(other, new_study())
    after = {fact.patient: fact.part for fact in read_example_facts(other, new_study())}
    assert after == before


def test_two_studies_of_one_site_keep_their_own_examples(
    hospital: Any, new_study: NewStudy
) -> None:
    config, first = hospital.fill(20).config, new_study()
    second = dataclasses.replace(first, name="another study")
    prepare_site(config, first)
    before = read_example_facts(config, first)
    for number in range(20, 60):
        hospital.add(number, number % 2)
    prepare_site(hospital.write_labels().config, second)
    assert len(read_example_facts(config, second)) == 60
    assert read_example_facts(config, first) == before
    assert _images(open_examples(config, first)).shape[0] == 20


def test_a_lost_secret_draws_no_new_split_in_silence(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(12).config, new_study())
    (hospital.config.workspace / SECRET_FILE).write_text("ef" * 32)
    with pytest.raises(StateError, match=r"restore site\.secret"):
        prepare_site(hospital.config, new_study())


def test_what_a_study_declares_changes_no_pixel(
    hospital: Any, new_study: NewStudy, decoded: list[Path]
) -> None:
    prepare_site(hospital.fill(3).config, new_study())
    declared = DeclaredData(manufacturers=("Maker",))
    prepare_site(hospital.config, new_study(cohort=CohortRule(declared=declared)))
    assert len(decoded) == 3


def test_a_file_put_into_anothers_place_is_decoded_anew(
    hospital: Any, new_study: NewStudy, new_image: Any, new_picture: Any, save_image: Any
) -> None:
    prepare_site(hospital.fill(4).config, new_study())
    before = _images(open_examples(hospital.config, new_study()))
    path = hospital.archive / "000001.dcm"
    status = path.stat()
    other = save_image(new_image(new_picture(77), 1), hospital.archive.parent / "other.dcm")
    assert other.stat().st_size == status.st_size
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    prepare_site(hospital.config, new_study())
    after = _images(open_examples(hospital.config, new_study()))
    assert np.array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


def test_an_archive_that_is_not_mounted_costs_nothing(
    hospital: Any, new_study: NewStudy, decoded: list[Path]
) -> None:
    first = prepare_site(hospital.fill(4).config, new_study())
    away = hospital.archive.rename(hospital.archive.with_name("away"))
    hospital.archive.mkdir()
    with pytest.raises(ArchiveError, match="check that it is mounted"):
        prepare_site(hospital.config, new_study())
    hospital.archive.rmdir()
    away.rename(hospital.archive)
    assert prepare_site(hospital.config, new_study()) == first
    assert len(decoded) == 4


def test_pixels_of_patients_who_were_taken_out_do_not_stay(
    hospital: Any, new_study: NewStudy
) -> None:
    prepare_site(hospital.fill(4).config, new_study())
    hospital.labels = hospital.labels[:1]
    with pytest.raises(ArchiveError, match="no usable example"):
        prepare_site(hospital.write_labels().config, new_study())
    folder = cache_folder(hospital.config, new_study())
    assert sum(path.stat().st_size for path in folder.glob("*.i16")) == 0


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_long_text_of_a_header_does_not_swell_the_list(
    hospital: Any, new_study: NewStudy
) -> None:
    hospital.fill(4)
    hospital.add(9, 1, Manufacturer="M" * 5000)
    prepare_site(hospital.write_labels().config, new_study())
    facts = read_example_facts(hospital.config, new_study())
    assert max(len(fact.manufacturer) for fact in facts) == 64


def test_a_damaged_split_is_never_made_anew_in_silence(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(4).config, new_study())
    (path,) = (hospital.config.workspace / "splits").iterdir()
    path.write_text("{")
    with pytest.raises(StateError, match="restore it from a backup"):
        prepare_site(hospital.config, new_study())


def test_another_split_asks_for_another_preparation(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(4).config, new_study())
    with pytest.raises(StateError, match="another split"):
        open_examples(dataclasses.replace(hospital.config, test_fraction=0.5), new_study())


def test_a_cut_pixel_file_is_never_read(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(4).config, new_study())
    (pixels,) = cache_folder(hospital.config, new_study()).glob("*.i16")
    os.truncate(pixels, 3 * 24 * 24 * 2)
    with pytest.raises(StateError, match="cut short"):
        open_examples(hospital.config, new_study())


def test_the_order_of_files_does_not_matter(hospital: Any, new_study: NewStudy) -> None:
    hospital.fill(8)
    twin = dataclasses.replace(
        hospital.config,
        archive=hospital.archive.with_name("twin"),
        workspace=hospital.config.workspace.with_name("twin workspace"),
    )
    twin.archive.mkdir()
    for number in range(8):
        source = hospital.archive / f"{number:06}.dcm"
        shutil.copy(source, twin.archive / f"{(number * 5) % 8}.dcm")
    for config in (hospital.config, twin):
        config.workspace.mkdir()
        (config.workspace / SECRET_FILE).write_text("cd" * 32)
        prepare_site(config, new_study())
    first, second = (open_examples(config, new_study()) for config in (hospital.config, twin))
    assert np.array_equal(_images(first), _images(second))
    for name in ("labels", "train", "validation", "test"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_the_images_of_one_patient_are_in_one_part(hospital: Any, new_study: NewStudy) -> None:
    for number in range(30):
        hospital.add(number, number % 2, PatientID=f"P{number // 3}", PatientSex="F")
    prepare_site(hospital.write_labels().config, new_study())
    examples = open_examples(hospital.config, new_study())
    parts = (examples.train, examples.validation, examples.test)
    patients = [{int(index) // 3 for index in part} for part in parts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 10
    assert examples.sex == ("F",) * 30


def test_a_site_without_usable_example_says_why(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(3).config, new_study())
    hospital.labels = hospital.labels[:1]
    hospital.write_labels()
    with pytest.raises(ArchiveError, match=r"no usable example of 3 files \(label-missing 3\)"):
        prepare_site(hospital.config, new_study())
    with pytest.raises(StateError):
        open_examples(hospital.config, new_study())


def test_a_missing_archive_or_label_file_leaves_nothing_behind(
    hospital: Any, new_study: NewStudy
) -> None:
    with pytest.raises(ArchiveError, match="labels"):
        prepare_site(hospital.config, new_study())
    gone = dataclasses.replace(hospital.write_labels().config, archive=Path("absent"))
    with pytest.raises(ArchiveError, match="archive"):
        prepare_site(gone, new_study())
    assert not hospital.config.workspace.exists()


def test_a_workspace_inside_the_archive_is_refused(hospital: Any, new_study: NewStudy) -> None:
    inside = dataclasses.replace(hospital.fill(2).config, workspace=hospital.archive / "work")
    with pytest.raises(ArchiveError, match="outside the archive"):
        prepare_site(inside, new_study())


def test_nothing_that_names_a_patient_leaves_intake(
    hospital: Any, new_study: NewStudy, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    hospital.fill(4).add(9, 1, WindowCenter=1, WindowWidth=0)
    hospital.write_labels()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        report = prepare_site(hospital.config, new_study())
    said = f"{report}{caplog.text}{''.join(capfd.readouterr())}"
    assert not any(mark in said for mark in ("PHI", "Phileak", "ACC0", "2.25.", ".dcm"))


def test_what_is_written_is_private(hospital: Any, new_study: NewStudy) -> None:
    prepare_site(hospital.fill(2).config, new_study())
    folders = [hospital.config.workspace, cache_folder(hospital.config, new_study())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_progress_is_told(hospital: Any, new_study: NewStudy) -> None:
    heard: list[tuple[str, int, int]] = []
    prepare_site(
        hospital.fill(3).config, new_study(), on_progress=lambda *event: heard.append(event)
    )
    assert [event for event in heard if event[0] != "walk"] == [
        ("scan", 3, 3),
        ("decode", 1, 3),
        ("decode", 2, 3),
        ("decode", 3, 3),
    ]


def _part_of_real_site(folder: Path, name: str, target: Path) -> SiteConfig:
    """Copies every fifth image of a real archive."""
    for path in sorted((folder / name / "archive").rglob("*.dcm"))[::5]:
        copy = target / name / path.relative_to(folder / name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return SiteConfig(
        site=name,
        archive=target / name / "archive",
        labels=folder / name / "labels.csv",
        workspace=target / name / "workspace",
    )


@pytest.mark.slow
def test_the_four_real_hospitals_look_alike(
    shared_data: Path, tmp_path: Path, new_study: NewStudy
) -> None:
    means, counts = [], []
    for name in SITES:
        config = _part_of_real_site(shared_data / "cxr", name, tmp_path)
        report = prepare_site(config, new_study())
        counts.append(report.usable)
        assert not report.refused
        means.append(_images(open_examples(config, new_study())).mean(axis=0).ravel())
    assert counts == [65, 62, 64, 25]
    # Children in MONOCHROME2 and MONOCHROME1: a forgotten inversion would give about -0.99.
    assert np.corrcoef(means)[0, 1] > 0.95
    assert np.corrcoef(means)[0, 2] > 0.4


@pytest.mark.slow
def test_every_file_of_the_awkward_corpus_is_counted(
    shared_data: Path, tmp_path: Path, new_study: NewStudy
) -> None:
    archive = shared_data / "dicom_corpus"
    instances = scan_archive(archive, tmp_path / "index.sqlite").instances
    studies = sorted({instance.header.study_uid for instance in instances})
    rows = [f"{uid},{number % 2}" for number, uid in enumerate(studies)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["StudyInstanceUID,label", *rows]), encoding="utf-8")
    config = SiteConfig(site="corpus", archive=archive, labels=labels, workspace=tmp_path / "w")
    modalities = tuple({instance.header.modality for instance in instances})
    report = prepare_site(config, new_study(cohort=CohortRule(modalities=modalities)))
    found = sum(len(names) for _, _, names in os.walk(archive))
    assert report.found == report.usable + sum(report.refused.values()) == found
    assert report.usable > 50
