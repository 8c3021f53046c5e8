"""Every byte the coordinator received in a run, searched for what must never leave a site."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pytest
from tests.end_to_end.runs import Prepared, run

from wardround_client import contribution
from wardround_common import masking
from wardround_common.masking import Words
from wardround_common.secagg import coordinator as coordinator_side
from wardround_common.secagg import site as site_side
from wardround_sim.synthetic.roster import planted_identifiers
from wardround_sim.virtual import open_virtual_site

_WINDOW_WORDS = 4
_WINDOWS = 24


@pytest.fixture(scope="module")
def contributions() -> dict[str, list[Words]]:
    """Plain vectors of each site, collected while it makes them."""
    return {}


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch, contributions: dict[str, list[Words]]) -> None:
    for name in ("train", "evaluate"):
        original = getattr(contribution, name)

        def spy(site, *args, original=original, **kwargs):  # type: ignore[no-untyped-def]
            words = original(site, *args, **kwargs)
            contributions.setdefault(site.name, []).append(words.copy())
            return words

        monkeypatch.setattr(contribution, name, spy)


def test_no_plain_update_count_metric_or_identifier_is_among_the_bytes(
    prepared: Prepared, tmp_path: Path, spied: None, contributions: dict[str, list[Words]]
) -> None:
    _, grid = run(prepared, tmp_path, identity=secrets.token_bytes(16))
    received = b"\n".join(grid.received)
    assert sum(map(len, contributions.values())) == len(prepared.federation.sites) * 5
    for site, vectors in contributions.items():
        for vector in vectors:
            assert not _found_in(vector, received), f"{site} sent part of its plain vector"
    for hospital in prepared.scenario.hospitals:
        for identifier in planted_identifiers(hospital, seed=prepared.scenario.seed):
            assert identifier.encode() not in received
            assert identifier.encode("utf-16-le") not in received


def test_without_masks_the_search_above_finds_the_updates(
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spied: None,
    contributions: dict[str, list[Words]],
) -> None:
    for module in (masking, site_side, coordinator_side):
        monkeypatch.setattr(module, "add_masks", lambda vector, **seeds: None)
    contributions.clear()
    _, grid = run(prepared, tmp_path, identity=secrets.token_bytes(16))
    received = b"\n".join(grid.received)
    vectors = [vector for found in contributions.values() for vector in found]
    assert all(_found_in(vector, received) for vector in vectors)


def test_logs_of_sites_and_coordinator_hold_no_identifier(
    prepared: Prepared, tmp_path: Path
) -> None:
    run(prepared, tmp_path, identity=secrets.token_bytes(16))
    logs = [config.workspace / "logs" / "site.jsonl" for config in prepared.federation.sites]
    logs += [tmp_path / "logs" / "coordinator.jsonl", tmp_path / "rounds.jsonl"]
    text = "\n".join(log.read_text() for log in logs)
    for hospital in prepared.scenario.hospitals:
        for identifier in planted_identifiers(hospital, seed=prepared.scenario.seed):
            assert identifier not in text
    assert str(open_virtual_site(prepared.federation, "alder").config.archive) not in text


def _found_in(vector: Words, received: bytes) -> bool:
    """Whether any window of a few telling words of ``vector`` occurs in ``received``."""
    whole = vector.size - vector.size % _WINDOW_WORDS
    rows = vector[:whole].reshape(-1, _WINDOW_WORDS)[:4096]
    telling = rows[(np.diff(np.sort(rows, axis=1), axis=1) != 0).sum(axis=1) >= 2]
    return any(row.tobytes() in received for row in telling[:_WINDOWS])
