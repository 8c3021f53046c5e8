"""Asking sites over a grid: silence, strangers, forged and misattributed replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from flwr.app import Error, Message
from flwr.supercore.task_identity import TaskIdentity

from wardround_common.errors import ProtocolError
from wardround_common.identity import Identity
from wardround_common.messages import Reply, Request
from wardround_server.peers import Ask, LegTally, Peers

Answer = Callable[[str, Request], Reply | str | None]


class ScriptedGrid:
    """Two nodes whose answers a test writes; holds just what `Peers` uses of a grid."""

    def __init__(self, answer: Answer, names: tuple[str, ...]) -> None:
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
        self._answer, self._names = answer, names
        self._sent: dict[str, Message] = {}

    def get_node_ids(self) -> list[int]:
        return list(range(10, 10 + len(self._names)))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            names.append(f"m{len(self._sent)}")
            message.metadata.__dict__["_message_id"] = names[-1]
            self._sent[names[-1]] = message
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = []
        for name in message_ids:
            message = self._sent[name]
            leg = message.metadata.message_type.rpartition(".")[2]
            request = Request.from_record(leg, message.content)
            found = self._answer(self._names[message.metadata.dst_node_id - 10], request)
            if isinstance(found, Reply):
                replies.append(Message(found.to_record(), reply_to=message))
            elif found == "error":
                replies.append(Message(Error(1, "secret text of a site"), reply_to=message))
        return replies


@pytest.fixture(scope="module")
def identities() -> dict[str, Identity]:
    return {name: Identity.generate() for name in ("oak", "yew")}


def _peers(identities: dict[str, Identity], answer: Answer, *names: str) -> Peers:
    members = {name: identity.public_key for name, identity in identities.items()}
    grid = ScriptedGrid(answer, names or tuple(identities))
    return Peers(grid, members, poll_s=0.01, on_event=lambda leg, site, what: None)  # type: ignore[arg-type]


def _honest(identities: dict[str, Identity]) -> Answer:
    def answer(name: str, request: Request) -> Reply:
        return Reply.signed(identities[name], name, request, body=request.body, arrays={})

    return answer


def _ask_oak(identities: dict[str, Identity], later: Answer) -> tuple[list[Reply], LegTally]:
    honest, tally = _honest(identities), LegTally()

    def answer(name: str, request: Request) -> Reply | str | None:
        return honest(name, request) if request.leg == "hello" else later(name, request)

    peers = _peers(identities, answer)
    peers.discover(b"", deadline_s=2)
    replies = list(peers.ask("share", {"oak": Ask(body=b"x")}, deadline_s=0.2, tally=tally))
    return replies, tally


def test_every_member_that_answers_is_found(identities: dict[str, Identity]) -> None:
    peers = _peers(identities, _honest(identities))
    assert set(peers.discover(b"study", deadline_s=2)) == {"oak", "yew"}
    assert peers.sites == ("oak", "yew")


def test_two_nodes_that_answer_for_one_site_are_refused(identities: dict[str, Identity]) -> None:
    def answer(name: str, request: Request) -> Reply:
        return Reply.signed(identities["oak"], "oak", request, body=b"", arrays={})

    with pytest.raises(ProtocolError, match="two nodes answer for site oak"):
        _peers(identities, answer).discover(b"", deadline_s=2)


def test_a_stranger_is_not_found(identities: dict[str, Identity]) -> None:
    stranger = Identity.generate()

    def answer(name: str, request: Request) -> Reply:
        return Reply.signed(stranger, "fir", request, body=b"", arrays={})

    assert _peers(identities, answer).discover(b"", deadline_s=0.1) == {}


def test_a_reply_signed_by_another_key_is_refused(identities: dict[str, Identity]) -> None:
    def answer(name: str, request: Request) -> Reply:
        return Reply.signed(identities["yew"], "oak", request, body=b"", arrays={})

    assert _peers(identities, answer).discover(b"", deadline_s=0.1) == {}


def test_a_silent_site_is_late_and_nobody_waits_longer(identities: dict[str, Identity]) -> None:
    replies, tally = _ask_oak(identities, lambda name, request: None)
    assert replies == []
    assert tally.lost == {"oak": "late"}
    assert tally.seconds < 2


def test_a_site_cannot_answer_for_another(identities: dict[str, Identity]) -> None:
    def answer(name: str, request: Request) -> Reply:
        return Reply.signed(identities["yew"], "yew", request, body=b"", arrays={})

    replies, tally = _ask_oak(identities, answer)
    assert replies == []
    assert tally.lost == {"oak": "ProtocolError"}


def test_an_answer_to_an_earlier_request_is_refused(identities: dict[str, Identity]) -> None:
    def answer(name: str, request: Request) -> Reply:
        earlier = Request(leg=request.leg, nonce=b"e" * 16)
        return Reply.signed(identities["oak"], "oak", earlier, body=b"", arrays={})

    _, tally = _ask_oak(identities, answer)
    assert tally.lost == {"oak": "VerificationError"}


def test_an_altered_body_is_refused(identities: dict[str, Identity]) -> None:
    def answer(name: str, request: Request) -> Reply:
        reply = Reply.signed(identities["oak"], "oak", request, body=b"true", arrays={})
        return Reply(site="oak", error="", body=b"false", signature=reply.signature)

    _, tally = _ask_oak(identities, answer)
    assert tally.lost == {"oak": "VerificationError"}


def test_a_failing_site_is_known_by_the_name_of_its_error(identities: dict[str, Identity]) -> None:
    def answer(name: str, request: Request) -> Reply:
        return Reply.failed(identities["oak"], "oak", request, error="PolicyError")

    _, tally = _ask_oak(identities, answer)
    assert tally.lost == {"oak": "PolicyError"}


def test_the_text_of_a_flower_error_is_dropped(identities: dict[str, Identity]) -> None:
    _, tally = _ask_oak(identities, lambda name, request: "error")
    assert tally.lost == {"oak": "unreachable"}
    assert "secret" not in repr(tally)


def test_bytes_are_counted_both_ways(identities: dict[str, Identity]) -> None:
    _, tally = _ask_oak(identities, _honest(identities))
    assert tally.sent_bytes >= 17
    assert tally.received_bytes >= 64
