"""Runs as a simulation would report them, made from drawn scores instead of a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wardround_common import auc as auc_rule
from wardround_sim import results as r
from wardround_sim.report.attempts import leg_costs, validation_curve

LEGS = ("share", "masked", "consistency", "unmask")
SKILL = {"federated": 1.9, "local": 1.5, "pooled": 2.0, "fine_tuned": 2.05}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a report is made from."""

    results: r.Results
    rounds: list[dict[str, Any]]


@pytest.fixture(scope="session")
def four_hospitals() -> Run:
    """Four hospitals, one of them with one class; a retried attempt and a void round."""
    tests = {"bethesda": (34, 31), "guangzhou_north": (22, 44), "guangzhou_south": (41, 20)}
    return make_run(tests | {"hannover": (0, 25)}, arms=tuple(SKILL), rounds=40, voids=(9,))


@pytest.fixture(scope="session")
def fifty_hospitals() -> Run:
    """Fifty hospitals of very different size, three of them with one class."""
    rng = np.random.default_rng(50)
    tests = {
        f"hospital_{k:02}": (0, 7) if k % 17 == 0 else tuple(map(int, rng.integers(6, 60, 2)))
        for k in range(50)
    }
    return make_run(tests, arms=("federated", "local", "pooled"), rounds=100, voids=())


def make_run(
    tests: dict[str, tuple[int, ...]], *, arms: tuple[str, ...], rounds: int, voids: tuple[int, ...]
) -> Run:
    """A run in which each hospital tests on the given (negative, positive) images."""
    rng = np.random.default_rng(7)
    lines = list(draw_rounds(sorted(tests), rounds, voids, rng))
    scores = {arm: draw_scores(arm, tests, rng) for arm in arms}
    sites = tuple(make_site(name, tests[name], index) for index, name in enumerate(tests))
    return Run(
        rounds=lines,
        results=r.Results(
            scenario="chest_xray",
            study=make_study(rounds),
            seed=1,
            engine="inprocess",
            workers=2,
            machine=r.Machine(
                processor="x86-64",
                cores=2,
                versions={"wardround": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
            ),
            finished="2026-03-02 14:05",
            status="complete",
            rounds=r.RoundCounts(planned=rounds, completed=rounds, void=len(voids)),
            model_sha256="9f2c" * 16,
            parameters=174_530,
            protection=r.Protection(
                minimum_opened=3,
                threshold=2 * len(tests) // 3 + 1,
                drop_outs_tolerated=len(tests) - 2 * len(tests) // 3 - 1,
                clip_norm=10.0,
                weighting="cases",
                vector_bytes=2_094_372,
                minimum_count=5,
            ),
            clipped_updates=3,
            sites=sites,
            auc={arm: {s: make_auc(*v) for s, v in scores[arm].items()} for arm in arms},
            roc={arm: {s: make_roc(*v) for s, v in scores[arm].items()} for arm in arms},
            interval_method="DeLong, logit scale",
            calibration=make_calibration(*scores["federated"]["all"]),
            validation=validation_curve(lines),
            phases={
                "prepare": r.PhaseCost(seconds=11.84, bytes_sent=0, bytes_received=0),
                "baselines": r.PhaseCost(seconds=71.2, bytes_sent=0, bytes_received=0),
                **leg_costs(lines),
            },
            wall_s=451.0,
            peak_memory_bytes=2_310_000_000,
        ),
    )


def make_study(rounds: int) -> r.StudySummary:
    return r.StudySummary(
        name="pneumonia_chest_xray",
        purpose="Can hospitals for children and for adults train one model that finds pneumonia "
        "on chest radiographs, without sharing them?",
        sha256="51ab" * 16,
        classes=("normal", "pneumonia"),
        parameters={
            "cohort": {"modalities": ["CR", "DX"], "views": []},
            "algorithm": {"name": "fedadamw", "rounds": rounds, "keep_local": "none"},
        },
    )


def make_site(name: str, test: tuple[int, ...], index: int) -> r.SiteResults:
    negative, positive = test
    usable = 5 * (negative + positive)
    counts = r.ArchiveCounts(
        found=usable + 20,
        indexed=usable + 17,
        cohort=usable + 12,
        labelled=usable + 8,
        used=usable,
        usable=usable,
    )
    split = [r.ClassCounts(negative=k * negative, positive=k * positive) for k in (3, 1, 1)]
    quarantine = {
        "no-decoder": r.QuarantineCount(count=2, explanation="Compressed in a way we do not read"),
        "ambiguous-label": r.QuarantineCount(
            count=6 if index else "<5", explanation="More than one label names the imaging study"
        ),
    }
    return r.SiteResults(
        site=name,
        archive=counts,
        train=split[0],
        validation=split[1],
        test=split[2],
        quarantine=quarantine if index % 3 == 0 else {},
        sex={"F": usable // 2, "M": usable - usable // 2 - 3, "not stated": "<5"},
        age={"18-39": usable // 4, "40-64": usable // 3, "65+": usable // 4},
        manufacturer={"Northlight": usable - 10, "Aster": 10},
        seconds={"prepare": 2.4 + index, "train": 48.2, "masked": 1.3, "evaluate": 3.9},
    )


def draw_scores(
    arm: str, tests: dict[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Probabilities and labels by scope."""
    found = {}
    for index, (site, (negative, positive)) in enumerate(tests.items()):
        labels = np.repeat([0, 1], [negative, positive])
        skill = SKILL[arm] + (0.9 if arm == "local" and index == 0 else 0.0)
        logits = rng.normal(skill * (2 * labels - 1) / 1.6, 1.6)
        found[site] = (1 / (1 + np.exp(-logits)), labels)
    scores, labels = (np.concatenate(parts) for parts in zip(*found.values(), strict=True))
    return {"all": (scores, labels), **found}


def make_auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> r.Auc | None:
    found = auc_rule.auc(scores, labels)
    if found is None:
        return None
    return r.Auc(
        auc=found.value,
        low=found.low,
        high=found.high,
        positives=found.positives,
        negatives=found.negatives,
    )


def make_roc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> r.RocCurve | None:
    if len(set(labels.tolist())) == 1:
        return None
    ordered = labels[np.argsort(-scores)]
    rates = [np.concatenate([[0.0], np.cumsum(ordered == k) / np.sum(labels == k)]) for k in (0, 1)]
    return r.thin_roc(*rates)


def make_calibration(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> r.Calibration:
    places = np.minimum((scores * 10).astype(int), 9)
    bins = tuple(
        r.ReliabilityBin(
            count=int(np.sum(places == k)),
            predicted=float(scores[places == k].mean()),
            observed=float(labels[places == k].mean()),
        )
        for k in sorted(set(places.tolist()))
    )
    gap = sum(b.count * abs(b.predicted - b.observed) for b in bins) / labels.size
    return r.Calibration(bins=bins, expected_calibration_error=gap)


def draw_rounds(
    sites: list[str], rounds: int, voids: tuple[int, ...], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Lines of rounds.jsonl as the coordinator writes them."""
    number, completed = 0, 0
    while completed < rounds:
        number += 1
        lost = sites[-1:] if number % 12 == 3 else []
        if number in voids:
            lost = sites[1:]
            yield make_line("train", number, completed, sites, lost=lost, status="void")
            continue
        if number == 5:
            yield make_line("train", number, completed, sites, lost=sites[:2], status="void")
        completed += 1
        retry = int(number == 5)
        yield make_line("train", number, completed, sites, lost=lost, attempt=retry)
        if completed % max(1, rounds // 12) == 0 or completed == rounds:
            number += 1
            gain = 1 - np.exp(-4 * completed / rounds)
            line = make_line("evaluate", number, completed, sites, lost=[])
            noise = float(rng.normal(0, 0.01))
            yield line | {
                "split": "validation",
                "metrics": {
                    "loss": 0.69 - 0.4 * gain + noise,
                    "auc": 0.5 + 0.41 * gain - noise,
                    "sensitivity": 0.4 + 0.45 * gain + 2 * noise,
                    "specificity": 0.9 - 0.05 * gain - 2 * noise,
                    "ece": 0.05,
                },
            }


def make_line(
    kind: str,
    number: int,
    completed: int,
    sites: list[str],
    *,
    lost: list[str],
    status: str = "opened",
    attempt: int = 0,
) -> dict[str, Any]:
    kept = [site for site in sites if site not in lost]
    vector = 2_094_372 if kind == "train" else 4_096
    legs = {kind: (vector * len(sites), 210 * len(sites)), "masked": (900, vector * len(kept))}
    return {
        "round": number,
        "attempt": attempt,
        "kind": kind,
        "completed": completed,
        "status": status,
        "reason": f"quorum: got {len(kept)} sites, expected at least 3" if status == "void" else "",
        "sites": {
            "roster": sites,
            "opened": [] if status == "void" else kept,
            "dropped": dict.fromkeys(lost, "masked: late"),
        },
        "seconds": {kind: 6.1, **dict.fromkeys(LEGS, 0.04)},
        "bytes": {
            leg: dict(zip(("sent", "received"), legs.get(leg, (800, 640)), strict=True))
            for leg in (kind, *LEGS)
        },
        "metrics": None,
    }
