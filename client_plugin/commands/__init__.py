"""The `fedpacs` command's subcommands, one a module: ``add_arguments(parser)`` and ``run(args) -> exit code``."""

from __future__ import annotations

import argparse
from pathlib import Path

from client_plugin.config import NodeConfig


def add_kit(parser: argparse.ArgumentParser) -> None:
    """Add ``--kit``: which hospital this is about."""
    parser.add_argument(
        "--kit",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="the hospital's NVFlare startup kit (default: the current folder)",
    )


def load(args: argparse.Namespace) -> NodeConfig:
    """The configuration in ``--kit``."""
    kit: Path = args.kit
    return NodeConfig.load(kit)
