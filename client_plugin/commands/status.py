"""How this node is doing: is it running, what has arrived, what is waiting, what was set aside."""

from __future__ import annotations

import argparse
import json
import shutil
import time

from rich.console import Console
from rich.table import Table

from client_plugin.archive.catalogue import Catalogue
from client_plugin.commands import add_kit, load
from client_plugin.config import NodeConfig
from client_plugin.node import read_state

Rows = dict[str, str | int | float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kit`` and ``--json``."""
    add_kit(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print the status; the exit code is 1 when the node does not run."""
    config = load(args)
    running, rows = describe(config)
    if args.json:
        print(json.dumps({"running": running, **rows}))
    else:
        table = Table(title=config.site, show_header=False)
        table.add_column("what")
        table.add_column("value", justify="right")
        for name, value in rows.items():
            table.add_row(name.replace("_", " "), str(value))
        Console().print(table)
    return 0 if running else 1


def describe(config: NodeConfig) -> tuple[bool, Rows]:
    """Whether the node runs, and what there is to say about it."""
    state = read_state(config)
    running = state is not None and state.state == "running" and state.alive
    rows: Rows = {"node": _in_words(state.state if state else None, running)}
    if state and state.detail:
        rows["reason"] = state.detail
    if state and running:
        rows["running_seconds"] = round(time.time() - state.since)
    rows["dicom"] = f"{config.dicom.ae_title} on port {config.dicom.port}"
    rows["metrics"] = f"http://{config.metrics.host}:{config.metrics.port}/metrics"
    if config.root.exists():
        rows["free_bytes"] = shutil.disk_usage(config.root).free
        rows.update(Catalogue.open(config.catalogue_url).counts())
    return running, rows


def _in_words(state: str | None, running: bool) -> str:
    if state is None:
        return "never started here"
    if state == "running" and not running:
        return "died: its process is gone"
    return state
