"""The ClientApp: answers each leg of a round, and nothing that the approved study does not name.

Between the legs the attempt's secrets live in Flower's context, in memory; the quantised vector
waits in a file of the site's private workspace. A failure leaves as the name of its class only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from wardround_client import contribution
from wardround_client.site import Site
from wardround_client.storage import exclusive
from wardround_common.approval import countersign
from wardround_common.encoding import exactly, pack, unpack, unpack_table
from wardround_common.errors import PolicyError, ProtocolError, VerificationError, WardroundError
from wardround_common.layout import plan_sha256
from wardround_common.masking import Words
from wardround_common.messages import LEGS, Reply, Request, Ticket, Vectors, unpack_mask_request
from wardround_common.secagg import site as secure
from wardround_common.secagg.records import HASH_BYTES, Commitments
from wardround_common.secagg.session import Session
from wardround_common.secagg.terms import Advert, Terms
from wardround_common.update import Floats, Shapes, groups_sha256, model_sha256

_STATE = "wardround"

Answer = tuple[bytes, Vectors]


def build_client_app(open_site: Callable[[Context], Site]) -> ClientApp:
    """Makes the ClientApp of the site that ``open_site`` finds for a context."""
    app = ClientApp()
    register = {
        "train": app.train,
        "evaluate": app.evaluate,
        **{leg: _query(app, name) for leg, name in LEGS.items() if name.startswith("query.")},
    }
    for leg, decorate in register.items():
        decorate()(_handler(leg, open_site))
    return app


def _query(app: ClientApp, name: str) -> Callable[..., Callable[..., object]]:
    action = name.removeprefix("query.")
    return lambda: app.query(action)


def _handler(
    leg: str, open_site: Callable[[Context], Site]
) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        try:
            site = open_site(context)
        except Exception:  # its text would travel in Flower's error
            raise RuntimeError("this site cannot be opened; see its own log") from None
        reply = answer(site, leg, message=message, context=context)
        return Message(reply.to_record(), reply_to=message)

    return handle


def answer(site: Site, leg: str, *, message: Message, context: Context) -> Reply:
    """Answers one request; every failure becomes a signed reply with an error's name."""
    start, request, error = time.perf_counter(), Request(leg=leg, nonce=bytes(16)), ""
    try:
        request = Request.from_record(leg, message.content)
        site.study.require_valid_on(datetime.now(UTC).date())
        with exclusive(site.config.workspace / "lock"):
            body, arrays = _ANSWERS[leg](site, request, context)
        return Reply.signed(site.party.identity, site.name, request, body=body, arrays=arrays)
    except WardroundError as refusal:
        error = type(refusal).__name__
    except Exception:  # whatever its text says may name a patient or a path
        error = "InternalError"
    finally:
        seconds = round(time.perf_counter() - start, 6)
        fields: dict[str, object] = {"site": site.name, "leg": leg, "seconds": seconds}
        if error:
            (site.rounds_folder / "vector.npy").unlink(missing_ok=True)
            site.log.warning("leg failed", extra=fields | {"error": error})
        else:
            site.log.info("leg answered", extra=fields)
    return Reply.failed(site.party.identity, site.name, request, error=error)


def _hello(site: Site, request: Request, context: Context) -> Answer:
    study_sha256 = exactly(request.body, HASH_BYTES)
    if study_sha256 != site.study.sha256():
        raise PolicyError("hello: got another study than the one approved here")
    draft = contribution.blueprint(site.study)
    shapes = [Shapes.of(arrays).items for arrays in (draft.shared_parameters, draft.shared_buffers)]
    model = model_sha256({**draft.shared_parameters, **draft.shared_buffers})
    described = {"parameters": shapes[0], "buffers": shapes[1], "sha256": model.hex()}
    approval = countersign(site.party.identity, site.name, site.study)
    return pack(approval, json.dumps(described)), {}


def _initial(site: Site, request: Request, context: Context) -> Answer:
    draft = contribution.blueprint(site.study)
    return b"", {"parameters": draft.shared_parameters, "buffers": draft.shared_buffers}


def _train(site: Site, request: Request, context: Context) -> Answer:
    terms, groups = admitted(site, request, ("train",))
    session, advert = secure.advertise(site.party, terms)
    vector = contribution.train(
        site, terms.run, number=terms.round, first_step=terms.step, groups=groups
    )
    return _joined(site, context, session, advert=advert, vector=vector)


def _evaluate(site: Site, request: Request, context: Context) -> Answer:
    terms, groups = admitted(site, request, ("validation", "test"))
    session, advert = secure.advertise(site.party, terms)
    vector = contribution.evaluate(
        site, terms.run, split=terms.kind, step=terms.step, groups=groups
    )
    return _joined(site, context, session, advert=advert, vector=vector)


def _share(site: Site, request: Request, context: Context) -> Answer:
    adverts = [Advert.from_bytes(data) for data in unpack(request.body)]
    session, shared = secure.share(site.party, _session(context), adverts)
    _remember(context, session)
    return shared.to_bytes(), {}


def _masked(site: Site, request: Request, context: Context) -> Answer:
    tables, boxes = unpack_mask_request(request.body)
    session, masked = secure.mask(
        site.party,
        _session(context),
        tables=[Commitments.from_bytes(table) for table in tables],
        boxes=boxes,
        vector=_take_vector(site),
    )
    _remember(context, session)
    return pack(masked.digest, masked.signature), {"masked": {"words": masked.vector}}


def _consistency(site: Site, request: Request, context: Context) -> Answer:
    digests = unpack_table(request.body, value_bytes=HASH_BYTES)
    session, signature = secure.agree(site.party, _session(context), digests)
    _remember(context, session)
    return signature, {}


def _unmask(site: Site, request: Request, context: Context) -> Answer:
    session, shares = secure.reveal(site.party, _session(context), unpack_table(request.body))
    _remember(context, session)
    return shares.to_bytes(), {}


_ANSWERS: dict[str, Callable[[Site, Request, Context], Answer]] = {
    "hello": _hello,
    "initial": _initial,
    "train": _train,
    "evaluate": _evaluate,
    "share": _share,
    "masked": _masked,
    "consistency": _consistency,
    "unmask": _unmask,
}


def admitted(
    site: Site, request: Request, kinds: tuple[str, ...]
) -> tuple[Terms, dict[str, dict[str, Floats]]]:
    """Checks a ticket against the approved study before anything else is done.

    Raises:
        VerificationError: The coordinator did not sign it, or the model is another one.
        PolicyError: It asks for something else than the study says.
    """
    study, ticket = site.study, Ticket.from_bytes(request.body)
    ticket.verify(bytes.fromhex(study.coordinator_key.removeprefix("ed25519:")))
    terms = Terms.from_bytes(ticket.terms)
    plan = contribution.study_plan(study, kinds[0])
    asked = (terms.study_sha256, terms.layout_sha256, terms.vector_length)
    ours = (study.sha256(), plan_sha256(plan), plan.length)
    limits = (terms.maximum_sites, terms.minimum_opened)
    least = study.aggregation.least_opened
    if terms.kind not in kinds or asked != ours or limits != (plan.maximum_sites, least):
        raise PolicyError(f"ticket: got other terms for {kinds[0]} than the approved study's")
    if any(a.dtype != np.float32 for named in request.arrays.values() for a in named.values()):
        raise ProtocolError("model: got arrays that are not float32")
    groups: dict[str, dict[str, Floats]] = {
        group: {name: array.view(np.float32) for name, array in named.items()}
        for group, named in request.arrays.items()
    }
    if groups_sha256(groups) != terms.model_sha256:
        raise VerificationError("model: got another one than the signed ticket names")
    return terms, groups


def _joined(
    site: Site, context: Context, session: Session, *, advert: Advert, vector: Words
) -> Answer:
    site.rounds_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    np.save(site.rounds_folder / "vector.npy", vector)
    _remember(context, session)
    return advert.to_bytes(), {}


def _take_vector(site: Site) -> Words:
    path = site.rounds_folder / "vector.npy"
    if not path.exists():
        raise ProtocolError("vector: there is none waiting; the legs came out of order")
    vector: Words = np.load(path)
    path.unlink()
    return vector


def _remember(context: Context, session: Session) -> None:
    context.state[_STATE] = ConfigRecord({"session": session.to_bytes()})


def _session(context: Context) -> Session:
    record = context.state.config_records.get(_STATE)
    if record is None:
        raise ProtocolError("leg out of order: this site has joined no attempt")
    return Session.from_bytes(bytes(record["session"]))  # type: ignore[arg-type]
