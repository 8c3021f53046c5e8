"""One pass over the archive's imaging studies: candidates, their pixels, a reason for the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

from wardround_client.archive.reading import Files, read_guarded
from wardround_client.archive.source import Progress, Source
from wardround_client.cache import CacheEntry, CacheKey, PixelCache
from wardround_client.candidates import Candidate, find_label_of
from wardround_client.cohort import exclusion_of_kind, resolve_copies
from wardround_client.cohort_report import Tally
from wardround_client.examples import ExampleFacts
from wardround_client.index.header import Instance
from wardround_client.index.scan import ArchiveIndex
from wardround_client.labels.source import Labels, SeenSeries
from wardround_client.pixels.decode import DecodedImage, decode_file
from wardround_client.pseudonym import pseudonym, site_secret
from wardround_client.quarantine import Reason
from wardround_client.selection import plan_studies, select_studies, wanted_modalities
from wardround_client.split import Part
from wardround_client.volumes.assemble import decode_volume
from wardround_common.intake_plan import Preprocessing
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study

_BATCH_BYTES = 32 << 20
"""Pixels that are held and written at once; a crash loses at most so many."""
_MOST_IN_A_BATCH = 256
_LONGEST_TEXT = 64
"""Of a header text in the list of examples; DICOM allows no more for any of these."""


class Settled(NamedTuple):
    """A candidate whose pixels are in the cache."""

    name: str
    """Identity of what is seen; see `Candidate.name`."""
    key: CacheKey
    """What the cache knows it by."""
    study_uid: str
    facts: ExampleFacts
    """The part is not the patient's yet."""


class Intake:
    """One pass; see `run`."""

    def __init__(
        self,
        config: SiteConfig,
        study: Study,
        *,
        index: ArchiveIndex,
        source: Source,
        labels: Labels,
    ) -> None:
        self._config, self._study = config, study
        self._index, self._source, self._labels = index, source, labels
        self._secret = site_secret(config.workspace)
        self._issuers = index.issuers()
        self._modalities = wanted_modalities(study.cohort)
        self._settled: list[Settled] = []
        self._seen: set[SeenSeries] = set()
        self._shared: set[bytes] = set()
        """Files that several candidates are made of, such as the echoes of one instance."""
        self._outcomes: dict[bytes, tuple[Reason | None, str]] = {}
        """What became of those, None once one of their candidates is usable, and the patient."""
        self._kept: set[bytes] = set()
        self.tally = Tally()

    def run(self, cache: PixelCache, *, on_progress: Progress) -> list[Settled]:
        """Decodes what the cache lacks; returns every usable candidate in order of names."""
        self._count_what_is_no_candidate()
        decode = partial(_decode, self._study.preprocessing)
        results = read_guarded(
            decode,
            self._missing(cache, on_progress),
            _paths_of,
            source=self._source,
            intake=self._config.intake,
        )
        with closing(results):
            row_bytes = 2 * math.prod(self._study.preprocessing.shape)
            size = max(1, min(_MOST_IN_A_BATCH, _BATCH_BYTES // row_bytes))
            while batch := list(islice(results, size)):
                cache.add((candidate.key, image) for candidate, image in batch)
                for candidate, image in batch:
                    self._settle(candidate, image)
        cache.keep_only(self._kept)
        self._count_shared_files()
        # By identity, so that the order of examples depends on neither paths nor scan.
        return sorted(self._without_copies(), key=lambda one: one.name)

    def unused_labels(self) -> int:
        """Label entries that belong to no series of the cohort."""
        return self._labels.unused(self._seen)

    def _count_what_is_no_candidate(self) -> None:
        """Counts what has no readable header, and what no study of these modalities takes."""
        tally, refused = self.tally, self._index.refused()
        tally.found = self._index.count()
        tally.indexed = tally.found - sum(refused.values())
        tally.refused.update(refused)
        for (modality, sop_class_uid), count in self._index.kinds().items():
            if modality not in self._modalities:
                reason = exclusion_of_kind(modality, sop_class_uid, self._study.cohort)
                tally.refused[reason] += count
        for reason in self._labels.refused.values():
            tally.refused[Reason.NOT_AN_IMAGE] -= 1
            tally.refused[reason] += 1

    def _missing(self, cache: PixelCache, on_progress: Progress) -> Iterator[Candidate]:
        """Yields the candidates that the cache does not know; settles the others."""
        for candidate in self._candidates(on_progress):
            self._kept.add(candidate.key.name)
            entry = cache.find(candidate.key)
            if entry is None:
                yield candidate
            else:
                self._settle(candidate, entry.reason or entry)

    def _candidates(self, on_progress: Progress) -> Iterator[Candidate]:
        """Yields every labelled candidate, imaging study by imaging study."""
        kinds = self._index.kinds().items()
        total = sum(count for (modality, _), count in kinds if modality in self._modalities)
        done = 0
        selections = select_studies(self._index, self._study.cohort)
        planned = plan_studies(
            selections, self._study, source=self._source, intake=self._config.intake
        )
        with closing(planned):
            for selection, (candidates, unfit) in planned:
                self.tally.cohort += len(selection.cohort)
                for instance in selection.instances:
                    reason = selection.refused.get(instance.path) or unfit.get(instance.path)
                    if reason is not None:
                        self.tally.settle(reason, self._patient_of(instance))
                self._seen.update(SeenSeries.of(i.header) for i in selection.cohort)
                yield from self._labelled(candidates)
                done += len(selection.instances)
                on_progress("decode", done, total)

    def _labelled(self, candidates: list[Candidate]) -> Iterator[Candidate]:
        """Yields one imaging study's candidates that have a label."""
        aligned = self._study.cohort.labels.source == "seg"
        uses = Counter(i.path for candidate in candidates for i in candidate.instances)
        self._shared.update(path for path, n in uses.items() if n > 1)
        labelled: set[bytes] = set()
        for candidate in candidates:
            label = find_label_of(candidate, self._labels, aligned=aligned)
            if isinstance(label, Reason):
                self._count_files(candidate, label)
            else:
                labelled.update(instance.path for instance in candidate.instances)
                yield replace(candidate, label=label)
        self.tally.labelled += len(labelled)

    def _settle(self, candidate: Candidate, found: DecodedImage | CacheEntry | Reason) -> None:
        """Notes what became of a candidate."""
        if isinstance(found, Reason):
            self._count_files(candidate, found)
            self.tally.refused_volumes[found] += candidate.plan is not None
            return
        self._count_files(candidate, None)
        self._settled.append(
            Settled(
                name=candidate.name,
                key=candidate.key,
                study_uid=candidate.first.header.study_uid,
                facts=self._facts(candidate, found.digest),
            )
        )

    def _facts(self, candidate: Candidate, digest: str) -> ExampleFacts:
        header, plan = candidate.first.header, candidate.plan
        return ExampleFacts(
            label=candidate.label,
            part=Part.TRAIN,
            patient=self._patient_of(candidate.first),
            sex=header.sex,
            age_years=header.age_years,
            manufacturer=header.manufacturer[:_LONGEST_TEXT],
            model_name=header.model_name[:_LONGEST_TEXT],
            kernel=(plan.kernel if plan else header.kernel)[:_LONGEST_TEXT],
            slice_thickness=header.slice_thickness[:_LONGEST_TEXT],
            slice_spacing_mm=plan.spacing_mm[0] if plan else None,
            pixel_digest=digest,
            flags=plan.flags if plan else (),
        )

    def _count_files(self, candidate: Candidate, reason: Reason | None) -> None:
        """Counts the files of a candidate as used, or as left out for a reason."""
        patient = self._patient_of(candidate.first)
        for path in {instance.path for instance in candidate.instances}:
            if path not in self._shared:
                self.tally.settle(reason, patient)
            elif reason is None or path not in self._outcomes:
                self._outcomes[path] = reason, patient

    def _count_shared_files(self) -> None:
        """Counts files that several candidates are made of: used if any candidate is."""
        for reason, patient in self._outcomes.values():
            self.tally.settle(reason, patient)

    def _without_copies(self) -> Iterator[Settled]:
        """Leaves out copies of one image, and images whose copies differ."""
        by_name = Counter(one.name for one in self._settled)
        copies = [one for one in self._settled if by_name[one.name] > 1]
        refused = resolve_copies({c.key.name: (c.name, c.facts.pixel_digest) for c in copies})
        for one in copies:
            if one.key.name in refused:
                self.tally.used -= 1
                self.tally.settle(refused[one.key.name], one.facts.patient)
        return (one for one in self._settled if one.key.name not in refused)

    def _patient_of(self, instance: Instance) -> str:
        """Pseudonym; a number without issuer is the patient whom the archive knows with one."""
        header = instance.header
        issuer = header.issuer or self._issuers.get(header.patient_id, "")
        return pseudonym(self._secret, header.patient_id, issuer)


def _paths_of(candidate: Candidate) -> Iterator[bytes]:
    """Files that decoding opens: those of the candidate, and the copies it is compared with."""
    yield from (instance.path for instance in candidate.instances)
    if candidate.plan:
        yield from (ref.path for _, ref in candidate.plan.copies)


def _decode(
    preprocessing: Preprocessing, candidate: Candidate, files: Files
) -> DecodedImage | Reason:
    if candidate.plan is None or preprocessing.volume is None:
        first = candidate.first
        uid = first.header.sop_instance_uid
        path = files[first.path]
        return decode_file(path, preprocessing, sop_instance_uid=uid, instance=first)
    return decode_volume(candidate.plan, files.__getitem__, preprocessing.volume)
