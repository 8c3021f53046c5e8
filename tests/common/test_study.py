from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_common.config import parse_config
from wardround_common.errors import ConfigError, PolicyError
from wardround_common.identity import Identity
from wardround_common.intake_plan import (
    CohortRule,
    DeclaredData,
    LabelRule,
    Preprocessing,
    VolumePreprocessing,
)
from wardround_common.plan import Aggregation, Algorithm, ModelPlan, Privacy, Task, Training
from wardround_common.study import Member, Study, canonical_json, read_study, require_approved

KEYS = [Identity.from_secret(bytes([k]) * 32).public_text for k in range(1, 6)]
STUDY = Study(
    name="pneumonia",
    purpose="Find pneumonia on chest radiographs.",
    expires="2030-06-30",
    seed=7,
    coordinator_key=KEYS[4],
    members=tuple(Member(site=f"site_{k}", key=KEYS[k]) for k in range(4)),
)


def parsed(text: bytes) -> Study:
    return parse_config(text, Study, name="study.yaml")


def test_the_canonical_form_is_sorted_json_without_spaces() -> None:
    plain = json.loads(STUDY.canonical())
    form = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert STUDY.canonical() == form.encode()
    assert STUDY.sha256() == hashlib.sha256(b"wardround study 1\n" + form.encode()).digest()


def test_the_canonical_form_reads_back_as_the_same_study(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_bytes(STUDY.canonical())
    assert read_study(path) == STUDY
    assert read_study(path).sha256() == STUDY.sha256()


TEXT = st.text(
    st.one_of(st.sampled_from("\n\t\\\"'#:{}[],&*!|>%@` -~<=é漢🩻"), st.characters(codec="utf-8")),
    max_size=30,
).filter(lambda text: text.isprintable() or set(text) <= set("\n\t ab"))


@settings(max_examples=80, deadline=None)
@given(TEXT, TEXT, st.floats(1e-300, 1e300), st.integers(0, 2**63 - 1))
def test_any_study_reads_back_from_its_canonical_form(
    name: str, purpose: str, rate: float, seed: int
) -> None:
    study = replace(
        STUDY, name=name, purpose=purpose, seed=seed, training=Training(learning_rate=rate)
    )
    found = parsed(study.canonical())
    assert found == study and found.canonical() == study.canonical()


def test_a_number_written_without_a_point_gives_the_same_study() -> None:
    assert Training(learning_rate=1).learning_rate == 1
    text = STUDY.canonical().replace(b'"clip_norm":10.0', b'"clip_norm":10')
    assert text != STUDY.canonical()
    assert parsed(text).sha256() == STUDY.sha256()


CHANGES: dict[str, Any] = {
    "name": "other",
    "purpose": "Other.",
    "expires": "2030-07-01",
    "seed": 8,
    "coordinator_key": Identity.from_secret(bytes(32)).public_text,
    "members": STUDY.members[:3],
}
ELSEWHERE: dict[str, Any] = {
    "classes": ("a", "b"),
    "modalities": ("CT",),
    "body_parts": ("CHEST",),
    "views": ("PA",),
    "excluded_image_types": (),
    "kernels": ("B30",),
    "slice_spacing_mm": (0.5, 5.0),
    "volume": VolumePreprocessing(),
    "column": "other",
    "concept": "121071|DCM",
    "values": (("1|S",), ("2|S",)),
    "segments": ("3|S",),
    "positive_from": 3.0,
    "positive_fraction": (0.1, 0.9),
    "female_fraction": (0.1, 0.9),
    "median_age_years": (40.0, 60.0),
    "median_slice_spacing_mm": (1.0, 3.0),
    "manufacturers": ("Maker",),
    "class_weights": (1.0, 2.0),
    "required_sites": ("site_1",),
    "minimum_cases": 5,
}


def changed_value(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if choices:
        return next((choice for choice in choices if choice != value), value)
    if isinstance(value, str):
        return value + "x"
    return value + 1 if isinstance(value, int) else value * 1.0000001 + 1e-9


def variants() -> dict[str, Study]:
    """Studies that differ from `STUDY` in one field each."""
    found = {name: replace(STUDY, **{name: value}) for name, value in CHANGES.items()}
    for section in dataclasses.fields(Study):
        part = getattr(STUDY, section.name)
        if not dataclasses.is_dataclass(part):
            continue
        for name, changed in _changed(part).items():
            try:
                other = replace(STUDY, **{section.name: changed})
            except ConfigError:
                # Some fields need a second change: an algorithm that allows them.
                base = replace(STUDY, algorithm=Algorithm(name="fedavg"))
                other = replace(base, **{section.name: changed})
            found[f"{section.name}.{name}"] = other
    return found


def _changed(part: Any) -> dict[str, Any]:
    """Copies of a section that differ in one field each, those of its own sections included."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(type(part))
    for one in dataclasses.fields(part):
        before = getattr(part, one.name)
        if dataclasses.is_dataclass(before):
            inner = _changed(before).items()
            found |= {f"{one.name}.{k}": replace(part, **{one.name: v}) for k, v in inner}
            continue
        literal = typing.get_origin(hints[one.name]) is typing.Literal
        choices = typing.get_args(hints[one.name]) if literal else ()
        value = changed_value(one.name, before, choices)
        if value != before:  # else a single choice: nothing else can be written
            partner = {"concept": "1|S", "values": (("1|S",), ("2|S",))} if value == "sr" else {}
            found[one.name] = replace(part, **{one.name: value}, **partner)
    return found


def test_the_hash_sees_every_field() -> None:
    studies = variants()
    assert len(studies) > 45
    assert {"aggregation.clip_norm", "cohort.labels.unit", "preprocessing.volume"} <= set(studies)
    hashes = {study.sha256() for study in studies.values()} | {STUDY.sha256()}
    assert len(hashes) == len(studies) + 1


def test_the_hash_sees_the_order_of_members_and_their_keys() -> None:
    swapped = tuple(
        Member(site=m.site, key=k.key)
        for m, k in zip(STUDY.members, STUDY.members[::-1], strict=True)
    )
    others = [replace(STUDY, members=STUDY.members[::-1]), replace(STUDY, members=swapped)]
    assert len({study.sha256() for study in (STUDY, *others)}) == 3
    assert others[0].sites == STUDY.sites


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "format: got 2"),
        ({"seed": -1}, "seed: got -1"),
        ({"seed": 1 << 63}, "seed: got"),
        ({"expires": "30.06.2030"}, "expires: got"),
        ({"expires": "20300630"}, "expires: got"),
        ({"expires": "2030-W01-1"}, "expires: got"),
        ({"expires": "2030-02-30"}, "expires: got"),
        ({"coordinator_key": "ed25519:00"}, "coordinator_key: got"),
        ({"coordinator_key": KEYS[4].upper()}, "coordinator_key: got"),
        ({"coordinator_key": KEYS[0]}, "members: got 'a shared key'"),
        ({"members": STUDY.members[:2]}, "members: got '2 sites', expected 3"),
        ({"members": ()}, "members: got '0 sites'"),
        ({"members": (*STUDY.members[:3], STUDY.members[0])}, "members: got"),
        (
            {"members": (*STUDY.members[:3], replace(STUDY.members[3], key=KEYS[0]))},
            "members: got 'a shared key'",
        ),
        (
            {"members": (*STUDY.members[:3], replace(STUDY.members[3], site="site_0"))},
            "each site once",
        ),
        ({"aggregation": Aggregation(minimum_opened=5)}, "members: got '4 sites', expected 5"),
        ({"aggregation": Aggregation(minimum_sites=5)}, "aggregation.minimum_sites: got 5"),
        ({"aggregation": Aggregation(required_sites=("x",))}, "aggregation.required_sites: got"),
        ({"training": Training(optimiser="sgd")}, "training.optimiser: got 'sgd'"),
        ({"model": ModelPlan(normalisation="batch")}, "algorithm.keep_local: got 'none'"),
    ],
)
def test_a_study_that_cannot_be_meant_is_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(STUDY, **change)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Task, {"classes": ("one",)}),
        (CohortRule, {"modalities": ()}),
        (CohortRule, {"excluded_image_types": ("LOCALIZER", " ")}),
        (CohortRule, {"minimum_slices": 0}),
        (CohortRule, {"slice_spacing_mm": (5.0, 1.0)}),
        (CohortRule, {"slice_spacing_mm": (0.0, 1.0)}),
        (LabelRule, {"source": "sr"}),
        (LabelRule, {"source": "sr", "concept": "121071"}),
        (LabelRule, {"source": "sr", "concept": "1|S"}),
        (LabelRule, {"source": "sr", "concept": "1|S", "values": (("1|S",),)}),
        (LabelRule, {"source": "sr", "concept": "1|S", "positive_from": 1.0}),
        (LabelRule, {"source": "seg"}),
        (LabelRule, {"source": "seg", "segments": ("|S",)}),
        (LabelRule, {"minimum_ml": -1.0}),
        (DeclaredData, {"positive_fraction": (0.5, 1.5)}),
        (DeclaredData, {"median_age_years": (-1.0, 3.0)}),
        (Preprocessing, {"rows": 8}),
        (VolumePreprocessing, {"spacing_mm": (0.0, 1.0, 1.0)}),
        (VolumePreprocessing, {"shape": (4, 64, 64)}),
        (VolumePreprocessing, {"window": (1.0, -1.0)}),
        (Training, {"learning_rate": 0.0}),
        (Training, {"local_steps": 0}),
        (Training, {"warmup_fraction": 1.0}),
        (Training, {"class_weights": (1.0,)}),
        (Algorithm, {"rounds": 0}),
        (Algorithm, {"server_momentum": 1.0}),
        (Aggregation, {"minimum_opened": 2}),
        (Aggregation, {"clip_norm": 0.0}),
        (Aggregation, {"leg_deadline_s": -1.0}),
        (Aggregation, {"attempts": 0}),
        (Aggregation, {"weighting": "equal", "minimum_cases": 5}),
        (Privacy, {"minimum_count": 4}),
        (Member, {"site": "Site A", "key": KEYS[0]}),
        (Member, {"site": "a/b", "key": KEYS[0]}),
        (Member, {"site": "a" * 33, "key": KEYS[0]}),
        (Member, {"site": "a\n", "key": KEYS[0]}),
        (Member, {"site": "a", "key": KEYS[0] + "\n"}),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(kind: type, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"got .*expected"):
        kind(**fields)


@pytest.mark.parametrize("key", ["surprise", "Name", "sites"])
def test_an_unknown_key_of_a_study_is_refused(key: str) -> None:
    text = json.dumps({**json.loads(STUDY.canonical()), key: 1}, indent=1).encode()
    with pytest.raises(ConfigError, match=rf"study\.yaml:\d+: {key}: got an unknown key"):
        parsed(text)


@pytest.mark.parametrize("section", ["task", "cohort", "model", "training", "privacy"])
def test_an_unknown_or_double_key_of_a_section_is_refused(section: str) -> None:
    plain = json.loads(STUDY.canonical())
    text = json.dumps(plain, separators=(",", ":"))
    for inserted in ('"surprise":1,', f'"{next(iter(plain[section]))}":1,'):
        double = text.replace(f'"{section}":{{', f'"{section}":{{{inserted}', 1)
        with pytest.raises(ConfigError, match=r"study\.yaml:1: "):
            parsed(double.encode())


def test_a_study_is_approved_by_its_very_hash() -> None:
    require_approved(STUDY, STUDY.sha256())
    for other in (replace(STUDY, seed=8).sha256(), b"", STUDY.sha256()[:16], bytes(32)):
        with pytest.raises(PolicyError, match="expected the approved"):
            require_approved(STUDY, other)


def test_a_study_ends_after_its_last_day() -> None:
    STUDY.require_valid_on(date(2030, 6, 30))
    with pytest.raises(PolicyError, match="expired on 2030-06-30"):
        STUDY.require_valid_on(date(2030, 7, 1))


def test_the_key_of_a_member_is_found_and_of_a_stranger_is_not() -> None:
    assert STUDY.member_key("site_2") == Identity.from_secret(bytes([3]) * 32).public_key
    with pytest.raises(PolicyError, match="is no member"):
        STUDY.member_key("site_9")


def test_what_is_not_finite_has_no_canonical_form() -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json({"a": number})
