"""A small federation of generated hospitals, prepared once for all tests of this folder."""

from __future__ import annotations

import pytest
from tests.end_to_end.runs import SCENARIO, Prepared

from wardround_client.prepare import prepare_site
from wardround_common.config import parse_config
from wardround_sim.scenario import Scenario
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.virtual import create_workspaces, plan_federation


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Four generated hospitals with keys and caches."""
    work = tmp_path_factory.mktemp("federation")
    scenario = parse_config(SCENARIO, Scenario, name="tiny.yaml")
    names = tuple(hospital.name for hospital in scenario.hospitals)
    data = {name: work / name for name in names}
    for hospital in scenario.hospitals:
        write_hospital(hospital, data[hospital.name], seed=scenario.seed)
    federation, coordinator = plan_federation(scenario, names=names, data=data, work=work)
    create_workspaces(federation, scenario.seed)
    for config in federation.sites:
        prepare_site(config, federation.study)
    return Prepared(scenario, federation, coordinator)
