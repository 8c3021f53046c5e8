from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from wardround_common.config import parse_config
from wardround_common.errors import ConfigError
from wardround_sim.synthetic.federation import SyntheticFederation
from wardround_sim.synthetic.hospital import Appearance, Dirt, SyntheticHospital
from wardround_sim.synthetic.roster import build_roster


def test_a_hospital_is_read_from_a_scenario_with_its_nested_sections() -> None:
    text = b"""
name: aurora_general
patients: 12
transfer_syntax: jpeg_ls
appearance: {brightness: -0.25, contrast: 1.4}
dirt: {truncated: 2}
"""
    hospital = parse_config(text, SyntheticHospital, name="scenario.yaml")
    assert hospital.appearance == Appearance(brightness=-0.25, contrast=1.4)
    assert hospital.dirt == Dirt(truncated=2)
    assert hospital.transfer_syntax == "jpeg_ls"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Aurora General"),
        ("manufacturer", ""),
        ("manufacturer", "back\\slash"),
        ("patients", 0),
        ("studies_per_patient_max", 0),
        ("prevalence", 1.1),
        ("female_fraction", -0.1),
        ("label_noise", 0.6),
        ("youngest_years", 3),
        ("oldest_years", 19),
        ("oldest_years", 120),
        ("bits_stored", 7),
        ("bits_stored", 17),
        ("rows", 32),
        ("columns", 4096),
        ("rows", 600),
        ("lesion_contrast", -1.0),
        ("noise", 21.0),
        ("dirt", Dirt(not_dicom=151)),
        ("dirt", Dirt(secondary_capture=151)),
    ],
)
def test_a_hospital_that_cannot_be_is_refused_by_its_key(key: str, value: object) -> None:
    values: dict[str, Any] = {"name": "aurora_general", key: value}
    with pytest.raises(ConfigError, match=rf"^{key}.*: got .*, expected "):
        SyntheticHospital(**values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("brightness", 1.5),
        ("contrast", 0.1),
        ("sharpening", -1.0),
        ("field_of_view_mm", 100.0),
        ("collimation", 2.0),
        ("rotation_degrees", 30.0),
    ],
)
def test_an_appearance_that_cannot_be_is_refused_by_its_key(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: got "):
        Appearance(**{key: value})


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Dirt)])
def test_a_negative_count_of_dirt_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: got -1"):
        Dirt(**{key: -1})


@pytest.mark.parametrize("prevalence", [0.0, 0.35, 1.0])
def test_prevalence_and_label_noise_are_met_to_the_study(prevalence: float) -> None:
    hospital = SyntheticHospital(
        name="birchwood_clinic", patients=100, prevalence=prevalence, label_noise=0.1
    )
    studies = [s for patient in build_roster(hospital, seed=3) for s in patient.studies]
    assert sum(s.abnormal for s in studies) == round(prevalence * len(studies))
    assert sum(s.labels != (int(s.abnormal),) for s in studies) == round(0.1 * len(studies))


def test_dirt_does_not_change_the_good_patients() -> None:
    clean = SyntheticHospital(name="cedar_bay", patients=10)
    dirty = dataclasses.replace(clean, dirt=Dirt(truncated=2, missing_label=1, ambiguous_label=1))
    assert build_roster(dirty, seed=1)[:10] == build_roster(clean, seed=1)
    assert len(build_roster(dirty, seed=1)) == 14


def test_ages_and_sexes_follow_the_description() -> None:
    hospital = SyntheticHospital(
        name="dune_valley",
        patients=200,
        studies_per_patient_max=3,
        female_fraction=0.8,
        youngest_years=30,
        oldest_years=40,
    )
    roster = build_roster(hospital, seed=1)
    first_ages = {patient.studies[0].age_years for patient in roster}
    assert first_ages == set(range(30, 41))
    assert 0.7 < sum(patient.sex == "F" for patient in roster) / 200 < 0.9
    for patient in roster:
        days = [study.day for study in patient.studies]
        assert days == sorted(days)


def test_a_federation_grows_without_changing_its_first_hospitals() -> None:
    few = SyntheticFederation(count=3).hospitals(seed=5)
    many = SyntheticFederation(count=50).hospitals(seed=5)
    assert many[:3] == few
    assert many[0].name == "site_01"
    assert len({hospital.name for hospital in many}) == 50


def test_a_federation_stays_in_its_ranges_and_differs() -> None:
    federation = SyntheticFederation(count=50, patients=(20, 60), prevalence=(0.3, 0.7))
    hospitals = federation.hospitals(seed=1)
    assert all(20 <= hospital.patients <= 60 for hospital in hospitals)
    assert all(0.3 <= hospital.prevalence <= 0.7 for hospital in hospitals)
    assert {hospital.photometric for hospital in hospitals} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({hospital.transfer_syntax for hospital in hospitals}) == 6
    assert len({hospital.appearance for hospital in hospitals}) == 50
    assert hospitals != federation.hospitals(seed=2)


def test_a_federation_is_read_from_a_scenario() -> None:
    text = b"count: 50\npatients: [20, 40]\ntransfer_syntaxes: [rle, jpeg_ls]\n"
    federation = parse_config(text, SyntheticFederation, name="scenario.yaml")
    hospitals = federation.hospitals(seed=1)
    assert {hospital.transfer_syntax for hospital in hospitals} == {"rle", "jpeg_ls"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", 0),
        ("count", 65),
        ("patients", (60, 20)),
        ("patients", (0, 20)),
        ("prevalence", (0.5, 1.5)),
        ("noise", (2.0, 1.0)),
        ("label_noise", (0.0, 0.9)),
        ("manufacturers", ()),
        ("transfer_syntaxes", ()),
        ("variation", 3.0),
        ("rows", 8),
        ("name_prefix", "Site"),
    ],
)
def test_a_federation_that_cannot_be_is_refused(key: str, value: object) -> None:
    values: dict[str, Any] = {"count": 4, key: value}
    with pytest.raises(ConfigError, match=r": got .*, expected "):
        SyntheticFederation(**values)
