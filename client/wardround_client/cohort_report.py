"""Counts of an intake: what was found, what remained at each step, why the rest was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround_client.examples import ExampleRow
from wardround_client.index.scan import Instance
from wardround_client.labels.table import LabelTable
from wardround_client.quarantine import Reason
from wardround_client.split import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortReport:
    """The counts of one site; they hold no identifier and stay at the site.

    ``found`` is ``usable`` plus all counts of ``refused``: every file is counted exactly once.
    """

    found: int
    """Files in the archive, links and unreadable folders included."""
    indexed: int
    """DICOM instances with a readable header."""
    cohort: int
    """Instances that the study's cohort rule selects, undisputed copies included."""
    labelled: int
    """Of these, instances of imaging studies with exactly one valid label."""
    usable: int
    """Of these, images that became examples."""
    studies: int
    """Imaging studies with at least one example."""
    patients: int
    """Patients with at least one example."""
    label_rows: int
    """Rows of the label file."""
    label_rows_unused: int
    """Rows that name no imaging study of the cohort; many of them hint at wrong keys."""
    splits: dict[str, dict[str, int]]
    """``train``, ``validation`` and ``test`` to examples of each class, by the class's name."""
    sex: dict[str, int]
    """Examples by PatientSex; the empty text is not stated."""
    refused: dict[str, int]
    """Reason code to the number of files left out; see `wardround_client.quarantine.Reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSteps:
    """What remained after each step of an intake."""

    indexed: Sequence[Instance]
    cohort: Sequence[Instance]
    labelled: Sequence[Instance]
    usable: Sequence[Instance]
    refused: Mapping[bytes, Reason]
    """Path to the one reason for every other file."""


def count_cohort(
    steps: IntakeSteps,
    examples: Sequence[ExampleRow],
    *,
    table: LabelTable,
    classes: Sequence[str],
) -> CohortReport:
    """Counts an intake."""
    headers = [instance.header for instance in steps.usable]
    return CohortReport(
        found=len(steps.usable) + len(steps.refused),
        indexed=len(steps.indexed),
        cohort=len(steps.cohort),
        labelled=len(steps.labelled),
        usable=len(steps.usable),
        studies=len({header.study_uid for header in headers}),
        patients=len({(header.patient_id, header.issuer) for header in headers}),
        label_rows=len(table.rows),
        label_rows_unused=_unused_rows(steps.cohort, table),
        splits={part.value: _classes_of(examples, part, classes) for part in Part},
        sex=dict(Counter(header.sex for header in headers)),
        refused={code.value: n for code, n in sorted(Counter(steps.refused.values()).items())},
    )


def _unused_rows(cohort: Sequence[Instance], table: LabelTable) -> int:
    used: set[int] = set()
    for instance in cohort:
        used.update(*table.rows_of(instance.header.study_uid, instance.header.accession))
    return len(table.rows) - len(used)


def _classes_of(
    examples: Sequence[ExampleRow], part: Part, classes: Sequence[str]
) -> dict[str, int]:
    labels = Counter(example.label for example in examples if example.part == part)
    return {name: labels[number] for number, name in enumerate(classes)}
