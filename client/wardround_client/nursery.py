"""The process that worker processes are forked from; runs beside the site's, started by `workers`.

It imports what the work needs once, so that a new worker costs a fork. It alone kills and reaps
workers, so a number of a process is never mistaken for another one's, and it ends with all of
them as soon as whoever started it is gone, however that ended.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing_extensions import Buffer

Outcome = Literal["result", "memory", "error"]
"""What a worker's answer is: a result, or nothing, for want of memory or by any other exception."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(control_fd: int) -> None:
    """Takes search path, function and memory limit, then starts and kills workers as told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control: Connection[Any, Any] = Connection(control_fd)
    sys.path[:] = control.recv()
    try:
        function, memory_bytes = control.recv()
    except Exception as error:  # an import may raise anything
        control.send(type(error).__name__)
        return
    control.send("")
    workers: set[int] = set()
    try:
        while True:
            command, process = control.recv()
            _reap(workers)
            if command == "start":
                workers.add(_start(control, function, memory_bytes))
            elif process in workers:
                os.kill(process, signal.SIGKILL)
    except (EOFError, OSError):
        for process in workers:
            os.kill(process, signal.SIGKILL)
        for process in workers:
            os.waitpid(process, 0)


def _reap(workers: set[int]) -> None:
    """Forgets the workers that have ended."""
    for process in list(workers):
        if os.waitpid(process, os.WNOHANG)[0]:
            workers.discard(process)


def _start(control: Connection[Any, Any], function: Callable[[Any], Any], memory_bytes: int) -> int:
    """Forks one worker that answers on the connection that comes next."""
    handle = reduction.recv_handle(control)
    process = os.fork()
    if process:
        os.close(handle)
        return process
    try:
        control.close()
        _limit(memory_bytes)
        _work(Connection(handle), function)
    finally:
        os._exit(1)


def _limit(memory_bytes: int) -> None:
    """Bounds this process's memory, leaves no core file, and ties its life to the nursery's."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _work(connection: Connection[Any, Any], function: Callable[[Any], Any]) -> None:
    """Answers one item after the other until the other end closes."""
    connection.send(os.getpid())
    with suppress(EOFError, OSError):
        while True:
            packed = connection.recv_bytes()
            connection.send_bytes(_answer(function, packed))


def _answer(function: Callable[[Any], Any], packed: bytes) -> Buffer:
    """The pickled outcome and value for one pickled item."""
    outcome: Outcome = "result"
    try:
        value = function(reduction.ForkingPickler.loads(packed))
        return reduction.ForkingPickler.dumps((outcome, value))
    except MemoryError:
        outcome = "memory"
    except Exception:  # a mistake of ours, found by one file; its text may quote a patient's data
        outcome = "error"
    return reduction.ForkingPickler.dumps((outcome, None))
