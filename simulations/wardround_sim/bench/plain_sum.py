"""The same apps with a plain sum instead of the secure one: a yardstick, for benchmarks only.

Sites send their quantised vectors as they are and the coordinator adds them. Nothing outside the
benchmarks can reach this: a real coordinator and a real site have no such mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from wardround_client import app as site_app
from wardround_client import contribution
from wardround_common.masking import Words
from wardround_common.messages import Reply, Request, Ticket, Vectors
from wardround_common.plan import Aggregation
from wardround_server.exchange import Attempt
from wardround_server.peers import Ask, LegTally, Peers
from wardround_sim.engine.nodes import make_client_app
from wardround_sim.virtual import VirtualFederation, open_virtual_site


def make_plain_app(federation: VirtualFederation) -> ClientApp:
    """The product's ClientApp, but training and evaluation send their vectors at once."""
    real, app = make_client_app(federation), ClientApp()
    for action in ("hello", "initial"):
        app.query(action)(real)
    app.train()(partial(_answer, federation, "train"))
    app.evaluate()(partial(_answer, federation, "evaluate"))
    return app


@contextmanager
def plain_coordinator() -> Iterator[None]:
    """Inside, federations of this process add plain vectors."""
    with patch("wardround_server.federation.open_sum", open_plain_sum):
        yield


def open_plain_sum(
    peers: Peers, attempt: Attempt, *, ticket: Ticket, arrays: Vectors, rules: Aggregation
) -> Words:
    """Stands in for `wardround_server.exchange.open_sum`: one leg, and an addition."""
    total = np.zeros(attempt.terms.vector_length, np.uint32)
    first, tally = Ask(body=ticket.to_bytes(), arrays=arrays), LegTally()
    attempt.tallies[attempt.leg] = tally
    opened_by = []
    asked = peers.ask(
        attempt.leg,
        dict.fromkeys(peers.sites, first),
        deadline_s=rules.train_deadline_s,
        tally=tally,
    )
    for reply in asked:
        total += reply.arrays["plain"]["words"].view(np.uint32)
        opened_by.append(reply.site)
    attempt.roster = attempt.opened_by = tuple(sorted(opened_by))
    return total


def _answer(federation: VirtualFederation, leg: str, message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    site = open_virtual_site(federation, federation.sites[partition].site)
    request = Request.from_record(leg, message.content)
    kinds = ("train",) if leg == "train" else ("validation", "test")
    terms, groups = site_app.admitted(site, request, kinds)
    if leg == "train":
        vector = contribution.train(
            site, terms.run, number=terms.round, first_step=terms.step, groups=groups
        )
    else:
        vector = contribution.evaluate(
            site, terms.run, split=terms.kind, step=terms.step, groups=groups
        )
    arrays = {"plain": {"words": vector}}
    reply = Reply.signed(site.party.identity, site.name, request, body=b"", arrays=arrays)
    return Message(reply.to_record(), reply_to=message)
