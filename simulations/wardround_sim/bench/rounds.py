"""Wall time of a training round: secure, with a plain sum, and Flower's FedAvg on Ray.

All of them train the same model on the same hospitals with the same steps. The secure and the
plain variant share both apps and the grid, and must end with the same model, bit for bit.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from wardround_common.plan import Algorithm, Training
from wardround_common.update import model_sha256
from wardround_server.app import build_server_app
from wardround_server.federation import RunOutcome, RunSettings
from wardround_sim.bench.flower_fedavg import make_fedavg_client, make_fedavg_server
from wardround_sim.bench.hospitals import Hospitals, make_hospitals, with_study
from wardround_sim.bench.plain_sum import make_plain_app, plain_coordinator
from wardround_sim.bench.rows import Row, Spread, ratio
from wardround_sim.engine.inprocess import InProcessGrid
from wardround_sim.engine.nodes import make_client_app
from wardround_sim.engine.ray import run_ray

NAME = "rounds"
SECURE, PLAIN = "secure sum", "plain sum"
IN_PROCESS, ON_RAY, FEDAVG = "wardround", "wardround on Ray", "Flower FedAvg on Ray"
_GOAL = "<= 1.05"
_NO_PAUSE_S = 0.0

Seconds = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to measure."""

    sites: int = 4
    patients: int = 60
    local_steps: tuple[int, ...] = (10, 30)
    """Steps of a site in a round; one case each. The first is the one for Ray."""
    rounds: int = 2
    """Rounds of a run; short runs alternate often."""
    repetitions: int = 5
    """Runs of each way, in turn."""
    ray_rounds: int = 5
    """Rounds of a run on Ray, less the first one, which is not counted."""
    ray_repetitions: int = 2
    """Runs of each way on Ray, which takes long to start; 0 leaves it out."""
    workers: int = 2


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows; ``on_case`` is told what is being measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        on_case("writing hospitals")
        hospitals = make_hospitals(
            folder, sites=sizes.sites, patients=sizes.patients, training=Training()
        )
        for steps in sizes.local_steps:
            on_case(f"secure and plain sum, {steps} steps")
            algorithm = Algorithm(rounds=sizes.rounds, evaluate_every=sizes.rounds)
            subject = with_study(hospitals, algorithm, local_steps=steps)
            found = _secure_and_plain(subject, sizes, folder / f"{steps} steps")
            case = f"{sizes.sites} sites, small_cnn, {steps} steps, {algorithm.name}"
            yield from _rows(case, found, own=(SECURE,), other=PLAIN, goal=_GOAL)
        if sizes.ray_repetitions:
            on_case("on Ray")
            steps = sizes.local_steps[0]
            algorithm = Algorithm(name="fedavg", rounds=sizes.ray_rounds, evaluate_every=100)
            subject = with_study(hospitals, algorithm, local_steps=steps)
            found = _on_ray(subject, sizes, folder)
            case = f"{sizes.sites} sites, small_cnn, {steps} steps, fedavg"
            yield from _rows(case, found, own=(IN_PROCESS, ON_RAY), other=FEDAVG)


def _secure_and_plain(hospitals: Hospitals, sizes: Sizes, folder: Path) -> Seconds:
    seconds: Seconds = {SECURE: [], PLAIN: []}
    apps = {SECURE: make_client_app, PLAIN: make_plain_app}
    grids = {
        way: InProcessGrid(
            partial(make_app, hospitals.federation), sites=sizes.sites, workers=sizes.workers
        )
        for way, make_app in apps.items()
    }
    try:
        for number in range(sizes.repetitions + 1):
            models, run = set(), secrets.token_bytes(16)  # the run is part of all draws
            for way in list(grids)[:: -1 if number % 2 else 1]:
                with plain_coordinator() if way == PLAIN else nullcontext():
                    taken, model = _timed_run(
                        hospitals, folder / way, partial(_serve, grids[way]), run
                    )
                models.add(model)
                if number > 0:  # in the first, workers load their libraries
                    seconds[way] += taken
            if len(models) != 1:
                raise RuntimeError("secure and plain sum gave different models")
    finally:
        for grid in grids.values():
            grid.close()
    return seconds


def _on_ray(hospitals: Hospitals, sizes: Sizes, folder: Path) -> Seconds:
    """Rounds after each run's first one, in which Ray's workers load their libraries."""
    seconds: Seconds = {IN_PROCESS: [], ON_RAY: [], FEDAVG: []}
    federation = hospitals.federation
    make_app, make_plain = (
        partial(make_client_app, federation),
        partial(make_fedavg_client, federation),
    )

    def on_ray(app: ServerApp) -> None:
        run_ray(app, make_app, sites=sizes.sites, workers=sizes.workers)

    for _ in range(sizes.ray_repetitions):
        grid = InProcessGrid(make_app, sites=sizes.sites, workers=sizes.workers)
        try:
            taken, _ = _timed_run(
                hospitals, folder / IN_PROCESS, partial(_serve, grid), secrets.token_bytes(16)
            )
        finally:
            grid.close()
        seconds[IN_PROCESS] += taken[1:]
        taken, _ = _timed_run(hospitals, folder / ON_RAY, on_ray, secrets.token_bytes(16))
        seconds[ON_RAY] += taken[1:]
        plain: list[float] = []
        server = make_fedavg_server(federation.study, on_round=plain.append)
        run_ray(server, make_plain, sites=sizes.sites, workers=sizes.workers)
        seconds[FEDAVG] += plain[1:]
    return seconds


def _serve(grid: InProcessGrid, app: ServerApp) -> None:
    app(grid=grid, context=Context(1, 1, {}, RecordDict(), {}))


def _timed_run(
    hospitals: Hospitals, folder: Path, serve: Callable[[ServerApp], None], run: bytes
) -> tuple[list[float], str]:
    """Seconds of each round of a new run, from request to the recorded sum; and its model."""
    seconds: list[float] = []
    ended: list[RunOutcome] = []
    start_s = 0.0

    def on_event(leg: str, site: str, what: str) -> None:
        nonlocal start_s
        if leg == "round":
            start_s = time.perf_counter()
        elif (leg, site, what) == ("train", "", "opened"):
            seconds.append(time.perf_counter() - start_s)

    settings = RunSettings(
        study=hospitals.federation.study,
        identity=hospitals.coordinator,
        run=run,
        folder=folder / run.hex(),
        on_event=on_event,
    )
    serve(build_server_app(settings, poll_s=_NO_PAUSE_S, on_outcome=ended.append))
    if ended[0].problem or len(seconds) != settings.study.algorithm.rounds:
        raise RuntimeError(f"a benchmarked run ended short: {ended[0].problem}")
    return seconds, model_sha256(ended[0].state.model()).hex()


def _rows(
    case: str, seconds: Seconds, *, own: tuple[str, ...], other: str, goal: str = ""
) -> Iterator[Row]:
    for way, taken in seconds.items():
        to_other = [ratio(taken, to=other, others=seconds[other], goal=goal)]
        yield Row(
            benchmark=NAME,
            case=case,
            way=way,
            unit="s/round",
            spread=Spread.of(taken),
            ratios=tuple(to_other if way in own else []),
        )
