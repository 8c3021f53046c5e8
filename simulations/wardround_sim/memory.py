"""Peak memory of a run: this process and all that it started."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

_EVERY_S = 0.5


class MemoryWatch:
    """Samples the proportional set size of the process tree while it is entered."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        """Starts sampling."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stops sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        root = psutil.Process()
        while not self._stop.wait(_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, _tree_bytes(root))


def _tree_bytes(root: psutil.Process) -> int:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            # Shared pages, such as those of the libraries, count once in all.
            total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    return total
