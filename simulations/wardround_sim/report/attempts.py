"""What ``rounds.jsonl`` says: void attempts, who took part, the learning curve, the cost.

Each line is one attempt at one exchange, training or evaluation, as the coordinator recorded it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardround_sim.results import PhaseCost, ValidationPoint

Attempt = Mapping[str, Any]
_KINDS = {"train": "training", "evaluate": "evaluation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidAttempt:
    """One attempt that opened no sum."""

    round: int
    """Number of the round; evaluations are numbered among them."""
    attempt: int
    """Which try at it, from 1."""
    kind: str
    """``training`` or ``evaluation``."""
    reason: str
    """Why, as recorded."""
    lost: tuple[str, ...]
    """Sites that dropped out of the attempt."""
    outcome: str
    """What became of the round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """One site's part in the training rounds that were opened."""

    contributed: int
    """Opened rounds whose sum holds its update."""
    missed: int
    """Opened rounds whose sum does not."""


def list_void_attempts(rounds: Sequence[Attempt]) -> list[VoidAttempt]:
    """The void attempts in the order recorded, each with what became of its round."""
    opened = {_round(a): a["attempt"] + 1 for a in rounds if a["status"] == "opened"}
    return [
        VoidAttempt(
            round=a["round"],
            attempt=a["attempt"] + 1,
            kind=_KINDS[a["kind"]],
            reason=a["reason"] or "no reason was recorded",
            lost=tuple(sorted(a["sites"]["dropped"])),
            outcome=_outcome(opened.get(_round(a))),
        )
        for a in rounds
        if a["status"] == "void"
    ]


def _outcome(opened_at: int | None) -> str:
    if opened_at is None:
        return "the round stayed void and left the model as it was"
    return f"the round was completed at attempt {opened_at}"


def _round(attempt: Attempt) -> tuple[str, int]:
    return attempt["kind"], attempt["round"]


def list_void_places(rounds: Sequence[Attempt]) -> list[int]:
    """How many rounds were complete when a training round stayed void, once each, ascending."""
    opened = {_round(a) for a in rounds if a["status"] == "opened"}
    voids = (a for a in rounds if a["kind"] == "train" and _round(a) not in opened)
    return sorted({a["completed"] for a in voids})


def count_participation(
    rounds: Sequence[Attempt], sites: Iterable[str]
) -> dict[str, Participation]:
    """How often each site's update is in an opened training sum, and how often it is not."""
    opened = [a for a in rounds if a["kind"] == "train" and a["status"] == "opened"]
    contributed = Counter(site for a in opened for site in a["sites"]["opened"])
    return {
        site: Participation(contributed=contributed[site], missed=len(opened) - contributed[site])
        for site in sites
    }


def mean_upload_bytes(rounds: Sequence[Attempt]) -> int:
    """Bytes one site sends in one opened training round, all legs, on average; 0 if unknown."""
    opened = [a for a in rounds if a["kind"] == "train" and a["status"] == "opened"]
    received = sum(leg["received"] for a in opened for leg in a["bytes"].values())
    return int(received) // max(1, sum(len(a["sites"]["opened"]) for a in opened))


def validation_curve(rounds: Sequence[Attempt]) -> tuple[ValidationPoint, ...]:
    """The learning curve from the opened evaluations on validation examples."""
    return tuple(
        ValidationPoint(
            round=a["completed"],
            loss=a["metrics"]["loss"],
            auc=a["metrics"]["auc"],
            sensitivity=a["metrics"]["sensitivity"],
            specificity=a["metrics"]["specificity"],
            calibration_error=a["metrics"]["ece"],
        )
        for a in rounds
        if a["status"] == "opened" and a.get("split") == "validation"
    )


def leg_costs(rounds: Sequence[Attempt]) -> dict[str, PhaseCost]:
    """Seconds and bytes of every attempt by leg, void ones included."""
    legs = dict.fromkeys(leg for a in rounds for leg in (*a["seconds"], *a["bytes"]))
    return {
        leg: PhaseCost(
            seconds=float(sum(a["seconds"].get(leg, 0.0) for a in rounds)),
            bytes_sent=sum(a["bytes"].get(leg, _NOTHING)["sent"] for a in rounds),
            bytes_received=sum(a["bytes"].get(leg, _NOTHING)["received"] for a in rounds),
        )
        for leg in legs
    }


_NOTHING = {"sent": 0, "received": 0}
