"""Runs one function for many sites on worker processes, with named progress."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

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
        WardroundError: The first that ``work`` raises; the others are not started any more.
    """
    results: dict[str, R] = {}
    if workers == 0:
        for site in sites:
            results[site] = work(site)
            on_event(site, "done")
        return results
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(sites)), spawn) as pool:
        futures: Mapping[Future[R], str] = {pool.submit(work, site): site for site in sites}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                on_event(futures[future], "done")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {site: results[site] for site in sites}
