"""Several runs of one scenario, such as three seeds, in one table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from wardround_common.errors import ConfigError
from wardround_common.study import canonical_json
from wardround_sim.report.words import SCOPE_LABELS
from wardround_sim.results import Results


def require_comparable(runs: Sequence[Results]) -> None:
    """Raises ConfigError unless the runs differ in nothing but the seed."""
    kinds = {(run.scenario, run.site_names) for run in runs}
    if len(kinds) != 1:
        got = ", ".join(sorted({run.scenario for run in runs}))
        raise ConfigError(f"compare: got runs of {got}, expected one scenario and its hospitals")
    studies = {canonical_json(run.study.parameters | {"seed": 0}) for run in runs}
    if len(studies) != 1:
        raise ConfigError("compare: got runs of different studies, expected only other seeds")
    if len({run.seed for run in runs}) != len(runs):
        raise ConfigError("compare: got two runs of one seed, expected each seed once")


def print_comparison(runs: Sequence[Results], console: Console) -> None:
    """Prints mean and spread of the AUC over runs by hospital and arm, and the differences."""
    first = runs[0]
    seeds = ", ".join(str(run.seed) for run in runs)
    title = f"{first.scenario}: test AUC, mean (smallest to largest) over seeds {seeds}"
    table = Table(title=title, title_justify="left")
    table.add_column("hospital", no_wrap=True)
    arms = [arm for arm in first.arms if all(arm in run.auc for run in runs)]
    for arm in arms:
        table.add_column(arm.replace("_", "-"), justify="right")
    for against in ("local", "pooled"):
        if against in arms:
            table.add_column(f"federated - {against}", justify="right")
    for scope in first.scopes:
        table.add_row(SCOPE_LABELS.get(scope, scope), *_cells(runs, arms, scope))
    console.print(table)
    for run in runs:
        if run.status != "complete":
            console.print(f"seed {run.seed} ended short: {run.reason}")
    wall_s = [run.wall_s for run in runs]
    sent = [sum(cost.bytes_received for cost in run.phases.values()) for run in runs]
    console.print(
        f"{first.rounds.planned} rounds; {_spread(wall_s, '{:.0f}'.format)} s a run; "
        f"{statistics.mean(sent) / len(first.sites) / 1e6:.0f} MB sent by each hospital"
    )


def _cells(runs: Sequence[Results], arms: Sequence[str], scope: str) -> list[str]:
    values = {arm: _values(runs, arm, scope) for arm in arms}
    cells = [_spread([v for v in values[arm] if v is not None], "{:.3f}".format) for arm in arms]
    for against in ("local", "pooled"):
        if against in arms:
            pairs = zip(values["federated"], values[against], strict=True)
            # A run without one of the two has no difference; its neighbours' must not shift.
            differences = [a - b for a, b in pairs if a is not None and b is not None]
            cells.append(_spread(differences, "{:+.3f}".format))
    return cells


def _values(runs: Sequence[Results], arm: str, scope: str) -> list[float | None]:
    found = [run.auc[arm].get(scope) for run in runs]
    return [None if value is None else value.auc for value in found]


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    if not values:
        return "-"
    return f"{form(statistics.mean(values))} ({form(min(values))} to {form(max(values))})"
