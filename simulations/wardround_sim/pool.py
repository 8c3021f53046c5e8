"""Runs one function for many sites on worker processes, with named progress."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from wardround_common.errors import WardroundError

WORKER_KILLED = "a worker process was killed; is memory short? Try fewer --workers"

R = TypeVar("R")


def for_each_site(
    work: Callable[[str], R],
    sites: tuple[str, ...],
    *,
    workers: int,
    on_event: Callable[[str, str], None],
) -> dict[str, R]:
    """Calls ``work`` with every site's name; results by site, in the order of ``sites``.

    Args:
        work: A function that can be pickled.
        sites: Names.
        workers: Processes; 0 runs everything here, in order.
        on_event: Told of each site when it is done.

    Raises:
        WardroundError: The first that ``work`` raises, or a worker process was killed; the others
            are not started any more.
    """
    results: dict[str, R] = {}
    if workers == 0:
        for site in sites:
            results[site] = work(site)
            on_event(site, "done")
        return results
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(sites)), spawn, end_with_parent) as pool:
        futures: Mapping[Future[R], str] = {pool.submit(work, site): site for site in sites}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                on_event(futures[future], "done")
        except BrokenProcessPool:
            raise WardroundError(WORKER_KILLED) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {site: results[site] for site in sites}


def end_with_parent() -> None:
    """Ends this worker process with the one that started it, also if that one was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
