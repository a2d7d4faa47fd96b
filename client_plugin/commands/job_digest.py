"""The digest of a job's folder, for `governance.job_digests`: read the folder first, then list what it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from client_plugin.governance.job_content import job_digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``FOLDER``."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a job's folder, as `fedpacs job` writes it")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    print(job_digest(args.folder / "app"))
    return 0
