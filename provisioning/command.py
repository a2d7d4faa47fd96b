"""Make a startup kit for every participant named in PROJECT.

Hand each kit to its participant over a safe channel. The project's root key stays below OUT: keep it offline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from provisioning.provision import load_project, provision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``PROJECT`` and ``--out``."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="a project.yml (see provisioning/project.yml)")
    parser.add_argument("--out", type=Path, default=Path("kits"), metavar="OUT", help="folder for the kits")


def run(args: argparse.Namespace) -> int:
    """Provision and print where each kit is."""
    kits = provision(load_project(args.project), args.out)
    table = Table("participant", "startup kit")
    for name, kit in kits.items():
        table.add_row(name, str(kit))
    Console(soft_wrap=True).print(table)
    return 0
