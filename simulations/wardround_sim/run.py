"""Runs a scenario: hospitals, preparation, federation, baselines, scores, report.

Everything goes into one new folder. Input that cannot be used leaves no folder behind; a run that
broke off later keeps what it has, with its logs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from wardround_client.cohort_report import CohortReport
from wardround_client.models import build_model
from wardround_client.prepare import prepare_site
from wardround_common.errors import ConfigError, RoundError, WardroundError
from wardround_common.identity import Identity
from wardround_common.update import model_sha256
from wardround_server.app import build_server_app
from wardround_server.federation import RunOutcome, RunSettings
from wardround_sim import collect, results
from wardround_sim.assessment import Arms, SiteScores, score_site
from wardround_sim.baselines import POOLED, Model, train_baseline
from wardround_sim.engine.inprocess import run_inprocess
from wardround_sim.engine.nodes import make_client_app
from wardround_sim.memory import MemoryWatch
from wardround_sim.pool import for_each_site
from wardround_sim.progress import Display
from wardround_sim.report.attempts import leg_costs, validation_curve
from wardround_sim.report.page import write_report
from wardround_sim.report.words import PHASE_LABELS
from wardround_sim.scenario import Scenario
from wardround_sim.synthetic.archive import write_hospital
from wardround_sim.synthetic.hospital import SyntheticHospital
from wardround_sim.virtual import (
    VirtualFederation,
    create_workspaces,
    find_archives,
    plan_federation,
    run_identity,
)

Engine = Literal["inprocess", "ray"]
_SITE_FILE = """\
# A generated hospital; see site_configs/example.yaml for every key.
site: {site}
archive: archive
labels: labels.csv
workspace: workspace
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run a scenario, apart from what is in it."""

    out: Path
    """New folder for all that comes out."""
    data: Path | None = None
    """Folder of real archives, for scenarios that name some."""
    engine: Engine = "inprocess"
    workers: int = 2
    """Worker processes; 0 runs everything in this one."""


@dataclass(slots=True)
class _Clock:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run_scenario(scenario: Scenario, options: RunOptions) -> results.Results:
    """Runs a scenario to the end and writes its folder.

    Returns:
        The results, as written to ``results.json``.

    Raises:
        ConfigError: Scenario, data or output folder cannot be used.
        ArchiveError: A site's archive or labels cannot be used, or it has no usable example.
        PolicyError: The study has expired.
        RoundError: The run could not begin.
    """
    hospitals = _hospitals(scenario)
    names = tuple(sorted(h.name for h in hospitals)) or tuple(sorted(scenario.archives))
    work = options.out / "sites"
    if scenario.archives:
        data = find_archives(scenario, options.data)
    else:
        data = {name: work / name for name in names}
    _require_free(names)
    federation, coordinator = plan_federation(scenario, names=names, data=data, work=work)
    federation.study.require_valid_on(datetime.now(UTC).date())
    draft, classes = scenario.study, len(scenario.study.task.classes)
    build_model(draft.model, classes=classes, seed=0, dimensions=len(draft.preprocessing.shape))
    _require_new(options.out)
    run = _Run(scenario, options, federation)
    with MemoryWatch() as memory, Display(scenario.name, names) as display:
        start = time.perf_counter()
        with _nothing_left_behind(options.out):
            reports = run.prepare(hospitals, display)
        outcome = run.federate(coordinator, display)
        scores = run.compare(outcome, display)
        found = run.collect(outcome, reports, scores)
        found = replace(
            found,
            wall_s=round(time.perf_counter() - start, 3),
            peak_memory_bytes=memory.peak_bytes,
        )
        results.write_results(found, options.out / "results.json")
        write_report(found, run.rounds(), options.out / "report.html")
    return found


def write_hospitals(scenario: Scenario, out: Path) -> int:
    """Writes the synthetic hospitals of a scenario, a folder each; returns how many.

    Each folder holds what ``wardround-site`` needs; the study stands beside them.

    Raises:
        ConfigError: The scenario generates none, or the folder cannot be used.
    """
    hospitals = _hospitals(scenario)
    if not hospitals:
        raise ConfigError(f"scenario {scenario.name}: names real archives, expected hospitals")
    _require_new(out)
    names = tuple(hospital.name for hospital in hospitals)
    folders = {name: out / name for name in names}
    federation, _ = plan_federation(scenario, names=names, data=folders, work=out)
    with _nothing_left_behind(out), Display(scenario.name, ()) as display:
        display.phase("generating archives", len(hospitals))
        for hospital in hospitals:
            write_hospital(hospital, folders[hospital.name], seed=scenario.seed)
            text = _SITE_FILE.format(site=hospital.name)
            (folders[hospital.name] / "site.yaml").write_text(text, encoding="utf-8")
            display.step()
        (out / "study.json").write_bytes(federation.study.canonical() + b"\n")
    return len(hospitals)


class _Run:
    """What the phases of one run share."""

    def __init__(
        self, scenario: Scenario, options: RunOptions, federation: VirtualFederation
    ) -> None:
        self._scenario, self._options, self._federation = scenario, options, federation
        self._clock = _Clock()
        self._identity = run_identity(scenario.seed)
        self._names = federation.study.sites
        self._prepare_s: dict[str, float] = {}

    def prepare(
        self, hospitals: tuple[SyntheticHospital, ...], display: Display
    ) -> dict[str, CohortReport]:
        """Generates hospitals, creates workspaces, makes every site's examples."""
        scenario = self._scenario
        if hospitals:
            by_name = {hospital.name: hospital for hospital in hospitals}
            folder = self._options.out / "sites"
            generate = partial(_generate, by_name, folder, scenario.seed)
            self._for_each(generate, self._names, "generate", display)
        create_workspaces(self._federation, scenario.seed)
        prepare = partial(_prepare, self._federation)
        found = self._for_each(prepare, self._names, "prepare", display)
        self._prepare_s = {site: seconds for site, (_, seconds) in found.items()}
        return {site: report for site, (report, _) in found.items()}

    def federate(self, coordinator: Identity, display: Display) -> RunOutcome:
        """Runs ServerApp and ClientApps on the chosen engine."""
        study, ended = self._federation.study, list[RunOutcome]()
        settings = RunSettings(
            study=study,
            identity=coordinator,
            run=self._identity,
            folder=self._options.out,
            on_event=_events(display, study.algorithm.rounds),
        )
        display.phase("training together", study.algorithm.rounds)
        ray = self._options.engine == "ray"
        app = build_server_app(settings, poll_s=0.02, on_outcome=ended.append)
        make_app = partial(make_client_app, self._federation)
        run = run_inprocess
        if ray:
            # Ray is optional, and slow to load.
            from wardround_sim.engine.ray import run_ray as run  # noqa: PLC0415
        with self._clock.phase("federation"):
            run(app, make_app, sites=len(self._names), workers=self._options.workers)
        if not ended:
            raise RoundError("run: ended without an outcome; see logs/coordinator.jsonl")
        return ended[0]

    def compare(self, outcome: RunOutcome, display: Display) -> dict[str, SiteScores]:
        """Trains the baselines and scores every arm on test patients."""
        wanted = self._scenario.baselines
        who: tuple[str, ...] = (POOLED,) if "pooled" in wanted else ()  # takes longest, so first
        who += self._names if "local" in wanted else ()
        baselines: dict[str, Model] = {}
        if who:
            train = partial(train_baseline, self._federation)
            baselines = self._for_each(train, who, "baselines", display)
        arms = Arms(
            shared=outcome.state.model(),
            run=self._identity,
            step=outcome.completed * self._federation.study.training.local_steps,
            baselines=baselines,
            fine_tuning=self._scenario.fine_tuning,
        )
        score = partial(score_site, self._federation, arms)
        return self._for_each(score, self._names, "score", display)

    def collect(
        self,
        outcome: RunOutcome,
        reports: dict[str, CohortReport],
        scores: dict[str, SiteScores],
    ) -> results.Results:
        """Puts the results together."""
        study, lines = self._federation.study, self.rounds()
        aucs, rocs = collect.auc_tables(scores)
        sites = tuple(
            collect.describe_site(
                self._federation, site, report=reports[site], seconds=self._prepare_s[site]
            )
            for site in self._names
        )
        return results.Results(
            scenario=self._scenario.name,
            study=collect.summarise_study(study),
            seed=self._scenario.seed,
            engine=self._options.engine,
            workers=self._options.workers,
            machine=collect.describe_machine(),
            finished=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            status="ended short" if outcome.problem else "complete",
            reason=outcome.problem,
            rounds=results.RoundCounts(
                planned=study.algorithm.rounds,
                completed=outcome.completed,
                void=outcome.void,
            ),
            model_sha256=model_sha256(outcome.state.model()).hex(),
            parameters=outcome.state.parameters.size,
            protection=collect.describe_protection(study, outcome.state),
            clipped_updates=sum(line.get("clipped", 0) for line in lines),
            sites=sites,
            auc=aucs,
            roc=rocs,
            interval_method="DeLong, logit scale",
            calibration=collect.calibrate(scores),
            validation=validation_curve(lines),
            phases=self._phases(lines),
            wall_s=0.0,
            peak_memory_bytes=0,
            site_round_overhead_s=collect.site_round_overhead_s(
                lines, sites, workers=self._options.workers
            ),
            warnings=collect.list_warnings(study),
        )

    def rounds(self) -> list[dict[str, Any]]:
        """The lines of rounds.jsonl."""
        return collect.read_lines(self._options.out / "rounds.jsonl")

    def _phases(self, lines: list[dict[str, Any]]) -> dict[str, results.PhaseCost]:
        own = {
            name: results.PhaseCost(seconds=round(seconds, 6), bytes_sent=0, bytes_received=0)
            for name, seconds in self._clock.seconds.items()
            if name != "federation"
        }
        return own | leg_costs(lines)

    def _for_each(
        self, work: Callable[[str], Any], who: tuple[str, ...], phase: str, display: Display
    ) -> dict[str, Any]:
        display.phase(PHASE_LABELS[phase].lower(), len(who))

        def on_event(site: str, what: str) -> None:
            display.site(site, what)
            display.step()

        with self._clock.phase(phase):
            return for_each_site(work, who, workers=self._options.workers, on_event=on_event)


def _hospitals(scenario: Scenario) -> tuple[SyntheticHospital, ...]:
    if scenario.federation is not None:
        return scenario.federation.hospitals(seed=scenario.seed)
    names = [hospital.name for hospital in scenario.hospitals]
    if len(set(names)) != len(names):
        raise ConfigError(f"hospitals: got a name twice in {', '.join(names)}, expected each once")
    return scenario.hospitals


def _generate(hospitals: dict[str, SyntheticHospital], folder: Path, seed: int, name: str) -> None:
    write_hospital(hospitals[name], folder / name, seed=seed)


def _prepare(federation: VirtualFederation, name: str) -> tuple[CohortReport, float]:
    start = time.perf_counter()
    config = next(config for config in federation.sites if config.site == name)
    report = prepare_site(config, federation.study)
    return report, round(time.perf_counter() - start, 6)


def _events(display: Display, rounds: int) -> Callable[[str, str, str], None]:
    def on_event(leg: str, site: str, what: str) -> None:
        if site:
            display.site(site, leg if what == "asked" else f"{leg}: {what}")
        elif leg == "round":
            number = int(what.partition("/")[0])
            display.step(number - 1, detail=f"round {number} of {rounds}")
        elif leg == "evaluation":
            display.step(
                rounds if what == "test" else None, detail=f"evaluating on {what} patients"
            )

    return on_event


def _require_free(names: tuple[str, ...]) -> None:
    taken = sorted({results.ALL, results.TWO_CLASS, POOLED} & set(names))
    if taken:
        raise ConfigError(
            f"hospitals: got the name {taken[0]!r}, which results use; choose another"
        )


def _require_new(out: Path) -> None:
    try:
        used = out.exists() and any(out.iterdir())
    except OSError as error:
        raise ConfigError(
            f"--out {out}: got {error.strerror!r}, expected a new folder; choose another"
        ) from None
    if used:
        raise ConfigError(f"--out {out}: got a folder that holds something, expected a new one")


@contextmanager
def _nothing_left_behind(out: Path) -> Iterator[None]:
    """Removes the output folder if input turns out to be unusable before the run begins."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: cannot be made ({error.strerror}); choose another folder"
        ) from None
    try:
        yield
    except (WardroundError, OSError, KeyboardInterrupt):
        shutil.rmtree(out, ignore_errors=True)
        raise
