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
        manufacturer="Maker",
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
        _fact(40, sex="", age_years=None, manufacturer="Other", kernel="B30f"),
        _fact(41, slice_thickness="1.5", slice_spacing_mm=1.5, flags=("tilted", "uneven")),
    ]
    report = _report(facts)
    assert [sum(_counts(report, b.key).values()) for b in report.breakdowns] == [32] * 11
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
    assert keys == {"label", "part", "sex", "age", "manufacturer", "model", "copies"}


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
        (DeclaredData(manufacturers=("maker ",)), "within"),
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


def test_the_release_form_hides_small_cells_and_one_more() -> None:
    facts = [*_facts(30), *(_fact(50 + n, manufacturer="Rare") for n in range(3))]
    facts += [_fact(70 + n, manufacturer="Second") for n in range(6)]
    table = _release(facts)["tables"]["manufacturer"]
    assert table["examples"] == {"Maker": 30}
    assert table["state"] == "part"


def test_models_are_released_for_all_makers_or_not_at_all() -> None:
    """With the makers' totals known, one hidden model of a maker is a subtraction away."""
    facts = [_fact(n, model_name="Old" if n < 3 else "New") for n in range(30)]
    facts += [_fact(50 + n, manufacturer="Other", model_name="X") for n in range(10)]
    tables = _release(facts)["tables"]
    assert tables["manufacturer"]["examples"] == {"Maker": 30, "Other": 10}
    assert tables["model"] == {"title": "Model of the device", "state": "withheld", "examples": {}}


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


def test_no_median_is_released_of_a_table_that_hides_a_cell() -> None:
    bands = (5.0, 22.0, 51.0, 64.0, 88.0)
    facts = [_fact(n, age_years=bands[n % 5]) for n in range(50)]
    facts[0] = replace(facts[0], age_years=None)
    form = _release(facts, declared=DeclaredData(median_age_years=(50.0, 52.0)))
    assert form["tables"]["age"]["state"] == "part"
    assert "40 to 59" in form["tables"]["age"]["examples"]
    assert form["medians"]["age"]["median"] is None
    assert form["declared"][0]["verdict"] == "not given"


def test_no_median_is_released_that_lies_in_a_joined_band() -> None:
    facts = [_fact(n, age_years=5.0 if n < 4 else 30.0 if n < 40 else 51.0) for n in range(50)]
    form = _release(facts, declared=DeclaredData(median_age_years=(29.0, 31.0)))
    assert form["tables"]["age"]["examples"] == {"0 to 39": 40, "40 and over": 10}
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


def test_a_verdict_is_released_only_where_its_table_hides_nothing() -> None:
    declared = DeclaredData(positive_fraction=(0.4, 0.6), manufacturers=("Maker",))
    facts = [*_facts(40), _fact(60, manufacturer="Rare")]
    verdicts = [drift["verdict"] for drift in _release(facts, declared=declared)["declared"]]
    assert verdicts == ["within", "not given"]
    assert "Rare" not in json.dumps(_release(facts, declared=declared))


def test_reasons_are_released_by_the_patients_behind_them() -> None:
    left_out = {
        "tilted": LeftOut(files=400, patients=2),
        "colour": LeftOut(files=9, patients=9),
        "not-dicom": LeftOut(files=1000),
    }
    assert _release(_facts(20), left_out=left_out)["left_out_files"] == {"colour": 9}


def test_no_number_below_the_minimum_stands_anywhere_in_the_release_form() -> None:
    facts = [*_facts(60), *(_fact(100 + n, manufacturer=f"Rare {n}") for n in range(3))]
    form = _release(facts, left_out={"colour": LeftOut(files=3, patients=3)})
    counts = [n for table in form["tables"].values() for n in table["examples"].values()]
    crosses = [cross["examples"] or {} for cross in form["cross_tables"].values()]
    counts += [n for cross in crosses for row in cross.values() for n in row.values()]
    assert min(counts) >= 5
    assert "Rare" not in json.dumps(form) + render_page(release_page(form))


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
