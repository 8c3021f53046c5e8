from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wardround_client.quarantine import Reason
from wardround_client.workers import Limits, run_guarded

LIMITS = Limits(seconds=20, memory_bytes=1 << 28)
IMPATIENT = Limits(seconds=0.5, memory_bytes=1 << 28)
KEPT: list[bytes] = []


def double(number: int) -> int:
    return 2 * number


def echo(item: bytes) -> bytes:
    return item


def misbehave(what: str) -> str | NDArray[np.uint8]:
    """Does what decoders do on a bad day."""
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(0)
    if what == "hang":
        time.sleep(60)
    if what == "bomb":
        return np.ones(1 << 29, np.uint8)
    if what == "large":
        return np.ones(1 << 25, np.uint8)
    if what == "print":
        os.write(1, b"Phileak")
        os.write(2, b"Phileak")
    if what == "raise":
        raise ValueError("Phileak^Planted")
    if what == "unpicklable":
        return lambda: ""  # type: ignore[return-value]
    return what


class Unimportable:
    """A function that a worker cannot have."""

    def __call__(self, number: int) -> int:
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return misbehave, ("raise",)


def fail_when_used(number: int) -> int:
    """Raises on every second item of a process."""
    KEPT.append(b"")
    if len(KEPT) == 2:
        raise ValueError
    return number


def core_limit(_: int) -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


def leak(number: int) -> int:
    """Keeps 100 MB of every item, as a leaking library would."""
    KEPT.append(bytes(100_000_000))
    return number


def crash_when_used(number: int) -> int:
    """Crashes on every second item of a process."""
    KEPT.append(b"")
    if len(KEPT) == 2:
        os._exit(1)
    return number


def write_pid(folder: Path, number: int) -> int:
    file = folder / f"{number}.tmp"
    file.write_text(str(os.getpid()))
    file.rename(folder / f"{number}.pid")
    time.sleep(60 if number else 0)
    return number


def double_all(count: int) -> list[int | Reason]:
    found = run_guarded(double, range(count), processes=2, limits=LIMITS)
    return [result for _, result in found]


def is_running(process: int) -> bool:
    """Tells whether a process goes on; one that ended may wait for init to take note."""
    try:
        return status_of(process)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(process: int) -> int:
    return int(status_of(process)[1])


def status_of(process: int) -> list[str]:
    """State and parent, see proc_pid_stat(5)."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]


def wait_until_gone(processes: list[int]) -> bool:
    until = time.monotonic() + 10
    while any(is_running(p) for p in processes) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(is_running(p) for p in processes)


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(processes: int) -> None:
    found = list(run_guarded(double, range(100), processes=processes, limits=LIMITS))
    assert found == [(number, 2 * number) for number in range(100)]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("segfault", Reason.DECODER_CRASHED),
        ("exit", Reason.DECODER_CRASHED),
        ("bomb", Reason.DECODER_MEMORY),
        ("raise", Reason.READ_FAILED),
        ("unpicklable", Reason.READ_FAILED),
        ("hang", Reason.DECODER_TIMEOUT),
    ],
)
def test_an_item_that_ends_its_worker_costs_only_itself(what: str, reason: Reason) -> None:
    items = ["a", what, "b", what, "c"]
    limits = IMPATIENT if what == "hang" else LIMITS
    found = list(run_guarded(misbehave, items, processes=2, limits=limits))
    assert found == [("a", "a"), (what, reason), ("b", "b"), (what, reason), ("c", "c")]


def test_what_came_before_changes_no_outcome() -> None:
    leaked = list(run_guarded(leak, range(5), processes=1, limits=LIMITS))
    assert leaked == [(number, number) for number in range(5)]
    for function in (crash_when_used, fail_when_used):
        found = list(run_guarded(function, range(5), processes=1, limits=LIMITS))
        assert found == [(number, number) for number in range(5)]


def test_large_results_travel_whole() -> None:
    ((_, result),) = run_guarded(misbehave, ["large"], processes=1, limits=LIMITS)
    assert isinstance(result, np.ndarray) and result.sum() == 1 << 25


def test_large_items_and_large_results_do_not_wait_for_each_other() -> None:
    items = [bytes([number]) * (1 << 22) for number in range(8)]
    found = run_guarded(echo, items, processes=2, limits=LIMITS)
    assert all(item == result for item, result in found)


def test_a_module_in_the_current_folder_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ctypes.py").write_text("open('planted', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    assert list(run_guarded(double, [3], processes=1, limits=LIMITS)) == [(3, 6)]
    assert not (tmp_path / "planted").exists()


def test_libraries_print_into_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(run_guarded(misbehave, ["print"], processes=1, limits=LIMITS)) == [("print",) * 2]
    assert capfd.readouterr() == ("", "")


def test_without_processes_the_functions_mistake_is_raised() -> None:
    with pytest.raises(ValueError, match="Phileak"):
        list(run_guarded(misbehave, ["raise"], processes=0, limits=LIMITS))


def test_a_function_that_cannot_be_imported_is_named_by_its_errors_class_alone() -> None:
    with pytest.raises(RuntimeError, match=r"raised ValueError$") as caught:
        list(run_guarded(Unimportable(), [1], processes=1, limits=LIMITS))
    assert caught.value.__cause__ is None


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    found = run_guarded(double, numbers(), processes=2, limits=LIMITS)
    assert next(found) == (0, 0)
    assert len(taken) <= 10
    found.close()
    assert len(taken) <= 10


def test_closing_the_iterator_ends_every_worker(tmp_path: Path) -> None:
    items = [0, 1, 2]
    found = run_guarded(partial(write_pid, tmp_path), items, processes=3, limits=LIMITS)
    assert next(found) == (0, 0)
    while len(list(tmp_path.glob("*.pid"))) < 3:
        time.sleep(0.02)
    workers = [int(path.read_text()) for path in tmp_path.iterdir()]
    found.close()
    assert not any(is_running(process) for process in workers)


def test_workers_end_with_the_process_they_are_forked_from(tmp_path: Path) -> None:
    items = [0, 1, 2]
    found = run_guarded(partial(write_pid, tmp_path), items, processes=3, limits=LIMITS)
    assert next(found) == (0, 0)
    while len(list(tmp_path.glob("*.pid"))) < 3:
        time.sleep(0.02)
    workers = [int(path.read_text()) for path in tmp_path.iterdir()]
    (nursery,) = {parent_of(process) for process in workers}
    os.kill(nursery, signal.SIGKILL)
    assert wait_until_gone(workers)
    found.close()


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="no process here may leave one"
)
def test_a_worker_leaves_no_core_file() -> None:
    ((_, limit),) = run_guarded(core_limit, [1], processes=1, limits=LIMITS)
    assert limit == (0, 0)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from functools import partial; "
        f"sys.path[:] = {sys.path!r}; "
        "from tests.client.test_workers import LIMITS, run_guarded, write_pid; "
        f"run = partial(write_pid, Path({str(tmp_path)!r})); "
        "list(run_guarded(run, [1, 2], processes=2, limits=LIMITS))"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:  # noqa: S603  (our own line)
        while len(list(tmp_path.glob("*.pid"))) < 2:
            assert parent.poll() is None
            time.sleep(0.02)
        parent.kill()
    assert wait_until_gone([int(path.read_text()) for path in tmp_path.iterdir()])


def test_a_worker_of_another_pool_may_have_workers() -> None:
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(double_all, 5).result() == [0, 2, 4, 6, 8]


def test_two_hundred_crashes_leave_no_process_and_no_open_file() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    items = ["exit"] * 200
    found = list(run_guarded(misbehave, items, processes=2, limits=LIMITS))
    assert found == [("exit", Reason.DECODER_CRASHED)] * 200
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
