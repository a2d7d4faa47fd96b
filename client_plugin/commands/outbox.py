"""List what is to be sent to the PACS and what could not be; try it again, or drop it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from client_plugin.archive.keys import SiteKeys
from client_plugin.commands import add_kit, load
from client_plugin.config import ConfigError
from client_plugin.dicom.send.outbox import Job, Outbox, SendState
from client_plugin.dicom.send.sender import outbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``JOB``, ``--retry``, ``--drop``, ``--json`` and ``--kit``."""
    parser.add_argument("job", nargs="?", metavar="JOB", help="the start of a job's name; none: all")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--retry", action="store_true", help="try those that failed, or wait for their next try, now")
    what.add_argument("--drop", action="store_true", help="forget those that failed, and their files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """List, retry or drop."""
    config = load(args)
    jobs = outbox(config, SiteKeys.open(config))
    chosen = [job for job in jobs.jobs() if job.id.startswith(args.job or "")]
    if args.job is not None and not chosen:
        raise ConfigError(f"no job {args.job} in the outbox: `fedpacs outbox` lists them")
    if args.retry:
        print(f"{_retried(jobs, chosen)} are due now")
    elif args.drop:
        failed = [job for job in chosen if job.state is SendState.FAILED]
        for job in failed:
            jobs.drop(job)
        print(f"{len(failed)} dropped")
    elif args.json:
        print(json.dumps([asdict(job) for job in chosen], default=str))
    else:
        Console().print(_table(config.site, chosen))
    return 0


def _retried(jobs: Outbox, chosen: list[Job]) -> int:
    unsent = [job for job in chosen if job.state is not SendState.SENT]
    for job in unsent:
        jobs.retry(job, datetime.now(UTC))
    return len(unsent)


def _table(site: str, jobs: list[Job]) -> Table:
    table = Table(title=f"{site}: {len(jobs)} in the outbox")
    for heading in ("job", "to", "state"):
        table.add_column(heading)
    table.add_column("tries", justify="right")
    for heading in ("reason", "next try"):
        table.add_column(heading)
    for job in jobs:
        due = job.next_try_at.astimezone().strftime("%Y-%m-%d %H:%M") if job.state is SendState.WAITING else ""
        table.add_row(job.id[:8], job.destination, job.state, str(job.tries), job.reason, due)
    return table
