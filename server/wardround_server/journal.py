"""What the coordinator writes down: rounds.jsonl, and the model after each round.

Every file is written beside its name, flushed to the disk and renamed, so that a crash leaves
the old or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from wardround_common import optimiser
from wardround_common.files import write_atomically
from wardround_common.study import Study, canonical_json
from wardround_common.update import model_sha256
from wardround_server.model_state import ModelState


class Journal:
    """The coordinator's folder of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rounds.jsonl").write_bytes(b"")

    def record(self, line: Mapping[str, Any]) -> None:
        """Appends one attempt to rounds.jsonl, durably."""
        with (self._folder / "rounds.jsonl").open("ab") as file:
            file.write(canonical_json(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def approve(self, study: Study, approvals: Mapping[str, str]) -> None:
        """Replaces approvals.json: which site countersigned which study."""
        document = {"study_sha256": study.sha256().hex(), "countersignatures": dict(approvals)}
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        write_atomically(self._folder / "approvals.json", text.encode())

    def checkpoint(
        self, state: ModelState, *, study_sha256: bytes, run: bytes, round_: int
    ) -> None:
        """Replaces checkpoint.safetensors, whose metadata is the manifest of the state."""
        tensors: dict[str, NDArray[np.generic]] = {
            f"{group}/{name}": array
            for group, named in state.arrays().items()
            for name, array in named.items()
        }
        for name, array in optimiser.to_arrays(state.optimiser).items():
            tensors[f"optimiser/{name}"] = array
        manifest = _manifest(state, study_sha256) | {"run": run.hex(), "round": str(round_)}
        write_atomically(self._folder / "checkpoint.safetensors", _save(tensors, manifest))

    def finish(self, state: ModelState, *, study_sha256: bytes) -> None:
        """Writes model.safetensors: the model alone, under the hash its users compare."""
        manifest = _manifest(state, study_sha256)
        write_atomically(self._folder / "model.safetensors", _save(dict(state.model()), manifest))
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        write_atomically(self._folder / "model.json", text.encode())


def _manifest(state: ModelState, study_sha256: bytes) -> dict[str, str]:
    return {
        "format": "wardround model 1",
        "model_sha256": model_sha256(state.model()).hex(),
        "study_sha256": study_sha256.hex(),
        "rounds": str(state.completed),
    }


def _save(tensors: Mapping[str, NDArray[np.generic]], manifest: dict[str, str]) -> bytes:
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(contiguous, metadata=manifest)
