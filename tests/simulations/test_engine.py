"""Worker processes of a simulation: killed ones, late ones, and those whose parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from wardround_common.errors import RoundError, WardroundError
from wardround_sim.engine.inprocess import InProcessGrid
from wardround_sim.pool import for_each_site

PARENT = """
import os, sys, time
from pathlib import Path
from wardround_sim.pool import for_each_site

def work(site):
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    for_each_site(work, ("alder",), workers=1, on_event=lambda site, what: None)
"""


def _kill(site: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _make_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        wish = message.content.config_records["wish"]
        if "kill" in wish:
            _kill("")
        time.sleep(float(str(wish["seconds"])))
        return Message(RecordDict(), reply_to=message)

    return app


def _wish(node: int, ttl_s: float, **wish: float) -> Message:
    record = RecordDict({"wish": ConfigRecord({name: float(v) for name, v in wish.items()})})
    return Message(record, dst_node_id=100 + node, message_type="train", ttl=ttl_s)


def test_a_killed_worker_ends_the_intake_in_one_line() -> None:
    with pytest.raises(WardroundError, match="was killed"):
        for_each_site(_kill, ("alder", "beech"), workers=1, on_event=lambda site, what: None)


def test_a_killed_worker_ends_the_run_and_is_not_taken_for_a_void_round() -> None:
    grid = InProcessGrid(_make_app, sites=1, workers=1)
    try:
        for _ in range(2):
            with pytest.raises(WardroundError, match="was killed") as caught:
                list(grid.send_and_receive([_wish(0, 20, kill=1)]))
            assert not isinstance(caught.value, RoundError)
    finally:
        grid.close()


def test_late_replies_do_not_block_the_workers() -> None:
    grid = InProcessGrid(_make_app, sites=4, workers=1)
    try:
        grid.push_messages([_wish(node, 0.05, seconds=0.1) for node in range(4)])
        time.sleep(0.1)
        replies = grid.send_and_receive([_wish(0, 60, seconds=0)], timeout=30)
        assert len(list(replies)) == 1
    finally:
        grid.close()


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script, pid = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(pid)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as parent:  # noqa: S603  # the script is ours
        _until(lambda: pid.exists() and bool(pid.read_text()))
        parent.kill()
    _until(lambda: not _alive(int(pid.read_text())))


def _until(condition) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited for 30 s"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
