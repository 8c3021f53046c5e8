"""Reads the frames of multi-frame files for a report, in a guarded process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wardround_client.archive.reading import Files, read_guarded
from wardround_client.archive.source import Source
from wardround_client.index.header import Instance
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import read_frames
from wardround_client.volumes.plan import MULTI_FRAME, FrameGeometry
from wardround_client.volumes.series import ReadFrames
from wardround_common.site_config import Intake


def read_all_frames(source: Source, intake: Intake, instances: Iterable[Instance]) -> ReadFrames:
    """Reads the frames of every multi-frame instance and returns the way to look them up.

    Args:
        source: Hands the files over.
        intake: Limits of the process that reads.
        instances: Instances of a series, multi-frame or not.

    Raises:
        ArchiveError: The archive cannot be reached.
        StateError: No worker process could be started.
    """
    wanted = [i for i in instances if i.header.sop_class_uid in MULTI_FRAME]
    found: dict[bytes, tuple[FrameGeometry, ...] | Reason] = {}
    if wanted:
        one = replace(intake, processes=min(1, intake.processes))
        results = read_guarded(_read, wanted, lambda i: (i.path,), source=source, intake=one)
        found = {instance.path: frames for instance, frames in results}
    return lambda instance: found[instance.path]


def _read(instance: Instance, files: Files) -> tuple[FrameGeometry, ...] | Reason:
    return read_frames(instance, files.__getitem__)
