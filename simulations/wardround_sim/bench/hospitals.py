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


def make_hospitals(folder: Path, *, sites: int, patients: int, training: Training) -> Hospitals:
    """Writes ``sites`` hospitals and prepares them for a study with ``training``."""
    names = tuple(f"site_{number:02}" for number in range(1, sites + 1))
    specs = tuple(
        SyntheticHospital(
            name=name,
            patients=patients,
            studies_per_patient_max=1,
            rows=128,
            columns=128,
            transfer_syntax="rle",
        )
        for name in names
    )
    aggregation = Aggregation(case_cap=max(1, patients))
    draft = StudyDraft(purpose="Benchmark.", training=training, aggregation=aggregation)
    scenario = Scenario(name="bench", study=draft, seed=_SEED, hospitals=specs)
    for spec in specs:
        write_hospital(spec, folder / spec.name, seed=_SEED)
    data = {name: folder / name for name in names}
    federation, coordinator = plan_federation(scenario, names=names, data=data, work=folder)
    create_workspaces(federation, _SEED)
    for config in federation.sites:
        prepare_site(config, federation.study)
    return Hospitals(federation=federation, coordinator=coordinator)


def with_study(hospitals: Hospitals, algorithm: Algorithm, *, local_steps: int) -> Hospitals:
    """The same hospitals and caches under another algorithm and number of local steps."""
    old = hospitals.federation.study
    training = replace(old.training, local_steps=local_steps)
    study = replace(old, algorithm=algorithm, training=training)
    return replace(hospitals, federation=replace(hospitals.federation, study=study))
