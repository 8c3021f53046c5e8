from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from wardround_client.split import Part, split_patients

KEY = bytes(32)
PATIENTS = st.dictionaries(st.text(min_size=1), st.booleans(), max_size=60)


def _split(
    positive: dict[str, bool], secret: bytes = KEY, known: dict[str, Part] | None = None
) -> dict[str, Part]:
    return split_patients(
        positive, secret, validation_fraction=0.15, test_fraction=0.2, known=known
    )


@given(PATIENTS)
def test_every_patient_has_one_part_whatever_the_order(positive: dict[str, bool]) -> None:
    parts = _split(positive)
    assert parts.keys() == positive.keys()
    assert parts == _split(dict(reversed(positive.items())))


@given(PATIENTS)
def test_test_and_training_are_never_empty(positive: dict[str, bool]) -> None:
    parts = set(_split(positive).values())
    assert Part.TRAIN in parts or not positive
    assert Part.TEST in parts or len(positive) < 2


@given(st.integers(2, 30), st.integers(2, 30))
def test_both_kinds_of_patient_are_tested(negative: int, positive: int) -> None:
    patients = {f"{n}": n < positive for n in range(negative + positive)}
    parts = _split(patients)
    assert {patients[name] for name, part in parts.items() if part == Part.TEST} == {False, True}


def test_the_fractions_are_kept() -> None:
    parts = Counter(_split({f"{n}": n % 2 == 0 for n in range(1000)}).values())
    assert parts == {Part.TEST: 200, Part.VALIDATION: 150, Part.TRAIN: 650}


def test_another_secret_gives_another_split() -> None:
    patients = dict.fromkeys(map(str, range(100)), True)
    assert _split(patients) != _split(patients, b"1" * 32)


def test_without_fractions_everybody_trains() -> None:
    parts = split_patients({"a": True, "b": False}, KEY, validation_fraction=0, test_fraction=0)
    assert set(parts.values()) == {Part.TRAIN}


@given(PATIENTS, PATIENTS)
def test_who_has_a_part_keeps_it_when_patients_come_and_go(
    before: dict[str, bool], after: dict[str, bool]
) -> None:
    known = _split(before)
    parts = _split(after, known=known)
    assert parts.keys() == after.keys()
    assert all(parts[name] == known[name] for name in before.keys() & after.keys())


def test_a_growing_hospital_keeps_the_fractions() -> None:
    patients: dict[str, bool] = {}
    known: dict[str, Part] = {}
    for number in range(1000):
        patients[f"{number}"] = number % 2 == 0
        if number % 100 == 99:
            known = _split(patients, known=known)
    assert Counter(known.values()) == {Part.TEST: 200, Part.VALIDATION: 150, Part.TRAIN: 650}
