"""Pull a cohort from the PACS into the archive. Without a cohort: go on with what waits in the job table.

The cohort is a YAML file: modality, body_part, study_date (from, to), study_description, series_description, accession,
patient_id, study_uid. How studies are pulled is the section `pull` of the node's configuration. Ctrl-C stops within
seconds. A node that runs pulls by itself, so the command only watches then, and what is left goes on without it;
`fedpacs pulls JOB --cancel` gives it up.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from client_plugin.commands import add_kit, load
from client_plugin.config import NodeConfig
from client_plugin.dicom.pull import command
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import PullError, PullReason

_LOOK = 0.5  # seconds between looks at the job table
_CURES = {
    PullReason.UNREACHABLE: "check host, port and tls in dicom.peers, or pull.dicomweb_url; `fedpacs doctor` tries it",
    PullReason.REJECTED: "enter this node's AE title in the PACS",
    PullReason.NOT_AUTHORISED: "let this node query and retrieve in the PACS, or renew pull.dicomweb_token_file",
    PullReason.NOT_SUPPORTED: "the PACS does not offer this service to us: try another pull.method",
    PullReason.DESTINATION_UNKNOWN: "enter this node's AE title, address and port as a C-MOVE destination in the PACS",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``COHORT.yaml`` and ``--kit``."""
    parser.add_argument("cohort", type=Path, nargs="?", metavar="COHORT.yaml", help="which studies; none: go on")
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Find, pull and show how it goes; the exit code is 1 when a study could not be had."""
    config, console = load(args), Console(soft_wrap=True)
    job = None
    if args.cohort is not None:
        query = PullQuery.from_yaml(args.cohort)
        try:
            queued = command.find(config, query)
        except PullError as error:
            raise RuntimeError(_sentence(error.reason)) from None
        job, found = queued.job, queued.studies
        console.print(
            f"job {job}: {found.new} new studies, {found.again} to be pulled again, {found.waiting} waiting already, "
            f"{found.done} here already"
        )
    progress = _follow(config, job, console)
    for reason, studies in progress.reasons.items():
        console.print(f"{studies} × {_sentence(PullReason(reason))}")
    if progress.waiting:
        console.print(f"{progress.waiting} studies wait: the node, or the next `fedpacs pull`, goes on with them")
    return 1 if progress.failed or progress.waiting else 0


def _sentence(reason: PullReason) -> str:
    return f"{reason.value}: {_CURES[reason]}" if reason in _CURES else reason.value


def _follow(config: NodeConfig, job: str | None, console: Console) -> command.Progress:
    """Work the table off, or watch another process do it, until the job is over or a signal comes."""
    stop = threading.Event()
    with _signals_set(stop):
        return _followed(config, job, console, stop)


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _followed(config: NodeConfig, job: str | None, console: Console, stop: threading.Event) -> command.Progress:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            command.work(config, stop)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)

    worker = threading.Thread(target=work, name="puller")
    worker.start()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as shown:
        bar = shown.add_task("studies")
        while True:
            ended = stop.is_set() or bool(failures)
            if ended:
                worker.join()
            progress = command.summarize(command.pulls(config, job))
            shown.update(
                bar,
                total=progress.studies,
                completed=progress.done + progress.failed,
                description=f"{progress.here} of {progress.expected} images, {progress.failed} studies failed",
            )
            if ended or progress.over:
                break
            stop.wait(_LOOK)
    stop.set()  # another job's studies stay for the next run
    worker.join()
    if failures:
        raise failures[0]
    return progress
