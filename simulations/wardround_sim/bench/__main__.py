"""The command ``python -m wardround_sim.bench``: measures, prints tables, writes bench.json."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wardround_sim.bench.rows import Row

BENCHMARKS = ("masking", "cache", "throughput", "rounds", "index", "traps", "fuzz")
QUICK: dict[str, dict[str, Any]] = {
    "masking": {"values": (20_000,), "sites": (4,), "repetitions": 2},
    "cache": {"files": 3, "times": 2, "batches": 1, "batch_size": 4, "repetitions": 2},
    "throughput": {"patients": 12, "steps": 1, "batch_size": 4, "repetitions": 2},
    "rounds": {
        "patients": 12,
        "local_steps": (1,),
        "rounds": 1,
        "repetitions": 1,
        "ray_repetitions": 0,
        "workers": 0,
    },
    "traps": {"every": 12, "corpus": Path("absent")},
    "fuzz": {"files": 12, "corpus": "absent"},
    "index": {"files": 250, "side": 16, "sample": 100, "repetitions": 1},
}
"""Sizes that only show that everything runs; their numbers mean nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks that were asked for."""
    options = _parser().parse_args(arguments)
    _quieten()
    # Only now, for numpy reads the number of threads when it is imported.
    from wardround_sim.bench.rows import load_average, write_rows  # noqa: PLC0415
    from wardround_sim.bench.tables import print_machine, print_rows  # noqa: PLC0415
    from wardround_sim.collect import describe_machine  # noqa: PLC0415

    machine, before = describe_machine(), load_average()
    print_machine(machine, before)
    rows: list[Row] = []
    for name in BENCHMARKS if options.benchmark == "all" else (options.benchmark,):
        found = measure(name, QUICK[name] if options.quick else {})
        print_rows(f"{name}, {machine.processor}, {machine.cores} cores", found)
        rows += found
        if options.out is not None:  # after each, so that a stop keeps what there is
            path = options.out / "bench.json"
            write_rows(rows, path, machine=machine, load=(before, load_average()))
    if options.out is not None:
        print(f"written: {path}")
    return 0


def measure(name: str, sizes: dict[str, Any]) -> Sequence[Row]:
    """Runs one benchmark with other than its usual sizes where given."""
    benchmark, start_s = importlib.import_module(f"wardround_sim.bench.{name}"), time.monotonic()

    def tell(case: str) -> None:
        elapsed_s = time.monotonic() - start_s
        print(f"{elapsed_s:5.0f} s  {name}: {case}", file=sys.stderr, flush=True)

    return list(benchmark.measure(benchmark.Sizes(**sizes), on_case=tell))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wardround_sim.bench", description=__doc__)
    parser.add_argument("benchmark", choices=(*BENCHMARKS, "all"), nargs="?", default="all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all runs")
    parser.add_argument("--out", type=Path, help="folder for bench.json")
    return parser


def _quieten() -> None:
    """One thread for numpy's linear algebra; no word from libraries about themselves."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    for library in ("flwr", "monai", "ray"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(monai|torch|flwr|ray)\b")


if __name__ == "__main__":
    sys.exit(main())
