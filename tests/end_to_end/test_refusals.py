"""What a site refuses, whoever asks: each refusal leaves as the name of an error, never as text."""

from __future__ import annotations

import dataclasses
import json
import secrets
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from tests.end_to_end.runs import Prepared, with_study

from wardround_client import contribution
from wardround_client.app import answer
from wardround_client.contribution import study_plan
from wardround_client.site import make_site
from wardround_common.errors import PolicyError
from wardround_common.identity import Identity
from wardround_common.layout import plan_sha256
from wardround_common.messages import LEGS, Reply, Request, Ticket, encode_arrays
from wardround_common.secagg.terms import Terms
from wardround_common.update import groups_sha256
from wardround_server.model_state import ModelState
from wardround_sim.virtual import open_virtual_site

Changes = dict[str, Any]


def _terms(prepared: Prepared, kind: str = "train", **changes: Any) -> Terms:
    study = prepared.federation.study
    plan = study_plan(study, kind)
    terms = Terms(
        study_sha256=study.sha256(),
        run=secrets.token_bytes(16),
        round=1,
        attempt=0,
        kind=kind,
        step=0,
        model_sha256=groups_sha256(_groups(prepared)),
        layout_sha256=plan_sha256(plan),
        vector_length=plan.length,
        maximum_sites=plan.maximum_sites,
        minimum_opened=study.aggregation.least_opened,
    )
    return dataclasses.replace(terms, **changes)


def _groups(prepared: Prepared) -> Any:
    study = prepared.federation.study
    draft = contribution.blueprint(study)
    return ModelState.initial(
        study.algorithm, parameters=draft.shared_parameters, buffers=draft.shared_buffers
    ).arrays()


def _ask(
    prepared: Prepared, leg: str, *, body: bytes, arrays: Any = None, context: Context | None = None
) -> Reply:
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    site = open_virtual_site(prepared.federation, "alder")
    request = Request(leg=leg, nonce=secrets.token_bytes(16), body=body)
    record = request.to_record(encode_arrays(arrays or {}))
    message = Message(record, dst_node_id=2, message_type=LEGS[leg])
    context = context or Context(1, 2, {}, RecordDict(), {})
    reply = answer(site, leg, message=message, context=context)
    reply.verify(site.party.identity.public_key, request)
    return reply


def _train(prepared: Prepared, terms: Terms, *, arrays: Any = None) -> Reply:
    ticket = Ticket.signed(prepared.coordinator, terms.to_bytes())
    groups = _groups(prepared) if arrays is None else arrays
    return _ask(prepared, "train", body=ticket.to_bytes(), arrays=groups)


def test_an_honest_ticket_is_answered_with_an_advert(prepared: Prepared) -> None:
    reply = _train(prepared, _terms(prepared))
    assert (reply.error, bool(reply.body)) == ("", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"study_sha256": b"x" * 32},
        {"layout_sha256": b"x" * 32},
        {"vector_length": 12},
        {"kind": "test"},
        {"maximum_sites": 3},
        {"minimum_opened": 1},
    ],
)
def test_terms_that_differ_from_the_approved_study_are_refused(
    prepared: Prepared, changes: Changes
) -> None:
    assert _train(prepared, _terms(prepared, **changes)).error == "PolicyError"


def test_a_ticket_the_coordinator_did_not_sign_is_refused(prepared: Prepared) -> None:
    ticket = Ticket.signed(Identity.generate(), _terms(prepared).to_bytes())
    reply = _ask(prepared, "train", body=ticket.to_bytes(), arrays=_groups(prepared))
    assert reply.error == "VerificationError"


def test_a_signed_ticket_with_another_step_is_refused(prepared: Prepared) -> None:
    ticket = Ticket.signed(prepared.coordinator, _terms(prepared).to_bytes())
    later = dataclasses.replace(_terms(prepared), step=2)
    altered = dataclasses.replace(ticket, terms=later.to_bytes())
    reply = _ask(prepared, "train", body=altered.to_bytes(), arrays=_groups(prepared))
    assert reply.error == "VerificationError"


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_steps_outside_the_study_are_refused(prepared: Prepared, step: int) -> None:
    assert _train(prepared, _terms(prepared, step=step)).error == "PolicyError"


def test_a_training_ticket_does_not_serve_for_evaluation(prepared: Prepared) -> None:
    ticket = Ticket.signed(prepared.coordinator, _terms(prepared).to_bytes())
    reply = _ask(prepared, "evaluate", body=ticket.to_bytes(), arrays=_groups(prepared))
    assert reply.error == "PolicyError"


def test_a_model_other_than_the_signed_one_is_refused(prepared: Prepared) -> None:
    groups = {name: dict(arrays) for name, arrays in _groups(prepared).items()}
    first = next(iter(groups["parameters"]))
    groups["parameters"][first] = groups["parameters"][first] + np.float32(1)
    reply = _train(prepared, _terms(prepared), arrays=groups)
    assert reply.error == "VerificationError"


def test_a_model_with_other_arrays_is_refused_although_it_is_signed(prepared: Prepared) -> None:
    groups = {"parameters": _groups(prepared)["parameters"]}
    terms = _terms(prepared, model_sha256=groups_sha256(groups))
    assert _train(prepared, terms, arrays=groups).error == "ProtocolError"


def test_a_model_that_is_not_finite_is_refused(prepared: Prepared) -> None:
    groups = {name: dict(arrays) for name, arrays in _groups(prepared).items()}
    first = next(iter(groups["parameters"]))
    groups["parameters"][first] = np.full_like(groups["parameters"][first], np.nan)
    terms = _terms(prepared, model_sha256=groups_sha256(groups))
    assert _train(prepared, terms, arrays=groups).error == "ProtocolError"


def test_the_same_ticket_is_not_answered_twice(prepared: Prepared) -> None:
    terms = _terms(prepared)
    assert _train(prepared, terms).error == ""
    assert _train(prepared, terms).error == "PolicyError"


@pytest.mark.parametrize("leg", ["share", "masked", "consistency", "unmask"])
def test_a_leg_out_of_order_is_refused(prepared: Prepared, leg: str) -> None:
    assert _ask(prepared, leg, body=b"").error == "ProtocolError"


@pytest.mark.parametrize("leg", list(LEGS))
def test_garbage_is_answered_with_an_error_name_and_nothing_else(
    prepared: Prepared, leg: str
) -> None:
    reply = _ask(prepared, leg, body=b"\x00\x00\x00\x05garbage")
    if leg != "initial":  # whose body is not read
        assert reply.error in ("ProtocolError", "PolicyError")
        assert (reply.body, dict(reply.arrays)) == (b"", {})


def test_an_expired_study_is_refused(prepared: Prepared) -> None:
    expired = with_study(prepared, expires="2020-01-01")
    changed = dataclasses.replace(prepared, federation=expired)
    assert _ask(changed, "hello", body=expired.study.sha256()).error == "PolicyError"


def test_a_failure_of_ours_leaves_without_its_text(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise KeyError("Phantom^Patient")

    monkeypatch.setattr(contribution, "train", fail)
    reply = _train(prepared, _terms(prepared))
    assert reply.error == "InternalError"
    log = open_virtual_site(prepared.federation, "alder").config.workspace / "logs" / "site.jsonl"
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["error"] == "InternalError"
    assert "Phantom" not in log.read_text()


def test_a_site_with_another_key_than_the_studys_does_not_start(prepared: Prepared) -> None:
    config = prepared.federation.sites[0]
    with pytest.raises(PolicyError, match="another key"):
        make_site(config, prepared.federation.study, Identity.generate())
