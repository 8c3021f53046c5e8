"""One trap: how its files are made, and what a correct reader makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset

from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Irregular
from wardround_sim.traps.phantom import write

Make = Callable[[Path, int], None]
"""Writes the files into a folder; the voxels hold coordinate 0, 1 or 2."""
Build = Callable[[int], Sequence[Dataset]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A small archive with known truth; voxels hold their own places, see `phantom`."""

    name: str
    make: Make
    volumes: tuple[int, ...] = ()
    """Slices of each volume that is accepted, ascending."""
    refused: Mapping[Reason, int] = field(default_factory=dict)
    """Files refused, by reason."""
    flags: frozenset[str] = frozenset()
    """What the accepted volumes say of themselves."""
    irregular: Irregular = "refuse"
    padded: int = 0
    """Voxels that are padding, of all volumes."""
    single: bool = False
    """A single image instead of volumes; ``make`` writes one file."""
    shown: NDArray[Any] | None = None
    """The single image as a reader should see it, up to brightness and contrast; not a number
    where it is padding. None if it is refused."""

    @property
    def expected(self) -> str:
        """What is expected, in a few words."""
        image = "image" if self.shown is not None else ""
        return describe(self.volumes, self.refused, self.flags, image=image)


def describe(
    volumes: Sequence[int], refused: Mapping[Reason, int], flags: frozenset[str], *, image: str
) -> str:
    """Writes an outcome such as ``12 slices; image-type 1``."""
    accepted = [f"{' + '.join(map(str, volumes))} slices"] if volumes else []
    named = [", ".join(sorted(flags))] if flags else []
    counts = [f"{reason} {count}" for reason, count in sorted(refused.items())]
    return "; ".join(part for part in [image, *accepted, *named, *counts] if part)


def of_slices(build: Build) -> Make:
    """Makes the files of a case from datasets, one file each, in their order."""

    def make(folder: Path, axis: int) -> None:
        for number, dataset in enumerate(build(axis)):
            write(dataset, folder / f"{number:03}.dcm")

    return make
