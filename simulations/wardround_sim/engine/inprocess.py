"""A Grid of our own: the same two apps, on a pool of worker processes of this machine.

Node k is the site with partition id k. Contexts stay here and travel with each message, so any
worker may serve any site; memory holds one model and at most one reply for each worker, however
many sites there are.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from wardround_common.errors import WardroundError
from wardround_sim.pool import WORKER_KILLED, end_with_parent

_RUN_ID, _SERVER_NODE = 1, 1
_FIRST_NODE = 100
_WAIT_S = 0.2

MakeApp = Callable[[], ClientApp]
Done = tuple[Message, Context]


class InProcessGrid(Grid):
    """Flower's Grid over a pool; with no workers everything runs in this process, in order."""

    def __init__(self, make_app: MakeApp, *, sites: int, workers: int) -> None:
        _identify()
        self._contexts = {_FIRST_NODE + k: _new_context(k, sites) for k in range(sites)}
        self._app = make_app() if workers == 0 else None
        self._pool = _make_pool(make_app, workers) if workers else None
        self._running: dict[str, Future[Done]] = {}
        self._expiry_s: dict[str, float] = {}
        self._waiting: list[Message] = []
        self._workers = workers
        self._sent = 0

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def set_run(self, run: Run) -> None:
        """Is never called; there is one run."""
        raise RuntimeError("this grid serves one run only")

    @property
    def run(self) -> Run:
        """There is no Flower run behind this grid."""
        return Run.create_empty(run_id=_RUN_ID)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Makes a message; the same as Flower's constructor."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """All virtual nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queues messages; a worker gets the next one when it is free."""
        identities = []
        for message in messages:
            self._sent += 1
            identity = f"message-{self._sent}"
            message.metadata.__dict__["_message_id"] = identity
            self._waiting.append(message)
            self._expiry_s[identity] = message.metadata.created_at + message.metadata.ttl
            identities.append(identity)
        self._feed()
        return identities

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there; waits a moment for the first one."""
        wanted = set(message_ids)
        awaited = [f for i, f in self._running.items() if i in wanted or not f.done()]
        wait(awaited, timeout=_WAIT_S, return_when=FIRST_COMPLETED)
        done = [i for i, future in self._running.items() if future.done()]
        replies = [self._finish(identity) for identity in done if identity in wanted]
        self._feed()
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Sends and waits for every reply, or until ``timeout`` seconds have passed."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        pending = set(self.push_messages(messages))
        replies: list[Message] = []
        while pending and time.monotonic() < end:
            arrived = list(self.pull_messages(pending))
            pending -= {reply.metadata.reply_to_message_id for reply in arrived}
            replies += arrived
        return replies

    def _forget_expired(self) -> None:
        # Nobody asks for a late reply any more; kept, it would block its worker's place for good.
        now_s = time.time()
        expired = {identity for identity, end_s in self._expiry_s.items() if end_s < now_s}
        self._waiting = [m for m in self._waiting if m.metadata.message_id not in expired]
        for identity in expired:
            if identity not in self._running or self._running[identity].done():
                self._running.pop(identity, None)
                del self._expiry_s[identity]

    def _feed(self) -> None:
        self._forget_expired()
        # Two for each worker: one at work and one at hand. The rest wait here, unpickled.
        while self._waiting and len(self._running) < max(1, 2 * self._workers):
            message = self._waiting.pop(0)
            context = self._contexts[message.metadata.dst_node_id]
            self._running[message.metadata.message_id] = self._start(message, context)

    def _start(self, message: Message, context: Context) -> Future[Done]:
        if self._pool is not None:
            try:
                return self._pool.submit(_serve, message, context)
            except BrokenProcessPool:
                raise WardroundError(WORKER_KILLED) from None
        if self._app is None:
            raise RuntimeError("this grid has neither workers nor an app")
        future: Future[Done] = Future()
        future.set_result((self._app(message, context), context))
        return future

    def _finish(self, identity: str) -> Message:
        try:
            reply, context = self._running.pop(identity).result()
        except BrokenProcessPool:
            # Not a RoundError: without workers the next attempt would not fare better.
            raise WardroundError(WORKER_KILLED) from None
        del self._expiry_s[identity]
        self._contexts[context.node_id] = context
        return reply


def run_inprocess(server_app: ServerApp, make_app: MakeApp, *, sites: int, workers: int) -> None:
    """Runs both apps to the end.

    Raises:
        WardroundError: Whatever the server app raises, or a worker was killed.
    """
    grid = InProcessGrid(make_app, sites=sites, workers=workers)
    try:
        context = Context(_RUN_ID, _SERVER_NODE, {}, RecordDict(), {})
        server_app(grid=grid, context=context)
    finally:
        grid.close()


def _identify() -> None:
    TaskIdentity.run_id, TaskIdentity.task_id = _RUN_ID, _RUN_ID
    TaskIdentity.node_id = _SERVER_NODE


def _new_context(partition: int, sites: int) -> Context:
    config: dict[str, bool | float | int | str] = {
        "partition-id": partition,
        "num-partitions": sites,
    }
    return Context(_RUN_ID, _FIRST_NODE + partition, config, RecordDict(), {})


def _make_pool(make_app: MakeApp, workers: int) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")  # fork and threads of torch do not mix
    return ProcessPoolExecutor(workers, spawn, initializer=_start_worker, initargs=(make_app,))


_APP: list[ClientApp] = []


def _start_worker(make_app: MakeApp) -> None:
    end_with_parent()
    _identify()
    _APP.append(make_app())


def _serve(message: Message, context: Context) -> Done:
    return _APP[0](message, context), context
