"""List what was pulled from the PACS, what waits, and what could not be had. --cancel gives up what waits of a job."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from client_plugin.commands import add_kit, load
from client_plugin.config import ConfigError
from client_plugin.dicom.pull import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``JOB``, ``--kit`` and ``--json``."""
    parser.add_argument("job", nargs="?", metavar="JOB", help="one job only")
    add_kit(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--cancel", action="store_true", help="give up what waits of JOB")


def run(args: argparse.Namespace) -> int:
    """Print the job table."""
    config = load(args)
    if args.cancel:
        if args.job is None:
            raise ConfigError("--cancel needs a JOB: `fedpacs pulls` lists them")
        print(f"job {args.job}: {command.cancel(config, args.job)} studies given up")
        return 0
    pulls = command.pulls(config, args.job)
    if args.json:
        print(json.dumps([asdict(pull) for pull in pulls], default=str))
        return 0
    table = Table(title=f"{config.site}: {len(pulls)} pulls")
    for heading in ("job", "study", "from", "state"):
        table.add_column(heading)
    for heading in ("images", "tries"):
        table.add_column(heading, justify="right")
    for heading in ("reason", "next try"):
        table.add_column(heading)
    for pull in pulls:
        due = pull.next_try_at.astimezone().strftime("%Y-%m-%d %H:%M") if pull.state == "waiting" else ""
        images = f"{pull.here} of {pull.expected}" if pull.expected is not None else str(pull.here)
        table.add_row(
            pull.job, f"…{pull.study_uid[-8:]}", pull.source, pull.state, images, str(pull.tries), pull.reason, due
        )
    Console().print(table)
    return 0
