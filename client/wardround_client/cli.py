"""The command ``wardround-site``: what a hospital does with its archive, on its own screen."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from rich.console import Console

from wardround_common.config import read_config
from wardround_common.errors import WardroundError
from wardround_common.site_config import SiteConfig
from wardround_common.study import Study, read_study

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when all went well; 2 for input that cannot be used; 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings(action="ignore"):  # libraries' warnings quote values
            _run(options)
    except WardroundError as error:
        print(f"wardround-site: {error}", file=sys.stderr)
        return USAGE_ERROR
    except OSError as error:  # its file's name may hold a patient's
        reason = error.strerror or type(error).__name__
        print(f"wardround-site: cannot go on ({reason}); check disk and rights", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("wardround-site: stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wardround-site", description="Reads a hospital's archive for federated studies."
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("site.yaml"),
        help="the site's configuration (default: site.yaml)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    index = commands.add_parser("index", help="bring the index of the archive up to date")
    index.add_argument("--study", type=Path, help="study that says what to ask a PACS for")
    index.set_defaults(command="index")
    prepare = commands.add_parser("prepare", help="make the examples of a study")
    prepare.add_argument("study", type=Path, help="the approved study's file")
    prepare.set_defaults(command="prepare")
    _add_archive(commands.add_parser("archive", help="report on the archive, or explain one file"))
    data = commands.add_parser("data-report", help="report on a study's examples at this site")
    data.add_argument("study", type=Path, help="the approved study's file")
    data.add_argument("--out", type=Path, help="folder to write to (default: in the workspace)")
    data.set_defaults(command="data-report")
    rebuild = commands.add_parser("deidentify", help="build files anew without identifiers")
    rebuild.add_argument("files", type=Path, nargs="+", help="DICOM files")
    rebuild.add_argument("--out", type=Path, required=True, help="new or empty folder")
    rebuild.set_defaults(command="deidentify")
    return parser


def _add_archive(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="what the archive holds and what cannot be used")
    report.add_argument("--out", type=Path, help="folder to write to (default: in the workspace)")
    report.set_defaults(command="archive report")
    explain = commands.add_parser("explain", help="what becomes of one file, step by step")
    explain.add_argument("file", type=Path, help="a DICOM file, of the archive or not")
    explain.add_argument("--study", type=Path, help="study whose rules are applied as well")
    explain.set_defaults(command="archive explain")


def _run(options: argparse.Namespace) -> None:
    """Loads what the command needs, which takes a moment, and calls it."""
    from wardround_client import commands

    config = read_config(options.config, SiteConfig)
    console = Console()
    if options.command == "index":
        commands.index(config, _study(options), console)
    elif options.command == "prepare":
        commands.prepare(config, read_study(options.study), console)
    elif options.command == "archive report":
        commands.report_archive(config, options.out, console)
    elif options.command == "archive explain":
        commands.explain_file(config, options.file, _study(options), console)
    elif options.command == "data-report":
        commands.report_data(config, read_study(options.study), options.out, console)
    elif options.command == "deidentify":
        commands.deidentify(config, options.files, options.out, console)


def _study(options: argparse.Namespace) -> Study | None:
    return None if options.study is None else read_study(options.study)


if __name__ == "__main__":
    sys.exit(main())
