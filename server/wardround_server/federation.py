"""One run of a study: finds the sites, makes the rounds, keeps model and record.

The coordinator needs no deep-learning library: it gets names, shapes and the hash of the initial
model from every site, the arrays from one of them, and from then on adds integers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wardround_common import metrics
from wardround_common.approval import verify_countersignature
from wardround_common.encoding import unpack
from wardround_common.errors import ProtocolError, RoundError
from wardround_common.identity import Identity
from wardround_common.layout import (
    LOSS_UNIT,
    evaluation_plan,
    metric_layout,
    plan_sha256,
    training_plan,
)
from wardround_common.logs import open_log
from wardround_common.messages import Reply, Ticket
from wardround_common.quantise import OpenedSum, VectorPlan, decode
from wardround_common.secagg.terms import Terms
from wardround_common.study import Study
from wardround_common.update import Floats, Shapes, groups_sha256, model_sha256
from wardround_server.exchange import Attempt, open_sum
from wardround_server.journal import Journal
from wardround_server.model_state import ModelState, after_round
from wardround_server.peers import Ask, LegTally, Peers

_GREETING_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a coordinator needs besides the study."""

    study: Study
    identity: Identity
    """The key whose public half stands in the study."""
    run: bytes
    """Identity of the run, 16 bytes; sites remember by it what they opened."""
    folder: Path
    """Where rounds.jsonl, checkpoint and model go."""
    hello_deadline_s: float = 120.0
    """How long to wait for sites at the start."""
    on_event: Callable[[str, str, str], None] = field(default=lambda _leg, _site, _what: None)
    """Told of every leg, site and outcome; and of rounds, with the site empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended."""

    state: ModelState
    completed: int
    """Training rounds opened."""
    void: int
    """Training rounds that stayed void."""
    problem: str
    """Why the run ended short; empty if it is complete."""


def run_federation(peers: Peers, settings: RunSettings) -> RunOutcome:
    """Runs a study to its last round, or until too many rounds in a row are void.

    Raises:
        RoundError: Too few sites answer at the start, or they disagree about the model.
    """
    return _Run(peers, settings).complete()


class _Run:
    def __init__(self, peers: Peers, settings: RunSettings) -> None:
        self._peers, self._settings, self._study = peers, settings, settings.study
        self._journal = Journal(settings.folder)
        self._log = open_log("coordinator", settings.folder / "logs" / "coordinator.jsonl")
        self._number = 0
        self._approvals: dict[str, str] = {}

    def complete(self) -> RunOutcome:
        state, void, void_in_row = self._begin(), 0, 0
        rounds, every = self._study.algorithm.rounds, self._study.algorithm.evaluate_every
        problem = ""
        while state.completed < rounds:
            following = self._train_round(state)
            if following is None:
                void, void_in_row = void + 1, void_in_row + 1
                if void_in_row == self._study.aggregation.void_rounds:
                    problem = f"{void_in_row} rounds in a row were void; see rounds.jsonl"
                    break
                continue
            state, void_in_row = following, 0
            self._checkpoint(state)
            if state.completed % every == 0 or state.completed == rounds:
                self._evaluate(state, "validation")
        if not problem and not self._evaluate(state, "test"):
            problem = "the final evaluation was void; see rounds.jsonl"
        self._journal.finish(state, study_sha256=self._study.sha256())
        return RunOutcome(state=state, completed=state.completed, void=void, problem=problem)

    def _begin(self) -> ModelState:
        greetings = self._greet(deadline_s=self._settings.hello_deadline_s)
        least = self._study.aggregation.least_opened
        if len(greetings) < least:
            missing = sorted(set(self._study.sites) - set(greetings))
            got = f"got {len(greetings)} sites, expected at least {least}"
            raise RoundError(f"hello: {got}; silent or refusing: {', '.join(missing)}")
        parameters, buffers, sha256 = _common_description(greetings)
        for site in sorted(greetings):
            model = self._initial_model(site, parameters=parameters, buffers=buffers, sha256=sha256)
            if model is not None:
                return model
        raise RoundError("initial model: no site sent the one that all sites named")

    def _greet(self, *, deadline_s: float) -> dict[str, bytes]:
        """Finds members that are not known yet, by name, with their description of the model.

        A member stays only with its countersignature under this very study; they are written down.
        """
        found = {}
        replies = self._peers.discover(self._study.sha256(), deadline_s=deadline_s)
        for site, reply in replies.items():
            try:
                approval, found[site] = unpack(reply.body, count=2)
                verify_countersignature(self._study, site, approval)
                self._approvals[site] = approval.hex()
            except ProtocolError:
                found.pop(site, None)
                self._peers.forget(site)
        if found:
            self._journal.approve(self._study, self._approvals)
        return found

    def _initial_model(
        self, site: str, *, parameters: Shapes, buffers: Shapes, sha256: str
    ) -> ModelState | None:
        deadline_s = self._study.aggregation.leg_deadline_s
        asked = self._peers.ask("initial", {site: Ask()}, deadline_s=deadline_s, tally=LegTally())
        for reply in asked:
            values, running = _floats(reply, "parameters"), _floats(reply, "buffers")
            fits = (Shapes.of(values), Shapes.of(running)) == (parameters, buffers)
            if fits and model_sha256({**values, **running}).hex() == sha256:
                algorithm = self._study.algorithm
                return ModelState.initial(algorithm, parameters=values, buffers=running)
        return None

    def _train_round(self, state: ModelState) -> ModelState | None:
        """The next model, or None if the round stayed void."""
        self._number += 1
        study = self._study
        if len(self._peers.sites) < len(study.members):
            self._greet(deadline_s=_GREETING_S)
        plan = training_plan(study, state.parameter_shapes, state.buffer_shapes)
        self._settings.on_event("round", "", f"{state.completed + 1}/{study.algorithm.rounds}")
        for number in range(study.aggregation.attempts):
            attempt = self._attempt(state, plan, kind="train", number=number)
            try:
                opened = self._open(state, attempt, plan=plan)
                self._require_cases(opened)
                resolution = study.aggregation.buffer_limit / (plan.q_max * opened.weight)
                following = after_round(study.algorithm, state, opened, resolution=resolution)
            except (RoundError, ProtocolError) as error:
                self._record(attempt, state, reason=str(error))
                if attempt.signing_began:
                    return None
                continue
            self._record(attempt, following, opened=opened, update_norm=_norm(following, state))
            return following
        return None

    def _evaluate(self, state: ModelState, split: str) -> bool:
        """Opens the metrics of ``state`` on one split; False if the round stayed void."""
        self._number += 1
        plan = evaluation_plan(self._study)
        self._settings.on_event("evaluation", "", split)
        for number in range(self._study.aggregation.attempts):
            attempt = self._attempt(state, plan, kind=split, number=number)
            try:
                opened = self._open(state, attempt, plan=plan)
                found = metrics.decode(metric_layout(self._study), opened.counts)
            except (RoundError, ProtocolError) as error:
                self._record(attempt, state, reason=str(error), split=split)
                if attempt.signing_began:
                    return False
                continue
            self._record(attempt, state, opened=opened, metrics=asdict(found), split=split)
            return True
        return False

    def _attempt(self, state: ModelState, plan: VectorPlan, *, kind: str, number: int) -> Attempt:
        terms = Terms(
            study_sha256=self._study.sha256(),
            run=self._settings.run,
            round=self._number,
            attempt=number,
            kind=kind,
            step=state.completed * self._study.training.local_steps,
            model_sha256=groups_sha256(state.arrays()),
            layout_sha256=plan_sha256(plan),
            vector_length=plan.length,
            maximum_sites=plan.maximum_sites,
            minimum_opened=self._study.aggregation.least_opened,
        )
        return Attempt(terms=terms)

    def _open(self, state: ModelState, attempt: Attempt, *, plan: VectorPlan) -> OpenedSum:
        terms = attempt.terms.to_bytes()
        ticket = Ticket.signed(self._settings.identity, terms)
        rules = self._study.aggregation
        words = open_sum(self._peers, attempt, ticket=ticket, arrays=state.arrays(), rules=rules)
        return decode(plan, words, sites=len(attempt.opened_by))

    def _require_cases(self, opened: OpenedSum) -> None:
        rules = self._study.aggregation
        cases = opened.weight * rules.case_cap
        if cases < rules.minimum_cases:
            got, least = round(cases), rules.minimum_cases
            raise RoundError(f"quorum: got {got} (capped) cases, expected at least {least}")

    def _record(
        self,
        attempt: Attempt,
        state: ModelState,
        *,
        opened: OpenedSum | None = None,
        reason: str = "",
        **more: Any,
    ) -> None:
        terms, tallies = attempt.terms, attempt.tallies
        absent = sorted(set(self._study.sites) - set(self._peers.sites))
        line: dict[str, Any] = {
            "round": terms.round,
            "attempt": terms.attempt,
            "kind": attempt.leg,
            "completed": state.completed,
            "status": "void" if opened is None else "opened",
            "reason": reason,
            "sites": {
                "roster": list(attempt.roster),
                "opened": list(attempt.opened_by),
                "dropped": dict.fromkeys(absent, "hello: silent") | attempt.lost,
            },
            "seconds": {leg: round(tally.seconds, 6) for leg, tally in tallies.items()},
            "bytes": {
                leg: {"sent": tally.sent_bytes, "received": tally.received_bytes}
                for leg, tally in tallies.items()
            },
            "weight": None if opened is None else opened.weight,
            "metrics": None,
            "model_sha256": model_sha256(state.model()).hex(),
        }
        if opened is not None and attempt.leg == "train":
            clipped, loss = opened.counts.tolist()
            line["clipped"] = clipped
            line["training_loss"] = loss * LOSS_UNIT / len(attempt.opened_by)
        self._journal.record(line | more)
        self._settings.on_event(attempt.leg, "", line["status"])
        fields = {"round": terms.round, "attempt": terms.attempt, "leg": attempt.leg}
        if reason:
            self._log.warning("attempt void", extra=fields | {"reason": reason})
        else:
            self._log.info("sum opened", extra=fields)

    def _checkpoint(self, state: ModelState) -> None:
        self._journal.checkpoint(
            state,
            study_sha256=self._study.sha256(),
            run=self._settings.run,
            round_=self._number,
        )


def _common_description(greetings: dict[str, bytes]) -> tuple[Shapes, Shapes, str]:
    """Shapes and hash of the initial model, the same from every site.

    Raises:
        RoundError: Sites disagree; one of them runs another version.
        ProtocolError: A description cannot be read.
    """
    found = set(greetings.values())
    if len(found) != 1:
        raise RoundError("hello: sites built different initial models; compare their versions")
    try:
        described = json.loads(found.pop())
        shapes = [
            Shapes(tuple((str(name), tuple(int(n) for n in shape)) for name, shape in described[k]))
            for k in ("parameters", "buffers")
        ]
        return shapes[0], shapes[1], str(described["sha256"])
    except (ValueError, KeyError, TypeError):
        raise ProtocolError("hello: got a description of the model that cannot be read") from None


def _floats(reply: Reply, group: str) -> dict[str, Floats]:
    named = reply.arrays.get(group, {})
    return {name: a.view(np.float32) for name, a in named.items() if a.dtype == np.float32}


def _norm(following: ModelState, state: ModelState) -> float:
    change = following.parameters.astype(np.float64) - state.parameters
    return float(np.sqrt(np.dot(change, change)))
