"""Runs a function over many items in worker processes, each item at its own risk.

Decoders are libraries in C that foreign files make crash, hang or ask for all memory there is. An
item that does so costs itself and one worker; the others, and this process, go on. What becomes
of an item depends on nothing that came before it: where a worker that had worked before crashes,
runs out of memory or fails otherwise, a fresh one tries the item again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from wardround_client.quarantine import Reason
from wardround_common.errors import StateError

_WINDOW = 4
"""Items for each worker that may be under way or wait for an earlier one to finish."""
_SMALL_BYTES = 1 << 14
"""An item of this size fits into a pipe that nobody reads yet."""
_END_SECONDS = 10.0
_FAILURES = {"memory": Reason.DECODER_MEMORY, "error": Reason.READ_FAILED}
"""What a worker answers instead of a result, see `wardround_client.nursery`."""
_ENVIRONMENT = {
    # Workers share the processor by being many; threads of each would only get in the way.
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # glibc would give an image's memory back after each and fetch it again, page by page, which
    # takes as long as everything else that is done to an uncompressed image.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one item may cost."""

    seconds: float
    """Time from start to result."""
    memory_bytes: int
    """Address space beyond what a worker has before its first item."""


def run_guarded(
    function: Callable[[T], R], items: Iterable[T], *, processes: int, limits: Limits
) -> Generator[tuple[T, R | Reason], None, None]:
    """Calls ``function`` on every item and yields item and result in the order of the items.

    Items are taken as they are needed, and only a few results are held, so memory stays flat.
    Closing the iterator, or any exception, ends every worker.

    Args:
        function: Of a module, or a `functools.partial` of one; returns what can be pickled.
        items: What can be pickled.
        processes: Number of workers; 0 calls the function in this process, unguarded.
        limits: For each item.

    Yields:
        The item, and its result or the reason for having none: `Reason.DECODER_CRASHED`,
        `Reason.DECODER_TIMEOUT`, `Reason.DECODER_MEMORY`, or `Reason.READ_FAILED` where the
        function raised anything else or returned what cannot be pickled. Without processes such
        an exception is raised here, for tests and simulations to see.

    Raises:
        RuntimeError: The function cannot be imported; only the exception's class is named.
        StateError: The system does not let processes be started.
    """
    if processes == 0:
        for item in items:
            yield item, function(item)
        return
    with closing(_Nursery(function, limits.memory_bytes)) as nursery:
        yield from _Crew[T](nursery, processes, limits.seconds).run(iter(items))


@dataclass(slots=True)
class _Task(Generic[T]):
    """One item that is under way, or waits for an earlier one."""

    item: T
    packed: memoryview
    result: Any = None
    done: bool = False

    def finish(self, result: object) -> None:
        self.result, self.done = result, True


@dataclass(slots=True)
class _Worker(Generic[T]):
    """One worker process, seen from here."""

    connection: Connection[Any, Any]
    process: int
    tasks: deque[_Task[T]] = field(default_factory=deque)
    """What it was given and has not answered: the first is under way, the second lies ready."""
    deadline_s: float = 0.0
    fresh: bool = True

    def give(self, task: _Task[T]) -> None:
        self.tasks.append(task)
        with suppress(BrokenPipeError, ConnectionResetError):  # found out when it doesn't answer
            self.connection.send_bytes(task.packed)

    def may_take(self, task: _Task[T]) -> bool:
        """A small item waits in the pipe; with a large one both ends might wait for the other."""
        return not self.tasks or (len(self.tasks) == 1 and len(task.packed) <= _SMALL_BYTES)


@dataclass(slots=True)
class _Crew(Generic[T]):
    """The workers of one call of `run_guarded`, and the tasks between them."""

    nursery: _Nursery
    size: int
    seconds: float
    workers: list[_Worker[T]] = field(default_factory=list)
    next_task: _Task[T] | None = None

    def run(self, items: Iterator[T]) -> Iterator[tuple[T, Any]]:
        """Yields items and results in order."""
        window: deque[_Task[T]] = deque()
        try:
            while True:
                self._hand_out(items, window)
                if not window:
                    return
                if not window[0].done:
                    self._collect()
                    continue
                task = window.popleft()
                yield task.item, task.result
        finally:
            for worker in self.workers:
                worker.connection.close()

    def _hand_out(self, items: Iterator[T], window: deque[_Task[T]]) -> None:
        """Gives tasks to workers while both are there."""
        while len(window) < _WINDOW * self.size:
            if self.next_task is None:
                try:
                    item = next(items)
                except StopIteration:
                    return
                self.next_task = _Task(item, reduction.ForkingPickler.dumps(item))
            worker = self._worker_for(self.next_task)
            if worker is None:
                return
            if not worker.tasks:
                worker.deadline_s = time.monotonic() + self.seconds
            worker.give(self.next_task)
            window.append(self.next_task)
            self.next_task = None

    def _worker_for(self, task: _Task[T]) -> _Worker[T] | None:
        """The worker with the least to do, or a new one if all have something."""
        least = min(self.workers, key=lambda worker: len(worker.tasks), default=None)
        if (least is None or least.tasks) and len(self.workers) < self.size:
            least = self.nursery.start()
            self.workers.append(least)
        return least if least is not None and least.may_take(task) else None

    def _collect(self) -> None:
        """Waits until a worker answers, ends or is late, and settles its task."""
        busy = [worker for worker in self.workers if worker.tasks]
        first = min(worker.deadline_s for worker in busy)
        left = max(0.0, first - time.monotonic())
        ready = wait([worker.connection for worker in busy], left)
        now = time.monotonic()
        for worker in busy:
            if worker.connection in ready:
                self._receive(worker)
            elif worker.deadline_s <= now:
                self._lose(worker, Reason.DECODER_TIMEOUT)

    def _receive(self, worker: _Worker[T]) -> None:
        try:
            outcome, value = worker.connection.recv()
        except (EOFError, OSError):
            self._lose(worker, Reason.DECODER_CRASHED)
            return
        if outcome in _FAILURES:
            self._lose(worker, _FAILURES[outcome])
            return
        worker.tasks.popleft().finish(value)
        worker.fresh, worker.deadline_s = False, time.monotonic() + self.seconds

    def _lose(self, worker: _Worker[T], reason: Reason) -> None:
        """Ends a worker; its task fails, or is tried again if the worker was not fresh."""
        self.workers.remove(worker)
        self.nursery.kill(worker.process)
        worker.connection.close()
        if worker.fresh or reason is Reason.DECODER_TIMEOUT:
            worker.tasks.popleft().finish(reason)
        if worker.tasks:
            other: _Worker[T] = self.nursery.start()
            self.workers.append(other)
            other.deadline_s = time.monotonic() + self.seconds
            for task in worker.tasks:
                other.give(task)


class _Nursery:
    """The process that `wardround_client.nursery` runs in, seen from here."""

    def __init__(self, function: Callable[[Any], Any], memory_bytes: int) -> None:
        """Starts it and waits until it has imported the function."""
        ours, theirs = socket.socketpair()
        with theirs:
            code = f"from wardround_client.nursery import serve; serve({theirs.fileno()})"
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, our own line)
                # -P: a module lying in the current folder, often an archive, is nothing to run.
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # libraries in C print, file names and values too
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | _ENVIRONMENT,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
        self._control: Connection[Any, Any] = Connection(ours.detach())
        try:
            self._control.send(sys.path)
            self._control.send((function, memory_bytes))
            failure = self._control.recv()
        except (EOFError, OSError):
            failure = None
        except BaseException:
            self.close()
            raise
        if failure is None:
            self.close()
            raise _cannot_start()
        if failure:
            self.close()
            raise RuntimeError(f"importing the function given to run_guarded raised {failure}")

    def start(self) -> _Worker[Any]:
        """Starts one worker and waits until it is ready.

        Raises:
            StateError: The system does not let it.
        """
        ours, theirs = socket.socketpair()
        connection: Connection[Any, Any] = Connection(ours.detach())
        try:
            with theirs:
                self._control.send(("start", 0))
                reduction.send_handle(self._control, theirs.fileno(), self._process.pid)
            return _Worker(connection, connection.recv())
        except (EOFError, OSError):
            connection.close()
            raise _cannot_start() from None

    def kill(self, process: int) -> None:
        """Kills one worker, if it is still there."""
        with suppress(OSError):
            self._control.send(("kill", process))

    def close(self) -> None:
        """Ends every worker, and returns when all are gone."""
        self._control.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _cannot_start() -> StateError:
    hint = "free memory or lower intake.decode_processes"
    return StateError(f"worker processes: got none from the system, expected some; {hint}")
