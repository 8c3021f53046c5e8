"""Splits patients into training, validation and test, by keyed hash of their pseudonym.

A patient is in one part only. The order is that of the keyed hash, so it depends on neither
names nor file order, and nobody without the site's secret can foresee it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from itertools import zip_longest

from wardround_client.pseudonym import keyed_hash


class Part(StrEnum):
    """A part of the split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split_patients(
    positive: Mapping[str, bool],
    secret: bytes,
    *,
    validation_fraction: float,
    test_fraction: float,
    known: Mapping[str, Part] | None = None,
) -> dict[str, Part]:
    """Gives each patient a part, separately for patients with and without a positive study.

    Small hospitals keep both classes in the test part that way. Test comes first, then training,
    then validation, when there are too few patients for all three. A patient who was given a part
    before keeps it, whoever has come since: who was tested on is never trained on later.

    Args:
        positive: Pseudonym to whether any imaging study of the patient is positive.
        secret: The site's secret.
        validation_fraction: Part of the patients for validation.
        test_fraction: Part of the patients for the test.
        known: Parts given before, also of patients who are gone.
    """
    parts = {name: part for name, part in (known or {}).items() if name in positive}
    new = sorted(positive.keys() - parts.keys(), key=lambda name: keyed_hash(secret, "split", name))
    for stratum in (False, True):
        counts = Counter(part for name, part in parts.items() if positive[name] == stratum)
        ordered = [name for name in new if positive[name] == stratum]
        patients = counts.total() + len(ordered)
        tests = _share(test_fraction, patients, keep=1)
        validations = _share(validation_fraction, patients, keep=1 + tests)
        missing = [Part.TEST] * (tests - counts[Part.TEST])
        missing += [Part.VALIDATION] * (validations - counts[Part.VALIDATION])
        parts |= dict(zip_longest(ordered, missing[: len(ordered)], fillvalue=Part.TRAIN))
    if test_fraction > 0 and len(parts) > 1 and new and Part.TEST not in parts.values():
        # One patient of each kind: neither stratum could spare one.
        parts[new[0]] = Part.TEST
    return parts


def _share(fraction: float, patients: int, *, keep: int) -> int:
    """Rounded share of ``patients``, at least 1 if wanted, leaving at least ``keep``."""
    wanted = max(1, round(fraction * patients)) if fraction > 0 else 0
    return max(0, min(wanted, patients - keep))
