"""Asks named sites over Flower's Grid and hands over verified replies as they arrive.

A node becomes a site only by a reply signed with the site's pinned key, so any grid will do. A
site that fails, forges or stays silent is reported with the reason; nobody is waited for beyond
the deadline.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from wardround_common.errors import ProtocolError
from wardround_common.messages import (
    LEGS,
    NONCE_BYTES,
    EncodedArrays,
    Reply,
    Request,
    Vectors,
    encode_arrays,
    record_bytes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one site is asked in a leg."""

    body: bytes = b""
    arrays: Vectors = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class LegTally:
    """What a leg cost, and whom it lost."""

    seconds: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    """Reason by site: an error's name, ``late``, ``unreachable``."""


class Peers:
    """The sites of a study behind a Flower grid."""

    def __init__(
        self,
        grid: Grid,
        members: Mapping[str, bytes],
        *,
        poll_s: float = 0.3,
        on_event: Callable[[str, str, str], None],
    ) -> None:
        self._grid, self.members, self._poll_s = grid, members, poll_s
        self._nodes: dict[str, int] = {}
        self._on_event = on_event

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites that have answered `discover`, sorted."""
        return tuple(sorted(self._nodes))

    def discover(self, body: bytes, *, deadline_s: float) -> dict[str, Reply]:
        """Greets nodes that are not known yet until every member is, or the deadline passes.

        Returns:
            The replies of the sites that were found now.

        Raises:
            ProtocolError: Two nodes answer for one site.
        """
        greeted = set(self._nodes.values())
        replies: dict[str, Reply] = {}
        pending: dict[str, tuple[Request, int]] = {}
        end = time.monotonic() + deadline_s
        while len(self._nodes) < len(self.members) and time.monotonic() < end:
            new = [node for node in self._grid.get_node_ids() if node not in greeted]
            greeted.update(new)
            pending |= self._push("hello", {node: Ask(body=body) for node in new}, deadline_s)
            for message, request, node in self._pull(pending):
                reply = self._read(message, request, site=None)
                if not isinstance(reply, Reply):
                    continue
                if reply.site in self._nodes:
                    raise ProtocolError(f"hello: two nodes answer for site {reply.site}")
                self._nodes[reply.site], replies[reply.site] = node, reply
                self._on_event("hello", reply.site, "done")
        return replies

    def forget(self, site: str) -> None:
        """Treats ``site`` as silent until it is found again."""
        self._nodes.pop(site, None)

    def ask(
        self, leg: str, asks: Mapping[str, Ask], *, deadline_s: float, tally: LegTally
    ) -> Iterator[Reply]:
        """Sends each site its request and yields verified replies until all came or time is up."""
        start = time.monotonic()
        by_node = {self._nodes[site]: ask for site, ask in asks.items() if site in self._nodes}
        tally.lost |= {site: "unreachable" for site in asks if site not in self._nodes}
        names = {node: site for site, node in self._nodes.items()}
        pending = self._push(leg, by_node, deadline_s, tally)
        for node in by_node:
            self._on_event(leg, names[node], "asked")
        while pending and time.monotonic() - start < deadline_s:
            for message, request, node in self._pull(pending):
                if message.has_content():
                    tally.received_bytes += record_bytes(message.content)
                reply = self._read(message, request, site=names[node])
                if isinstance(reply, Reply):
                    self._on_event(leg, names[node], "done")
                    yield reply
                else:
                    tally.lost[names[node]] = reply
                    self._on_event(leg, names[node], reply)
        for _, node in pending.values():
            tally.lost[names[node]] = "late"
            self._on_event(leg, names[node], "late")
        tally.seconds += time.monotonic() - start

    def _push(
        self,
        leg: str,
        asks: Mapping[int, Ask],
        ttl_s: float,
        tally: LegTally | None = None,
    ) -> dict[str, tuple[Request, int]]:
        requests, messages = [], []
        encoded: dict[int, EncodedArrays] = {}  # one copy of the model, however many sites
        for node, ask in asks.items():
            nonce = secrets.token_bytes(NONCE_BYTES)
            request = Request(leg=leg, nonce=nonce, body=ask.body)
            if id(ask.arrays) not in encoded:
                encoded[id(ask.arrays)] = encode_arrays(ask.arrays)
            record = request.to_record(encoded[id(ask.arrays)])
            if tally is not None:
                tally.sent_bytes += record_bytes(record)
            requests.append((request, node))
            messages.append(Message(record, dst_node_id=node, message_type=LEGS[leg], ttl=ttl_s))
        identities = list(self._grid.push_messages(messages)) if messages else []
        return dict(zip(identities, requests, strict=True))

    def _pull(
        self, pending: dict[str, tuple[Request, int]]
    ) -> Iterator[tuple[Message, Request, int]]:
        messages = list(self._grid.pull_messages(list(pending))) if pending else []
        if not messages:
            time.sleep(self._poll_s)
        for message in messages:
            found = pending.pop(message.metadata.reply_to_message_id, None)
            if found is not None:
                yield message, *found

    def _read(self, message: Message, request: Request, *, site: str | None) -> Reply | str:
        """The verified reply, or the reason why there is none."""
        if not message.has_content():
            return "unreachable"
        try:
            reply = Reply.from_record(message.content)
            if reply.site not in self.members or site not in (None, reply.site):
                raise ProtocolError("reply: signed by another site than the one asked")
            reply.verify(self.members[reply.site], request)
        except ProtocolError as error:
            return type(error).__name__
        return reply.error or reply
