"""Puts together what a run came to: counts, scores, costs, as `results.Results`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wardround_client.cohort_report import CohortReport
from wardround_client.examples import open_examples
from wardround_client.quarantine import Reason
from wardround_common.auc import auc as exact_auc
from wardround_common.layout import training_plan
from wardround_common.plan import Task
from wardround_common.secagg.terms import threshold
from wardround_common.study import Study
from wardround_server.model_state import ModelState
from wardround_sim import results as r
from wardround_sim.assessment import Scores, SiteScores
from wardround_sim.report.words import WORK_LABELS
from wardround_sim.virtual import VirtualFederation

_RELIABILITY_BINS = 10
_AGES = ((0, 17), (18, 39), (40, 59), (60, 79), (80, 200))
_LIBRARIES = ("torch", "monai", "flwr", "pydicom", "cryptography", "numpy")

Lines = list[dict[str, Any]]


def summarise_study(study: Study) -> r.StudySummary:
    """The study as the report shows it."""
    document = dataclasses.asdict(study)
    left_out = ("members", "name", "purpose", "coordinator_key")
    return r.StudySummary(
        name=study.name,
        purpose=study.purpose,
        sha256=study.sha256().hex(),
        classes=study.task.classes,
        parameters={key: value for key, value in document.items() if key not in left_out},
    )


def describe_machine() -> r.Machine:
    """Processor, cores and versions."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return r.Machine(
        processor=_processor(),
        cores=cores,
        versions={"python": platform.python_version(), **versions},
    )


def describe_protection(study: Study, state: ModelState) -> r.Protection:
    """The terms of the secure sum."""
    n = len(study.members)
    plan = training_plan(study, state.parameter_shapes, state.buffer_shapes)
    return r.Protection(
        minimum_opened=study.aggregation.least_opened,
        threshold=threshold(n),
        drop_outs_tolerated=n - max(threshold(n), study.aggregation.least_opened),
        clip_norm=study.aggregation.clip_norm,
        weighting=study.aggregation.weighting,
        vector_bytes=4 * plan.length,
        minimum_count=study.privacy.minimum_count,
    )


def describe_site(
    federation: VirtualFederation, site: str, *, report: CohortReport, seconds: float
) -> r.SiteResults:
    """One hospital's counts; small ones are suppressed as the study says."""
    config = next(config for config in federation.sites if config.site == site)
    study = federation.study
    examples, least = open_examples(config, study), study.privacy.minimum_count
    log = read_lines(config.workspace / "logs" / "site.jsonl")
    return r.SiteResults(
        site=site,
        archive=r.ArchiveCounts(
            found=report.found,
            indexed=report.indexed,
            cohort=report.cohort,
            labelled=report.labelled,
            used=report.used,
            usable=report.usable,
        ),
        train=_class_counts(report, "train", study.task),
        validation=_class_counts(report, "validation", study.task),
        test=_class_counts(report, "test", study.task),
        quarantine={
            code: r.QuarantineCount(count=count, explanation=Reason(code).explanation)
            for code, count in sorted(report.refused.items())
        },
        sex=_suppressed(Counter(sex or "not stated" for sex in examples.sex), least),
        age=_suppressed(Counter(_age_group(age) for age in examples.age.tolist()), least),
        manufacturer=_suppressed(Counter(m or "not stated" for m in examples.manufacturer), least),
        seconds={"prepare": seconds, **_leg_seconds(log)},
    )


def site_round_overhead_s(lines: Lines, sites: tuple[r.SiteResults, ...], *, workers: int) -> float:
    """Seconds a training round takes beyond training, for each site; 0 if none was opened."""
    walls = [sum(a["seconds"].values()) for a in lines if a["kind"] == "train"]
    training = sum(site.seconds.get("training", 0.0) for site in sites) / max(1, workers)
    beyond = float(sum(walls)) - training
    return round(beyond / max(1, len(walls) * len(sites)), 6)


def list_warnings(study: Study) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    kept = {"normalisation": "normalisation", "head": "last layer"}
    if study.algorithm.keep_local == "none":
        return ()
    part = kept[study.algorithm.keep_local]
    return (
        f"Each hospital reads with its own {part}, which never leaves it; the rest is shared. "
        "The rows over several hospitals therefore join scores of models that differ in it.",
    )


def auc_tables(
    scores: Mapping[str, SiteScores],
) -> tuple[dict[str, dict[str, r.Auc | None]], dict[str, dict[str, r.RocCurve | None]]]:
    """AUC and ROC by arm and scope."""
    aucs: dict[str, dict[str, r.Auc | None]] = defaultdict(dict)
    rocs: dict[str, dict[str, r.RocCurve | None]] = defaultdict(dict)
    for site, found in scores.items():
        own = {
            "federated": found.federated,
            "local": found.local.get(site),
            "pooled": found.pooled,
            "fine_tuned": found.fine_tuned,
        }
        for arm, values in own.items():
            if values is not None:
                aucs[arm][site] = _auc(values, found.labels)
                rocs[arm][site] = _roc(values, found.labels)
    both = {s: found for s, found in scores.items() if len(set(found.labels.tolist())) > 1}
    scopes = {r.ALL: scores} | ({r.TWO_CLASS: both} if both and len(both) < len(scores) else {})
    for scope, chosen in scopes.items():
        labels = np.concatenate([found.labels for found in chosen.values()])
        for arm in ("federated", "pooled"):
            if arm in aucs:
                values = np.concatenate([getattr(found, arm) for found in chosen.values()])
                aucs[arm][scope], rocs[arm][scope] = _auc(values, labels), _roc(values, labels)
        if "local" in aucs:
            aucs["local"][scope] = _mean_local_auc(chosen, owners=tuple(both))
    return dict(aucs), dict(rocs)


def calibrate(scores: Mapping[str, SiteScores]) -> r.Calibration | None:
    """Reliability of the federated model over all test examples; None without any."""
    values = np.concatenate([found.federated for found in scores.values()])
    labels = np.concatenate([found.labels for found in scores.values()])
    if labels.size == 0:
        return None
    place = np.minimum((values * _RELIABILITY_BINS).astype(np.int64), _RELIABILITY_BINS - 1)
    bins, error = [], 0.0
    for k in np.unique(place):
        chosen = place == k
        count = int(chosen.sum())
        predicted, observed = float(values[chosen].mean()), float(labels[chosen].mean())
        error += count / labels.size * abs(predicted - observed)
        bins.append(r.ReliabilityBin(count=count, predicted=predicted, observed=observed))
    return r.Calibration(bins=tuple(bins), expected_calibration_error=error)


def _mean_local_auc(scores: Mapping[str, SiteScores], *, owners: tuple[str, ...]) -> r.Auc | None:
    """Mean over the owners' models of their AUC on all test examples of ``scores``."""
    labels = np.concatenate([found.labels for found in scores.values()])
    found_aucs = [
        _auc(np.concatenate([found.local[owner] for found in scores.values()]), labels)
        for owner in owners
    ]
    known = [value for value in found_aucs if value is not None]
    if not known:
        return None
    return r.Auc(
        auc=float(np.mean([value.auc for value in known])),
        low=float(np.mean([value.low for value in known])),
        high=float(np.mean([value.high for value in known])),
        positives=known[0].positives,
        negatives=known[0].negatives,
    )


def _auc(scores: Scores, labels: np.typing.NDArray[np.int64]) -> r.Auc | None:
    found = exact_auc(scores, labels)
    if found is None:
        return None
    positives = int((labels == 1).sum())
    return r.Auc(
        auc=found.value,
        low=found.low,
        high=found.high,
        positives=positives,
        negatives=labels.size - positives,
    )


def _roc(scores: Scores, labels: np.typing.NDArray[np.int64]) -> r.RocCurve | None:
    positives = int((labels == 1).sum())
    if positives in (0, labels.size):
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), labels.size - 1)
    hits = np.cumsum(labels[order])[last]
    tpr = np.concatenate([[0.0], hits / positives])
    fpr = np.concatenate([[0.0], (last + 1 - hits) / (labels.size - positives)])
    return r.thin_roc(fpr, tpr)


def _class_counts(report: CohortReport, split: str, task: Task) -> r.ClassCounts:
    counts = report.splits.get(split, {})
    negative, positive = task.classes
    return r.ClassCounts(negative=counts.get(negative, 0), positive=counts.get(positive, 0))


def _suppressed(counts: Counter[str], least: int) -> dict[str, r.Count]:
    return {
        name: count if count >= least else f"<{least}" for name, count in sorted(counts.items())
    }


def _age_group(age: float) -> str:
    for low, high in _AGES:
        if low <= age < high + 1:
            return f"{low}-{high}" if high < _AGES[-1][1] else f"{low} and over"
    return "not stated"


def _leg_seconds(lines: Lines) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for line in lines:
        if line["event"] == "trained":
            seconds["training"] += line["seconds"]
        elif line.get("leg") in WORK_LABELS:
            seconds[line["leg"]] += line["seconds"]
    return {name: round(seconds[name], 6) for name in WORK_LABELS if name in seconds}


def read_lines(path: Path) -> Lines:
    """Lines of a JSON Lines file; none if it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
