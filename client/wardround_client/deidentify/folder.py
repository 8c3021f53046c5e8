"""Rebuilds many images into a folder: patient / imaging study / series / number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wardround_client.deidentify.rebuild import RebuiltFile, rebuild_file
from wardround_client.quarantine import Reason
from wardround_client.storage import make_private_folder
from wardround_client.workers import Limits, run_guarded
from wardround_common.errors import ArchiveError
from wardround_common.files import write_atomically


@dataclass(slots=True, kw_only=True)
class RebuiltFolder:
    """Counts of a run; they hold no identifier."""

    written: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)


def rebuild_folder(
    files: Iterable[Path], out: Path, *, secret: bytes, processes: int, limits: Limits
) -> RebuiltFolder:
    """Builds every file anew under ``out``; see `write_rebuilt`.

    Args:
        files: Originals.
        out: Where the new files go.
        secret: The site's.
        processes: Worker processes; 0 for none.
        limits: What one file may cost.

    Raises:
        ArchiveError: ``out`` holds something already, or cannot be written.
        StateError: No worker process could be started.
    """
    work = partial(rebuild_file, secret=secret)
    results = run_guarded(work, files, processes=processes, limits=limits)
    with closing(results):
        return write_rebuilt((made for _, made in results), out)


def write_rebuilt(results: Iterable[RebuiltFile | Reason], out: Path) -> RebuiltFolder:
    """Writes rebuilt files below ``out``, which must be new or empty.

    Each is written as a whole or not at all. Files of a series are numbered as they come; a
    second file of one instance is left out.

    Args:
        results: What `rebuild_file` gave for each original.
        out: Where the files go.

    Raises:
        ArchiveError: ``out`` holds something already, or cannot be written.
    """
    counts, seen = RebuiltFolder(), set[str]()
    numbers: Counter[Path] = Counter()
    try:
        make_private_folder(out)
        if any(out.iterdir()):
            raise ArchiveError(f"{out}: got files there, expected a new or empty folder")
        for made in results:
            if isinstance(made, Reason):
                counts.refused[made] += 1
            elif made.sop_instance_uid in seen:
                counts.refused[Reason.DUPLICATE_COPY] += 1
            else:
                seen.add(made.sop_instance_uid)
                folder = out / made.patient / made.study_uid / made.series_uid
                numbers[folder] += 1
                _write(folder / f"{numbers[folder]:05}.dcm", made)
                counts.written += 1
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror}); check path and free space"
        raise ArchiveError(message) from None
    return counts


def _write(path: Path, made: RebuiltFile) -> None:
    make_private_folder(path.parent)
    write_atomically(path, made.content, mode=0o600)
