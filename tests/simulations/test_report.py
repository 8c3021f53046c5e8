from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from wardround_sim.report import tables, words
from wardround_sim.report.attempts import (
    count_participation,
    leg_costs,
    list_void_attempts,
    list_void_places,
    mean_upload_bytes,
    validation_curve,
)
from wardround_sim.report.comparison import MAXIMUM_PANELS, roc_sites
from wardround_sim.report.curves import wilson_interval
from wardround_sim.report.page import render_report, write_report
from wardround_sim.results import Auc, Results

HOSTILE = '<script>alert("x")</script>&$\\frac$'


@pytest.fixture(scope="session")
def page(four_hospitals: Any) -> str:
    return render_report(four_hospitals.results, four_hospitals.rounds)


@pytest.fixture(scope="session")
def fifty_page(fifty_hospitals: Any) -> str:
    return render_report(fifty_hospitals.results, fifty_hospitals.rounds)


def read_text(page: str) -> str:
    """What a reader sees, without markup and with single spaces."""
    body = page[page.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def make_auc(auc: float, low: float, high: float) -> Auc:
    return Auc(auc=auc, low=low, high=high, positives=50, negatives=50)


def with_auc(results: Results, **scopes: dict[str, Auc | None]) -> Results:
    return dataclasses.replace(results, auc=scopes, roc={})


def test_the_headline_says_how_good_the_model_is_and_on_whom(
    four_hospitals: Any, page: str
) -> None:
    found = four_hospitals.results.auc["federated"]["all"]
    text = read_text(page)
    assert "On 217 test images of patients it had never seen" in text
    assert f"an AUC of {found.auc:.3f} (95 % interval {found.low:.3f} to {found.high:.3f})" in text


def test_the_report_needs_no_other_file_and_no_script(page: str) -> None:
    assert "<script" not in page and "@import" not in page and "<metadata" not in page
    links = re.findall(r'(?:src|href|srcset)="([^"]*)"', page)
    links += re.findall(r"url\(([^)]*)\)", page)
    assert links and all(link.startswith("#") for link in links)
    assert "default-src 'none'" in page


def test_every_local_link_has_its_target_and_no_identifier_is_used_twice(page: str) -> None:
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))
    targets = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert set(targets) <= set(identifiers)


def test_every_element_is_closed(page: str) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []


def test_the_same_results_give_the_same_bytes(four_hospitals: Any, page: str) -> None:
    assert render_report(four_hospitals.results, four_hospitals.rounds) == page


def test_text_from_outside_cannot_become_markup(four_hospitals: Any) -> None:
    results, rounds = four_hospitals.results, four_hospitals.rounds
    renamed = {site: HOSTILE if site == "bethesda" else site for site in results.site_names}
    first, *others = results.sites
    odd = {HOSTILE: dataclasses.replace(first.quarantine["no-decoder"], explanation=HOSTILE)}
    named = {"sex": {HOSTILE: 5}, "quarantine": odd, "seconds": {HOSTILE: 1.0}}
    hostile = dataclasses.replace(
        results,
        scenario=HOSTILE,
        reason=HOSTILE,
        status="ended short",
        warnings=(HOSTILE,),
        study=dataclasses.replace(
            results.study,
            name=HOSTILE,
            purpose=HOSTILE,
            classes=(HOSTILE, "b"),
            parameters={HOSTILE: HOSTILE},
        ),
        sites=(dataclasses.replace(first, site=renamed[first.site], **named), *others),
        auc={arm: {renamed.get(s, s): v for s, v in t.items()} for arm, t in results.auc.items()},
        roc={arm: {renamed.get(s, s): v for s, v in t.items()} for arm, t in results.roc.items()},
        phases={**results.phases, HOSTILE: results.phases["masked"]},
    )
    void = next(line for line in rounds if line["status"] == "void")
    sites = {"roster": [], "opened": [], "dropped": {HOSTILE: HOSTILE}}
    page = render_report(hostile, [*rounds, void | {"reason": HOSTILE, "sites": sites}])
    assert "<script" not in page
    assert read_text(page).count(HOSTILE) > 15


def test_a_hospital_with_one_class_is_named_and_has_no_auc(page: str) -> None:
    text = read_text(page)
    assert "hannover: its test images hold one class only, so no AUC is defined there" in text
    assert "hannover 0 / 25 one class only, AUC not defined" in text


def test_a_run_that_ended_short_says_so_before_anything_else(four_hospitals: Any) -> None:
    rounds = dataclasses.replace(four_hospitals.results.rounds, completed=12)
    results = dataclasses.replace(
        four_hospitals.results, status="ended short", reason="the disk is full", rounds=rounds
    )
    text = read_text(render_report(results, four_hospitals.rounds))
    said = text.index("This run ended short, after 12 of 40 rounds: the disk is full.")
    assert said < text.index("trained one shared model")


def test_void_rounds_stand_at_the_top_with_reason_and_outcome(page: str) -> None:
    text = read_text(page)
    top = text[: text.index("trained one shared model")]
    assert "1 training round was void" in top
    assert "Round 5 (training), attempt 1: quorum: got 2 sites, expected at least 3." in top
    assert "Lost: bethesda and guangzhou_north." in top
    assert "the round was completed at attempt 2" in top
    assert "the round stayed void and left the model as it was" in top


def test_a_run_without_trouble_has_no_banner(four_hospitals: Any) -> None:
    results = four_hospitals.results
    calm = dataclasses.replace(results, rounds=dataclasses.replace(results.rounds, void=0))
    opened = [line for line in four_hospitals.rounds if line["status"] == "opened"]
    assert 'class="banner"' not in render_report(calm, opened)


def test_many_void_attempts_are_counted_rather_than_listed(four_hospitals: Any) -> None:
    void = next(line for line in four_hospitals.rounds if line["status"] == "void")
    many = [void | {"round": number} for number in range(1000, 1030)]
    text = read_text(render_report(four_hospitals.results, many))
    assert "20 further void attempts; rounds.jsonl lists all." in text


@pytest.mark.parametrize(
    ("pooled", "said"),
    [
        (make_auc(0.900, 0.85, 0.94), "The shared model is level with it."),
        (make_auc(0.920, 0.88, 0.95), "0.020 lower; the gap lies within the 95 % intervals"),
        (make_auc(0.990, 0.97, 1.00), "0.090 lower; the gap lies beyond the 95 % intervals"),
        (make_auc(0.880, 0.83, 0.92), "0.020 higher; the gap lies within the 95 % intervals"),
    ],
)
def test_the_gap_to_pooled_training_is_said_as_it_is(
    four_hospitals: Any, pooled: Auc, said: str
) -> None:
    ours = {"all": make_auc(0.900, 0.86, 0.93)}
    results = with_auc(four_hospitals.results, federated=ours, pooled={"all": pooled})
    assert said in words.findings(results)[0].text


def test_hospitals_better_off_alone_are_named_worst_first(four_hospitals: Any) -> None:
    wide, narrow = (0.70, 0.96), (0.89, 0.91)
    results = with_auc(
        four_hospitals.results,
        federated={
            "bethesda": make_auc(0.90, *narrow),
            "guangzhou_north": make_auc(0.90, *wide),
            "guangzhou_south": make_auc(0.90, *wide),
        },
        local={
            "bethesda": make_auc(0.98, 0.97, 0.99),
            "guangzhou_north": make_auc(0.92, *wide),
            "guangzhou_south": make_auc(0.80, *wide),
        },
    )
    found = words.findings(results)[0]
    assert found.tone == "caution"
    assert "at least as good at 1, and lower at bethesda (0.080 lower) and" in found.text
    assert "Chance alone is an unlikely explanation at bethesda." in found.text
    cells = {row.head: row.cells[-1] for row in tables.auc_rows(results)}
    assert (cells["bethesda"].note, cells["bethesda"].tone) == ("beyond intervals", "caution")
    assert (cells["guangzhou_north"].text, cells["guangzhou_north"].tone) == (
        "\u22120.020",
        "plain",
    )


def test_no_hospital_worse_than_alone_is_said_as_well(four_hospitals: Any) -> None:
    same = {"bethesda": make_auc(0.9, 0.8, 0.95)}
    results = with_auc(four_hospitals.results, federated=same, local=same)
    assert words.findings(results)[0].text.endswith("at least as good at every one.")


def test_local_fine_tuning_is_a_column_only_where_it_was_run(
    four_hospitals: Any, fifty_hospitals: Any, page: str, fifty_page: str
) -> None:
    assert "Shared, tuned locally" in page
    assert "Shared, tuned locally" not in fifty_page
    assert len(tables.auc_rows(four_hospitals.results)[0].cells) == 1 + 4 + 2
    assert len(tables.auc_rows(fifty_hospitals.results)[0].cells) == 1 + 3 + 2


def test_fifty_hospitals_stay_readable(fifty_page: str) -> None:
    page = fifty_page
    assert page.count('aria-label="ROC curves') == MAXIMUM_PANELS + 1
    assert "Of 47 hospitals with an AUC, the 7 with the lowest for the shared model" in page
    assert "51 rows: scroll within the table to see all." in page
    assert len(page) < 1_000_000
    assert re.search(r"and \d+ more\b", page)
    assert "among so many hospitals a few such gaps are expected" in page


def test_the_roc_curves_drawn_are_those_of_the_lowest_hospitals(fifty_hospitals: Any) -> None:
    results = fifty_hospitals.results
    scored = {s: a.auc for s, a in results.auc["federated"].items() if a and s != "all"}
    drawn = roc_sites(results)
    rest = set(scored) - set(drawn)
    assert max(scored[s] for s in drawn) <= min(scored[s] for s in rest)
    assert list(drawn) == [site for site in results.site_names if site in drawn]


def test_a_run_without_a_single_number_still_has_a_report(four_hospitals: Any) -> None:
    bare = dataclasses.replace(
        four_hospitals.results, auc={}, roc={}, calibration=None, validation=(), phases={}
    )
    text = read_text(render_report(bare, []))
    assert "its accuracy could not be computed" in text
    assert "The model was not evaluated during the run." in text


def test_an_undefined_point_of_the_learning_curve_is_left_out(four_hospitals: Any) -> None:
    results = four_hospitals.results
    gap = dataclasses.replace(results.validation[0], auc=None, sensitivity=None, loss=None)
    holed = dataclasses.replace(results, validation=(gap, *results.validation[1:]))
    assert not re.search(r"\bnan\b", render_report(holed, []), re.IGNORECASE)


def test_the_privacy_statement_says_what_is_not_protected(page: str) -> None:
    text = read_text(page)
    assert "No sum of fewer than 3 hospitals is ever opened" in text
    assert "1 hospital may drop out of a round and it still completes." in text
    assert "No differential privacy was used" in text
    assert "The sum itself." in text
    assert "This was a simulation." in text


def test_everything_needed_to_repeat_the_run_is_printed(four_hospitals: Any, page: str) -> None:
    results, text = four_hospitals.results, read_text(page)
    for value in (results.study.sha256, results.model_sha256, "torch 2.13.0", "algorithm.name"):
        assert value in text


def test_quarantine_rows_tell_reason_meaning_number_and_place(four_hospitals: Any) -> None:
    first = tables.quarantine_rows(four_hospitals.results)[0]
    assert first.head == "ambiguous-label"
    assert [cell.text for cell in first.cells] == [
        "More than one label names the imaging study",
        "at least 6",
        "bethesda <5 and hannover 6",
    ]


def test_cohort_totals_add_up(four_hospitals: Any) -> None:
    total, *sites = tables.cohort_rows(four_hospitals.results)
    for column, cell in enumerate(total.cells[:5]):
        parts = [int(row.cells[column].text.replace(",", "")) for row in sites]
        assert int(cell.text.replace(",", "")) == sum(parts)
    assert total.cells[-1].text == "97 / 120"


def test_phase_totals_add_up_and_unknown_phases_are_kept(four_hospitals: Any) -> None:
    results = four_hospitals.results
    odd = dataclasses.replace(results, phases={**results.phases, "tea": results.phases["share"]})
    rows = tables.phase_rows(odd)
    assert [row.head for row in rows][-2:] == ["tea", "Total"]
    received = sum(cost.bytes_received for cost in odd.phases.values())
    assert rows[-1].cells[1].text == words.format_bytes(received)


def test_who_contributed_is_counted_from_opened_training_rounds(four_hospitals: Any) -> None:
    parts = count_participation(four_hospitals.rounds, ["bethesda", "hannover"])
    assert (parts["bethesda"].contributed, parts["bethesda"].missed) == (40, 0)
    assert parts["hannover"].contributed + parts["hannover"].missed == 40
    assert parts["hannover"].missed > 0


def test_void_attempts_know_what_became_of_their_round(four_hospitals: Any) -> None:
    retried, stayed = list_void_attempts(four_hospitals.rounds)
    assert (retried.round, retried.attempt) == (5, 1)
    assert "completed at attempt 2" in retried.outcome
    assert "stayed void" in stayed.outcome
    assert stayed.lost == ("guangzhou_north", "guangzhou_south", "hannover")
    assert len(list_void_places(four_hospitals.rounds)) == 1


def test_leg_costs_add_every_attempt(four_hospitals: Any) -> None:
    lines = four_hospitals.rounds
    costs = leg_costs(lines)
    assert costs["masked"].bytes_received == sum(a["bytes"]["masked"]["received"] for a in lines)
    assert costs["share"].seconds == pytest.approx(0.04 * len(lines))
    assert mean_upload_bytes(lines) > 2_094_372
    assert mean_upload_bytes([]) == 0


def test_the_learning_curve_holds_opened_validations_only(four_hospitals: Any) -> None:
    lines = four_hospitals.rounds
    last = next(a for a in reversed(lines) if a.get("split") == "validation")
    more = [*lines, last | {"split": "test"}, last | {"status": "void", "metrics": None}]
    assert validation_curve(more) == validation_curve(lines)
    assert validation_curve(lines)[-1].round == 40


def test_writing_leaves_the_report_and_nothing_else(
    four_hospitals: Any, page: str, tmp_path: Path
) -> None:
    write_report(four_hospitals.results, four_hospitals.rounds, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_wilson_intervals_agree_with_published_ones(
    successes: int, count: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        wilson_interval(0, 0)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.00 kB"), (28_000_000, "28.0 MB"), (999_600, "1.00 MB"),
     (331_000_000, "331 MB"), (2_310_000_000, "2.31 GB")],
)  # fmt: skip
def test_bytes_are_printed_with_three_figures(number: int, text: str) -> None:
    assert words.format_bytes(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 s"), (9.99, "9.99 s"), (12.34, "12.3 s"), (59.97, "1 min 00 s"),
     (185, "3 min 05 s"), (3599.9, "1 h 00 min"), (7800, "2 h 10 min")],
)  # fmt: skip
def test_seconds_are_printed_for_people(seconds: float, text: str) -> None:
    assert words.format_seconds(seconds) == text
