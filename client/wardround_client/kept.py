"""Arrays that never leave the site: its own normalisation or head, and their moments.

They are stored by the step of the run they belong to, so that a round that is void and comes
again starts from the same values as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wardround_common.errors import StateError
from wardround_common.files import write_atomically

_GENERATIONS = 2

Floats = NDArray[np.float32]


class KeptArrays:
    """The kept arrays of one run, in a private folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, step: int) -> dict[str, Floats]:
        """The arrays after at most ``step`` steps of the run; none if it just began.

        Raises:
            StateError: The file is damaged.
        """
        found = [path for path in self._files() if int(path.stem) <= step]
        if not found:
            return {}
        try:
            return load(found[-1].read_bytes())
        except SafetensorError:
            raise StateError(f"kept arrays: {found[-1].name} is damaged; delete it") from None

    def save(self, step: int, arrays: Mapping[str, Floats]) -> None:
        """Stores the arrays after ``step`` steps and forgets all but the last generations."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._folder / f"{step:012}.safetensors", save(dict(arrays)), mode=0o600)
        for path in self._files()[:-_GENERATIONS]:
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.safetensors"))
