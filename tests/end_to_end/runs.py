"""Runs a small federation of generated hospitals in this process, watched."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from flwr.app import Error, Message

from wardround_common.identity import Identity
from wardround_server.app import build_server_app
from wardround_server.federation import RunOutcome, RunSettings
from wardround_sim.engine.inprocess import InProcessGrid
from wardround_sim.engine.nodes import make_client_app
from wardround_sim.scenario import Scenario
from wardround_sim.virtual import VirtualFederation

SCENARIO = b"""
name: tiny
seed: 7
study:
  purpose: Tests.
  cohort: {modalities: [CR, DX]}
  preprocessing: {rows: 32, columns: 32}
  training: {local_steps: 2, batch_size: 4}
  algorithm: {rounds: 2, evaluate_every: 1}
  aggregation: {case_cap: 40, leg_deadline_s: 20, train_deadline_s: 60}
hospitals:
- {name: alder, patients: 14, rows: 64, columns: 64, transfer_syntax: rle}
- {name: beech, patients: 15, rows: 64, columns: 64, modality: CR, photometric: MONOCHROME1}
- {name: cedar, patients: 16, rows: 64, columns: 64, transfer_syntax: jpeg_ls}
- {name: elm, patients: 14, rows: 64, columns: 64, prevalence: 1.0}
"""

Drop = Callable[[str, str], bool]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Hospitals on disk, ready for any number of runs."""

    scenario: Scenario
    federation: VirtualFederation
    coordinator: Identity


class WatchedGrid(InProcessGrid):
    """Keeps every byte that the coordinator receives, and loses what a test wants lost."""

    def __init__(self, federation: VirtualFederation, *, drop: Drop) -> None:
        make_app = partial(make_client_app, federation)
        super().__init__(make_app, sites=len(federation.sites), workers=0)
        self.received: list[bytes] = []
        self.sizes: dict[str, int] = {}
        self._sites = [config.site for config in federation.sites]
        self._drop = drop

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies; what a test wants lost arrives as Flower's error for an unreachable node."""
        arrived = []
        for message in super().pull_messages(message_ids):
            site = self._sites[message.metadata.src_node_id - 100]
            if self._drop(site, message.metadata.message_type.rpartition(".")[2]):
                message.__dict__.update(_content=None, _error=Error(1, "lost on the way"))
            else:
                self.received.append(raw_bytes(message))
            arrived.append(message)
        return arrived


def raw_bytes(message: Message) -> bytes:
    """Everything a message holds: arrays and fields as they are, the rest pickled."""
    arrays = b"".join(a.data for r in message.content.array_records.values() for a in r.values())
    return arrays + pickle.dumps((message.metadata, dict(message.content.config_records)))


def with_study(prepared: Prepared, **sections: object) -> VirtualFederation:
    """The same hospitals under a study with other sections."""
    study = dataclasses.replace(prepared.federation.study, **sections)  # type: ignore[arg-type]
    return dataclasses.replace(prepared.federation, study=study)


def run(
    prepared: Prepared,
    out: Path,
    *,
    identity: bytes,
    federation: VirtualFederation | None = None,
    drop: Drop = lambda site, leg: False,
) -> tuple[RunOutcome, WatchedGrid]:
    """Runs the federation in this process."""
    federation = federation or prepared.federation
    ended: list[RunOutcome] = []
    settings = RunSettings(
        study=federation.study,
        identity=prepared.coordinator,
        run=identity,
        folder=out,
        hello_deadline_s=8,
    )
    app = build_server_app(settings, poll_s=0.0, on_outcome=ended.append)
    grid = WatchedGrid(federation, drop=drop)
    app(grid=grid, context=None)  # type: ignore[arg-type]
    return ended[0], grid
