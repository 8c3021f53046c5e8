"""Runs a function over archive files in guarded workers, each file pinned while it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from wardround_client.archive.source import Source
from wardround_client.quarantine import Reason
from wardround_client.workers import Limits, run_guarded
from wardround_common.errors import DicomError
from wardround_common.site_config import Intake

T = TypeVar("T")
R = TypeVar("R")
Files: TypeAlias = Mapping[bytes, Path]
"""Path below the archive's root to the file on this machine."""


def read_guarded(
    function: Callable[[T, Files], R],
    items: Iterable[T],
    paths_of: Callable[[T], Iterable[bytes]],
    *,
    source: Source,
    intake: Intake,
) -> Generator[tuple[T, R | Reason], None, None]:
    """Calls ``function`` with every item and its files; yields in the order of the items.

    Args:
        function: As for `run_guarded`; gets the item, and its files by path.
        items: Taken as they are needed, a few ahead of what was yielded.
        paths_of: Which files of the archive an item needs.
        source: Hands the files over.
        intake: Processes and limits.

    Yields:
        The item, and its result or the reason for having none.

    Raises:
        ArchiveError: The archive cannot be reached.
        StateError: No worker process could be started.
    """
    pins: deque[ExitStack] = deque()
    work = _pin(items, paths_of, source, pins)
    results = run_guarded(
        partial(_call, function), work, processes=intake.processes, limits=limits_of(intake)
    )
    with ExitStack() as whole:
        whole.callback(_release, pins)
        whole.enter_context(closing(results))
        for done, result in results:
            pins.popleft().close()
            yield done.item, result


def limits_of(intake: Intake) -> Limits:
    """What one item may cost a worker process."""
    memory_bytes = int(intake.decode_memory_gb * 1e9)
    return Limits(seconds=intake.decode_seconds, memory_bytes=memory_bytes)


class _Pinned(NamedTuple, Generic[T]):
    item: T
    files: Files
    reason: Reason | None
    """Why the files cannot be had, if so."""


def _pin(
    items: Iterable[T],
    paths_of: Callable[[T], Iterable[bytes]],
    source: Source,
    pins: deque[ExitStack],
) -> Iterator[_Pinned[T]]:
    for item in items:
        pins.append(ExitStack())
        try:
            files = {p: pins[-1].enter_context(source.local(p)) for p in paths_of(item)}
        except DicomError as error:
            yield _Pinned(item, {}, Reason(error.reason))
        else:
            yield _Pinned(item, files, None)


def _release(pins: deque[ExitStack]) -> None:
    while pins:
        pins.popleft().close()


def _call(function: Callable[[T, Files], R], work: _Pinned[T]) -> R | Reason:
    return function(work.item, work.files) if work.reason is None else work.reason
