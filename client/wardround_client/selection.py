"""Imaging study by imaging study: the cohort, and the images or volumes that it makes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from wardround_client.archive.reading import Files, read_guarded
from wardround_client.archive.source import Source
from wardround_client.candidates import Candidate, find_candidates, lost_slices
from wardround_client.cohort import Disputes, select_cohort
from wardround_client.index.header import Instance
from wardround_client.index.scan import ArchiveIndex
from wardround_client.quarantine import Reason
from wardround_client.volumes.multiframe import read_frames
from wardround_client.volumes.plan import MULTI_FRAME
from wardround_common.intake_plan import CohortRule, Preprocessing
from wardround_common.site_config import Intake
from wardround_common.study import Study


class Selection(NamedTuple):
    """What the cohort rule says of one imaging study's instances."""

    instances: Sequence[Instance]
    cohort: Sequence[Instance]
    refused: Mapping[bytes, Reason]
    """Path to the reason for those that are not of the cohort."""


Found = tuple[list[Candidate], dict[bytes, Reason]]
"""Images or volumes, and the path of every instance of the cohort that is in none."""


def wanted_modalities(rule: CohortRule) -> frozenset[str]:
    """The rule's modalities as the index writes them."""
    return frozenset(modality.strip().upper() for modality in rule.modalities)


def select_studies(index: ArchiveIndex, rule: CohortRule) -> Iterator[Selection]:
    """Yields every imaging study that has instances of the wanted modalities."""
    disputes = Disputes(
        instances=index.disputed_uids(),
        studies=index.studies_with_many_patients(),
        patients=index.ambiguous_patients(),
    )
    for instances in index.imaging_studies(wanted_modalities(rule)):
        yield Selection(instances, *select_cohort(instances, rule, disputes))


def plan_studies(
    selections: Iterator[Selection], study: Study, *, source: Source, intake: Intake
) -> Generator[tuple[Selection, Found], None, None]:
    """Yields the images or volumes of each imaging study's cohort, in the order given.

    Volumes are planned in a worker process, for their multi-frame files have to be opened.

    Raises:
        ArchiveError: The archive cannot be reached.
        StateError: No worker process could be started.
    """
    find = partial(_find, study.cohort, study.preprocessing)
    if study.preprocessing.volume is None:
        yield from ((selection, find(selection, {})) for selection in selections)
        return
    one = replace(intake, processes=min(1, intake.processes))
    results = read_guarded(find, selections, _multi_frame_paths, source=source, intake=one)
    with closing(results):
        for selection, found in results:
            if isinstance(found, Reason):
                yield selection, ([], {i.path: found for i in selection.cohort})
            else:
                yield selection, found


def _find(
    rule: CohortRule, preprocessing: Preprocessing, selection: Selection, files: Files
) -> Found:
    read = partial(read_frames, open_file=files.__getitem__)
    lost = lost_slices(selection.instances, selection.refused)
    return find_candidates(selection.cohort, rule, preprocessing, read, left_out=lost)


def _multi_frame_paths(selection: Selection) -> Iterator[bytes]:
    """Files that planning opens: those whose frames have a place of their own."""
    lost = lost_slices(selection.instances, selection.refused)
    instances = (*selection.cohort, *lost)
    return (i.path for i in instances if i.header.sop_class_uid in MULTI_FRAME)
