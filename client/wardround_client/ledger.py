"""The site's durable memory of which sets it signed and which rounds it helped to open."""

from __future__ import annotations

from pathlib import Path

from wardround_common.errors import ProtocolError, StateError
from wardround_common.files import write_atomically
from wardround_common.secagg.records import Facts


class FileLedger:
    """One small file for each run in a private folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, run: bytes) -> Facts:
        """The facts last saved for ``run``, or new ones.

        Raises:
            StateError: The file is damaged; the run must not go on without it.
        """
        path = self._path(run)
        if not path.exists():
            return Facts()
        try:
            return Facts.from_bytes(path.read_bytes())
        except ProtocolError:
            raise StateError(
                "ledger: file is damaged; leave this run and start a new one"
            ) from None

    def save(self, run: bytes, facts: Facts) -> None:
        """Stores the facts; they survive a power cut once this returns."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._path(run), facts.to_bytes(), mode=0o600)

    def _path(self, run: bytes) -> Path:
        return self._folder / f"{run.hex()}.facts"
