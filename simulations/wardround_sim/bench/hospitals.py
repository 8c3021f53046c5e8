"""Generated hospitals, prepared for a study, that a benchmark can use at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wardround_client.prepare import prepare_site
from wardround_common.identity import Identity
from wardround_common.plan import Aggregation, Algorithm, Training
from wardround_sim.scenario import Scenario, StudyDraft
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.virtual import VirtualFederation, create_workspaces, plan_federation

_SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospitals:
    """Sites on disk, with keys and caches."""

    federation: VirtualFederation
    coordinator: Identity


def make_hospitals(
    folder: Path, *, sites: int, patients: int, training: Training, rounds: int
) -> Hospitals:
    """Writes ``sites`` hospitals and prepares them for a study with ``training``."""
    names = tuple(f"site_{number:02}" for number in range(1, sites + 1))
    specs = [
        SyntheticHospital(name=name, patients=patients, studies_per_patient_max=1, rows=128)
        for name in names
    ]
    specs = [replace(spec, columns=spec.rows, transfer_syntax="rle") for spec in specs]
    draft = StudyDraft(
        purpose="Benchmark.",
        training=training,
        algorithm=Algorithm(rounds=rounds, evaluate_every=rounds),
        aggregation=Aggregation(case_cap=max(1, patients)),
    )
    scenario = Scenario(name="bench", study=draft, seed=_SEED, hospitals=tuple(specs))
    for spec in specs:
        write_hospital(spec, folder / spec.name, seed=_SEED)
    data = {name: folder / name for name in names}
    federation, coordinator = plan_federation(scenario, names=names, data=data, work=folder)
    create_workspaces(federation, _SEED)
    for config in federation.sites:
        prepare_site(config, federation.study)
    return Hospitals(federation=federation, coordinator=coordinator)


def with_algorithm(hospitals: Hospitals, name: str) -> Hospitals:
    """The same hospitals under a study with another algorithm, ``fedavg`` or ``fedadamw``."""
    study = hospitals.federation.study
    study = replace(study, algorithm=replace(study.algorithm, name=name))  # type: ignore[arg-type]
    return replace(hospitals, federation=replace(hospitals.federation, study=study))
