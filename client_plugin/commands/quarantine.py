"""What was set aside and why; give it another try, or drop it for good."""

from __future__ import annotations

import argparse
from collections import Counter

from rich.console import Console
from rich.table import Table

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.received import QuarantinedRow
from client_plugin.commands import add_kit, load
from client_plugin.config import NodeConfig
from client_plugin.intake.spool import Spool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--reason``, ``--release``, ``--drop`` and ``--kit``."""
    parser.add_argument("--reason", metavar="NAME", help="only what was set aside for this reason")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--release", action="store_true", help="put it back into the queue")
    what.add_argument("--drop", action="store_true", help="delete it; it may be sent again")
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """List, release or drop."""
    config = load(args)
    catalogue = Catalogue.open(config.catalogue_url)
    rows = [row for row in catalogue.quarantined() if args.reason in (None, row.reason)]
    if args.release:
        released = sum(catalogue.release_quarantined(row.id) for row in rows)
        print(f"{released} of {len(rows)} are in the queue again; the others never were in it: have them sent again")
    elif args.drop:
        _drop(config, catalogue, rows)
        print(f"{len(rows)} dropped")
    else:
        Console().print(_table(config, rows))
    return 0


def _drop(config: NodeConfig, catalogue: Catalogue, rows: list[QuarantinedRow]) -> None:
    spool = Spool(config.spool, SiteKeys.open(config).derive("spool"))
    for row in rows:  # the file first: a row without a file is no secret, a file without a row would be swept late
        spool.delete(row.spool_name)
    catalogue.drop_quarantined(row.spool_name for row in rows)


def _table(config: NodeConfig, rows: list[QuarantinedRow]) -> Table:
    table = Table(title=f"{config.site}: {len(rows)} in quarantine")
    table.add_column("reason")
    table.add_column("from")
    table.add_column("instances", justify="right")
    for (reason, source), count in sorted(Counter((row.reason, row.source_ae) for row in rows).items()):
        table.add_row(reason, source, str(count))
    return table
