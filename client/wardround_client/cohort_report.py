"""Counts of an intake: what was found, what remained at each step, why the rest was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wardround_client.examples import ExampleFacts
from wardround_client.quarantine import Reason
from wardround_client.split import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortReport:
    """The counts of one site; they hold no identifier and stay at the site.

    ``found`` is ``used`` plus all counts of ``refused``: every file is counted exactly once.
    """

    found: int
    """Files in the archive, links and unreadable folders included."""
    indexed: int
    """DICOM instances with a readable header."""
    cohort: int
    """Instances that the study's cohort rule selects, undisputed copies included."""
    labelled: int
    """Of these, instances of images or volumes with exactly one valid label."""
    used: int
    """Of these, instances that became part of an example."""
    usable: int
    """Examples: images or volumes."""
    studies: int
    """Imaging studies with at least one example."""
    patients: int
    """Patients with at least one example."""
    label_entries: int
    """Rows of the label file, or reports or segmentations that hold a label."""
    label_entries_unused: int
    """Those that belong to no imaging study of the cohort; many of them hint at wrong keys."""
    splits: dict[str, dict[str, int]]
    """``train``, ``validation`` and ``test`` to examples of each class, by the class's name."""
    sex: dict[str, int]
    """Examples by PatientSex; the empty text is not stated."""
    refused: dict[str, int]
    """Reason code to the number of files left out; see `wardround_client.quarantine.Reason`."""
    refused_patients: dict[str, int]
    """Reason code to the number of patients whose files were left out, where the header tells."""
    refused_volumes: dict[str, int]
    """Reason code to the number of volumes left out as a whole, once their files were decoded."""
    flags: dict[str, int]
    """How volumes were read, such as ``tilted``, to the number of examples."""


@dataclass(slots=True)
class Tally:
    """Counts that grow while an intake goes through the archive, one imaging study at a time."""

    found: int = 0
    indexed: int = 0
    cohort: int = 0
    labelled: int = 0
    used: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)
    refused_volumes: Counter[Reason] = field(default_factory=Counter)
    refused_patients: dict[Reason, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Pseudonyms by reason."""

    def settle(self, reason: Reason | None, patient: str) -> None:
        """Counts one file of a patient: used, or left out for a reason."""
        if reason is None:
            self.used += 1
        else:
            self.refused[reason] += 1
            self.refused_patients[reason].add(patient)


def count_cohort(
    tally: Tally,
    examples: Sequence[ExampleFacts],
    *,
    studies: int,
    label_entries: tuple[int, int],
    classes: Sequence[str],
) -> CohortReport:
    """Puts the counts of an intake together; ``label_entries``: all, and unused ones."""
    return CohortReport(
        found=tally.found,
        indexed=tally.indexed,
        cohort=tally.cohort,
        labelled=tally.labelled,
        used=tally.used,
        usable=len(examples),
        studies=studies,
        patients=len({example.patient for example in examples}),
        label_entries=label_entries[0],
        label_entries_unused=label_entries[1],
        splits={part.value: _classes_of(examples, part, classes) for part in Part},
        sex=dict(Counter(example.sex for example in examples)),
        refused=_by_code(tally.refused),
        refused_patients=_by_code({r: len(who) for r, who in tally.refused_patients.items()}),
        refused_volumes=_by_code(tally.refused_volumes),
        flags=dict(sorted(Counter(flag for e in examples for flag in e.flags).items())),
    )


def _by_code(counts: Mapping[Reason, int]) -> dict[str, int]:
    return {code.value: n for code, n in sorted(counts.items()) if n}


def _classes_of(
    examples: Sequence[ExampleFacts], part: Part, classes: Sequence[str]
) -> dict[str, int]:
    labels = Counter(example.label for example in examples if example.part == part)
    return {name: labels[number] for number, name in enumerate(classes)}
