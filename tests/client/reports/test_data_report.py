"""The data report counts what is there; the form for release tells nothing of few patients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from wardround_client.examples import ExampleFacts
from wardround_client.reports.data_pages import release_page, site_form, site_page
from wardround_client.reports.data_report import DataReport, LeftOut, build_data_report
from wardround_client.reports.page import render_page
from wardround_client.reports.release import release_form
from wardround_client.split import Part
from wardround_common.errors import PolicyError
from wardround_common.intake_plan import DeclaredData

CLASSES = ("normal", "abnormal")
IDENTITY = {"site": "alder", "study": "chest", "study_sha256": "ab" * 32}
PARTS = (Part.TRAIN, Part.TRAIN, Part.VALIDATION, Part.TEST)


def _fact(number: int, **changes: Any) -> ExampleFacts:
    fact = ExampleFacts(
        label=number % 2,
        part=PARTS[number // 2 % 4],
        patient=f"{number:064x}",
        sex="FM"[number // 2 % 2],
        age_years=30.0 + number % 20,
        manufacturer="GE MEDICAL SYSTEMS",
        model_name="One",
        kernel="",
        slice_thickness="",
        slice_spacing_mm=None,
        pixel_digest=f"pixels {number}",
    )
    return replace(fact, **changes)


def _facts(count: int, **changes: Any) -> list[ExampleFacts]:
    return [_fact(number, **changes) for number in range(count)]


def _report(facts: Sequence[ExampleFacts], **more: Any) -> DataReport:
    declared = more.pop("declared", DeclaredData())
    return build_data_report(facts, declared, 5, classes=CLASSES, **more)


def _counts(report: DataReport, key: str) -> dict[str, int]:
    (found,) = (b for b in report.breakdowns if b.key == key)
    return {name: patients.total() for name, patients in found.tally.items()}


def _release(facts: Sequence[ExampleFacts], **more: Any) -> dict[str, Any]:
    return release_form(_report(facts, **more), **IDENTITY)


def test_every_breakdown_counts_every_example_once() -> None:
    facts = [
        *_facts(30),
        _fact(40, sex="", age_years=None, manufacturer="Canon", kernel="B30f"),
        _fact(41, slice_thickness="1.5", slice_spacing_mm=1.5, flags=("tilted", "uneven")),
    ]
    report = _report(facts)
    assert [sum(_counts(report, b.key).values()) for b in report.breakdowns] == [32] * 10
    assert [sum(c.total() for c in cross.tally.values()) for cross in report.crosses] == [32] * 3


def test_numbers_are_counted_in_the_band_they_belong_to() -> None:
    ages = (0.0, 17.9, 18.0, 79.99, 80.0, 103.0, None)
    spacings = (-1.0, 0.0, 0.7499, 0.75, 1.249, 6.0, 400.0)
    facts = [
        _fact(n, age_years=age, slice_spacing_mm=spacing)
        for n, (age, spacing) in enumerate(zip(ages, spacings, strict=True))
    ]
    report = _report(facts)
    assert _counts(report, "age") == {
        "0 to 17": 2, "18 to 39": 1, "40 to 59": 0, "60 to 79": 1, "80 and over": 2,
        "not stated": 1,
    }  # fmt: skip
    assert Counter(_counts(report, "spacing"))["0 to 0.74"] == 3
    assert Counter(_counts(report, "spacing"))["0.75 to 1.24"] == 2
    assert Counter(_counts(report, "spacing"))["6 and over"] == 2


@pytest.mark.parametrize("text", ["", "thin", "nan", "1\\2"])
def test_a_thickness_that_is_no_number_is_not_stated(text: str) -> None:
    report = _report([*_facts(2, slice_thickness="2.5"), _fact(3, slice_thickness=text)])
    assert _counts(report, "thickness")["not stated"] == 1


def test_tables_that_only_volumes_have_are_left_out_for_single_images() -> None:
    keys = {b.key for b in _report(_facts(9)).breakdowns}
    assert keys == {"label", "part", "sex", "age", "manufacturer", "copies"}


def test_the_same_pixels_are_found_under_other_uids_and_other_patients() -> None:
    facts = _facts(20)
    facts[1] = replace(facts[1], pixel_digest=facts[0].pixel_digest)
    facts += [replace(facts[4], pixel_digest=facts[4].pixel_digest)]
    report = _report(facts)
    assert _counts(report, "copies") == {
        "once": 17,
        "several times, one patient": 2,
        "under several patients": 2,
    }
    assert report.same_pixels == ((facts[0].patient, facts[1].patient),)
    assert "filed under different patients" in render_page(site_page(report, site="a", study="b"))


def test_a_patient_in_two_parts_is_counted_and_nothing_may_leave() -> None:
    facts = _facts(20)
    facts.append(replace(facts[0], part=Part.TEST, pixel_digest="another"))
    report = _report(facts)
    assert report.patients_in_two_parts == 1
    assert "in two parts" in render_page(site_page(report, site="a", study="b"))
    with pytest.raises(PolicyError, match="two parts"):
        release_form(report, **IDENTITY)


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [
        (DeclaredData(positive_fraction=(0.4, 0.6)), "within"),
        (DeclaredData(positive_fraction=(0.6, 0.7)), "outside"),
        (DeclaredData(female_fraction=(0.5, 0.5)), "within"),
        (DeclaredData(female_fraction=(0.0, 0.4)), "outside"),
        (DeclaredData(median_age_years=(39.0, 40.0)), "within"),
        (DeclaredData(median_age_years=(50.0, 60.0)), "outside"),
        (DeclaredData(median_slice_spacing_mm=(1.0, 2.0)), "unknown"),
        (DeclaredData(manufacturers=("ge medical systems ",)), "within"),
        (DeclaredData(manufacturers=("Another",)), "outside"),
    ],
)
def test_what_the_study_declares_is_compared(declared: DeclaredData, verdict: str) -> None:
    (drift,) = _report(_facts(40), declared=declared).drift
    assert drift.verdict == verdict


def test_the_fraction_of_women_is_one_of_patients_whose_images_agree() -> None:
    facts = [_fact(0, sex="F"), *(_fact(1, sex="M", pixel_digest=str(n)) for n in range(5))]
    facts += [_fact(2, sex="F"), _fact(2, sex="M")]
    (drift,) = _report(facts, declared=DeclaredData(female_fraction=(0.5, 0.5))).drift
    assert (drift.found, drift.verdict) == ("0.5", "within")


def test_nothing_leaves_where_the_study_has_too_few_patients() -> None:
    facts = [replace(_fact(0), patient=f"p{n % 4}", pixel_digest=str(n)) for n in range(50)]
    with pytest.raises(PolicyError, match="fewer than 5 patients"):
        _release(facts)


def test_the_release_form_joins_makers_of_few_patients() -> None:
    facts = [*_facts(30), *(_fact(50 + n, manufacturer="AGFA") for n in range(3))]
    facts += [_fact(60 + n, manufacturer="MEIER HANS 19600101") for n in range(3)]
    facts += [_fact(70 + n, manufacturer="SIEMENS") for n in range(6)]
    table = _release(facts)["tables"]["manufacturer"]
    assert table["examples"] == {"GE": 30, "Siemens": 6, "other": 6}
    assert table["state"] == "joined"


PLANTED = {
    "manufacturer": "MEIER HANS 19600101",
    "model_name": "MRN 7654321",
    "kernel": "SMITH JANE",
    "slice_thickness": "7654322",
}


def test_what_anybody_may_have_typed_into_a_header_stands_in_no_form() -> None:
    report = _report(_facts(40, **PLANTED), declared=DeclaredData(manufacturers=("GE",)))
    form = release_form(report, **IDENTITY)
    pages = (site_page(report, site="a", study="b"), release_page(form))
    texts = json.dumps([site_form(report, **IDENTITY), form]) + "".join(map(render_page, pages))
    assert [word for text in PLANTED.values() for word in text.split() if word in texts] == []
    assert form["tables"]["manufacturer"]["examples"] == {"other": 40}


def test_how_many_patients_have_several_examples_is_not_told() -> None:
    facts = [*_facts(40), replace(_fact(0), pixel_digest="another")]
    form = _release(facts)
    assert form["examples"] == 41
    assert "patients" not in form
    assert " of 40" not in render_page(release_page(form))


def test_a_cross_table_with_one_small_cell_is_withheld() -> None:
    facts = _facts(80)
    assert _release(facts)["cross_tables"]["label-part"]["examples"]["test"]["normal"] == 10
    few = [fact for fact in facts if fact.part is not Part.TEST or fact.label == 0]
    assert _release(few)["cross_tables"]["label-part"]["examples"] is None


def test_a_sex_that_does_not_occur_withholds_its_cross_table() -> None:
    form = _release(_facts(40, sex="F"))
    assert form["cross_tables"]["label-sex"]["examples"] is None
    assert form["tables"]["sex"]["state"] == "withheld"


def test_a_median_is_released_rounded() -> None:
    bands = (5.0, 22.0, 51.0, 64.0, 88.0)
    facts = [_fact(n, age_years=bands[n % 5]) for n in range(50)]
    assert _release(facts)["medians"]["age"]["median"] == 50.0


def test_no_median_is_released_that_those_without_a_value_could_move() -> None:
    """Between 0 and 4 of the last row may have no age: with 4, the middle is in another band."""
    ages = [30.0] * 20 + [50.0] * 5 + [70.0] * 8 + [85.0] * 11
    facts = [_fact(n, age_years=age) for n, age in enumerate(ages)]
    form = _release(facts)
    assert form["tables"]["age"]["examples"]["40 to 59"] == 5
    assert form["medians"]["age"]["median"] is None
    ages = [30.0] * 10 + [50.0] * 5 + [70.0] * 13
    facts = [_fact(n, age_years=age) for n, age in enumerate((*ages, None, None, None))]
    report = _report(facts)
    assert {s.key: s.band for s in report.spreads}["age"] == "40 to 59"
    assert release_form(report, **IDENTITY)["medians"]["age"]["median"] is None


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [((43.0, 43.0), "within"), ((42.0, 42.0), "within"), ((46.0, 60.0), "within"),
     ((30.0, 40.0), "outside"), ((51.0, 60.0), "outside")],
)  # fmt: skip
def test_a_verdict_on_a_median_does_not_undo_its_rounding(
    declared: tuple[float, float], verdict: str
) -> None:
    ages = [30.0] * 10 + [43.0] * 30 + [70.0] * 10
    facts = [_fact(n, age_years=age) for n, age in enumerate(ages)]
    form = _release(facts, declared=DeclaredData(median_age_years=declared))
    assert form["medians"]["age"]["median"] == 45.0
    assert form["declared"][0]["verdict"] == verdict


def test_a_patient_of_many_volumes_does_not_own_the_median() -> None:
    facts = [_fact(n, slice_spacing_mm=1.0 if n < 15 else 5.0) for n in range(40)]
    facts += [_fact(0, slice_spacing_mm=2.5, pixel_digest=str(n)) for n in range(61)]
    spread = {s.key: s for s in _report(facts).spreads}["spacing"]
    assert len(spread.values) == 40
    assert spread.median == 5.0


def test_no_median_is_released_that_lies_in_a_joined_band() -> None:
    facts = [_fact(n, age_years=5.0 if n < 4 else 30.0 if n < 40 else 51.0) for n in range(50)]
    form = _release(facts, declared=DeclaredData(median_age_years=(29.0, 31.0)))
    assert form["tables"]["age"]["examples"] == {
        "0 to 39": 40,
        "40 and over or not stated": 10,
    }
    assert form["medians"]["age"]["median"] is None
    assert form["declared"][0]["verdict"] == "not given"


def test_no_median_is_released_of_fewer_than_twice_the_minimum() -> None:
    """Six patients, seen in three bands each: every band has enough, either side has not."""
    facts = [
        _fact(n, age_years=age, part=Part.TRAIN, pixel_digest=f"{n} {age}")
        for n in range(6)
        for age in (45.0, 65.0, 85.0)
    ]
    form = _release(facts)
    assert form["tables"]["age"]["examples"]["60 to 79"] == 6
    assert form["medians"]["age"]["median"] is None


def test_a_verdict_on_makers_is_released_only_where_all_of_them_are() -> None:
    declared = DeclaredData(positive_fraction=(0.4, 0.6), manufacturers=("GE",))
    facts = [*_facts(40), _fact(60, manufacturer="AGFA")]
    verdicts = [drift["verdict"] for drift in _release(facts, declared=declared)["declared"]]
    assert verdicts == ["within", "not given"]
    assert "Agfa" not in json.dumps(_release(facts, declared=declared))


def test_reasons_are_released_by_the_patients_behind_them() -> None:
    left_out = {
        "tilted": LeftOut(files=400, patients=2),
        "colour": LeftOut(files=9, patients=9),
        "not-dicom": LeftOut(files=1000),
    }
    assert _release(_facts(20), left_out=left_out)["left_out_files"] == {"colour": 9}


def test_no_number_below_the_minimum_stands_anywhere_in_the_release_form() -> None:
    facts = [
        *_facts(60),
        *(_fact(100 + n, manufacturer=("AGFA", "CANON", "PICKER")[n]) for n in range(3)),
    ]
    form = _release(facts, left_out={"colour": LeftOut(files=3, patients=3)})
    counts = [n for table in form["tables"].values() for n in table["examples"].values()]
    crosses = [cross["examples"] or {} for cross in form["cross_tables"].values()]
    counts += [n for cross in crosses for row in cross.values() for n in row.values()]
    assert min(counts) >= 5
    assert "Canon" not in json.dumps(form) + render_page(release_page(form))


def test_pseudonyms_stand_in_neither_form() -> None:
    facts = _facts(30)
    facts[1] = replace(facts[1], pixel_digest=facts[0].pixel_digest)
    report = _report(facts)
    release = release_form(report, **IDENTITY)
    texts = json.dumps([site_form(report, **IDENTITY), release]) + render_page(
        release_page(release)
    )
    assert not [fact for fact in facts if fact.patient in texts]


def test_texts_of_headers_are_shown_as_text() -> None:
    planted = "<script>alert(1)</script>\x1b[31m[red]"
    page = render_page(site_page(_report(_facts(9, manufacturer=planted)), site="a", study="b"))
    assert "<script>" not in page
    assert "\x1b" not in page


def test_names_from_the_study_are_shown_as_text() -> None:
    page = render_page(site_page(_report(_facts(9)), site="a", study="<b>lung</b>"))
    assert "&lt;b&gt;lung" in page
    assert "<b>lung" not in page
