"""The command ``wardround-sim``: run a scenario, or write synthetic hospitals."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import warnings
from pathlib import Path

from rich.console import Console

from wardround_common.config import read_config
from wardround_common.errors import ConfigError, WardroundError
from wardround_sim.scenario import Scenario

USAGE_ERROR = 2
ENDED_SHORT = 3


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when all went well; 2 for input that cannot be used; 3 for a run that ended short.
    """
    options = _parser().parse_args(arguments)
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    warnings.filterwarnings("ignore", module=r"(monai|torch|flwr|ray)\b")
    try:
        status: int = options.run(options)
    except WardroundError as error:
        print(f"wardround-sim: {error}", file=sys.stderr)
        return USAGE_ERROR
    except OSError as error:  # its file's name may hold a patient's
        reason = error.strerror or type(error).__name__
        print(f"wardround-sim: cannot go on ({reason}); check disk and rights", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("wardround-sim: stopped", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wardround-sim", description="Simulates a federation of hospitals on one machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a scenario and write its report")
    run.add_argument("scenario", type=Path, help="scenario file, such as scenarios/demo.yaml")
    run.add_argument("--out", type=Path, required=True, help="new folder for report and results")
    run.add_argument("--data", type=Path, help="folder of real archives, if the scenario names any")
    run.add_argument("--engine", choices=("inprocess", "ray"), default="inprocess")
    run.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="worker processes")
    run.add_argument("--seed", type=int, help="instead of the scenario's own seed")
    run.set_defaults(run=_run)
    synth = commands.add_parser("synth", help="write a scenario's synthetic hospitals as DICOM")
    synth.add_argument("scenario", type=Path, help="scenario file with hospitals to generate")
    synth.add_argument("--out", type=Path, required=True, help="new folder, one folder a hospital")
    synth.add_argument("--seed", type=int, help="instead of the scenario's own seed")
    synth.set_defaults(run=_synth)
    compare = commands.add_parser("compare", help="show several runs of a scenario side by side")
    compare.add_argument("runs", type=Path, nargs="+", help="folders that run wrote")
    compare.set_defaults(run=_compare)
    return parser


def _compare(options: argparse.Namespace) -> int:
    from wardround_sim.comparison import print_comparison, require_comparable
    from wardround_sim.results import read_results

    runs = [read_results(folder / "results.json") for folder in options.runs]
    require_comparable(runs)
    print_comparison(runs, Console())
    return 0


def _run(options: argparse.Namespace) -> int:
    if options.workers < 0:
        raise ConfigError(f"--workers: got {options.workers}, expected 0 or more; 0 starts none")
    from wardround_sim.run import RunOptions, run_scenario  # torch takes seconds to load

    found = run_scenario(
        _scenario(options),
        RunOptions(
            out=options.out,
            data=options.data,
            engine=options.engine,
            workers=options.workers,
        ),
    )
    from wardround_sim.summary import print_summary

    print_summary(found, options.out, Console())
    return 0 if found.status == "complete" else ENDED_SHORT


def _synth(options: argparse.Namespace) -> int:
    from wardround_sim.run import write_hospitals

    count = write_hospitals(_scenario(options), options.out)
    print(f"wrote {count} hospitals to {options.out}")
    return 0


def _scenario(options: argparse.Namespace) -> Scenario:
    scenario = read_config(options.scenario, Scenario)
    return scenario if options.seed is None else dataclasses.replace(scenario, seed=options.seed)
