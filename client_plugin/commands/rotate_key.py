"""Replace the site key: what it wraps is wrapped by the new one. Stop the node first; run it again if interrupted."""

from __future__ import annotations

import argparse

from client_plugin.archive.keys import ask
from client_plugin.archive.rotation import rotate_key_file, rotate_to
from client_plugin.commands import add_kit, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--to-command`` and ``--kit``."""
    parser.add_argument(
        "--to-command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="the command that prints the new key; last option. For sites with archive.key_command",
    )
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Rotate, and say what to do next."""
    config = load(args)
    if args.to_command:
        changed = rotate_to(config, ask(tuple(args.to_command)))
        print(f"{changed} patients' keys rewrapped. Set archive.key_command to this command now.")
    else:
        changed = rotate_key_file(config)
        print(f"{changed} patients' keys rewrapped. Back up {config.key_file}, and destroy the backups of the old key.")
    return 0
