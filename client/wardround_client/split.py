"""Splits patients into training, validation and test, by keyed hash of their pseudonym.

A patient is in one part only. The order is that of the keyed hash, so it depends on neither
names nor file order, and nobody without the site's secret can foresee it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

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
) -> dict[str, Part]:
    """Gives each patient a part, separately for patients with and without a positive study.

    Small hospitals keep both classes in the test part that way. Test comes first, then training,
    then validation, when there are too few patients for all three.

    Args:
        positive: Pseudonym to whether any imaging study of the patient is positive.
        secret: The site's secret.
        validation_fraction: Part of the patients for validation.
        test_fraction: Part of the patients for the test.
    """
    parts: dict[str, Part] = {}
    for stratum in (False, True):
        names = (name for name, found in positive.items() if found == stratum)
        ordered = sorted(names, key=lambda name: keyed_hash(secret, "split", name))
        tests = _share(test_fraction, len(ordered), keep=1)
        validations = _share(validation_fraction, len(ordered), keep=1 + tests)
        for rank, name in enumerate(ordered):
            is_validation = rank < tests + validations
            later = Part.VALIDATION if is_validation else Part.TRAIN
            parts[name] = Part.TEST if rank < tests else later
    if test_fraction > 0 and len(parts) > 1 and Part.TEST not in parts.values():
        # One patient of each kind: neither stratum could spare one.
        parts[min(parts, key=lambda name: keyed_hash(secret, "split", name))] = Part.TEST
    return parts


def _share(fraction: float, patients: int, *, keep: int) -> int:
    """Rounded share of ``patients``, at least 1 if wanted, leaving at least ``keep``."""
    wanted = max(1, round(fraction * patients)) if fraction > 0 else 0
    return max(0, min(wanted, patients - keep))
